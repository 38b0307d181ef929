"""What one node says about itself, in one round trip."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.rows import dict_row

from understudy.engines.postgresql.schema import describe, fingerprint, statement
from understudy.engines.postgresql.sessions import ControlConnection, Sessions, connect, translate
from understudy.errors import EngineError, Unreachable
from understudy.model import Probe, SlotView, SubscriptionView

logger = logging.getLogger(__name__)

# Computing it reads many catalog rows, and a schema changes rarely.
SCHEMA_EVERY = 10.0

# How many times as long as usual a login may take before it counts as missed; what is usual grows slowly, so that one
# slow login on a busy machine does not make a dead server be waited for.
_LOGIN_PATIENCE = 4.0
_SLOWER = 1.25

# A write that fails like this says that the node cannot take writes: resources, I/O, read-only, corruption.
_UNWRITABLE = ("53", "58", "25006", "XX")

# A write that fails like this says nothing about the node: somebody holds a lock, or two writes met.
_PASSING = ("55P03", "40", "57014")

_BEFORE_SETUP = {
    "fence": "(SELECT 0::bigint AS epoch, 0::bigint AS plan, ''::text AS primary_node)",
    "heartbeat": "(SELECT NULL::text AS cluster, 0::bigint AS number)",
    "number": "NULL::bigint",
}
_TABLES = {"fence": "understudy.fence", "heartbeat": "understudy.heartbeat", "number": "NULL::bigint"}

_ORIGIN_GRANTS = (
    "GRANT SELECT ON pg_replication_origin_status TO {role};"
    " GRANT EXECUTE ON FUNCTION pg_show_replication_origin_status() TO {role};"
)


def _query(tables: dict[str, str]) -> str:
    text = statement("probe")
    for name, table in tables.items():
        text = text.replace("{" + name + "}", table)
    return text


class Prober:
    """Probes the nodes of a cluster on one connection each, apart from the control connections."""

    def __init__(self, sessions: Sessions, clock: Callable[[], float]) -> None:
        self._sessions, self._clock = sessions, clock
        self._cluster = sessions.cluster
        self._connections: dict[str, ControlConnection] = {}
        self._dialling: dict[str, float] = {}
        self._schemas: dict[str, tuple[float, str]] = {}
        self._refreshing: dict[str, asyncio.Task[None]] = {}

    async def probe(self, node: str, *, heartbeat: int | None, epoch: int) -> Probe:
        """Ask a node how it is. See `Engine.probe`; also raises `EngineError` where a login is refused."""
        started = self._clock()
        try:
            connection = await self._connection(node)
            row, unwritable = await self._ask(node, connection, heartbeat, epoch)
            answered = self._clock()
        except Unreachable:
            self._sessions.suspects.add(node)
            raise
        self._sessions.suspects.discard(node)
        return _view(started, answered, row, unwritable, await self._schema(node))

    async def _connection(self, node: str) -> ControlConnection:
        kept = self._connections.pop(node, None)
        if kept is not None and kept.usable:
            return kept
        if kept is not None:
            await kept.close()
        policy = self._cluster.policy
        # A node that has answered before and now does not even accept a login is a miss, soon: after a few times
        # what the login took before.
        within = policy.connect_timeout
        if node in self._dialling:
            within = min(within, max(policy.probe_timeout, _LOGIN_PATIENCE * self._dialling[node]))
        dsn = self._cluster.node(node).admin_dsn
        began = self._clock()
        connection = await connect(
            self._cluster, node, dsn, "probe", within=within, statement=policy.probe_timeout * 2
        )
        took = self._clock() - began
        self._dialling[node] = min(took, _SLOWER * self._dialling.get(node, took))
        return connection

    async def _ask(
        self, node: str, connection: ControlConnection, heartbeat: int | None, epoch: int
    ) -> tuple[dict[str, Any], str]:
        """The probe's row and why a write failed. The connection is kept for the next time, or closed."""
        limit = self._cluster.policy.probe_timeout
        timer = asyncio.get_running_loop().call_later(limit, connection.sever)
        try:
            return await self._read(node, connection, heartbeat, epoch)
        except psycopg.Error as error:
            if connection.severed:
                raise Unreachable(f"{node}: no answer to the probe within {limit:g} s") from None
            if error.sqlstate == "42501":
                raise EngineError(self._missing_grant(node, error)) from None
            raise translate(error, node, "probe it", self._cluster) from None
        finally:
            timer.cancel()
            if connection.usable:
                self._connections[node] = connection
            else:
                await connection.close()

    async def _read(
        self, node: str, connection: ControlConnection, heartbeat: int | None, epoch: int
    ) -> tuple[dict[str, Any], str]:
        parameters = {"cluster": self._cluster.name, "number": heartbeat, "epoch": epoch}
        cursor = connection.cursor(row_factory=dict_row)
        unwritable = ""
        if heartbeat is not None:
            tables = _TABLES | {"number": "(SELECT number FROM beat)"}
            try:
                await cursor.execute(statement("heartbeat") + _query(tables), parameters)
            except psycopg.Error as error:
                state = error.sqlstate or ""
                if state.startswith(_UNWRITABLE):
                    unwritable = str(translate(error, node, "write a heartbeat", self._cluster))
                elif not state.startswith((*_PASSING, "42P01", "3F000")):
                    raise
            else:
                return await _one(cursor), unwritable
        try:
            await cursor.execute(_query(_TABLES), parameters)
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            await cursor.execute(_query(_BEFORE_SETUP), parameters)
        return await _one(cursor), unwritable

    def _missing_grant(self, node: str, error: psycopg.Error) -> str:
        if "origin" in str(error):
            return (
                f"{node}: the administrative role may not read replication origins;"
                f" as superuser in this database: {_ORIGIN_GRANTS.format(role='<role of admin_dsn>')}"
            )
        return str(translate(error, node, "probe it", self._cluster))

    async def _schema(self, node: str) -> str:
        """The node's schema fingerprint, at most `SCHEMA_EVERY` seconds older than the last probe.

        Only the first is waited for; later ones are computed beside the probes, which stay in time.
        """
        known = self._schemas.get(node)
        if known is None:
            await self._refresh(node)
            known = self._schemas[node]
        elif self._clock() - known[0] > SCHEMA_EVERY and node not in self._refreshing:
            task = asyncio.create_task(self._refresh(node))
            self._refreshing[node] = task
            task.add_done_callback(lambda done: self._refreshed(node, done))
        return known[1]

    async def _refresh(self, node: str) -> None:
        started = self._clock()
        async with self._sessions.control(node, doing="read its schema") as connection:
            self._schemas[node] = (started, fingerprint(await describe(connection)))

    def _refreshed(self, node: str, task: asyncio.Task[None]) -> None:
        del self._refreshing[node]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.info("schema of %s not read, tried again with the next probe: %s", node, error)

    async def close(self) -> None:
        """Close the probing connections."""
        refreshing = list(self._refreshing.values())
        for task in refreshing:
            task.cancel()
        await asyncio.gather(*refreshing, return_exceptions=True)  # they give their connections back first
        while self._connections:
            _, connection = self._connections.popitem()
            await connection.close()


async def _one(cursor: psycopg.AsyncCursor[dict[str, Any]]) -> dict[str, Any]:
    row = await cursor.fetchone()
    if row is None:
        raise EngineError("the server does not know the database of its own session")
    return row


def _view(started: float, answered: float, row: dict[str, Any], unwritable: str, schema: str) -> Probe:
    return Probe(
        at=started,
        answered=answered,
        epoch=row["epoch"] or 0,
        plan=row["plan"] or 0,
        epoch_primary=row["primary_node"] or "",
        fenced=row["fenced"],
        wal=int(row["wal"] or 0),
        identity=row["identity"],
        unwritable=unwritable,
        sync_names=row["sync_names"],
        streaming=row["streaming"] or {},
        slots={name: SlotView(**slot) for name, slot in (row["slots"] or {}).items()},
        subscriptions={name: SubscriptionView(**view) for name, view in (row["subscriptions"] or {}).items()},
        heartbeat=row["heartbeat"],
        schema=schema,
    )
