"""Make two servers a pair: objects, publications, the standby's schema and contents, slots. Safe to repeat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import TupleRow

from understudy.decide.plans import slot_name
from understudy.engines.base import Severity
from understudy.engines.postgresql import fencing, links, slots
from understudy.engines.postgresql.check import check
from understudy.engines.postgresql.copy_schema import copy_schema
from understudy.engines.postgresql.schema import (
    REPLICATED,
    application_tables,
    describe,
    describe_difference,
    link_prefix,
    publication,
    statement,
)
from understudy.engines.postgresql.sessions import ControlConnection, Sessions
from understudy.errors import EngineError
from understudy.model import Link, Ticket

_FIRST_EPOCH = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What a node already has of this cluster. ``epoch`` 0: it has never been set up. ``ready``: it follows,
    and its initial copies are done."""

    epoch: int
    plan: int
    primary: str
    identity: str
    subscriptions: tuple[str, ...]
    ready: bool
    spare: str


async def setup(sessions: Sessions, progress: Callable[[str], None]) -> Mapping[str, str]:
    """See `Engine.setup`. A pair that is set up keeps its roles; only new tables are added to it.

    Raises `EngineError` with every finding of `check` that stands in the way.
    """
    await _refuse_errors(sessions)
    cluster = sessions.cluster
    found = {node.name: await _look(sessions, node.name) for node in cluster.nodes}
    newest = max(found.values(), key=lambda f: (f.epoch, f.plan))
    primary = newest.primary or cluster.preferred.name
    standby = next(node.name for node in cluster.nodes if node.name != primary)
    # As of what was just seen: an agent that begins something meanwhile is not disturbed, setup is refused.
    ticket = Ticket(max(newest.epoch, _FIRST_EPOCH), newest.plan, primary)
    first = ticket.epoch == _FIRST_EPOCH and not found[primary].subscriptions and not found[standby].ready
    if first:
        link = await _first_time(sessions, primary, standby, found, progress)
    elif not found[standby].subscriptions:
        raise EngineError(
            f"{standby}: does not follow {primary} at the moment; the agent repairs that (`understudy status`),"
            " setup changes nothing on a pair that is in use"
        )
    else:
        link = Link(name=found[standby].subscriptions[-1], publisher=primary, subscriber=standby)
        await _refresh(sessions, link, ticket, progress)
    spare = found[standby].spare or slot_name(cluster.name, 2)
    await slots.create_slot(sessions, standby, spare, ticket)
    progress(f"{primary} is primary, {standby} follows")
    identities = {f"identity:{name}": node.identity for name, node in found.items()}
    return {"link": link.name, "spare_slot": spare, "primary": primary, **identities}


async def _refuse_errors(sessions: Sessions) -> None:
    errors = [f for f in await check(sessions) if f.severity is Severity.ERROR]
    if errors:
        lines = [f"- {f.node}: {f.message}" + (f" [{f.mend}]" if f.mend else "") for f in errors]
        raise EngineError("setup is not possible yet; mend this first:\n" + "\n".join(lines))


async def _look(sessions: Sessions, node: str) -> _Found:
    """What the node has; makes Understudy's own objects where they are missing."""
    prefix = link_prefix(sessions.cluster.name)
    async with sessions.control(node, doing="make the objects of Understudy") as connection:
        async with connection.transaction():
            await connection.execute(statement("objects"))
        row = await _row(connection, "SELECT epoch, plan, primary_node FROM understudy.fence")
        identity = await _row(connection, "SELECT system_identifier::text FROM pg_control_system()")
        timeline = await _row(
            connection,
            "SELECT ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer",
        )
        cursor = await connection.execute(
            "SELECT s.subname, NOT EXISTS (SELECT FROM pg_subscription_rel t WHERE t.srsubid = s.oid"
            " AND t.srsubstate <> 'r') FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid"
            " WHERE d.datname = current_database() AND starts_with(s.subname, %s) ORDER BY s.oid",
            (prefix,),
        )
        subscriptions = await cursor.fetchall()
        spare = await _row(
            connection,
            "SELECT slot_name FROM pg_replication_slots WHERE starts_with(slot_name, %s) AND NOT active"
            " AND database = current_database() ORDER BY length(slot_name) DESC, slot_name DESC",
            (prefix,),
        )
    return _Found(
        epoch=row[0] if row else 0,
        plan=row[1] if row else 0,
        primary=str(row[2]) if row else "",
        identity=f"{identity[0]}/{timeline[0]}" if identity and timeline else "",
        subscriptions=tuple(name for name, _ in subscriptions),
        ready=bool(subscriptions) and all(ready for _, ready in subscriptions),
        spare=str(spare[0]) if spare else "",
    )


async def _row(
    connection: ControlConnection, query: str, parameters: tuple[str, ...] | None = None
) -> TupleRow | None:
    cursor = await connection.execute(query, parameters)
    return await cursor.fetchone()


async def _first_time(
    sessions: Sessions,
    primary: str,
    standby: str,
    found: Mapping[str, _Found],
    progress: Callable[[str], None],
) -> Link:
    """The whole way from two servers to a pair, or the rest of it after an interruption."""
    name = slot_name(sessions.cluster.name, 1)
    link = Link(name=name, publisher=primary, subscriber=standby)
    for node in (standby, primary):
        await _refuse_namesake(sessions, node)
    for node in (standby, primary):
        async with sessions.control(node, doing="make its fence row") as connection:
            await connection.execute(
                "INSERT INTO understudy.fence (epoch, primary_node) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (_FIRST_EPOCH, primary),
            )
    begun = name in found[standby].subscriptions or await _slot_exists(sessions, primary, name)
    if not begun:
        await _refuse_rows(sessions, primary, standby)
    await fencing.fence(sessions, standby, Ticket(_FIRST_EPOCH, 0, primary))
    progress(f"{standby} is read-only")
    await _same_schema(sessions, primary, standby, progress)
    for node in (standby, primary):
        await _publish(sessions, node)
    if not await _copying(sessions, link):
        progress("copying starts")
        await slots.full_copy(sessions, link, Ticket(_FIRST_EPOCH, 0, primary))
    await links.catch_up(
        sessions, link, Ticket(_FIRST_EPOCH, 0, primary), report=lambda now: progress(_told(now))
    )
    return link


def _told(now: links.Progress) -> str:
    return f"{now.ready} of {now.tables} tables copied" + (f", {now.copied} rows" if now.copied else "")


async def _refuse_namesake(sessions: Sessions, node: str) -> None:
    """Slots, and the names that a primary waits for, belong to a whole server: two clusters on it need two names."""
    prefix = link_prefix(sessions.cluster.name)
    async with sessions.control(node, doing="look for another cluster of this name") as connection:
        row = await _row(
            connection,
            "SELECT slot_name, database FROM pg_replication_slots"
            " WHERE starts_with(slot_name, %s) AND substr(slot_name, length(%s) + 1) ~ '^[0-9]+$'"
            " AND database <> current_database()",
            (prefix, prefix),
        )
    if row is not None:
        raise EngineError(
            f"{node}: slot {row[0]} belongs to database {row[1]} of the same server, to a cluster that is called"
            f" {sessions.cluster.name} too; give this one another name. Nothing was changed"
        )


async def _slot_exists(sessions: Sessions, node: str, name: str) -> bool:
    async with sessions.control(node, doing="look at its slots") as connection:
        return (
            await _row(
                connection,
                "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s AND database = current_database()",
                (name,),
            )
            is not None
        )


async def _refuse_rows(sessions: Sessions, primary: str, standby: str) -> None:
    """Rows on a standby that never followed are somebody's data: they are not overwritten."""
    async with sessions.control(standby, doing="look for rows") as connection:
        for table in await application_tables(connection):
            if await _row(connection, f"SELECT 1 FROM {table} LIMIT 1") is not None:
                raise EngineError(
                    f"{standby}: table {table} has rows, and setup would replace them by those of {primary};"
                    f" if that is meant, empty the tables of {standby} first; if not, correct the nodes' order"
                )


async def _same_schema(
    sessions: Sessions, primary: str, standby: str, progress: Callable[[str], None]
) -> None:
    lines = {}
    for node in (primary, standby):
        async with sessions.control(node, doing="read its schema") as connection:
            lines[node] = await describe(connection)
    if not lines[standby] and lines[primary]:
        progress(f"copying the schema of {primary} to {standby}")
        await copy_schema(sessions, primary, standby)
        async with sessions.control(standby, doing="read its schema") as connection:
            lines[standby] = await describe(connection)
    if difference := describe_difference(lines[primary], lines[standby]):
        raise EngineError(
            f"the schemas differ (- only {primary}, + only {standby}); make them equal, then run setup again:\n"
            + difference
        )


async def _publish(sessions: Sessions, node: str) -> list[str]:
    """Publish every application table and ours. Returns what was not published before."""
    name = publication(sessions.cluster.name)
    async with sessions.control(node, doing="publish its tables") as connection, connection.transaction():
        wanted = await application_tables(connection)
        wanted += [f"understudy.{table}" for table in REPLICATED]
        if await _row(connection, "SELECT 1 FROM pg_publication WHERE pubname = %s", (name,)) is None:
            verb, missing = "CREATE PUBLICATION {} FOR TABLE {}", wanted
        else:
            cursor = await connection.execute(
                "SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_publication p"
                " JOIN pg_publication_rel r ON r.prpubid = p.oid JOIN pg_class c ON c.oid = r.prrelid"
                " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.pubname = %s",
                (name,),
            )
            published = {row[0] for row in await cursor.fetchall()}
            verb = "ALTER PUBLICATION {} ADD TABLE {}"
            missing = [table for table in wanted if table not in published]
        if missing:
            tables = sql.SQL(", ").join(sql.SQL(table) for table in missing)
            await connection.execute(sql.SQL(verb).format(sql.Identifier(name), tables))
    return missing


async def _copying(sessions: Sessions, link: Link) -> bool:
    """Whether an interrupted setup has left a copy that is still going on, or done."""
    async with sessions.control(link.subscriber, doing="look at its subscription") as connection:
        row = await _row(
            connection, "SELECT subenabled FROM pg_subscription WHERE subname = %s", (link.name,)
        )
    return bool(row and row[0]) and await _slot_exists(sessions, link.publisher, link.name)


async def _refresh(sessions: Sessions, link: Link, ticket: Ticket, progress: Callable[[str], None]) -> None:
    """Add tables that came since to a pair that is in use. Roles, fences and slots stay as they are."""
    await _same_schema(sessions, link.publisher, link.subscriber, progress)
    for node in (link.subscriber, link.publisher):
        await _publish(sessions, node)
    async with sessions.control(link.subscriber, doing="look at its tables") as connection:
        cursor = await connection.execute(
            "SELECT format('%%I.%%I', p.schemaname, p.tablename) FROM pg_publication_tables p"
            " WHERE p.pubname = %s AND NOT EXISTS (SELECT FROM pg_subscription s"
            " JOIN pg_subscription_rel r ON r.srsubid = s.oid WHERE s.subname = %s"
            " AND r.srrelid = format('%%I.%%I', p.schemaname, p.tablename)::regclass) ORDER BY 1",
            (publication(sessions.cluster.name), link.name),
        )
        new = [row[0] for row in await cursor.fetchall()]
        for table in new:
            if await _row(connection, f"SELECT 1 FROM {table} LIMIT 1") is not None:
                raise EngineError(f"{link.subscriber}: new table {table} has rows; TRUNCATE it there first")
    if not new:
        return
    progress("new tables: " + ", ".join(new))
    async with sessions.guarded(link.subscriber, ticket, doing="refresh the subscription") as connection:
        await connection.execute(
            sql.SQL("ALTER SUBSCRIPTION {} REFRESH PUBLICATION").format(sql.Identifier(link.name))
        )
    await links.catch_up(sessions, link, ticket, report=lambda now: progress(_told(now)))
