"""Mode `zero` on real servers: no commit is acknowledged that the standby does not have."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from tests.integration.conftest import Pair, at, hurried, until

from understudy.engines.postgresql import PostgreSQLEngine
from understudy.errors import EngineError

WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = %s"


async def test_every_acknowledged_commit_is_on_the_standby(pair: Pair, engine: PostgreSQLEngine) -> None:
    pair.sql("a", "INSERT INTO item (name) VALUES ('earlier')")
    await engine.require_sync(pair.link(1), at(1))
    assert pair.sql("b", "SELECT count(*) FROM item") == [(1,)], "earlier commits are there too"
    with pair.connect("a") as writer, pair.connect("b") as reader:
        for number in range(20):
            writer.execute("INSERT INTO item (id, name) VALUES (%s, 'x')", (100 + number,))
            assert reader.execute("SELECT 1 FROM item WHERE id = %s", (100 + number,)).fetchone()
    probe = await engine.probe("a", heartbeat=1, epoch=1)
    assert probe.streaming[pair.link(1).name]
    assert pair.link(1).name in probe.sync_names


async def test_trap_11_commits_do_not_wait_for_the_walwriter(pair: Pair, engine: PostgreSQLEngine) -> None:
    # With synchronous_commit = off on the subscription each commit on a takes 200 ms.
    await engine.require_sync(pair.link(1), at(1))
    settings = "SELECT subsynccommit, subdisableonerr, suborigin FROM pg_subscription WHERE subname = %s"
    assert pair.sql("b", settings, pair.link(1).name) == [("on", False, "none")]


async def test_trap_10_a_frozen_commit_is_ended_not_acknowledged(
    pair: Pair, engine: PostgreSQLEngine
) -> None:
    await engine.require_sync(pair.link(1), at(1))
    await engine.stop_apply(pair.link(1), at(1))  # the standby's disable is the fence

    def write() -> None:
        pair.sql("a", "INSERT INTO item (name) VALUES ('in doubt')")

    writing = asyncio.create_task(asyncio.to_thread(write))
    await until(lambda: pair.sql("a", WAITING, pair.database, user="postgres"))
    await engine.fence("a", at(1))
    with pytest.raises(psycopg.OperationalError):
        await writing
    assert pair.sql("a", "SHOW synchronous_standby_names") == [("",)]
    assert pair.sql("b", "SELECT count(*) FROM item") == [(0,)]


async def test_control_connections_do_not_wait_for_a_lost_standby(
    pair: Pair, engine: PostgreSQLEngine
) -> None:
    await engine.require_sync(pair.link(1), at(1))
    await engine.stop_apply(pair.link(1), at(1))
    assert (await engine.probe("a", heartbeat=1, epoch=1)).unwritable == ""
    await engine.announce(at(2), ("a", "b"))
    writing = asyncio.create_task(
        asyncio.to_thread(pair.sql, "a", "INSERT INTO item (name) VALUES ('waits') RETURNING 1")
    )
    await until(lambda: pair.sql("a", WAITING, pair.database, user="postgres"))
    await engine.relax_sync("a", at(2))
    assert await writing == [(1,)], "relaxed: commits that wait go on"


async def test_require_sync_names_a_standby_that_does_not_stream(
    pair: Pair, engine: PostgreSQLEngine
) -> None:
    await engine.stop_apply(pair.link(1), at(1))
    async with hurried(pair) as soon:
        with pytest.raises(EngineError, match="did not become synchronous"):
            await soon.require_sync(pair.link(1), at(1))
    await engine.relax_sync("a", at(1))
    await engine.resume_apply(pair.link(1), at(1))
