"""Links: a slot on the publisher and a subscription of the same name on the subscriber."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from understudy.engines.postgresql.schema import publication
from understudy.engines.postgresql.sessions import ControlConnection, Sessions, require_ticket
from understudy.errors import EngineError, NeedsCopy, Unreachable
from understudy.model import Cluster, Link, Ticket

_SHORT, _LONG = 0.002, 0.02

# A lost publisher counts as one failure to apply (the next attempts do not get as far), a conflict as one for each
# attempt, for ever.
_CONFLICT = 3

_WORKERS = "SELECT count(*) FROM pg_stat_subscription WHERE subname = %s AND pid IS NOT NULL"

_STREAMING = """
    SELECT r.state, r.sent_lsn::text FROM pg_replication_slots s
    JOIN pg_stat_replication r ON r.pid = s.active_pid
    WHERE s.slot_name = %(name)s AND r.application_name = %(name)s
"""

_PROGRESS = """
    SELECT s.subenabled AS enabled,
           (SELECT count(*) FROM pg_subscription_rel t WHERE t.srsubid = s.oid) AS tables,
           (SELECT count(*) FROM pg_subscription_rel t WHERE t.srsubid = s.oid AND t.srsubstate = 'r') AS ready,
           (SELECT coalesce(sum(c.tuples_processed + c.bytes_processed), 0) FROM pg_stat_progress_copy c
            WHERE c.datname = current_database())::bigint AS copied,
           (SELECT string_agg(t.srsubstate::text || coalesce(t.srsublsn::text, ''), ',' ORDER BY t.srrelid)
            FROM pg_subscription_rel t WHERE t.srsubid = s.oid AND t.srsubstate <> 'r') AS states,
           pg_replication_origin_progress('pg_' || s.oid, false)::text AS origin,
           EXISTS (SELECT FROM understudy.marker WHERE id = %(marker)s) AS seen,
           coalesce((SELECT t.apply_error_count + t.sync_error_count FROM pg_stat_subscription_stats t
                     WHERE t.subid = s.oid), 0) AS errors
    FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid AND d.datname = current_database()
    WHERE s.subname = %(name)s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a subscription is. ``copied`` grows while initial copies run; ``seen``: the marker is here.

    ``errors`` counts failures to apply or copy since the subscription was made: losing the publisher is one too.
    ``mark`` changes only with what is not done in vain: other rows come across while the copy of one table fails
    again and again.
    """

    enabled: bool
    tables: int
    ready: int
    copied: int
    states: str
    origin: str
    seen: bool
    errors: int = field(compare=False, default=0)

    @property
    def mark(self) -> tuple[object, ...]:
        return (self.ready, self.tables, self.states, self.origin if self.ready == self.tables else "")


async def follow(sessions: Sessions, link: Link, ticket: Ticket, *, copy_data: bool = False) -> None:
    """Make the subscriber follow from the link's existing slot; returns once streaming. See `Engine.follow`.

    Raises `NeedsCopy` where the slot or its WAL is gone, `EngineError` where somebody else consumes it.
    """
    await _require_slot(sessions, link)
    async with sessions.change(link.subscriber, ticket, doing=f"subscribe {link.name}") as connection:
        await _subscribe(sessions, connection, link, copy_data=copy_data)
    await _wait_streaming(sessions, link)


async def _require_slot(sessions: Sessions, link: Link) -> None:
    async with sessions.control(link.publisher, doing=f"look at slot {link.name}") as connection:
        cursor = await connection.execute(
            "SELECT s.wal_status, r.pid, r.application_name, r.client_addr::text FROM pg_replication_slots s"
            " LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid"
            " WHERE s.slot_name = %s AND s.database = current_database()",
            (link.name,),
        )
        row = await cursor.fetchone()
    if row is None:
        raise NeedsCopy(f"{link.publisher}: slot {link.name} is gone; {link.subscriber} needs a full copy")
    if row[0] == "lost":
        raise NeedsCopy(
            f"{link.publisher}: slot {link.name} has lost WAL (max_slot_wal_keep_size);"
            f" {link.subscriber} needs a full copy"
        )
    if row[1] is not None and row[2] != link.name:
        raise EngineError(
            f"{link.publisher}: slot {link.name} is consumed by somebody else: pid {row[1]}, {row[2]!r} from"
            f" {row[3]} (a restored backup or a clone of {link.subscriber}?); stop that server's subscription"
        )


async def _subscribe(
    sessions: Sessions, connection: ControlConnection, link: Link, *, copy_data: bool
) -> None:
    name = sql.Identifier(link.name)
    conninfo = sql.Literal(subscriber_conninfo(sessions.cluster, link.publisher))
    cursor = await connection.execute(
        "SELECT w.pid IS NOT NULL AND s.subenabled FROM pg_subscription s"
        " LEFT JOIN pg_stat_subscription w ON w.subid = s.oid AND w.relid IS NULL AND w.leader_pid IS NULL"
        " WHERE s.subname = %s",
        (link.name,),
    )
    row = await cursor.fetchone()
    if row is None:
        await connection.execute(
            sql.SQL(
                "CREATE SUBSCRIPTION {name} CONNECTION {conninfo} PUBLICATION {publication}"
                " WITH (create_slot = false, slot_name = {slot}, copy_data = {copy}, enabled = true,"
                " origin = none, synchronous_commit = 'on', disable_on_error = false, streaming = off,"
                " binary = false)"
            ).format(
                name=name,
                conninfo=conninfo,
                publication=sql.Identifier(publication(sessions.cluster.name)),
                slot=sql.Literal(link.name),
                copy=sql.Literal(copy_data),
            )
        )
    elif not row[0]:
        await connection.execute(sql.SQL("ALTER SUBSCRIPTION {} CONNECTION {}").format(name, conninfo))
        await connection.execute(sql.SQL("ALTER SUBSCRIPTION {} ENABLE").format(name))


def subscriber_conninfo(cluster: Cluster, publisher: str) -> str:
    """How a subscriber dials the publisher: its DSN, and an end to waiting for a dead one.

    No application_name: the workers then give their own, by which synchronous standbys are named.
    """
    parameters = dict(conninfo_to_dict(cluster.node(publisher).replication_dsn))
    parameters.pop("application_name", None)
    parameters |= {
        "connect_timeout": max(2, int(cluster.policy.connect_timeout)),
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 15000,
    }
    return make_conninfo("", **parameters)


async def _wait_streaming(sessions: Sessions, link: Link) -> None:
    """Wait until the publisher shows the subscriber streaming, for as long as it comes nearer."""
    loop = asyncio.get_running_loop()
    limit = sessions.cluster.policy.step_timeout
    deadline, before, pause = loop.time() + limit, None, _SHORT
    while True:
        async with sessions.control(link.publisher, doing=f"see {link.name} stream") as connection:
            cursor = await connection.execute(_STREAMING, {"name": link.name})
            row = await cursor.fetchone()
        if row is not None and row[0] == "streaming":
            return
        if row != before:
            deadline, before = loop.time() + limit, row
        if loop.time() > deadline:
            await progress(sessions, link)
            raise EngineError(
                f"{link.subscriber}: subscription {link.name} does not stream from {link.publisher}"
                f" ({row[0] if row else 'no walsender'}); the log of {link.subscriber} names the reason"
                " (replication_dsn reachable from there? pg_hba.conf? password?)"
            )
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONG)


async def progress(sessions: Sessions, link: Link, marker: str = "") -> Progress:
    """How far the subscription is. Raises `EngineError` where it is missing or disabled."""
    async with sessions.control(link.subscriber, doing=f"look at subscription {link.name}") as connection:
        return await _progress(connection, link, marker)


async def _progress(connection: ControlConnection, link: Link, marker: str) -> Progress:
    cursor = connection.cursor(row_factory=psycopg.rows.class_row(Progress))
    await cursor.execute(_PROGRESS, {"name": link.name, "marker": marker})
    found = await cursor.fetchone()
    if found is None:
        raise EngineError(f"{link.subscriber}: there is no subscription {link.name}; it must be made again")
    if not found.enabled:
        raise EngineError(
            f"{link.subscriber}: somebody disabled subscription {link.name};"
            f" ALTER SUBSCRIPTION {link.name} ENABLE, or let the agent do so"
        )
    return found


async def write_marker(sessions: Sessions, link: Link, ticket: Ticket) -> str:
    """Commit a marker on the publisher and return its id."""
    marker = f"{link.name}/{ticket.epoch}/{uuid.uuid4()}"
    async with sessions.change(link.publisher, ticket, doing="write a marker") as connection:
        await connection.execute("INSERT INTO understudy.marker (id) VALUES (%s)", (marker,))
    return marker


async def wait_replay(sessions: Sessions, link: Link, ticket: Ticket) -> None:
    """Wait until the subscriber has applied all that the fenced publisher committed. See
    `Engine.wait_replay`. Raises `EngineError` at once where the subscription is disabled."""
    marker = await write_marker(sessions, link, ticket)
    limit = sessions.cluster.policy.step_timeout
    deadline, pause = asyncio.get_running_loop().time() + limit * 0.8, _SHORT
    async with sessions.control(link.subscriber, doing=f"wait for {link.name} to replay") as connection:
        while not (await _progress(connection, link, marker)).seen:
            if asyncio.get_running_loop().time() > deadline:
                raise EngineError(
                    f"{link.subscriber}: has not applied everything of {link.publisher} within"
                    f" {limit * 0.8:g} s; let it catch up, then try again"
                )
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONG)


async def catch_up(
    sessions: Sessions, link: Link, ticket: Ticket, *, report: Callable[[Progress], None] | None = None
) -> None:
    """Wait until all initial copies are done and a marker of now has come across. See `Engine.catch_up`.

    Takes as long as something advances. Where the subscriber fails to apply or copy the same thing again and again,
    for policy.step_timeout, it raises `NeedsCopy`: what it has conflicts with what comes. Where nothing has
    advanced for that long, `EngineError`. ``report`` is called with every advance.
    """
    loop = asyncio.get_running_loop()
    limit = sessions.cluster.policy.step_timeout
    before = settled = await progress(sessions, link)
    advanced = settled_at = loop.time()
    pause, marker = _SHORT, ""
    if report is not None:
        report(before)
    while True:
        if before.ready == before.tables and not marker:
            marker = await write_marker(sessions, link, ticket)
        now = await progress(sessions, link, marker)
        if now.seen:
            return
        time = loop.time()
        if now.mark != settled.mark:
            settled_at, settled = time, now
        if now != before:
            advanced, before = time, now
            if report is not None:
                report(now)
        failures = now.errors - settled.errors
        if failures >= _CONFLICT and time > settled_at + limit:
            raise NeedsCopy(
                f"{link.subscriber}: could not apply what {link.publisher} sends ({failures} failures without an"
                f" advance); the log of {link.subscriber} has the error and its row"
            )
        if time > advanced + (2 * limit if failures else limit):
            raise EngineError(
                f"{link.subscriber}: {now.ready} of {now.tables} tables are ready and nothing has advanced for"
                f" {time - advanced:.0f} s; the log of {link.subscriber} names the reason"
            )
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONG * 5)


async def stop_apply(sessions: Sessions, link: Link, ticket: Ticket) -> int:
    """Stop the subscriber for good; returns its durable origin position. See `Engine.stop_apply`.

    A worker in a long transaction is ended after a second: what it had not committed is not here, and the
    position says so.
    """
    loop = asyncio.get_running_loop()
    async with sessions.control(link.subscriber, doing=f"stop {link.name}") as connection:
        async with connection.transaction():
            await require_ticket(connection, ticket, brief=True)
            await _alter(connection, link.name, "DISABLE")
        patience, pause = loop.time() + min(1.0, sessions.cluster.policy.step_timeout / 4), _SHORT
        while await _workers(connection, link.name):
            if loop.time() > patience:
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_subscription"
                    " WHERE subname = %s AND pid IS NOT NULL",
                    (link.name,),
                )
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONG)
        # `true`: flushed here, whatever synchronous_commit the subscription has.
        cursor = await connection.execute(
            "SELECT coalesce(pg_replication_origin_progress('pg_' || oid, true) - '0/0'::pg_lsn, 0)"
            " FROM pg_subscription WHERE subname = %s",
            (link.name,),
        )
        row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def resume_apply(sessions: Sessions, link: Link, ticket: Ticket) -> None:
    """Undo `stop_apply`."""
    async with sessions.change(link.subscriber, ticket, doing=f"resume {link.name}") as connection:
        await _alter(connection, link.name, "ENABLE")


async def _alter(connection: ControlConnection, name: str, what: str) -> None:
    await connection.execute(sql.SQL("ALTER SUBSCRIPTION {} " + what).format(sql.Identifier(name)))


async def _workers(connection: ControlConnection, name: str) -> int:
    cursor = await connection.execute(_WORKERS, (name,))
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def drop_link(sessions: Sessions, link: Link, ticket: Ticket) -> tuple[str, ...]:
    """Drop subscription and slot, on whichever ends answer. Returns the ends still to do."""
    left = []
    for node, drop in ((link.subscriber, drop_subscription), (link.publisher, drop_slot)):
        try:
            await drop(sessions, node, link.name, ticket)
        except Unreachable:
            left.append(node)
    return tuple(left)


async def drop_subscription(sessions: Sessions, node: str, name: str, ticket: Ticket) -> None:
    """Drop a subscription where it exists, without asking its publisher."""
    async with sessions.change(node, ticket, doing=f"drop subscription {name}") as connection:
        cursor = await connection.execute("SELECT FROM pg_subscription WHERE subname = %s", (name,))
        if await cursor.fetchone() is not None:
            await _alter(connection, name, "DISABLE")
            await _alter(connection, name, "SET (slot_name = NONE)")
            await connection.execute(sql.SQL("DROP SUBSCRIPTION {}").format(sql.Identifier(name)))


async def drop_slot(sessions: Sessions, node: str, name: str, ticket: Ticket) -> None:
    """Drop a slot of this database where it exists, ending whoever consumes it.

    Slots belong to the whole server: one of that name for another database is somebody else's.
    """
    async with sessions.control(node, doing=f"drop slot {name}") as connection:
        async with connection.transaction():
            await require_ticket(connection, ticket, brief=True)
        while True:
            cursor = await connection.execute(
                "SELECT pg_terminate_backend(active_pid), active_pid FROM pg_replication_slots"
                " WHERE slot_name = %s AND database = current_database()",
                (name,),
            )
            row = await cursor.fetchone()
            if row is None:
                return
            if row[1] is None:
                try:
                    await connection.execute("SELECT pg_drop_replication_slot(%s)", (name,))
                except (psycopg.errors.ObjectInUse, psycopg.errors.UndefinedObject):
                    continue
                return
            await asyncio.sleep(_SHORT)
