"""``DatabaseHealthService``: how both nodes are, asked on connections of its own."""

from __future__ import annotations

import logging
import time
from typing import TypedDict

import psycopg
from django.conf import settings

from understudy.client.patience import cut_off_after
from understudy.config import mask
from understudy.integrations.django.places import cluster_connection, present_lease
from understudy.model import Node

logger = logging.getLogger(__name__)

Health = tuple[bool, float | None, str | None]
"""Whether the node answered, in how many milliseconds, and the error."""


class NodeHealth(TypedDict):
    """One node; ``response_time_ms`` is None where it did not answer, ``error`` where it did."""

    healthy: bool
    response_time_ms: float | None
    error: str | None


class HealthStatus(TypedDict):
    """``primary`` is the preferred node, ``backup`` the other one, whoever is primary now."""

    primary: NodeHealth
    backup: NodeHealth
    failover_active: bool


class DatabaseHealthService:
    """Looks at the nodes without touching the application's connections: a broken ``atomic`` block is no outage.

    It decides nothing. Who is primary is the agent's decision, after several misses seen by a majority.
    """

    @staticmethod
    def check_primary_health() -> Health:
        """The preferred node: (healthy, milliseconds, error)."""
        return _ask(cluster_connection().target.cluster.nodes[0])

    @staticmethod
    def check_backup_health() -> Health:
        """The other node: (healthy, milliseconds, error)."""
        return _ask(cluster_connection().target.cluster.nodes[1])

    @staticmethod
    def get_health_status() -> HealthStatus:
        """Both nodes, and whether the application is away from the preferred one."""
        primary = DatabaseHealthService.check_primary_health()
        backup = DatabaseHealthService.check_backup_health()
        preferred = cluster_connection().target.cluster.preferred.name
        lease = present_lease()
        away = lease.primary != preferred if lease is not None else backup[0] and not primary[0]
        return {"primary": _named(primary), "backup": _named(backup), "failover_active": away}


def _named(health: Health) -> NodeHealth:
    return {"healthy": health[0], "response_time_ms": health[1], "error": health[2]}


def _ask(node: Node) -> Health:
    """``SELECT 1`` on a new connection, within ``DATABASE_FAILOVER_TIMEOUT`` seconds."""
    limit = max(2, int(getattr(settings, "DATABASE_FAILOVER_TIMEOUT", 5)))
    began = time.perf_counter()
    try:
        with (
            psycopg.connect(node.dsn, autocommit=True, connect_timeout=limit) as connection,
            cut_off_after(connection, began + limit - time.perf_counter()),
        ):
            connection.execute("SELECT 1")
    except psycopg.Error as error:
        text = " ".join(mask(str(error)).split())
        logger.warning("Health check of database node %s failed: %s", node.name, text)
        return False, None, text
    return True, (time.perf_counter() - began) * 1000, None
