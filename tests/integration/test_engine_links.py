"""Slots and subscriptions on real servers: who may consume a slot, what a copy may empty, what blocks."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from tests.integration.conftest import IMPATIENT, WRITABLE, Pair, at, hurried, until

from understudy.engines.postgresql import PostgreSQLEngine, links
from understudy.errors import EngineError, NeedsCopy, Unreachable


async def test_trap_1_a_zombie_that_consumes_the_slot_is_named(pair: Pair, engine: PostgreSQLEngine) -> None:
    # As a restored backup of b would: another database subscribes under another name to b's spare slot.
    reverse = pair.link(2, "b", "a")
    dsn = pair.cluster.node("b").replication_dsn
    with pair.connect("a", "postgres") as session:
        session.execute(
            f"CREATE SUBSCRIPTION zombie CONNECTION '{dsn}' PUBLICATION understudy_{pair.cluster.name}"
            f" WITH (create_slot = false, slot_name = {reverse.name}, copy_data = false)"
        )
        active = "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s AND active"
        await until(lambda: pair.sql("b", active, reverse.name))
        with pytest.raises(EngineError, match=r"consumed by somebody else.*'zombie'"):
            await engine.follow(reverse, at(1))
        await engine.drop_link(reverse, at(1))
        assert pair.sql("b", active, reverse.name) == []


async def test_following_a_slot_that_is_gone_needs_a_copy(pair: Pair, engine: PostgreSQLEngine) -> None:
    with pytest.raises(NeedsCopy, match="is gone"):
        await engine.follow(pair.link(77, "b", "a"), at(1))


async def test_trap_6_creating_a_slot_names_the_transaction_it_waits_for(
    pair: Pair, engine: PostgreSQLEngine
) -> None:
    name = pair.link(5).name
    with pair.connect("b", "postgres") as session:
        session.execute("BEGIN READ WRITE; SELECT pg_current_xact_id()")
        named = f"pid {session.info.backend_pid} in database {pair.database}"
        async with hurried(pair) as soon:
            with pytest.raises(EngineError, match=named):
                await soon.create_slot("b", name, at(1))
        session.execute("ROLLBACK")
    await engine.create_slot("b", name, at(1))
    await engine.create_slot("b", name, at(1))
    assert (await engine.probe("b", heartbeat=None, epoch=1)).slots[name].usable


async def test_trap_6_promotion_with_a_spare_slot_does_not_wait(pair: Pair, engine: PostgreSQLEngine) -> None:
    with pair.connect("b", "postgres") as session:
        session.execute("BEGIN READ WRITE; SELECT pg_current_xact_id()")
        await engine.stop_apply(pair.link(1), at(1))
        await engine.create_slot("b", pair.link(2).name, at(1))
        await engine.announce(at(2, "b"), ("a", "b"))
        await engine.promote("b", at(2, "b"))
    assert pair.sql("b", "SHOW default_transaction_read_only") == [("off",)]


async def test_a_spare_slot_is_advanced_on_a_standby_only(pair: Pair, engine: PostgreSQLEngine) -> None:
    name = pair.link(2).name

    async def confirmed() -> int:
        return (await engine.probe("b", heartbeat=None, epoch=1)).slots[name].confirmed

    pair.sql("a", "INSERT INTO item (name) SELECT 'n' FROM generate_series(1, 100)")
    await engine.wait_replay(pair.link(1), at(1))
    before = await confirmed()
    await engine.advance_slot("b", name)
    advanced = await confirmed()
    assert advanced > before
    await engine.announce(at(2, "b"), ("a", "b"))
    await engine.stop_apply(pair.link(1), at(2, "b"))
    await engine.promote("b", at(2, "b"))
    pair.sql("b", "INSERT INTO item (id, name) VALUES (1000, 'own')")
    await engine.advance_slot("b", name)
    assert await confirmed() == advanced
    await engine.advance_slot("b", "understudy_missing")


async def test_a_full_copy_is_not_sent_back_by_the_spare_slot(pair: Pair, engine: PostgreSQLEngine) -> None:
    pair.sql("a", "INSERT INTO item (name) SELECT 'n' FROM generate_series(1, 100)")
    await engine.wait_replay(pair.link(1), at(1))
    await engine.drop_link(pair.link(1), at(1))
    copy = pair.link(3)
    await engine.full_copy(copy, at(1))
    await engine.catch_up(copy, at(1))
    assert pair.sql("b", "SELECT count(*) FROM item") == [(100,)]
    # Now the other way round, from the spare slot, which is older than the TRUNCATE of the copy.
    await engine.announce(at(2, "b"), ("a", "b"))
    reverse = pair.link(2, "b", "a")
    await engine.follow(reverse, at(2, "b"))
    await engine.fence("a", at(2, "b"))
    await engine.wait_replay(copy, at(2, "b"))
    await engine.stop_apply(copy, at(2, "b"))
    await engine.promote("b", at(2, "b"))
    await engine.catch_up(reverse, at(2, "b"))
    assert pair.sql("a", "SELECT count(*) FROM item") == [(100,)]
    assert (await engine.verify("b", "a")).equal


async def test_a_node_that_accepts_writes_is_never_emptied(pair: Pair, engine: PostgreSQLEngine) -> None:
    pair.sql("a", "INSERT INTO item (name) VALUES ('kept')")
    await engine.wait_replay(pair.link(1), at(1))
    await engine.promote("b", at(1))  # by mistake, say
    before = await engine.probe("b", heartbeat=None, epoch=1)
    for link in (pair.link(1), pair.link(3), pair.link(2, "b", "a")):
        with pytest.raises(EngineError, match=f"^{link.subscriber}: not fenced"):
            await engine.full_copy(link, at(1))
    for node in "ab":
        assert pair.sql(node, "SELECT name FROM item") == [("kept",)]
    after = await engine.probe("b", heartbeat=None, epoch=1)
    assert (after.slots.keys(), after.subscriptions.keys()) == (
        before.slots.keys(),
        before.subscriptions.keys(),
    )
    pair.sql("a", "INSERT INTO item (name) VALUES ('goes on')")
    await until(lambda: pair.sql("b", "SELECT count(*) FROM item") == [(2,)])


async def test_a_full_copy_may_be_begun_again_in_its_middle(pair: Pair, engine: PostgreSQLEngine) -> None:
    pair.sql("a", "INSERT INTO item (name) SELECT repeat('n', 100) FROM generate_series(1, 20000)")
    await engine.drop_link(pair.link(1), at(1))
    for _ in range(3):
        await engine.full_copy(pair.link(3), at(1))
    await engine.catch_up(pair.link(3), at(1))
    assert (await engine.verify("a", "b")).equal


async def test_catch_up_ends_when_nothing_advances(pair: Pair, engine: PostgreSQLEngine) -> None:
    with pair.connect("b", "postgres") as blocker:
        blocker.execute("BEGIN READ WRITE")
        blocker.execute("LOCK TABLE understudy.marker IN EXCLUSIVE MODE")
        async with hurried(pair) as soon:
            with pytest.raises(EngineError, match=r"7 of 7 tables are ready and nothing has advanced"):
                await soon.catch_up(pair.link(1), at(1))
    await engine.catch_up(pair.link(1), at(1))


async def test_catch_up_of_rows_that_conflict_needs_a_copy(pair: Pair, engine: PostgreSQLEngine) -> None:
    with pair.connect("b", "postgres", options=WRITABLE) as session:
        session.execute("INSERT INTO item (id, name) VALUES (1, 'in the way')")
    pair.sql("a", "INSERT INTO item (id, name) VALUES (1, 'conflict')")
    async with hurried(pair, 3.0) as soon:
        with pytest.raises(NeedsCopy, match=r"^b: could not apply what a sends.*failures.*log of b"):
            await soon.catch_up(pair.link(1), at(1))
    assert (await engine.probe("b", heartbeat=None, epoch=1)).subscriptions[pair.link(1).name].enabled
    await engine.full_copy(pair.link(1), at(1))
    await engine.catch_up(pair.link(1), at(1))
    assert pair.sql("b", "SELECT name FROM item") == [("conflict",)]


async def test_a_copy_that_fails_again_and_again_ends_although_heartbeats_come_across(
    pair: Pair, engine: PostgreSQLEngine
) -> None:
    with pair.connect("b", "postgres", options=WRITABLE) as session:
        session.execute("ALTER TABLE item ADD CHECK (name <> 'unfit')")
    pair.sql("a", "INSERT INTO item (name) VALUES ('unfit')")
    await engine.full_copy(pair.link(3), at(1))

    async def beat() -> None:
        for number in itertools.count(1):
            await engine.probe("a", heartbeat=number, epoch=1)
            await asyncio.sleep(0.05)

    beating = asyncio.create_task(beat())
    async with asyncio.timeout(60), hurried(pair, 3.0) as soon:
        with pytest.raises(NeedsCopy, match="could not apply"):
            await soon.catch_up(pair.link(3), at(1))
    beating.cancel()
    await asyncio.wait([beating])


async def test_losing_the_publisher_is_no_reason_for_a_copy(
    pair: Pair, engine: PostgreSQLEngine, monkeypatch: pytest.MonkeyPatch
) -> None:

    async def dies(*_: object) -> str:
        asyncio.get_running_loop().call_later(0.3, pair.servers["a"].kill)
        return "never comes across"

    failures = "SELECT apply_error_count > 0 FROM pg_stat_subscription_stats WHERE subname = %s"
    try:
        with monkeypatch.context() as patch:
            patch.setattr(links, "write_marker", dies)
            async with hurried(pair) as soon:
                with pytest.raises(EngineError) as caught:
                    await soon.catch_up(pair.link(1), at(1))
        assert not isinstance(caught.value, NeedsCopy)
        # It looked like a failure to apply.
        await until(lambda: pair.sql("b", failures, pair.link(1).name) == [(True,)])
    finally:
        pair.servers["a"].start()
    await engine.catch_up(pair.link(1), at(1))


async def test_after_a_crash_of_the_publisher_the_standby_follows_again_without_any_agent(pair: Pair) -> None:
    engine = PostgreSQLEngine(pair.cluster)
    await engine.setup(progress=lambda _: None)
    await engine.close()
    server, name = pair.servers["a"], pair.link(1).name
    enabled = "SELECT subenabled FROM pg_subscription WHERE subname = %s"
    failures = "SELECT apply_error_count FROM pg_stat_subscription_stats WHERE subname = %s"
    try:
        for total in (1001, 2002):
            ((before,),) = pair.sql("b", failures, name)
            pair.sql("a", "INSERT INTO item (name) SELECT 'before' FROM generate_series(1, 1000)")
            server.kill()
            await until(lambda: pair.sql("b", failures, name) > [(before,)])  # noqa: B023
            assert pair.sql("b", enabled, name) == [(True,)]
            server.start()
            pair.sql("a", "INSERT INTO item (name) VALUES ('after')")
            await until(lambda: pair.sql("b", "SELECT count(*) FROM item") == [(total,)])  # noqa: B023
            assert pair.sql("b", enabled, name) == [(True,)]
    finally:
        server.start()
    again = PostgreSQLEngine(pair.cluster)
    assert (await again.verify("a", "b")).equal
    await again.close()


@IMPATIENT
async def test_dropping_a_link_does_what_it_can(pair: Pair, engine: PostgreSQLEngine) -> None:
    await engine.probe("b", heartbeat=None, epoch=1)
    pair.servers["b"].freeze()
    with pytest.raises(Unreachable):
        await engine.probe("b", heartbeat=None, epoch=1)
    assert await engine.drop_link(pair.link(1), at(1)) == ("b",)
    pair.servers["b"].thaw()
    assert await engine.drop_link(pair.link(1), at(1)) == ()
    assert await engine.drop_link(pair.link(1), at(1)) == ()
    for node in "ab":
        probe = await engine.probe(node, heartbeat=None, epoch=1)
        assert pair.link(1).name not in (*probe.slots, *probe.subscriptions)
