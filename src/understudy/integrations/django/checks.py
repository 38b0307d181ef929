"""System checks of the settings; none of them opens a connection. Those of a running agent: `postgresql.validation`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's name
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from understudy.integrations.django.target import ENGINE, Target, is_direct, target_of

_ROUTER = "DatabaseRouter"


def check_databases(**ignored: Any) -> list[CheckMessage]:
    """Everything that is wrong with ``DATABASES`` as far as this engine is concerned."""
    del ignored
    found: list[CheckMessage] = []
    targets: dict[str, Target] = {}
    for alias, database in connections.settings.items():
        if database.get("ENGINE") != ENGINE:
            continue
        try:
            targets[alias] = target_of(alias, database.get("OPTIONS", {}))
        except ImproperlyConfigured as error:
            found.append(Error(str(error), id="understudy.E001"))
            continue
        found += _of_alias(alias, database)
    found += _writers(targets)
    found += _stock(targets)
    return found


def _of_alias(alias: str, database: dict[str, Any]) -> Iterator[CheckMessage]:
    where = f"DATABASES[{alias!r}]"
    if database.get("CONN_MAX_AGE", 0) == 0 and not is_direct(database):
        yield Warning(
            f"{where}['CONN_MAX_AGE']: every request opens a connection of its own.",
            hint="Set it to 600, or to None: connections to a former primary are dropped by themselves.",
            id="understudy.W002",
        )
    if database.get("CONN_HEALTH_CHECKS"):
        yield Warning(
            f"{where}['CONN_HEALTH_CHECKS']: a round trip per request for what this engine sees without one.",
            hint="Remove it.",
            id="understudy.W003",
        )


def _writers(targets: dict[str, Target]) -> Iterator[CheckMessage]:
    """Two aliases that write to one cluster: `atomic` on one says nothing about the other."""
    seen: dict[str, str] = {}
    for alias, target in targets.items():
        if target.readonly:
            continue
        other = seen.setdefault(target.cluster.name, alias)
        if other != alias:
            yield Error(
                f"DATABASES: {other!r} and {alias!r} both write to cluster "
                f"{target.cluster.name!r}: a transaction on one "
                "does not cover the other.",
                hint=f"Add 'readonly': True to the OPTIONS of {alias!r}.",
                id="understudy.E004",
            )


def _stock(targets: dict[str, Target]) -> Iterator[CheckMessage]:
    """Our router beside another engine: nothing would fail over."""
    routers = [str(r) for r in settings.DATABASE_ROUTERS if isinstance(r, str)]
    if "default" not in targets and any(r.rpartition(".")[2] == _ROUTER for r in routers):
        yield Warning(
            f"DATABASES['default']['ENGINE']: expected {ENGINE!r} beside the router of Understudy.",
            hint="With another engine nothing holds, follows or fences.",
            id="understudy.W004",
        )
