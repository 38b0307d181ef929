"""Verify: compare the contents of two nodes at one position while the application goes on.

A lock that stops writers (and only them) is held from a marker's commit on the primary until both sides have a
snapshot: some milliseconds on a standby that follows. The checksums run on the snapshots, after the lock.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeVar

import psycopg
from psycopg import sql

from understudy.engines.base import TableCheck, VerifyReport
from understudy.engines.postgresql.checksum import checksum
from understudy.engines.postgresql.rescue_files import quote_identifier
from understudy.engines.postgresql.schema import publication
from understudy.engines.postgresql.sessions import ControlConnection, Sessions, translate
from understudy.engines.postgresql.tail import INTERNAL, pin
from understudy.errors import EngineError
from understudy.model import Cluster

_T = TypeVar("_T")

VERIFY_TIMEOUT: Final = 4 * 3600.0
"""Seconds for the checksums of all tables."""
ATTEMPTS: Final = 40
LOCK_WAIT_MS: Final = 200
"""For one table; LOCK_ALL_MS is for all. Both stay below `deadlock_timeout` (1 s), the time after which a writer
that waits for us looks for a deadlock: by then we have always given up, so no writer is ever the victim."""
LOCK_ALL_MS: Final = 500
HOLD: Final = 1.0
"""Seconds that writers may be held while the standby comes to the marker; then all begins again."""
PATIENCE: Final = 60.0
"""Seconds that the follower may be behind before anything begins."""
_POLL: Final = 0.002
_MAX_PAUSE: Final = 1.0

_TABLES = """
SELECT schemaname, tablename FROM pg_publication_tables
WHERE pubname = %s AND NOT (schemaname = 'understudy' AND tablename = ANY (%s)) ORDER BY 1, 2
"""


# In one round trip, and the error names the table.
_LOCK = """
DO $understudy$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY {}::text[] LOOP
        BEGIN
            EXECUTE 'LOCK TABLE ' || name || ' IN SHARE MODE';
        EXCEPTION WHEN lock_not_available OR query_canceled THEN
            RAISE EXCEPTION USING ERRCODE = 'lock_not_available', MESSAGE = 'busy: ' || name, TABLE = name;
        END;
    END LOOP;
END
$understudy$
"""


async def verify(sessions: Sessions, cluster: Cluster, left: str, right: str) -> VerifyReport:
    """Compare every published table of ``left`` (the primary) with ``right`` (its follower).

    Heartbeats, markers and sequence samples are left out; commit tokens are compared. Raises `EngineError` where
    writers never leave a gap of 200 ms or the follower is never close (nothing is known then), and `Unreachable`.
    """
    async with sessions.control(left, doing="list the tables") as connection:
        cursor = await connection.execute(_TABLES, (publication(cluster.name), sorted(INTERNAL)))
        tables = [(str(row[0]), str(row[1])) for row in await cursor.fetchall()]
    if not tables:  # nothing compared is not equal
        raise EngineError(f"{left}: publishes no table for cluster {cluster.name}; run `understudy setup`")
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(
            sessions.control(left, timeout=VERIFY_TIMEOUT, doing="compute checksums")
        )
        other = await stack.enter_async_context(
            sessions.control(right, timeout=VERIFY_TIMEOUT, doing="compute checksums")
        )
        position = await _snapshots(sessions, left, right, tables, {left: one, right: other})
        try:
            results = await _on_each(
                cluster, {left: _checksums(one, tables), right: _checksums(other, tables)}
            )
        finally:
            await asyncio.gather(one.rollback(), other.rollback(), return_exceptions=True)
    checks = [
        TableCheck(table=f"{schema}.{table}", left=a, right=b)
        for (schema, table), a, b in zip(tables, *results, strict=True)
    ]
    return VerifyReport(left=left, right=right, position=position, tables=tuple(checks))


async def _on_each(cluster: Cluster, work: Mapping[str, Coroutine[Any, Any, _T]]) -> list[_T]:
    """The results of work per node. Where one fails, the others have *ended* before its error goes on.

    `asyncio.gather` alone leaves them running, on connections that are given back meanwhile: closed under them, or
    lent to somebody else. Driver errors are translated here, where it is known which node they are of.
    """
    tasks = [asyncio.ensure_future(_named(cluster, node, each)) for node, each in work.items()]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _named(cluster: Cluster, node: str, work: Coroutine[Any, Any, _T]) -> _T:
    try:
        return await work
    except psycopg.Error as error:
        raise translate(error, node, "compute checksums", cluster) from error


async def _checksums(
    connection: ControlConnection, tables: Sequence[tuple[str, str]]
) -> list[tuple[int, str]]:
    return [await checksum(connection, schema, table) for schema, table in tables]


async def _snapshots(
    sessions: Sessions,
    left: str,
    right: str,
    tables: Sequence[tuple[str, str]],
    readers: Mapping[str, ControlConnection],
) -> int:
    """Open a snapshot of the same position on both readers; returns the position on ``left``."""
    order = [quote_identifier(schema) + "." + quote_identifier(table) for schema, table in tables]
    why = ""
    for attempt in range(ATTEMPTS):
        # First without any lock: nobody is held while the follower is far behind.
        took = await _reaches(sessions, left, right, PATIENCE)
        if took is None:
            raise EngineError(
                f"{right}: does not come to a marker of {left} within {PATIENCE:g} s: it does not follow"
            )
        if took > HOLD / 2:
            why = f"{right} is {took:.1f} s behind"
            continue
        try:
            async with _writers_held(sessions, left, order):
                if await _reaches(sessions, left, right, HOLD) is not None:
                    return await _open_snapshots(sessions.cluster, readers, left)
                why = f"{right} did not come to a marker within {HOLD:g} s"
        except _Busy as busy:
            # Whoever writes this table probably waits for one that we had already: next time it comes first,
            # so that we learn the order in which the application goes through its tables.
            order = [busy.table] * (busy.table in order) + [name for name in order if name != busy.table]
            why = f"writers kept {busy.table} of {left} for longer than {LOCK_WAIT_MS} ms"
        await asyncio.sleep(min(0.02 * 1.25**attempt, _MAX_PAUSE) * random.uniform(0.5, 1.0))  # noqa: S311
    raise EngineError(
        f"{left}: could not be compared in {ATTEMPTS} attempts: {why}; try again when it is quieter"
    )


class _Busy(Exception):
    """The lock of a table was not to be had in time."""

    def __init__(self, table: str) -> None:
        self.table = table
        super().__init__(table)


@asynccontextmanager
async def _writers_held(sessions: Sessions, node: str, tables: Sequence[str]) -> AsyncIterator[None]:
    """Hold the writers of these tables (quoted names), locked in this order, for the time of the block."""
    async with sessions.control(node, doing="hold writers") as lock, lock.transaction(force_rollback=True):
        await lock.execute(
            f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}; SET LOCAL statement_timeout = {LOCK_ALL_MS}"
        )
        try:
            await lock.execute(sql.SQL(_LOCK).format(sql.Literal(list(tables))))
        except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled) as error:
            raise _Busy(error.diag.table_name or "") from None
        yield


async def _open_snapshots(cluster: Cluster, readers: Mapping[str, ControlConnection], left: str) -> int:
    await _on_each(cluster, {node: _open_snapshot(reader) for node, reader in readers.items()})
    cursor = await readers[left].execute("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint")
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def _open_snapshot(connection: ControlConnection) -> None:
    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    await pin(connection)  # the first query takes the snapshot


async def _reaches(sessions: Sessions, left: str, right: str, patience: float) -> float | None:
    """Commit a marker on ``left`` and wait until ``right`` has it; returns the seconds, None past ``patience``."""
    loop = asyncio.get_running_loop()
    marker = f"verify/{uuid.uuid4()}"
    async with sessions.control(left, doing="write a marker") as connection:
        await connection.execute("INSERT INTO understudy.marker (id) VALUES (%s)", (marker,))
    try:
        begun = loop.time()
        async with sessions.control(right, timeout=patience + 5, doing="look for a marker") as connection:
            while True:
                cursor = await connection.execute("SELECT FROM understudy.marker WHERE id = %s", (marker,))
                if await cursor.fetchone() is not None:
                    return loop.time() - begun
                if loop.time() - begun > patience:
                    return None
                await asyncio.sleep(_POLL)
    finally:
        async with sessions.control(left, doing="remove a marker") as connection:
            await connection.execute("DELETE FROM understudy.marker WHERE id = %s", (marker,))
