# ruff: noqa: F811 - fixtures are imported by name
"""The asyncio client, cancelled at every single point where it waits.

Each way of using the client is run again and again; run number n is cancelled when it suspends for the n-th time
(`twice`: and again at its next suspension), until a run ends before that. After each run nothing is counted as in
flight, every connection of the pool can be had, and what was written is there as a whole or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator
from types import coroutine
from typing import Any

import psycopg
import pytest
from tests.integration.test_client_world import World, two_servers, world  # noqa: F401

from understudy.client import AsyncConnection, AsyncPool
from understudy.client.single_async import connect_async
from understudy.lease import Phase

MAX_SIZE = 2
Way = Callable[[World, AsyncPool], Awaitable[None]]


@coroutine
def cancelled_at(
    number: int, times: int, work: Awaitable[None], seen: list[int]
) -> Generator[Any, Any, None]:
    """Run ``work`` in the present task and cancel that at its suspension ``number`` (from 1)."""
    task = asyncio.current_task()
    steps = work.__await__()
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            waits_for = steps.throw(error) if error is not None else steps.send(answer)
        except StopIteration:
            return
        seen[0] += 1
        if number <= seen[0] < number + times and task is not None:
            task.cancel()
        answer = error = None
        try:
            answer = yield waits_for
        except BaseException as thrown:  # noqa: BLE001 - belongs to the work
            error = thrown


async def write_two(conn: AsyncConnection) -> None:
    """Two rows that must be there together or not at all."""
    for _ in range(2):
        await conn.execute("INSERT INTO item (name) VALUES (gen_random_uuid()::text)")


async def block(world: World, pool: AsyncPool) -> None:
    async with pool.connection() as conn:
        await write_two(conn)


async def new_pool(world: World, _: AsyncPool) -> None:
    async with AsyncPool(world.cluster, world.directory, max_size=1) as pool, pool.connection() as conn:
        await write_two(conn)


async def exactly_once(world: World, pool: AsyncPool) -> None:
    await pool.run(write_two, exactly_once=True)


async def by_hand(world: World, pool: AsyncPool) -> None:
    conn = await pool.getconn()
    try:
        await write_two(conn)
        await conn.commit()
    finally:
        await pool.putconn(conn)


async def all_taken(world: World, pool: AsyncPool) -> None:
    """Both connections are out; ours comes when one is given back."""

    async def rival() -> None:
        async with pool.connection() as conn:
            await conn.execute("SELECT pg_sleep(0.005)")

    rivals = [asyncio.create_task(rival()) for _ in range(MAX_SIZE)]
    try:
        await asyncio.sleep(0)
        await block(world, pool)
    finally:
        await asyncio.shield(asyncio.gather(*rivals))


async def held(world: World, pool: AsyncPool) -> None:
    """A planned change is under way and is called off."""
    epoch = world.file.read().epoch
    world.at(epoch, "a", Phase.HOLDING)
    opening = asyncio.get_running_loop().call_later(0.01, world.at, epoch, "a")
    try:
        await block(world, pool)
    finally:
        opening.cancel()
        world.at(epoch, "a")


async def changed(world: World, pool: AsyncPool) -> None:
    """A change that was rolled back: the same node at the next epoch, with a pool of its own."""
    world.at(world.file.read().epoch + 1, "a", standby="b", standby_lag=0.1)
    await block(world, pool)


async def reading(world: World, pool: AsyncPool) -> None:
    async with pool.connection(readonly=True) as conn:
        await conn.execute("SELECT 1")


async def kept(world: World, pool: AsyncPool) -> None:
    conn = await connect_async(world.cluster, world.directory)
    try:
        await write_two(conn)
        await conn.commit()
        async with conn.transaction(), conn.transaction():
            await write_two(conn)
    finally:
        await conn.close()


async def the_rest(world: World, pool: AsyncPool) -> None:
    """COPY, streams, pipelines, nested blocks, server-side cursors."""
    async with pool.connection() as conn:
        async with conn.transaction(), conn.cursor() as cursor:
            async with cursor.copy("COPY item (name) FROM STDIN") as copy:
                await copy.write(f"{id(copy)}-{asyncio.get_running_loop().time()}\n")
            await cursor.execute("DELETE FROM item WHERE name LIKE '%%-%%.%%'")
        async with conn.pipeline():
            await write_two(conn)
        async with conn.cursor() as cursor:
            async for _ in cursor.stream("SELECT generate_series(1, 3)"):
                pass
        async with conn.cursor("named") as cursor:
            await cursor.execute("SELECT generate_series(1, 3)")
            await cursor.fetchmany(2)


WAYS = (block, new_pool, exactly_once, by_hand, all_taken, held, changed, reading, kept, the_rest)


@contextlib.asynccontextmanager
async def contended(pool: AsyncPool, on: bool) -> Any:
    """Somebody always holds the lock of the psycopg pool, so that taking it suspends too."""

    async def rival() -> None:
        while True:
            if pool._current is not None:
                async with pool._current.inner._lock:
                    await asyncio.sleep(0)
            await asyncio.sleep(0)

    task = asyncio.create_task(rival()) if on else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def assert_right(world: World, pool: AsyncPool, before: int) -> int:
    """Nothing in flight, both connections can be had at once, and the rows come in pairs."""
    async with asyncio.timeout(
        60
    ):  # the rivals of `all_taken` may outlive a task that is cancelled while it awaits them
        while pool._host.slot.in_flight:
            await asyncio.sleep(0.001)
    assert pool._host._waiting == 0
    assert not pool._host._loops
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(MAX_SIZE):
            conn = await stack.enter_async_context(pool.connection(timeout=60))
            row = await (await conn.execute("SELECT count(*) FROM item")).fetchone()
    assert (row[0] - before) % 2 == 0
    assert world.file.quiet(before_epoch=10**9) == []
    return int(row[0])


@pytest.mark.parametrize("rivals", [False, True], ids=["alone", "contended"])
@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_cancelled_at_every_suspension(world: World, way: Way, times: int, rivals: bool) -> None:
    world.at(1, "a", standby="b", standby_lag=0.1)
    async with AsyncPool(world.cluster, world.directory, min_size=1, max_size=MAX_SIZE) as pool:
        rows, number, cancelled = 0, 0, True
        while cancelled:
            number += 1
            seen = [0]
            async with contended(pool, rivals):
                task = asyncio.ensure_future(cancelled_at(number, times, way(world, pool), seen))
                with contextlib.suppress(asyncio.CancelledError, psycopg.OperationalError):
                    await task
            cancelled = seen[0] >= number
            rows = await assert_right(world, pool, rows)
        assert number > 3, "nothing was ever cancelled"
