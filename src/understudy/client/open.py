"""The short way in: a pool or a connection by the name of its cluster, configured as `understudy.config` says."""

from __future__ import annotations

from typing import Any

from understudy.client import connection, connection_async, pool_async, single, single_async
from understudy.client import pool as pool_sync
from understudy.config import load


def pool(cluster: str | None = None, **options: Any) -> pool_sync.Pool:
    """A new pool for that cluster (None: the only one configured). Options are those of `Pool`.

    Make one per process and keep it. Raises `ConfigError`, `LeaseError`.
    """
    config = load()
    return pool_sync.Pool(config.cluster(cluster), config.directory, **options)


def async_pool(cluster: str | None = None, **options: Any) -> pool_async.AsyncPool:
    """The same for asyncio. Make one per event loop and keep it."""
    config = load()
    return pool_async.AsyncPool(config.cluster(cluster), config.directory, **options)


def connect(
    cluster: str | None = None, *, timeout: float | None = None, **options: Any
) -> connection.Connection:
    """One connection to the present primary, to be kept. Options are those of ``psycopg.connect``.

    Each transaction on it is held while a planned change is under way. After a change of primary it raises
    `PrimaryLost` and is closed: connect again. Raises `NoPrimaryAvailable` after ``timeout`` seconds
    (None: the policy's ``hold_timeout``).
    """
    config = load()
    return single.connect(config.cluster(cluster), config.directory, timeout=timeout, **options)


async def connect_async(
    cluster: str | None = None,
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - passed on
    **options: Any,
) -> connection_async.AsyncConnection:
    """The same for asyncio."""
    config = load()
    return await single_async.connect_async(
        config.cluster(cluster), config.directory, timeout=timeout, **options
    )
