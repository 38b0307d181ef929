"""Reading one node's fence row, for client processes that renew the lease in the agent's place."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import psycopg

from understudy.engines.postgresql.sessions import ControlConnection
from understudy.errors import Unreachable

_T = TypeVar("_T")

_QUESTION = "SELECT epoch, primary_node FROM understudy.fence"


def read_fence(dsn: str, *, timeout: float) -> tuple[int, str]:
    """The highest epoch a node has seen, and the primary of that epoch.

    Opens a connection of its own and closes it. ``timeout`` (seconds) bounds everything, on a frozen server
    too, and more finely than libpq's own timeouts do. Raises `Unreachable` when there was no such answer.
    """
    return _run(_ask_within(dsn, timeout))


def read_fences(dsns: list[str], *, timeout: float) -> list[tuple[int, str] | None]:
    """Ask several nodes at the same time; None for each that gave no answer in time."""

    async def ask(dsn: str) -> tuple[int, str] | None:
        try:
            return await _ask_within(dsn, timeout)
        except Unreachable:
            return None

    async def ask_all() -> list[tuple[int, str] | None]:
        return list(await asyncio.gather(*(ask(dsn) for dsn in dsns)))

    return _run(ask_all())


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    """Like `asyncio.run`, which would wait at its end for a look-up of a name that no name server answers."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


async def _ask_within(dsn: str, seconds: float) -> tuple[int, str]:
    try:
        async with asyncio.timeout(seconds):
            return await _ask(dsn)
    except TimeoutError:
        raise Unreachable(f"no answer to the fence question within {seconds} s") from None
    except psycopg.Error as ex:
        raise Unreachable(f"the fence question failed: {ex}") from ex


async def _ask(dsn: str) -> tuple[int, str]:
    # Left without a cancel request where time is up: a server that hangs would hold us up with that too.
    connection = await ControlConnection.connect(
        dsn, autocommit=True, prepare_threshold=None, application_name="understudy/renewal"
    )
    connection.arm()
    try:
        row = await (await connection.execute(_QUESTION)).fetchone()
    finally:
        await connection.close()
    if row is None:
        raise Unreachable("the node has no fence row; run `understudy setup`")
    return int(row[0]), str(row[1])
