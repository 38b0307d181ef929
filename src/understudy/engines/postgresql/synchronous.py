"""Synchronous mode (`rpo = "zero"`): a primary that acknowledges no commit before the standby has it."""

from __future__ import annotations

import asyncio

from understudy.engines.postgresql.fencing import set_sync_names
from understudy.engines.postgresql.schema import link_prefix, statement
from understudy.engines.postgresql.sessions import ControlConnection, Sessions
from understudy.errors import EngineError
from understudy.model import Link, Rpo, Ticket

_LOOKS_APART = 0.005


async def require_sync(sessions: Sessions, link: Link, ticket: Ticket) -> None:
    """Make the publisher wait for the subscriber on every commit. See `Engine.require_sync`.

    When this returns, commits have been seen to wait, and the last of them came after all earlier ones: the
    subscriber has those too. Raises `EngineError` where the subscriber does not become synchronous in time.
    """
    await set_sync_names(sessions, link.publisher, '"' + link.name.replace('"', '""') + '"', ticket)
    doing = f"wait until {link.name} is synchronous"
    policy = sessions.cluster.policy
    async with sessions.control(link.publisher, doing=doing) as connection:
        deadline = asyncio.get_running_loop().time() + policy.step_timeout * 0.8
        while not (await _is_sync(connection, link.name) and await _commits_wait(connection, link.name)):
            if asyncio.get_running_loop().time() > deadline:
                raise EngineError(
                    f"{link.publisher}: {link.name} did not become synchronous within"
                    f" {policy.step_timeout * 0.8:g} s; {link.subscriber} must be up and streaming"
                )
            await asyncio.sleep(_LOOKS_APART)


async def relax_sync(sessions: Sessions, node: str, ticket: Ticket) -> None:
    """Make a node stop waiting for a synchronous standby, also commits that wait now.

    In `bounded` one that waits for nobody is left alone: the role may lack the right to set it, which `check` asks for
    in `zero` only and managed providers do not give.
    """
    if sessions.cluster.policy.rpo is Rpo.BOUNDED:
        async with sessions.change(node, ticket, doing="see whom it waits for") as connection:
            cursor = await connection.execute("SELECT current_setting('synchronous_standby_names')")
            row = await cursor.fetchone()
        if not (row and link_prefix(sessions.cluster.name) in row[0]):
            return
    await set_sync_names(sessions, node, "", ticket)


async def _is_sync(connection: ControlConnection, name: str) -> bool:
    cursor = await connection.execute(
        "SELECT coalesce(bool_or(sync_state IN ('sync', 'quorum')), false) FROM pg_stat_replication"
        " WHERE application_name = %s AND state = 'streaming'",
        (name,),
    )
    row = await cursor.fetchone()
    return bool(row and row[0])


async def _commits_wait(connection: ControlConnection, name: str) -> bool:
    """Whether commits were seen to wait for the standby; this may itself wait, until the connection is cut."""
    await connection.execute(statement("prove_sync").replace("{link}", name.replace("'", "''")))
    cursor = await connection.execute("SELECT current_setting('understudy.commits_wait')")
    row = await cursor.fetchone()
    return row is not None and row[0] == "true"
