"""The tail of an old primary: what its slot still holds, streamed and without moving the slot.

`pg_logical_slot_peek_binary_changes` collects its whole result on the server (in memory up to work_mem, past it
in a temporary file); the client reads it through a cursor, so its memory does not depend on the tail's length.

**Which transactions count.** `after` is the replication origin of the standby: the apply worker stores the *end*
of the last commit record it applied (`replorigin_session_origin_lsn = commit_data.end_lsn`, worker.c). Two
commit records can lie back to back, so the next transaction's `commit_lsn` may *equal* `after`: the standby lacks a
transaction if and only if ``end_lsn > after``, which for whole records is ``commit_lsn >= after`` (the rule of the
walsender itself, `SnapBuildXactNeedsSkip`). A plain ``commit_lsn > after`` loses such a transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from understudy.engines.postgresql import pgoutput
from understudy.engines.postgresql.pgoutput import Begin, Commit, LogicalMessage, Origin, Relation
from understudy.engines.postgresql.schema import publication
from understudy.engines.postgresql.sessions import ControlConnection, Sessions
from understudy.engines.postgresql.transactions import Assembler, Change
from understudy.errors import EngineError, NeedsCopy
from understudy.model import Link

TAIL_TIMEOUT: Final = 1800.0
"""Seconds that reading one tail may take."""
REWIND_PREFIX: Final = "understudy.rewind"
"""Prefix of the logical message that begins the transaction of a rewind: it is no tail."""
INTERNAL: Final = frozenset({"heartbeat", "marker", "sequence_sample"})
"""Understudy's own replicated tables that hold nothing of the application's (`commit_token` does)."""

_CHUNK_BYTES: Final = 4 * 1024 * 1024
_CHUNK_ROWS: Final = 2000
_RELEASE_TIMEOUT: Final = 10.0

_SLOT = """
SELECT active_pid, wal_status, plugin, database = current_database()
FROM pg_replication_slots WHERE slot_name = %s AND slot_type = 'logical'
"""
_PEEK = """
SELECT data FROM pg_logical_slot_peek_binary_changes({slot}, NULL, NULL, {options})
WHERE {condition}
"""
PINNED = """
SELECT set_config(name, value, true) FROM (VALUES ('timezone', 'UTC'), ('datestyle', 'ISO'),
    ('intervalstyle', 'postgres'), ('extra_float_digits', '3'), ('bytea_output', 'hex'), ('lc_monetary', 'C'),
    ('search_path', 'pg_catalog'), ('idle_in_transaction_session_timeout', '0')) AS pinned (name, value)
"""
"""For the open transaction: see `pin`."""


BY_KEY: Final = (
    "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_seqscan = off"
)
"""For the open transaction: look every key up by its index, also in a table that was never analysed."""


async def pin(connection: ControlConnection) -> None:
    """Fix, for the open transaction, every setting that changes how values become text."""
    await connection.execute(PINNED)


def is_internal(relation: Relation) -> bool:
    """Whether a table is Understudy's own and holds nothing of the application's."""
    return relation.schema == "understudy" and relation.name in INTERNAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A relation of the tail with what the catalog adds.

    Args:
        key: indexes of the key columns in `Relation.columns`, empty where the table has no key.
        types: type of each column as SQL, schema-qualified where that is needed.
        exists: the table is still there under this name, with these key columns.
    """

    relation: Relation
    key: tuple[int, ...]
    types: tuple[str, ...]
    exists: bool


class Catalog:
    """Describes relations once each, from the catalog of the server they come from."""

    def __init__(self, connection: ControlConnection) -> None:
        self._connection = connection
        self._known: dict[Relation, Table] = {}

    async def table(self, relation: Relation) -> Table:
        """The table of a relation; two relations of one table differ after a change of its schema."""
        known = self._known.get(relation)
        if known is None:
            known = self._known[relation] = await self._describe(relation)
        return known

    async def _describe(self, relation: Relation) -> Table:
        oids = [c.type_oid for c in relation.columns]
        mods = [c.type_mod for c in relation.columns]
        cursor = await self._connection.execute(
            "SELECT format_type(o, m) FROM unnest(%s::oid[], %s::int[]) WITH ORDINALITY AS t (o, m, n) ORDER BY n",
            (oids, mods),
        )
        types = tuple([row[0] for row in await cursor.fetchall()])
        cursor = await self._connection.execute(
            "SELECT a.attname, coalesce(a.attnum = ANY (i.indkey), false) FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
            " LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary"
            " WHERE c.oid = %s AND n.nspname = %s AND c.relname = %s",
            (relation.id, relation.schema, relation.name),
        )
        present: dict[str, bool] = dict(await cursor.fetchall())
        names = [c.name for c in relation.columns]
        if relation.identity in "di" and any(c.key for c in relation.columns):
            key = [i for i, c in enumerate(relation.columns) if c.key]
        else:  # FULL or NOTHING: the primary key, if there is one and all of it is published
            primary = [name for name, is_key in present.items() if is_key]
            key = [names.index(n) for n in primary] if primary and set(primary) <= set(names) else []
        exists = bool(present) and all(names[i] in present for i in key)
        return Table(relation=relation, key=tuple(key), types=types, exists=exists)


async def require_slot(sessions: Sessions, node: str, slot: str, unknown: str) -> None:
    """Make sure that the slot can be read here now; a walsender that holds it is ended.

    Raises `NeedsCopy` where the slot or its WAL is gone (``unknown`` says what nobody can know any more) and
    `EngineError` where somebody keeps it busy.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + _RELEASE_TIMEOUT
    async with sessions.control(node, timeout=2 * _RELEASE_TIMEOUT, doing="look at the slot") as connection:
        while True:
            row = await (await connection.execute(_SLOT, (slot,))).fetchone()
            if row is None or not row[3]:
                raise NeedsCopy(f"{node}: the slot {slot} is gone; {unknown}")
            pid, status, plugin = row[0], row[1], row[2]
            if status == "lost":
                raise NeedsCopy(
                    f"{node}: the slot {slot} has lost its WAL (max_slot_wal_keep_size); {unknown}"
                )
            if plugin != "pgoutput":
                raise NeedsCopy(f"{node}: the slot {slot} is of plugin {plugin}, not pgoutput; {unknown}")
            if pid is None:
                return
            if loop.time() > end:
                raise EngineError(
                    f"{node}: process {pid} keeps the slot {slot} busy and does not end; end it by hand"
                )
            await connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
            await asyncio.sleep(0.02)


async def messages(
    connection: ControlConnection, slot: str, names: str, *, condition: str = "true"
) -> AsyncIterator[list[pgoutput.Message]]:
    """All messages a slot still holds, in chunks of about 4 MiB, in the connection's open transaction.

    Args:
        names: the publication.
        condition: SQL on ``data``, evaluated on the server, to leave out what is not wanted.
    """
    options = [
        "proto_version",
        "1",
        "publication_names",
        '"' + names.replace('"', '""') + '"',
        "messages",
        "true",
    ]
    if connection.info.server_version >= 160000:
        options += ["origin", "none"]
    query = sql.SQL(_PEEK).format(
        slot=sql.Literal(slot),
        options=sql.SQL(", ").join(sql.Literal(o) for o in options),
        condition=sql.SQL(condition),
    )
    rows = 100
    async with connection.cursor(name="understudy_tail", binary=True) as cursor:
        await cursor.execute(query)
        while chunk := await cursor.fetchmany(rows):
            yield [pgoutput.decode(row[0]) for row in chunk]
            size = sum(len(row[0]) for row in chunk) // len(chunk) + 1
            rows = max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // size, rows * 4))


async def tail(
    connection: ControlConnection, link: Link, cluster: str, after: int
) -> AsyncIterator[list[tuple[Begin, Change | Commit]]]:
    """What the standby does not have of a slot's contents: each change, and each commit after its changes.

    Left out: transactions that the standby has (``end_lsn <= after``), those that came here by replication from
    another node, and the transaction of a rewind. Holds one chunk in memory, however long a transaction is.
    """
    assembler = Assembler()
    wanted = False
    async for chunk in messages(connection, link.name, publication(cluster)):
        found: list[tuple[Begin, Change | Commit]] = []
        for message in chunk:
            begin = assembler.current
            changes = assembler.feed(message)
            if isinstance(message, Begin):
                wanted = message.commit_lsn >= after
            elif isinstance(message, Origin) or (
                isinstance(message, LogicalMessage)
                and message.transactional
                and message.prefix == REWIND_PREFIX
            ):
                wanted = False
            elif begin is not None and wanted:
                found.extend((begin, change) for change in changes)
                if isinstance(message, Commit):
                    found.append((begin, message))
        if found:
            yield found


def key_of(table: Table, row: pgoutput.Row, fallback: pgoutput.Row | None = None) -> tuple[str, ...] | None:
    """The key of a row as text, or None where a part of it is not there.

    ``fallback``: the old row, which has the value where a large key column did not change.
    """
    key = []
    for index in table.key:
        value = row[index]
        if value is pgoutput.UNCHANGED and fallback is not None:
            value = fallback[index]
        if not isinstance(value, str):
            return None
        key.append(value)
    return tuple(key)
