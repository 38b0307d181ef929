"""One bounded look at a node: slow statements, connections, slots, disk. On a connection of the monitor's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from understudy.config_alerts import Monitor
from understudy.engines.postgresql.sessions import ControlConnection, Sessions
from understudy.model import Cluster
from understudy.monitor.disks import Disks
from understudy.monitor.readings import Look, SlotReading, SlowStatement
from understudy.monitor.statements import normalised

LIMIT = 5.0
"""Seconds that one look may take, connecting included. Never more than the pause between two looks."""
MAX_STATEMENTS = 50
"""Statements that one look shows."""
MAX_COMPARED = 10_000
"""Statements that are compared with the last look: twice what the extension keeps unless it is told otherwise."""
_MAX_TEXT = 4000
"""Characters of a statement that are fetched."""

_LOOK = """
SELECT
    (SELECT count(*) FROM pg_stat_activity  -- what this role may not see has no type
     WHERE coalesce(backend_type, 'client backend') = 'client backend' AND usesysid IS NOT NULL) AS connections,
    current_setting('max_connections')::integer
        - current_setting('superuser_reserved_connections')::integer
        - coalesce(current_setting('reserved_connections', true)::integer, 0) AS connections_limit,
    (SELECT jsonb_object_agg(s.slot_name, jsonb_build_object(
         'retained', greatest(0, CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                                      ELSE pg_current_wal_lsn() END - coalesce(s.restart_lsn, CASE
                                      WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                                      ELSE pg_current_wal_lsn() END)),
         'status', coalesce(s.wal_status, 'unknown')))
     FROM pg_replication_slots s) AS slots,
    (SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND query = '<insufficient privilege>') AS hidden,
    (SELECT jsonb_agg(jsonb_build_array(q.query, q.seconds) ORDER BY q.seconds DESC) FROM (
         SELECT left(query, %(text)s) AS query, extract(epoch FROM clock_timestamp() - query_start) AS seconds
         FROM pg_stat_activity
         WHERE datname = current_database() AND state = 'active' AND backend_type = 'client backend'
           AND pid <> pg_backend_pid() AND NOT starts_with(application_name, 'understudy/')
           AND clock_timestamp() - query_start > make_interval(secs => %(threshold)s)
         ORDER BY query_start LIMIT %(count)s) q) AS running,
    (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
     WHERE e.extname = 'pg_stat_statements') AS statements_in
"""

# Only calls that ended since the last look are news, so what is compared is calls and the sum of their times.
_STATEMENTS = """
SELECT userid::bigint, queryid, toplevel, calls, total_exec_time, max_exec_time
FROM {}.pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND max_exec_time > %(threshold)s AND queryid IS NOT NULL
ORDER BY max_exec_time DESC LIMIT %(count)s
"""
_TEXTS = """
SELECT userid::bigint, queryid, toplevel, left(query, %(text)s) FROM {}.pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND queryid = ANY(%(ids)s)
"""

# The extension is there and its library is not loaded, or this role may not read it.
_NOT_TO_BE_HAD = ("55000", "42501", "42P01", "42703")

_Seen = dict[tuple[int, int, bool], tuple[int, float, float]]
"""By user, statement and whether it is one of the application's own: calls, sum of their times, longest time."""


class Looker:
    """Looks at the nodes of one cluster, one look per node at a time.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, cluster: Cluster, monitor: Monitor, clock: Callable[[], float]) -> None:
        self._monitor = monitor
        self._sessions = Sessions(cluster, application="monitor")
        self._disks = Disks(monitor.disks, clock)
        self._limit = min(LIMIT, monitor.every)
        self._statements: dict[str, _Seen] = {}

    async def look(self, node: str) -> Look:
        """One look. Raises `Unreachable` and `EngineError` (see `Sessions.control`)."""
        async with self._sessions.control(node, timeout=self._limit, doing="look at it") as connection:
            row = await self._row(connection)
            slow = [
                SlowStatement(text=normalised(text), seconds=float(seconds))
                for text, seconds in row["running"] or ()
            ]
            if row["statements_in"]:
                slow += await self._finished(node, connection, row["statements_in"])
            disk, disk_error = await self._disks.share(node, connection)
        return Look(
            slow=slowest(slow),
            hidden=row["hidden"],
            connections=row["connections"],
            connections_limit=row["connections_limit"],
            slots={
                name: SlotReading(retained=int(slot["retained"]), status=slot["status"])
                for name, slot in (row["slots"] or {}).items()
            },
            disk=disk,
            disk_error=disk_error,
        )

    async def _row(self, connection: ControlConnection) -> dict[str, Any]:
        parameters = {
            "text": _MAX_TEXT,
            "threshold": self._monitor.slow_query,
            "count": MAX_STATEMENTS,
        }
        cursor = await connection.cursor(row_factory=dict_row).execute(_LOOK, parameters)
        return await cursor.fetchone() or {}

    async def _finished(self, node: str, connection: ControlConnection, schema: str) -> list[SlowStatement]:
        """Statements of pg_stat_statements that had a slow call since the last look; the first look only counts."""
        where = sql.Identifier(schema)
        compared = {"threshold": self._monitor.slow_query * 1000, "count": MAX_COMPARED}
        try:
            rows = await (await connection.execute(sql.SQL(_STATEMENTS).format(where), compared)).fetchall()
            present: _Seen = {(u, q, t): (calls, total, most) for u, q, t, calls, total, most in rows}
            before, self._statements[node] = self._statements.get(node), present
            slow = {} if before is None else newly_slow(before, present, self._monitor.slow_query)
            if not slow:
                return []
            shown = {"text": _MAX_TEXT, "ids": [number for _, number, _ in slow]}
            texts = await (await connection.execute(sql.SQL(_TEXTS).format(where), shown)).fetchall()
        except psycopg.Error as error:
            if error.sqlstate in _NOT_TO_BE_HAD:
                return []
            raise
        named = {(u, q, t): text for u, q, t, text in texts}
        return [SlowStatement(text=normalised(named[k]), seconds=s) for k, s in slow.items() if k in named]

    async def close(self) -> None:
        """Close the connections."""
        await self._sessions.close()


def newly_slow(before: _Seen, now: _Seen, threshold: float) -> dict[tuple[int, int, bool], float]:
    """Seconds of the slowest new call of each statement that had one past the threshold; at most `MAX_STATEMENTS`."""
    found = {key: new_slowest(before.get(key), seen) / 1000 for key, seen in now.items()}
    slow = sorted(((s, key) for key, s in found.items() if s > threshold), reverse=True)
    return {key: seconds for seconds, key in slow[:MAX_STATEMENTS]}


def new_slowest(before: tuple[int, float, float] | None, now: tuple[int, float, float]) -> float:
    """Milliseconds that the slowest new call of a statement took at least; 0: no new call, or nobody can tell.

    Both are (calls, sum of their times, longest time). A new record is exact; else the mean of the new calls is what is
    certain. Fewer calls than before: the statistics were reset, so all of them are new.
    """
    calls, total, most = now
    if before is None or calls < before[0]:
        return most
    new = calls - before[0]
    if new == 0:
        return 0.0
    return most if most > before[2] else (total - before[1]) / new


def slowest(statements: list[SlowStatement]) -> tuple[SlowStatement, ...]:
    """Each statement once, with its slowest call, the slowest first."""
    by_text: dict[str, float] = {}
    for statement in statements:
        by_text[statement.text] = max(statement.seconds, by_text.get(statement.text, 0.0))
    ordered = sorted(by_text.items(), key=lambda item: -item[1])
    return tuple(SlowStatement(text=text, seconds=seconds) for text, seconds in ordered)
