"""Logical rewind: undo on an old primary, per key, what only it had, so that it can follow again.

Every key that the tail touches is deleted; where its first operation in the tail was an UPDATE or a DELETE (so the
standby had the row) the present primary's row is put in its place. What the present primary wrote since its
promotion then arrives by replication and converges: it replays onto rows that are absent on both sides or already
in their present state. The one thing that would be skipped in silence is an UPDATE that moves a row away from a
touched key (the row it looks for may not be there), so that, and whatever else cannot be proven, is `NeedsCopy`.

All of it is one transaction on the old primary with `session_replication_role = replica`, journalled in
`understudy.rewound`: it happens once or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import psycopg
from psycopg import sql

from understudy.engines.postgresql.pgoutput import Commit, Relation, Update
from understudy.engines.postgresql.schema import publication
from understudy.engines.postgresql.sessions import ControlConnection, Sessions, require_ticket, translate
from understudy.engines.postgresql.tail import (
    BY_KEY,
    REWIND_PREFIX,
    TAIL_TIMEOUT,
    Catalog,
    Table,
    key_of,
    messages,
    pin,
    require_slot,
    tail,
)
from understudy.engines.postgresql.transactions import Change, Op
from understudy.errors import EngineError, NeedsCopy
from understudy.model import Cluster, Link, Ticket

MAX_KEYS: Final = 1_000_000
"""A tail that touches more keys is not rewound (they are held in memory): a copy is the better way then."""
_BATCH: Final = 5000
_NOTHING: Final = sql.SQL("")
Key = tuple[str, ...]

_FOLLOWS = """
SELECT s.subenabled, coalesce(o.remote_lsn, '0/0'::pg_lsn) > '0/0'
FROM pg_subscription s LEFT JOIN pg_replication_origin_status o ON o.external_id = 'pg_' || s.oid
WHERE s.subname = %s AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_COLUMNS = """
SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attnum
"""
# On the server: the relations, and of the updates only those that carry an old key or an old row.
_KEY_CHANGES: Final = "get_byte(data, 0) = 82 OR (get_byte(data, 0) = 85 AND get_byte(data, 5) <> 78)"


@dataclass(slots=True)
class _Touched:
    """The touched keys of one table, oldest first; True where the standby had a row of this key."""

    table: Table
    keys: dict[Key, bool] = field(default_factory=dict)


async def rewind(  # noqa: PLR0917
    sessions: Sessions, cluster: Cluster, link: Link, reverse: Link, after: int, ticket: Ticket
) -> int:
    """Undo on ``link.publisher`` what ``link.subscriber``, the present primary, does not have.

    Args:
        reverse: the link by which the old primary will follow; its slot on the present primary must be there.
        after: the rescue point, as for `rescue`.

    Returns the number of keys touched, those of Understudy's own tables included. Raises `NeedsCopy` where a
    rewind is impossible, `StaleEpoch`, `Unreachable`, `EngineError`.
    """
    async with sessions.control(link.publisher, timeout=TAIL_TIMEOUT, doing="rewind") as old:
        async with old.transaction():
            await require_ticket(old, ticket)
            done = await _journalled(old, link)
        if done is not None:
            return done
        await _require_not_following(old, reverse)
        unknown = "what only this node has cannot be undone by key"
        await require_slot(sessions, link.publisher, link.name, unknown)
        async with old.transaction():
            touched = await _touched_keys(old, link, cluster.name, after)
        unknown = f"what {link.subscriber} wrote since its promotion cannot be received"
        await require_slot(sessions, reverse.publisher, reverse.name, unknown)
        async with (
            sessions.control(link.subscriber, timeout=TAIL_TIMEOUT, doing="read present rows") as present,
            present.transaction(),
        ):
            await present.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            await pin(present)  # the first query: the snapshot is taken here
            await present.execute(BY_KEY)
            await _require_no_moved_keys(sessions, cluster.name, reverse, touched)
            try:
                return await _undo(old, present, link, ticket, touched)
            except psycopg.Error as error:
                if present.closed:
                    raise
                raise translate(error, link.publisher, "rewind", cluster) from error


async def _journalled(connection: ControlConnection, link: Link) -> int | None:
    cursor = await connection.execute("SELECT keys FROM understudy.rewound WHERE link = %s", (link.name,))
    row = await cursor.fetchone()
    return int(row[0]) if row else None


async def _require_not_following(connection: ControlConnection, reverse: Link) -> None:
    row = await (await connection.execute(_FOLLOWS, (reverse.name,))).fetchone()
    if row is None:
        return
    if row[1]:
        raise NeedsCopy(f"{reverse.subscriber}: the subscription {reverse.name} has already applied changes")
    if row[0]:
        raise EngineError(
            f"{reverse.subscriber}: the subscription {reverse.name} is enabled before the rewind; disable it first"
        )


# --- which keys ---------------------------------------------------------------------------------------------


async def _touched_keys(
    connection: ControlConnection, link: Link, cluster: str, after: int
) -> Mapping[tuple[str, str], _Touched]:
    await pin(connection)
    catalog = Catalog(connection)
    touched: dict[tuple[str, str], _Touched] = {}
    count = 0
    async for chunk in tail(connection, link, cluster, after):
        for _, item in chunk:
            if isinstance(item, Commit):
                continue
            table = await catalog.table(item.relation)
            _require_rewindable(link.publisher, item, table)
            name = (item.relation.schema, item.relation.name)
            known = touched.setdefault(name, _Touched(table))
            if _key_names(known.table) != _key_names(table):
                raise NeedsCopy(f"{link.publisher}: the key of {'.'.join(name)} changed within the tail")
            count += _touch(known.keys, item, table)
        if count > MAX_KEYS:
            raise NeedsCopy(f"{link.publisher}: the tail touches more than {MAX_KEYS} keys")
    return touched


def _require_rewindable(node: str, change: Change, table: Table) -> None:
    name = f"{change.relation.schema}.{change.relation.name}"
    if change.op is Op.TRUNCATE:
        raise NeedsCopy(f"{node}: {name} was truncated in the tail; the rows it had are not known")
    if not table.exists:
        raise NeedsCopy(f"{node}: {name} was changed in the tail and has been dropped or altered since")
    if not table.key:
        raise NeedsCopy(f"{node}: {name} was changed in the tail and has no key")


def _key_names(table: Table) -> list[str]:
    return [table.relation.columns[i].name for i in table.key]


def _touch(keys: dict[Key, bool], change: Change, table: Table) -> int:
    """Remember the keys of a change; only the first operation on a key says whether the standby had a row."""
    before = len(keys)
    new = key_of(table, change.new, change.old) if change.new is not None else None
    old = key_of(table, change.old) if change.old is not None else None
    if change.op is Op.UPDATE and change.old is None:
        old = new
    if (change.op is not Op.DELETE and new is None) or (change.op is not Op.INSERT and old is None):
        raise NeedsCopy(
            f"a change of {change.relation.schema}.{change.relation.name} in the tail has no whole key"
        )
    if old is not None:
        keys.setdefault(old, True)
    if new is not None:
        keys.setdefault(new, False)
    return len(keys) - before


async def _require_no_moved_keys(
    sessions: Sessions, cluster: str, reverse: Link, touched: Mapping[tuple[str, str], _Touched]
) -> None:
    """Refuse where the present primary moved a row away from a touched key since its promotion.

    Runs after the snapshot of the present rows is taken: a later move finds its row on the old primary.
    """
    async with sessions.control(
        reverse.publisher, timeout=TAIL_TIMEOUT, doing="read the reverse slot"
    ) as connection:
        # Decoding ends at the flushed WAL: a commit flushes all that the snapshot can contain.
        await connection.execute("SELECT pg_logical_emit_message(true, 'understudy.flush', '')")
        async with connection.transaction():
            await pin(connection)
            catalog = Catalog(connection)
            relations: dict[int, Relation] = {}
            async for chunk in messages(
                connection, reverse.name, publication(cluster), condition=_KEY_CHANGES
            ):
                for message in chunk:
                    if isinstance(message, Relation):
                        relations[message.id] = message
                    elif isinstance(message, Update):
                        await _check_moved(catalog, relations[message.relation], message, touched)


async def _check_moved(
    catalog: Catalog, relation: Relation, update: Update, touched: Mapping[tuple[str, str], _Touched]
) -> None:
    known = touched.get((relation.schema, relation.name))
    if known is None or update.old is None:
        return
    table = await catalog.table(relation)
    if _key_names(table) != _key_names(known.table):
        raise NeedsCopy(f"the key of {relation.schema}.{relation.name} differs between the nodes")
    old, new = key_of(table, update.old), key_of(table, update.new, update.old)
    if old is None or (old != new and old in known.keys):
        raise NeedsCopy(
            f"{relation.schema}.{relation.name}: the present primary gave another key to a row that the old primary"
            " changed too"
        )


# --- undoing ------------------------------------------------------------------------------------------------


async def _undo(
    old: ControlConnection,
    present: ControlConnection,
    link: Link,
    ticket: Ticket,
    touched: Mapping[tuple[str, str], _Touched],
) -> int:
    count = sum(len(t.keys) for t in touched.values())
    try:
        async with old.transaction():
            await require_ticket(old, ticket)
            done = await _journalled(old, link)
            if done is not None:
                return done
            await pin(old)
            await old.execute(BY_KEY)
            await old.execute("SET LOCAL session_replication_role = replica")
            # First of the transaction: whoever reads the slot again knows that this is no tail.
            await old.execute("SELECT pg_logical_emit_message(true, %s, %s)", (REWIND_PREFIX, link.name))
            for entry in touched.values():
                for keys in _batches(list(reversed(entry.keys))):
                    await old.execute(
                        *_by_key("DELETE FROM {table} AS t USING {keys} WHERE {same}", entry, keys)
                    )
            for entry in touched.values():
                restore = [key for key, had in entry.keys.items() if had]
                await _put_back(old, present, entry, restore)
            await old.execute(
                "INSERT INTO understudy.rewound (link, keys) VALUES (%s, %s)", (link.name, count)
            )
    except (psycopg.IntegrityError, psycopg.DataError, psycopg.ProgrammingError, UnicodeEncodeError) as error:
        # A row of the present primary does not fit beside rows of the old one that the tail did not touch (they
        # were changed there since), or the schemas differ: nothing was changed, a copy settles it.
        raise NeedsCopy(
            f"{link.publisher}: present rows do not fit: {' '.join(str(error).split())}"
        ) from error
    return count


async def _put_back(
    old: ControlConnection, present: ControlConnection, entry: _Touched, restore: Sequence[Key]
) -> None:
    """Copy the present rows of these keys; keys that have none there stay deleted."""
    if not restore:
        return
    table = _identifier(entry.table)
    cursor = await old.execute(_COLUMNS, (table.as_string(old),))
    columns = [sql.Identifier(row[0]) for row in await cursor.fetchall()]
    wanted = sql.SQL(", ").join(sql.SQL("t.{}").format(c) for c in columns)
    target = sql.SQL("COPY {} ({}) FROM STDIN").format(table, sql.SQL(", ").join(columns))
    async with old.cursor() as into, into.copy(target) as writer:
        for keys in _batches(restore):
            query, parameters = _by_key(
                "SELECT {wanted} FROM {table} AS t JOIN {keys} ON {same}", entry, keys, wanted
            )
            async with present.cursor() as source:
                copy = sql.SQL("COPY ({}) TO STDOUT").format(query)
                async with source.copy(copy, parameters) as reader:
                    async for block in reader:
                        await writer.write(block)


def _identifier(table: Table) -> sql.Identifier:
    return sql.Identifier(table.relation.schema, table.relation.name)


def _by_key(
    template: str, entry: _Touched, keys: Sequence[Key], wanted: sql.Composable = _NOTHING
) -> tuple[sql.Composed, list[list[str]]]:
    """A statement over ``{keys}``: one array of text per key column, compared as that column's own type."""
    names = _key_names(entry.table)
    aliases = [sql.Identifier(f"c{i}") for i in range(len(names))]
    arrays = sql.SQL(", ").join(sql.SQL("%s::text[]") for _ in names)
    casts = [sql.SQL(entry.table.types[i]) for i in entry.table.key]
    same = sql.SQL(" AND ").join(
        sql.SQL("t.{} = k.{}::{}").format(sql.Identifier(n), a, c)
        for n, a, c in zip(names, aliases, casts, strict=True)
    )
    query = sql.SQL(template).format(
        table=_identifier(entry.table),
        keys=sql.SQL("unnest({}) AS k ({})").format(arrays, sql.SQL(", ").join(aliases)),
        same=same,
        wanted=wanted,
    )
    return query, [[key[i] for key in keys] for i in range(len(names))]


def _batches(keys: Sequence[Key]) -> Iterator[list[Key]]:
    iterator = iter(keys)
    while batch := list(islice(iterator, _BATCH)):
        yield batch
