"""The pool: connections to whichever node is primary now."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg_pool import PoolClosed, PoolTimeout
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from understudy.client.admission_async import hold, no_primary
from understudy.client.breaker import Breaker, BreakerPolicy, Outcome, Permit
from understudy.client.connection_async import AsyncConnection
from understudy.client.errors import CommitInDoubt, NoPrimaryAvailable, unsettled
from understudy.client.host import Host, host_of
from understudy.client.inner_async import AsyncTarget
from understudy.client.outcome import certainly_not_committed, is_connection_error
from understudy.client.switch import AsyncSwitch
from understudy.lease import Lease, Phase, boot_now
from understudy.model import Cluster

T = TypeVar("T")
# A token that is found is written again: after a crash of the primary it may be visible although the synchronous
# standby never had it, and only a write of our own waits for the standby before anything is reported as committed.
_CLAIM = (
    "INSERT INTO understudy.commit_token AS t (token) VALUES (%s) "
    "ON CONFLICT (token) DO UPDATE SET at = excluded.at RETURNING t.xmax = 0"
)
_IDLE = TransactionStatus.IDLE
_PAUSE = 0.05  # seconds between two attempts on a server that is not ready for its role
_SHORTEST = 0.001


class AsyncCheckout:
    """One stay of a connection outside the pool: ``async with pool.connection() as conn``."""

    __slots__ = ("_conn", "_max_lag", "_permit", "_pool", "_readonly", "_timeout")

    def __init__(self, pool: AsyncPool, timeout: float | None, readonly: bool, max_lag: float | None) -> None:
        self._pool, self._timeout, self._readonly, self._max_lag = pool, timeout, readonly, max_lag
        self._permit: Permit | None = None

    async def __aenter__(self) -> AsyncConnection:
        if self._readonly:
            conn, self._permit = await self._pool._get_readonly(self._timeout, self._max_lag)
        else:
            conn = await self._pool.getconn(self._timeout)
        self._conn = conn
        return conn

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        conn = self._conn
        try:
            if exc_type is not None:
                await conn.__aexit__(exc_type, exc, traceback)  # rolls back
            elif (conn.pgconn.transaction_status != _IDLE or conn._pipeline is not None) and not conn.closed:
                await conn.commit()
        except BaseException as error:
            exc = error
            raise
        finally:
            if self._permit is not None:
                self._permit.tell(_outcome(exc))
            await self._pool.putconn(conn)


class AsyncPool:
    """Connections to the present primary of a cluster, and read-only ones to its standby.

    Works like `psycopg_pool.AsyncConnectionPool`; where the primary changes, new checkouts wait
    (``hold_timeout``) and then lead to the new one. Nothing needs to be closed or reopened at a change.

    Args:
        cluster, directory: as `understudy.config.load` gives them.
        min_size, max_size: connections kept, and at most open, to the primary.
        name: for logs.
        timeout: seconds to wait for a connection when all are in use.
        kwargs: for ``connect``, e.g. ``{"autocommit": True, "row_factory": dict_row}``.
        breaker: when ``readonly`` leaves a standby that fails alone for a while and reads on the primary: a
            `BreakerPolicy`, or ``{"threshold": 5, "timeout": 60000, "monitoringPeriod": 10000}`` (milliseconds).
        options: anything else that `psycopg_pool.AsyncConnectionPool` takes (``configure``, ``max_idle``, ...).
    """

    def __init__(
        self,
        cluster: Cluster,
        directory: Path,
        *,
        min_size: int = 1,
        max_size: int = 10,
        name: str | None = None,
        timeout: float = 30.0,
        kwargs: dict[str, Any] | None = None,
        breaker: BreakerPolicy | Mapping[str, int] | None = None,
        **options: Any,
    ) -> None:
        self.name = name or f"understudy-{cluster.name}"
        self.timeout = timeout
        self._host: Host = host_of(cluster, directory)
        self._options = {
            "min_size": min_size,
            "max_size": max_size,
            "timeout": timeout,
            "kwargs": dict(kwargs or {}),
            **options,
        }
        self._breaking = BreakerPolicy.of(breaker)
        self._breakers = self._closed_breakers()
        self._switch = AsyncSwitch()
        self._targets: dict[tuple[int, str, bool], AsyncTarget] = {}
        self._current: AsyncTarget | None = None
        self._closed = False
        self._host.listen(self)

    async def __aenter__(self) -> AsyncPool:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def connection(
        self, timeout: float | None = None, readonly: bool = False, max_lag: float | None = None
    ) -> AsyncCheckout:
        """A connection for the length of a block; commits at its end, rolls back on an exception.

        Args:
            timeout: seconds to wait for a connection, a change of primary included. Without it: the policy's
                ``hold_timeout`` for a change, the pool's ``timeout`` for a free connection.
            readonly: a read-only transaction, on the standby where its lag is known, else on the primary.
            max_lag: seconds that the standby may be behind for ``readonly``.

        Raises `NoPrimaryAvailable`, `psycopg_pool.PoolTimeout` (all connections in use); at the end
        `CommitInDoubt` or `PrimaryLost`.
        """
        return AsyncCheckout(self, timeout, readonly, max_lag)

    async def getconn(self, timeout: float | None = None) -> AsyncConnection:  # noqa: ASYNC109
        """A connection until `putconn`. It counts as in flight for all that time: keep it short.

        For a connection that is kept, use `understudy.connect`, which counts per transaction.
        """
        target = self._current
        until = _until(timeout)
        if target is not None:
            try:
                conn = await target.inner.getconn(timeout)
            except (PoolClosed, PoolTimeout):
                if self._is_open(target):
                    raise self._blame(target) from None
            else:
                if conn.role_checked and not conn._poll.poll(0):
                    tag = self._host.enter(target.epoch, target.node)
                    if tag is not None:
                        conn.in_flight = tag
                        return conn
                    await self._back(conn)
                elif await self._accept(conn, target):
                    return conn
        return await self._get_slowly(_left(until), readonly=False)

    async def putconn(self, conn: AsyncConnection) -> None:
        """Give a connection back. An open transaction on it is rolled back."""
        tag = conn.in_flight
        if tag is not None:
            conn.in_flight = None
            self._host.slot.leave(tag)
        await self._back(conn)

    async def run(
        self,
        work: Callable[[AsyncConnection], Awaitable[T]],
        *,
        exactly_once: bool = False,
        attempts: int = 10,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> T:
        """Call ``work(conn)`` in a transaction, commit it, and return what it returned.

        What certainly did not commit is run again (lost connections, lost primary, serialization failures,
        deadlocks), up to ``attempts`` times with growing random pauses; so ``work`` must have no other effects
        than those in the database. Every other exception rolls back and is raised unchanged.

        Args:
            exactly_once: also settle `CommitInDoubt`. A token is inserted first in the same transaction; where
                an attempt's commit is in doubt, the next one sees by that token whether it was applied. Where no
                later attempt comes to look, this raises `CommitInDoubt`, whatever ended the last one.
            timeout: seconds for each checkout.
        """
        token = uuid.uuid4() if exactly_once else None
        results: list[T] = []
        doubts: list[CommitInDoubt] = []

        def again(error: BaseException) -> bool:
            return certainly_not_committed(error) or (token is not None and isinstance(error, CommitInDoubt))

        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception(again),
                stop=stop_after_attempt(attempts),
                wait=wait_random_exponential(multiplier=0.01, max=1.0),
                reraise=True,
            ):
                with attempt:
                    return await self._attempt(work, token, results, doubts, timeout)
        except CommitInDoubt:
            raise
        except Exception as error:
            if doubts:
                raise unsettled(doubts[-1], error) from error
            raise
        raise AssertionError("tenacity ends with a result or an exception")

    async def _attempt(
        self,
        work: Callable[[AsyncConnection], Awaitable[T]],
        token: uuid.UUID | None,
        results: list[T],
        doubts: list[CommitInDoubt],
        timeout: float | None,  # noqa: ASYNC109
    ) -> T:
        try:
            async with self.connection(timeout) as conn, conn.transaction():
                if token is not None:
                    conn.token = token
                    # Waits for an old session that still holds this token: its fate is known afterwards.
                    claim = await conn.cursor(row_factory=tuple_row).execute(_CLAIM, (token,))
                    if await claim.fetchone() == (False,) and results:
                        return results[-1]
                    doubts.clear()  # no earlier attempt is there: how this one ends is how it all ends
                results.append(await work(conn))
            return results[-1]
        except CommitInDoubt as error:
            doubts.append(error)
            raise

    async def close(self) -> None:
        """Close all connections that are not in use; the others as they come back."""
        async with self._switch.lock:  # a pool that is being made is one of these, or is not made
            self._closed = True
            self._current = None
            targets, self._targets = list(self._targets.values()), {}
        for target in targets:
            await target.inner.close(timeout=0)

    def get_stats(self) -> dict[str, int]:
        """The statistics of the pool of the present primary (see psycopg_pool), or nothing."""
        return self._current.inner.get_stats() if self._current is not None else {}

    @property
    def breakers(self) -> dict[str, str]:
        """By node: CLOSED, OPEN or HALF_OPEN. OPEN: ``readonly`` does not try it as a standby for now."""
        return {node: breaker.state.value for node, breaker in self._breakers.items()}

    # --- how a checkout finds its way -------------------------------------------------------------------

    def _is_open(self, target: AsyncTarget) -> bool:
        lease = self._host.file.read()
        return (
            lease is not None
            and lease.epoch == target.epoch
            and lease.primary == target.node
            and lease.phase is Phase.OPEN
            and lease.deadline > boot_now()
        )

    async def _get_slowly(self, timeout: float | None, *, readonly: bool) -> AsyncConnection:  # noqa: ASYNC109
        """Hold until the lease is open, find the pool of its primary, take a connection and enter."""
        host = self._host
        began = monotonic()
        until = began + (host.cluster.policy.hold_timeout if timeout is None else timeout)
        while True:
            if self._closed:
                raise PoolClosed(f"the pool {self.name!r} is closed")
            lease = await hold(host, until)
            target = await self._aim(lease.epoch, lease.primary, readonly=readonly, counted=True)
            version = host.version
            patience = max(until - monotonic() if timeout is not None else self.timeout, _SHORTEST)
            try:
                conn = await target.inner.getconn(patience)
            except PoolClosed:
                self._drop(target)
                continue
            except PoolTimeout:
                if not self._is_open(target):
                    continue  # `hold` says why
                raise self._blame(target) from None
            if await self._accept(conn, target):
                return conn
            if target.epoch < host.slot.epoch:  # made while the watcher was already leaving that epoch
                self._drop(target)
                self._switch.close_later(target.inner)
            elif not conn.role_checked:
                if monotonic() > until:
                    raise no_primary(host, host.file.read(), monotonic() - began)
                await host.wait_change_async(version, _PAUSE)

    async def _accept(self, conn: AsyncConnection, target: AsyncTarget) -> bool:
        """Check that the server is there and writable, and enter; else the connection goes back."""
        if not conn.still_there():
            await self._back(conn)  # the pool makes another one
            return False
        if not conn.role_checked and not conn._readonly:
            if conn.read_only_server():
                # Promoted by nobody yet, or fenced: a new connection may see better.
                self._host.report(target.node, target.epoch, "the server is read-only")
                conn._sever()
                await self._back(conn)
                return False
        conn.role_checked = True
        tag = self._host.enter(target.epoch, target.node)
        if tag is None:
            await self._back(conn)
            return False
        conn.in_flight = tag
        return True

    async def _get_readonly(
        self,
        timeout: float | None,  # noqa: ASYNC109
        max_lag: float | None,
    ) -> tuple[AsyncConnection, Permit | None]:
        """A connection to read with, and, where it leads to the standby, whom to tell how that went."""
        lease = self._host.lease()
        until = _until(timeout)
        if lease is not None and _fresh_enough(lease, max_lag):
            permit = self._breakers[lease.standby].ask()
            conn = None if permit is None else await self._from_standby(lease, permit, timeout)
            if conn is not None:
                return conn, permit
        return await self._get_slowly(_left(until), readonly=True), None

    async def _from_standby(
        self,
        lease: Lease,
        permit: Permit,
        timeout: float | None,  # noqa: ASYNC109
    ) -> AsyncConnection | None:
        """A connection to the standby, or None and the breaker told why not."""
        outcome = Outcome.NEUTRAL
        conn = None
        try:
            target = await self._aim(lease.epoch, lease.standby, readonly=True, counted=False)
            patience = self.timeout if timeout is None else timeout
            until = monotonic() + min(patience, self._host.cluster.policy.connect_timeout)
            while conn is None:
                found = await target.inner.getconn(max(until - monotonic(), _SHORTEST))
                if found.still_there():
                    conn = found
                else:
                    await self._back(found)  # the pool makes another one
        except PoolTimeout:
            # Where the last attempt to connect did not fail, all connections are in use: nothing said of the server.
            outcome = Outcome.NEUTRAL if target.connector.error is None else Outcome.FAILURE
        except PoolClosed:
            return None  # the lease has changed: the primary is asked
        finally:
            if conn is None:
                permit.tell(outcome)
        return conn

    def _blame(self, target: AsyncTarget) -> psycopg.OperationalError:
        """No connection came in time: because all are in use, or because none can be opened."""
        error = target.connector.error
        if error is None:
            return PoolTimeout(f"all connections of pool {self.name!r} are in use")
        return NoPrimaryAvailable(
            f"cluster {self._host.cluster.name!r}: primary {target.node!r} (epoch {target.epoch}) takes no "
            f"connections: {error}. Nothing was sent. `understudy status` shows what the agent sees."
        )

    async def _aim(self, epoch: int, node: str, *, readonly: bool, counted: bool) -> AsyncTarget:
        """The pool that leads to this node at this epoch. Raises `PoolClosed`."""
        key = (epoch, node, readonly)
        target = self._targets.get(key)
        if target is not None:
            return target
        async with self._switch.lock:
            if self._closed:
                raise PoolClosed(f"the pool {self.name!r} is closed")
            target = self._targets.get(key)
            if target is None:
                self._host.start()
                self._host.slot.set_epoch_seen(epoch)
                options = self._options | {"name": f"{self.name}-{node}-{epoch}"}
                if readonly:
                    options["min_size"] = 0
                target = AsyncTarget(
                    self._host, epoch, node, readonly=readonly, counted=counted, options=options
                )
                self._switch.bind()
                await target.inner.open()
                self._targets[key] = target
            if not readonly:
                self._current = target
        return target

    async def _back(self, conn: AsyncConnection) -> None:
        inner = conn._pool
        if inner is not None:
            await self._switch.give_back(inner, conn)

    def _drop(self, target: AsyncTarget) -> None:
        for key, known in list(self._targets.items()):
            if known is target:
                self._targets.pop(key, None)
        if self._current is target:
            self._current = None

    # --- called by the watcher's thread -----------------------------------------------------------------

    def lease_changed(self, lease: Lease) -> None:
        """Leave the pools of older epochs. Those who wait in one of them go on to the new one."""
        for target in list(self._targets.values()):
            if lease.phase is Phase.CHANGING:
                leave = target.counted and target.epoch <= lease.epoch
            else:
                leave = target.epoch < lease.epoch
            if leave:
                self._drop(target)
                self._switch.close_later(target.inner)

    def forget(self) -> list[object]:
        """After a fork: the parent's pools are the parent's."""
        kept: list[object] = [self._targets, self._current, self._switch]
        self._targets, self._current, self._switch = {}, None, AsyncSwitch()
        self._breakers = (
            self._closed_breakers()
        )  # another thread of the parent may have held a lock of theirs
        return kept

    def _closed_breakers(self) -> dict[str, Breaker]:
        return {node.name: Breaker(self._breaking, monotonic) for node in self._host.cluster.nodes}


def _until(timeout: float | None) -> float | None:
    return None if timeout is None else monotonic() + timeout


def _left(until: float | None) -> float | None:
    """What is left of a wait that has begun; None: each part of it has a limit of its own."""
    return None if until is None else max(until - monotonic(), 0.0)


def _outcome(error: BaseException | None) -> Outcome:
    """What the end of a stay on the standby says about it. An application's own error says nothing."""
    if error is None:
        return Outcome.SUCCESS
    return Outcome.FAILURE if is_connection_error(error) else Outcome.NEUTRAL


def _fresh_enough(lease: Lease, max_lag: float | None) -> bool:
    if not lease.standby or lease.standby_lag < 0:
        return False
    if max_lag is None:
        return True
    return lease.standby_lag <= max_lag and lease.deadline > boot_now()
