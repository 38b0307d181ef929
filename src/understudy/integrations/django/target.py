"""Which cluster an alias of ``DATABASES`` leads to, and what Django shows of it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from psycopg.conninfo import conninfo_to_dict

from understudy import config
from understudy.errors import ConfigError
from understudy.model import Cluster, Node

ENGINE = "understudy.integrations.django.postgresql"
OPTIONS = ("cluster", "config", "readonly", "max_lag")
"""The keys of ``OPTIONS`` that are ours; every other one is Django's or the driver's."""

DIRECT = "UNDERSTUDY_DIRECT"
"""Set in ``TEST`` while an alias leads to a test database: an ordinary connection to one node, no agent."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where an alias leads.

    Args:
        directory: this host's state (lease, witness).
        readonly: reads go to the standby while it is at most ``max_lag`` seconds behind (None: any known lag).
    """

    cluster: Cluster
    directory: Path
    readonly: bool
    max_lag: float | None


def target_of(alias: str, options: dict[str, Any]) -> Target:
    """Read the configuration that ``OPTIONS`` names. Raises ImproperlyConfigured."""
    where = f"DATABASES[{alias!r}]['OPTIONS']"
    if "pool" in options:
        raise ImproperlyConfigured(
            f"{where}: expected no 'pool', found one. A pool of Django's would keep connections to a former primary: "
            "remove it and set CONN_MAX_AGE."
        )
    readonly, max_lag = options.get("readonly", False), options.get("max_lag")
    if not isinstance(readonly, bool):
        raise ImproperlyConfigured(f"{where}['readonly']: expected True or False, found {readonly!r}.")
    if max_lag is not None and (
        isinstance(max_lag, bool) or not isinstance(max_lag, int | float) or max_lag < 0 or not readonly
    ):
        raise ImproperlyConfigured(
            f"{where}['max_lag']: expected seconds (0 or more) beside 'readonly': True, found {max_lag!r}."
        )
    path = options.get("config")
    try:
        loaded = load(None if path is None else str(path))
        cluster = loaded.cluster(options.get("cluster"))
    except ConfigError as error:
        raise ImproperlyConfigured(f"{where}: {error}") from error
    return Target(cluster, loaded.directory, readonly, max_lag)


@functools.lru_cache(maxsize=32)
def load(path: str | None) -> config.Config:
    """The configuration, read once per process: every thread has connections of its own. Raises ConfigError."""
    return config.load(None if path is None else Path(path))


def parameters(node: Node) -> dict[str, Any]:
    """The node's DSN in parts, as libpq names them."""
    return dict(conninfo_to_dict(node.dsn))


def fill(alias: str, settings: dict[str, Any], target: Target) -> None:
    """Put the preferred node's place into the settings, for tools that show it. The password stays away.

    Raises ImproperlyConfigured where the settings name another database than the cluster's.
    """
    there = parameters(target.cluster.preferred)
    name = str(there.get("dbname") or there.get("user") or "")
    given = settings.get("NAME")
    if given and given != name and not is_direct(settings):
        raise ImproperlyConfigured(
            f"DATABASES[{alias!r}]['NAME']: expected {name!r}, the database of node "
            f"{target.cluster.preferred.name!r}, found {given!r}. Remove NAME: the cluster's configuration has it."
        )
    shown = {"NAME": name, "USER": there.get("user"), "HOST": there.get("host"), "PORT": there.get("port")}
    for key, value in shown.items():
        if settings.get(key) == "":
            settings[key] = str(value or "")


def is_direct(settings: dict[str, Any]) -> bool:
    """Whether these settings lead to a test database, or to none (`CREATE DATABASE`): past lease and agent."""
    return settings.get("NAME") is None or bool(settings.get("TEST", {}).get(DIRECT))
