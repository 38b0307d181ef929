"""Who may write: the fence row with its epoch, read-only databases, and the end of sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from psycopg import sql

from understudy.engines.postgresql.schema import link_prefix
from understudy.engines.postgresql.sessions import ControlConnection, Sessions, require_ticket
from understudy.errors import EngineError, StaleEpoch, Unreachable
from understudy.model import Ticket

# Sessions that could still write. Not ours; not of replication (other backend types). Sessions of superusers
# cannot be ended by a plain role: they are waited for only while they are writing.
# `backend_start`: who comes later finds the database read-only and may stay, or a pool that reconnects at once
# would keep this from ever ending.
_WRITERS = """
    FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
    WHERE a.datname = current_database() AND a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()
      AND a.backend_start <= %(fenced_at)s
      AND NOT (a.usename = current_user AND starts_with(a.application_name, 'understudy/'))
      AND (NOT r.rolsuper OR a.backend_xid IS NOT NULL)
"""

_LOOKS_APART = 0.002


async def announce(sessions: Sessions, ticket: Ticket, nodes: Sequence[str]) -> tuple[str, ...]:
    """Raise the fence rows to the ticket on those of ``nodes`` that answer. See `Engine.announce`.

    A node that missed its last probe gets half a probe's time: its register is not needed (two of three).
    Raises `StaleEpoch` where any node has seen a newer epoch.
    """
    answers = await asyncio.gather(
        *(_announce_on(sessions, name, ticket) for name in nodes), return_exceptions=True
    )
    reached = []
    failure: BaseException | None = None
    for name, answer in zip(nodes, answers, strict=True):
        if isinstance(answer, StaleEpoch):
            raise answer
        if answer is None:
            reached.append(name)
        elif not isinstance(answer, Unreachable):
            failure = answer
    if failure is not None:
        raise failure
    return tuple(reached)


async def _announce_on(sessions: Sessions, node: str, ticket: Ticket) -> None:
    policy = sessions.cluster.policy
    limit = policy.probe_timeout / 2 if node in sessions.suspects else policy.step_timeout
    async with (
        sessions.control(node, timeout=limit, doing="raise its fence row") as connection,
        connection.transaction(),
    ):
        await require_ticket(connection, ticket, brief=True)


async def fence(sessions: Sessions, node: str, ticket: Ticket) -> None:
    """Make a node refuse writes; returns when no session is left that could write. See `Engine.fence`.

    Raises `EngineError` naming what is left: sessions that do not end, or prepared transactions (the
    database is read-only then all the same).
    """
    doing = "fence it"
    async with sessions.control(node, doing=doing) as connection:
        async with connection.transaction():
            await require_ticket(connection, ticket, brief=True)
            await connection.execute(
                _alter_database(sessions, node, "SET default_transaction_read_only = on")
            )
        await _end_writers(connection, node, sessions.cluster.policy.step_timeout)
        cursor = await connection.execute("SELECT current_setting('synchronous_standby_names')")
        row = await cursor.fetchone()
    # Only now, with no session left that waits for the standby: letting them go on would acknowledge commits
    # which the standby does not have.
    if row and link_prefix(sessions.cluster.name) in row[0]:
        await set_sync_names(sessions, node, "", ticket)
    async with sessions.control(node, doing=doing) as connection:
        cursor = await connection.execute(
            "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared"
        )
        gids = [repr(row[0]) for row in await cursor.fetchall()]
    if gids:
        raise EngineError(
            f"{node}: prepared transactions would write past the fence when committed: {', '.join(gids)};"
            " end each with ROLLBACK PREPARED or COMMIT PREPARED, then the step goes on"
        )


async def _end_writers(connection: ControlConnection, node: str, limit: float) -> None:
    """End client sessions until two looks in a row find none: one that has just read the old setting becomes
    visible a moment later."""
    loop = asyncio.get_running_loop()
    cursor = await connection.execute("SELECT clock_timestamp()")
    moment = await cursor.fetchone()
    parameters = {"fenced_at": moment[0] if moment else None}
    deadline = loop.time() + limit * 0.8
    empty = 0
    while True:
        cursor = await connection.execute(
            "SELECT a.pid, a.usename, a.application_name,"
            " CASE WHEN NOT r.rolsuper THEN pg_terminate_backend(a.pid) END" + _WRITERS,
            parameters,
        )
        left = await cursor.fetchall()
        empty = 0 if left else empty + 1
        if empty == 2:
            return
        if loop.time() > deadline:
            who = ", ".join(f"pid {pid} ({user}, {name!r})" for pid, user, name, _ in left)
            raise EngineError(f"{node}: read-only, but these sessions do not end: {who}; end them by hand")
        await asyncio.sleep(_LOOKS_APART)


async def promote(sessions: Sessions, node: str, ticket: Ticket) -> None:
    """Lift the fence of a node at the ticket's epoch: the commit point. See `Engine.promote`."""
    async with sessions.change(node, ticket, doing="promote it") as connection:
        await connection.execute(_alter_database(sessions, node, "RESET default_transaction_read_only"))


async def set_sync_names(sessions: Sessions, node: str, names: str, ticket: Ticket) -> None:
    """Set synchronous_standby_names and have the server read it. Not yet in force when this returns."""
    async with sessions.guarded(node, ticket, doing="set synchronous_standby_names") as connection:
        await connection.execute(
            sql.SQL("ALTER SYSTEM SET synchronous_standby_names = {}").format(sql.Literal(names))
        )
        await connection.execute("SELECT pg_reload_conf()")


def _alter_database(sessions: Sessions, node: str, what: str) -> sql.Composed:
    return sql.SQL("ALTER DATABASE {} " + what).format(sql.Identifier(sessions.database(node)))
