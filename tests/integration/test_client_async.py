# ruff: noqa: F811 - fixtures are imported by name
"""The asyncio client: the same promises, and cancellation anywhere."""

from __future__ import annotations

import asyncio
import gc
import os
import random
from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg_pool import PoolTimeout
from tests.integration.test_client_pool import wait_until_commits_wait
from tests.integration.test_client_world import World, two_servers, world  # noqa: F401

from understudy.client import AsyncConnection, AsyncPool, CommitInDoubt, NoPrimaryAvailable, PrimaryLost
from understudy.client.host import Host, host_of
from understudy.client.single_async import connect_async
from understudy.lease import Lease, Phase


@pytest.fixture
async def pool(world: World) -> AsyncIterator[AsyncPool]:
    async with AsyncPool(world.cluster, world.directory, max_size=4) as pool:
        yield pool


async def until(condition: str, world: World, action: str = "pg_terminate_backend(pid)") -> None:
    """Act on the session for which the condition holds, as soon as there is one."""
    question = f"SELECT {action} FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND ({condition})"
    while not await asyncio.to_thread(world.sql, "a", question):
        pass


async def test_a_block_commits_and_an_exception_rolls_back(world: World, pool: AsyncPool) -> None:
    async with pool.connection() as conn:
        await conn.execute("INSERT INTO item (name) VALUES ('kept')")
        assert (conn.node, conn.epoch) == ("a", 1)
        assert world.file.quiet(before_epoch=2) == [os.getpid()]
    with pytest.raises(KeyError):
        async with pool.connection() as conn:
            await conn.execute("INSERT INTO item (name) VALUES ('lost')")
            raise KeyError
    assert world.names() == ["kept"]
    assert world.file.quiet(before_epoch=9) == []


async def test_lost_during_commit_is_in_doubt(world: World, pool: AsyncPool) -> None:
    world.sql(
        "a",
        "CREATE OR REPLACE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(60); RETURN NULL; END'; "
        "CREATE CONSTRAINT TRIGGER doze AFTER INSERT ON item DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION doze()",
    )

    async def work() -> None:
        async with pool.connection() as conn:
            await conn.execute("INSERT INTO item (name) VALUES ('x')")

    try:
        task = asyncio.create_task(work())
        await until("wait_event = 'PgSleep'", world)
        with pytest.raises(CommitInDoubt):
            await task
    finally:
        world.sql("a", "DROP TRIGGER doze ON item")


async def test_commit_is_not_sent_once_the_primary_is_another(world: World, pool: AsyncPool) -> None:
    with pytest.raises(PrimaryLost):
        async with pool.connection() as conn:
            await conn.execute("INSERT INTO item (name) VALUES ('x')")
            world.at(2, "b")
    assert world.names() == []
    async with pool.connection() as conn:
        assert (conn.node, conn.epoch) == ("b", 2)


async def test_new_transactions_wait_and_go_to_the_new_primary(world: World, pool: AsyncPool) -> None:
    async def work(number: int) -> str:
        async with pool.connection() as conn:
            await conn.execute("INSERT INTO item (name) VALUES (%s)", (str(number),))
            return conn.node

    await work(0)
    world.at(2, "a", Phase.HOLDING)
    tasks = [asyncio.create_task(work(number)) for number in (1, 2, 3)]
    while pool._host._waiting < 3:
        await asyncio.sleep(0)
    world.at(2, "b")
    assert await asyncio.gather(*tasks) == ["b"] * 3


async def test_no_primary_available(world: World, pool: AsyncPool) -> None:
    world.at(2, "a", Phase.CHANGING)
    with pytest.raises(NoPrimaryAvailable, match="CHANGING"):
        async with pool.connection(timeout=0.1):
            pass


async def test_a_full_pool(world: World) -> None:
    async with AsyncPool(world.cluster, world.directory, max_size=1) as pool, pool.connection():
        with pytest.raises(PoolTimeout):
            await pool.getconn(0.05)


async def test_readonly(world: World, pool: AsyncPool) -> None:
    async with pool.connection(readonly=True) as conn:
        assert conn.node == "b"
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await conn.execute("INSERT INTO item (name) VALUES ('x')")


async def test_run_exactly_once(world: World, pool: AsyncPool) -> None:
    async def work(conn: AsyncConnection) -> str:
        await conn.execute("INSERT INTO item (name) VALUES ('once')")
        return "done"

    assert await pool.run(work, exactly_once=True) == "done"
    assert world.names() == ["once"]


async def test_a_kept_connection_counts_per_transaction(world: World) -> None:
    conn = await connect_async(world.cluster, world.directory)
    assert world.file.quiet(before_epoch=9) == []
    await conn.execute("INSERT INTO item (name) VALUES ('x')")
    assert world.file.quiet(before_epoch=9) == [os.getpid()]
    await conn.commit()
    assert world.file.quiet(before_epoch=9) == []
    await conn.close()


async def test_cancellation_anywhere_leaves_pool_and_count_right(world: World) -> None:
    rng = random.Random(7)
    async with AsyncPool(world.cluster, world.directory, min_size=1, max_size=2) as pool:

        async def work() -> None:
            async with pool.connection() as conn:
                await conn.execute("SELECT 1")
                await conn.execute("SELECT pg_sleep(0.002)")

        for _ in range(60):
            tasks = [asyncio.create_task(work()) for _ in range(4)]
            for _ in range(rng.randrange(40)):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert pool._host.slot.in_flight == 0
        assert world.file.quiet(before_epoch=9) == []
        async with pool.connection(), pool.connection():
            pass  # both connections of the pool are there


async def test_a_commit_that_was_cancelled_leaves_its_doubt_to_nobody_else(world: World) -> None:
    """psycopg ends the wait for the standby with a cancel, which the server answers with a notice and COMMIT. The same
    connection then serves the next user of the pool."""
    told = Told()
    async with AsyncPool(world.cluster, world.directory, min_size=1, max_size=1) as pool:
        async with pool.connection() as conn:
            await conn.execute("SELECT 1")
        host_of(world.cluster, world.directory).observers.append(told)
        world.sql("a", "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        world.sql("a", "SELECT pg_reload_conf()")
        try:
            await asyncio.to_thread(wait_until_commits_wait, world)

            async def work() -> None:
                async with pool.connection() as conn:
                    await conn.execute("INSERT INTO item (name) VALUES ('alone')")

            task = asyncio.create_task(work())
            await until("wait_event = 'SyncRep'", world, "pid")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        finally:
            world.sql("a", "ALTER SYSTEM RESET synchronous_standby_names")
            world.sql("a", "SELECT pg_reload_conf()")
        for _ in range(2):
            async with pool.connection() as conn:
                await conn.execute("SELECT 1")
    assert world.names() == ["alone"]
    assert told.doubts == [("a", 1)]  # it is counted all the same: the agent tells of it


class Told:
    """An observer that remembers the doubts."""

    def __init__(self) -> None:
        self.doubts: list[tuple[str, int]] = []

    def held(self, host: Host, why: str, seconds: float, lease: Lease | None) -> None:
        """Nothing to remember."""

    def doubted(self, host: Host, node: str, epoch: int) -> None:
        self.doubts.append((node, epoch))


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # psycopg tells of it, and rightly
async def test_a_connection_that_is_forgotten_in_a_transaction_is_counted_no_more(world: World) -> None:
    """Else every planned change would wait for it, and be called off, until this process ends."""
    conn = await connect_async(world.cluster, world.directory)
    await conn.execute("INSERT INTO item (name) VALUES ('forgotten')")
    assert world.file.quiet(before_epoch=2) == [os.getpid()]
    del conn
    gc.collect()
    async with asyncio.timeout(60):
        while world.file.quiet(before_epoch=2):
            await asyncio.sleep(0.01)
    assert world.names() == []
