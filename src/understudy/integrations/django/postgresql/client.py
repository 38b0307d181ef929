"""``manage.py dbshell``: psql on the node that is primary now."""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import client

from understudy.client.host import host_of
from understudy.integrations.django.target import is_direct, parameters, target_of

_NAMES = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}


class DatabaseClient(client.DatabaseClient):
    """Django's own, led to the present primary. The password goes by the environment, as with Django's."""

    @classmethod
    def settings_to_cmd_args_env(
        cls, settings_dict: dict[str, Any], parameters: list[str]
    ) -> tuple[list[str], dict[str, str] | None]:
        """The command line of psql and what is added to its environment."""
        found: tuple[list[str], dict[str, str] | None] = super().settings_to_cmd_args_env(
            settings_dict | _present(settings_dict), parameters
        )
        return found


def _present(settings: dict[str, Any]) -> dict[str, Any]:
    """Where the present primary is; the preferred node where this host holds no lease."""
    target = target_of("dbshell", settings["OPTIONS"])
    lease = host_of(target.cluster, target.directory).lease()
    node = (
        target.cluster.preferred
        if lease is None or is_direct(settings)
        else target.cluster.node(lease.primary)
    )
    there = parameters(node)
    place = {ours: there.get(theirs, "") for theirs, ours in _NAMES.items()}
    return place | ({"NAME": settings["NAME"]} if is_direct(settings) else {})
