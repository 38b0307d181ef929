"""Slots that wait for a follower, and the full copy that fills a subscriber from nothing."""

from __future__ import annotations

import psycopg
from psycopg import sql

from understudy.engines.postgresql import links
from understudy.engines.postgresql.schema import link_prefix, publication
from understudy.engines.postgresql.sessions import ControlConnection, Sessions, require_fenced, require_ticket
from understudy.errors import EngineError
from understudy.model import Link, Ticket

# A publication names leaves only; TRUNCATE refuses a table that a partitioned one outside its list refers to.
_TO_EMPTY = """
    WITH leaf AS (SELECT format('%%I.%%I', schemaname, tablename)::regclass AS relid
                  FROM pg_publication_tables WHERE pubname = %s)
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid IN (SELECT relid FROM leaf UNION SELECT pg_partition_ancestors(relid) FROM leaf) ORDER BY 1, 2
"""


async def create_slot(sessions: Sessions, node: str, name: str, ticket: Ticket) -> None:
    """Make sure the logical slot exists; one that has lost its WAL is made again. See `Engine.create_slot`.

    Raises `EngineError` naming the open transactions it waits for (those of every database of the server).
    """
    async with sessions.control(node, doing=f"create slot {name}") as connection:
        async with connection.transaction():
            await require_ticket(connection, ticket, brief=True)
        cursor = await connection.execute(
            "SELECT wal_status FROM pg_replication_slots WHERE slot_name = %s AND plugin = 'pgoutput'"
            " AND database = current_database()",
            (name,),
        )
        row = await cursor.fetchone()
        if row is not None and row[0] != "lost":
            return
        if row is not None:
            await connection.execute("SELECT pg_drop_replication_slot(%s)", (name,))
        try:
            # Not with a row locked: that gives our own transaction an id, which the slot would wait for.
            async with connection.transaction():
                limit = int(sessions.cluster.policy.step_timeout * 700)
                await connection.execute(f"SET LOCAL statement_timeout = {limit}")
                await connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (name,))
        except psycopg.errors.DuplicateObject:
            raise EngineError(
                f"{node}: slot {name} belongs to another database of this server, where a cluster has the same name;"
                " give this cluster another name"
            ) from None
        except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled):
            blockers = await _open_transactions(connection)
            raise EngineError(
                f"{node}: slot {name} waits for transactions that were open before it: {blockers};"
                " end them (pg_terminate_backend, ROLLBACK PREPARED), the step is tried again"
            ) from None


async def _open_transactions(connection: ControlConnection) -> str:
    cursor = await connection.execute(
        "SELECT format('pid %s in database %s since %s', pid, datname, xact_start)"
        " FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()"
        " UNION ALL SELECT format('prepared transaction %L in database %s', gid, database) FROM pg_prepared_xacts"
    )
    return ", ".join(row[0] for row in await cursor.fetchall()) or "they have ended meanwhile"


async def advance_slot(sessions: Sessions, node: str, name: str) -> None:
    """Let a spare slot on a fenced standby forget what no follower will need. See `Engine.advance_slot`.

    Does nothing on a node that accepts writes: a slot moved past a write would lose it for its follower. The
    position is read first and the fence looked at after it, so a promotion in between leaves it unmoved.
    """
    async with sessions.control(node, doing=f"advance slot {name}") as connection:
        cursor = await connection.execute("SELECT pg_current_wal_insert_lsn()")
        row = await cursor.fetchone()
        try:
            await connection.execute(
                "SELECT pg_replication_slot_advance(s.slot_name, %(to)s) FROM pg_replication_slots s"
                " JOIN pg_database d ON d.datname = s.database AND d.datname = current_database()"
                " JOIN pg_db_role_setting r ON r.setdatabase = d.oid AND r.setrole = 0"
                " AND 'default_transaction_read_only=on' = ANY (r.setconfig)"
                " WHERE s.slot_name = %(name)s AND NOT s.active AND s.wal_status <> 'lost'"
                " AND s.confirmed_flush_lsn < %(to)s",
                {"to": row[0] if row else None, "name": name},
            )
        except psycopg.errors.ObjectInUse:
            return  # a follower came in between: it moves the slot from now on


async def full_copy(sessions: Sessions, link: Link, ticket: Ticket) -> None:
    """Empty the subscriber's tables and start copying everything from the publisher. See `Engine.full_copy`.

    Raises `EngineError` where the subscriber is not fenced: nothing that accepts writes is ever emptied.
    """
    node = link.subscriber
    async with sessions.change(node, ticket, doing="empty it before a copy") as connection:
        await require_fenced(connection, node, "replace its contents")  # before anything else is changed
    await links.drop_subscription(sessions, node, link.name, ticket)
    await links.drop_slot(sessions, link.publisher, link.name, ticket)
    await create_slot(sessions, link.publisher, link.name, ticket)
    await _empty(sessions, node, ticket)
    await links.follow(sessions, link, ticket, copy_data=True)


async def _empty(sessions: Sessions, node: str, ticket: Ticket) -> None:
    """Truncate every replicated table of a fenced node, and let its spare slots forget that."""
    async with sessions.control(node, doing="empty it before a copy") as connection:
        async with connection.transaction():
            await require_ticket(connection, ticket, brief=True)
            await require_fenced(connection, node, "empty its tables")
            cursor = await connection.execute(_TO_EMPTY, (publication(sessions.cluster.name),))
            tables = [sql.Identifier(*names) for names in await cursor.fetchall()]
            if tables:
                await connection.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(tables)))
        cursor = await connection.execute(
            "SELECT slot_name FROM pg_replication_slots WHERE slot_type = 'logical' AND NOT active"
            " AND database = current_database() AND starts_with(slot_name, %s)",
            (link_prefix(sessions.cluster.name),),
        )
        spare = [row[0] for row in await cursor.fetchall()]
    # The truncation is this node's own write: a spare slot older than it would send it to whoever follows later.
    for name in spare:
        await advance_slot(sessions, node, name)
