"""One psycopg pool per node and epoch, and how its connections are made."""

from __future__ import annotations

from time import monotonic
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool
from psycopg_pool.base import AttemptWithBackoff

from understudy.client.connection_async import AsyncConnection
from understudy.client.host import Host
from understudy.client.outcome import is_connection_error
from understudy.client.patience import cut_off_after

_IDLE = TransactionStatus.IDLE


class QuickAttempt(AttemptWithBackoff):
    """Reconnect at once after an outage: psycopg_pool's own pauses grow to minutes and then end for good."""

    INITIAL_DELAY = 0.05
    LONGEST = 1.0

    def __init__(self) -> None:
        super().__init__(timeout=float("inf"))

    def update_delay(self, now: float) -> None:
        super().update_delay(now)
        self.delay = min(self.delay, self.LONGEST)


class AsyncConnector:
    """Makes connections to one node at one epoch. Stands in for ``connection_class`` of a pool.

    Attributes:
        error: why the last attempt failed, or None if it did not.
    """

    def __init__(self, host: Host, epoch: int, node: str, *, readonly: bool) -> None:
        self._host, self._epoch, self._node, self._readonly = host, epoch, node, readonly
        self.error: psycopg.Error | None = None

    async def connect(self, conninfo: str, **kwargs: Any) -> AsyncConnection:
        """Like `psycopg.AsyncConnection.connect`. A failure is reported to the agent and raised unchanged."""
        kwargs.setdefault("connect_timeout", max(1, round(self._host.cluster.policy.connect_timeout)))
        kwargs.setdefault("application_name", f"understudy-client/{self._host.cluster.name}")
        try:
            conn = await AsyncConnection.connect(conninfo, **kwargs)
            if self._readonly:
                await _take_no_writes(conn, self._host.cluster.policy.connect_timeout)
        except psycopg.Error as error:
            self.error = error
            if is_connection_error(error):
                self._host.report(self._node, self._epoch, str(error))
            raise
        self.error = None
        conn.bind(self._host, self._epoch, self._node, readonly=self._readonly)
        if self._readonly:
            conn._read_only = True  # what set_read_only does, without its round through the event loop
        return conn


async def _take_no_writes(conn: AsyncConnection, seconds: float) -> None:
    """For readers that may land on the primary: READ ONLY of each BEGIN says nothing to statements in autocommit.

    A server that takes the login and then hangs is left after so many seconds, or the workers of a pool would wait for
    it for good.
    """
    autocommit = conn.autocommit
    try:
        with cut_off_after(conn, seconds):
            await conn.set_autocommit(True)
            await conn.execute("SET default_transaction_read_only = on")
            await conn.set_autocommit(autocommit)
    except BaseException:
        await conn.close()
        raise


class AsyncInnerPool(AsyncConnectionPool[AsyncConnection]):
    """A psycopg pool that keeps trying, and that can be left behind while its workers hang in connect."""

    async def getconn(self, timeout: float | None = None) -> AsyncConnection:  # noqa: ASYNC109
        """As in psycopg_pool, with a short way where a connection is at hand."""
        if self._check is None and not self._closed:
            async with self._lock:
                if self._pool:
                    conn = self._pool.popleft()
                    self._nconns_min = min(self._nconns_min, len(self._pool))
                    self._stats[self._REQUESTS_NUM] += 1
                    conn._pool = self
                    return conn
        return await super().getconn(timeout)

    async def putconn(self, conn: AsyncConnection) -> None:
        """As in psycopg_pool, with a short way for a connection that is idle and young enough."""
        if (
            self._reset is None
            and not self._closed
            and conn._pool is self
            and conn.pgconn.transaction_status == _IDLE
            and conn._created_at > self._drained_at
            and conn._expire_at > monotonic()
        ):
            await self._add_to_pool(conn)
        else:
            await super().putconn(conn)

    async def _add_connection(self, attempt: AttemptWithBackoff | None, growing: bool = False) -> None:
        await super()._add_connection(attempt or QuickAttempt(), growing)

    async def _signal_stop_worker(self) -> list[Any]:
        # close() would wait for these. They end by themselves once their connect times out.
        await super()._signal_stop_worker()
        return []


class AsyncTarget:
    """A node at an epoch, and the pool that leads there. ``counted``: its calls are counted as in flight."""

    __slots__ = ("connector", "counted", "epoch", "inner", "node")

    def __init__(
        self, host: Host, epoch: int, node: str, *, readonly: bool, counted: bool, options: dict[str, Any]
    ) -> None:
        self.epoch, self.node, self.counted = epoch, node, counted
        self.connector = AsyncConnector(host, epoch, node, readonly=readonly)
        self.inner = AsyncInnerPool(
            host.cluster.node(node).dsn,
            connection_class=self.connector,  # type: ignore[arg-type] # it only needs `connect`
            open=False,
            **options,
        )
