"""Where the services of this package find the cluster that `default` leads to."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections

from understudy.integrations.django.postgresql.base import DatabaseWrapper
from understudy.integrations.django.target import ENGINE
from understudy.lease import Lease

BACKUP: Final = "backup"
"""The second alias of the two-alias layout: the standby, for reading."""


def cluster_connection() -> DatabaseWrapper:
    """The connection that `default` is in this thread. Raises ImproperlyConfigured where it is not one of ours."""
    connection = connections[DEFAULT_DB_ALIAS]
    if not isinstance(connection, DatabaseWrapper):
        raise ImproperlyConfigured(
            f"DATABASES['default']['ENGINE']: expected {ENGINE!r}, found {connection.settings_dict['ENGINE']!r}."
        )
    return connection


def present_lease() -> Lease | None:
    """Who is primary, as far as this host knows; None where it does not. No query.

    Raises `UnderstudyError` where the lease cannot be opened.
    """
    host = cluster_connection().host
    host.start()
    return host.lease()


def open_for_writing() -> bool:
    """Whether new transactions may begin at this moment. Always so in tests, which have one node."""
    connection = cluster_connection()
    if connection.direct:
        return True
    connection.host.start()
    return connection.host.usable(connection.host.lease())


def failover_enabled() -> bool:
    """``DATABASE_FAILOVER_ENABLED``: whether reads may go elsewhere while nothing can be written."""
    return bool(getattr(settings, "DATABASE_FAILOVER_ENABLED", True))
