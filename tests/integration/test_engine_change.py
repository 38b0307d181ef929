"""A change of primary, step by step, on real servers; the traps of postgresql-facts that belong to it."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors
from tests.integration.conftest import IMPATIENT, WRITABLE, Pair, at, hurried, until

from understudy.engines.postgresql import PostgreSQLEngine
from understudy.errors import EngineError, Unreachable


async def switch(engine: PostgreSQLEngine, pair: Pair, epoch: int = 2) -> int:
    """The planned change a → b in the protocol's order. Returns the rescue point."""
    ticket = at(epoch, "b", plan=epoch)
    await engine.announce(ticket, ("a", "b"))
    await engine.follow(pair.link(2, "b", "a"), ticket)
    await engine.fence("a", ticket)
    await engine.wait_replay(pair.link(1), ticket)
    await engine.copy_sequences("a", "b", ticket)
    point = await engine.stop_apply(pair.link(1), ticket)
    await engine.promote("b", ticket)
    return point


async def test_switchover_carries_rows_sequences_and_the_way_back(
    pair: Pair, engine: PostgreSQLEngine
) -> None:
    pair.sql("a", "INSERT INTO item (name) SELECT 'n' || i FROM generate_series(1, 100) i")
    pair.sql("a", "SELECT nextval('ticket'); SELECT setval('note_id_seq', 7, false)")
    point = await switch(engine, pair)
    assert point > 0
    assert pair.sql("b", "SELECT count(*) FROM item") == [(100,)]
    assert pair.sql("b", "INSERT INTO item (name) VALUES ('after') RETURNING id") == [(101,)]
    assert pair.sql("b", "INSERT INTO note (item, body) VALUES (101, 'x') RETURNING id") == [(7,)]
    assert pair.sql("b", "SELECT nextval('ticket')") == [(8,)]
    await engine.catch_up(pair.link(2, "b", "a"), at(2, "b", plan=2))
    assert pair.sql("a", "SELECT name FROM item WHERE id = 101") == [("after",)]
    assert await engine.drop_link(pair.link(1), at(2, "b", plan=2)) == ()
    report = await engine.verify("b", "a")
    assert report.equal


async def test_every_step_may_be_repeated(pair: Pair, engine: PostgreSQLEngine) -> None:
    pair.sql("a", "INSERT INTO item (name) VALUES ('x')")
    link, reverse, ticket = pair.link(1), pair.link(2, "b", "a"), at(2, "b", plan=1)
    points = set()
    for _ in range(2):
        await engine.announce(ticket, ("a", "b"))
        await engine.follow(reverse, ticket)
        await engine.fence("a", ticket)
        await engine.wait_replay(link, ticket)
        await engine.copy_sequences("a", "b", ticket)
    for _ in range(2):
        points.add(await engine.stop_apply(link, ticket))
        await engine.raise_sequences("b", ticket)
        await engine.create_slot("b", reverse.name, ticket)
    for _ in range(2):
        await engine.promote("b", ticket)
    for _ in range(2):
        await engine.drop_link(link, ticket)
    assert len(points) == 1
    assert pair.sql("b", "INSERT INTO item (name) VALUES ('y') RETURNING id")[0][0] > 1


async def test_sequences_of_a_node_that_accepts_writes_are_never_set(
    pair: Pair, engine: PostgreSQLEngine
) -> None:
    """An agent that was stopped in COPY_SEQUENCES and goes on when another has finished its plan."""
    await switch(engine, pair)
    for _ in range(5):
        pair.sql("b", "INSERT INTO item (name) VALUES ('taken')")
    late = at(2, "b", plan=2)
    with pytest.raises(EngineError, match=r"^b: not fenced.*set its sequences"):
        await engine.copy_sequences("a", "b", late)
    with pytest.raises(EngineError, match=r"^b: not fenced.*set its sequences"):
        await engine.raise_sequences("b", late)
    assert pair.sql("b", "INSERT INTO item (name) VALUES ('next') RETURNING id") == [(6,)]


async def test_reinstate_after_stop_apply(pair: Pair, engine: PostgreSQLEngine) -> None:
    await engine.announce(at(2, "b"), ("a", "b"))
    await engine.fence("a", at(2, "b"))
    await engine.stop_apply(pair.link(1), at(2, "b"))
    assert await engine.announce(at(3), ("a", "b")) == ("a", "b")
    await engine.resume_apply(pair.link(1), at(3))
    await engine.promote("a", at(3))
    pair.sql("a", "INSERT INTO item (name) VALUES ('again')")
    await until(lambda: pair.sql("b", "SELECT count(*) FROM item") == [(1,)])


async def test_trap_4_a_stopped_subscriber_receives_nothing_more(
    pair: Pair, engine: PostgreSQLEngine
) -> None:
    pair.sql("a", "INSERT INTO item (id, name) VALUES (1, 'before')")
    await engine.wait_replay(pair.link(1), at(1))
    point = await engine.stop_apply(pair.link(1), at(1))
    pair.sql("a", "INSERT INTO item (id, name) VALUES (2, 'tail')")
    assert await engine.stop_apply(pair.link(1), at(1)) == point
    probe = await engine.probe("b", heartbeat=None, epoch=1)
    assert not probe.subscriptions[pair.link(1).name].running
    assert pair.sql("b", "SELECT id FROM item") == [(1,)]


async def test_stop_apply_does_not_wait_for_a_worker_that_is_stuck(
    pair: Pair, engine: PostgreSQLEngine
) -> None:
    with pair.connect("b", "postgres") as blocker:
        blocker.execute("BEGIN READ WRITE")
        blocker.execute("LOCK TABLE item IN EXCLUSIVE MODE")
        pair.sql("a", "INSERT INTO item (id, name) VALUES (1, 'stuck')")
        waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'item'::regclass"
        await until(lambda: pair.sql("b", waits))
        point = await engine.stop_apply(pair.link(1), at(1))
    assert pair.sql("b", "SELECT count(*) FROM item") == [(0,)]
    committed = pair.sql("a", "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")[0][0]
    assert 0 < point < committed


async def test_trap_5_what_is_written_before_anyone_follows_is_not_lost(
    pair: Pair, engine: PostgreSQLEngine
) -> None:
    await engine.announce(at(2, "b"), ("a", "b"))
    await engine.stop_apply(pair.link(1), at(2, "b"))
    await engine.promote("b", at(2, "b"))
    pair.sql("b", "INSERT INTO item (id, name) VALUES (900, 'first write')")
    await engine.advance_slot(
        "b", pair.link(2).name
    )  # a late call of somebody who still takes b for a standby
    await engine.fence("a", at(2, "b"))
    await engine.drop_link(pair.link(1), at(2, "b"))
    await engine.follow(pair.link(2, "b", "a"), at(2, "b"))
    await engine.catch_up(pair.link(2, "b", "a"), at(2, "b"))
    assert pair.sql("a", "SELECT name FROM item WHERE id = 900") == [("first write",)]


async def test_trap_7_prepared_transactions_are_named(pair: Pair, engine: PostgreSQLEngine) -> None:
    with pair.connect("a") as session:
        session.execute("BEGIN; INSERT INTO item (name) VALUES ('p'); PREPARE TRANSACTION 'hidden'")
    with pytest.raises(EngineError, match=r"'hidden'.*ROLLBACK PREPARED"):
        await engine.fence("a", at(1))
    with pytest.raises(errors.ReadOnlySqlTransaction):
        pair.sql("a", "INSERT INTO item (name) VALUES ('no')")
    pair.sql("a", "ROLLBACK PREPARED 'hidden'")
    await engine.fence("a", at(1))


async def test_trap_7_a_transaction_in_flight_does_not_commit_after_the_fence(
    pair: Pair, engine: PostgreSQLEngine
) -> None:
    with pair.connect("a") as session:
        session.execute("BEGIN")
        session.execute("INSERT INTO item (name) VALUES ('late')")
        await engine.fence("a", at(1))
        with pytest.raises(psycopg.OperationalError):
            session.execute("COMMIT")
    assert pair.sql("a", "SELECT count(*) FROM item") == [(0,)]


async def test_trap_8_readers_of_the_fence_row_neither_block_nor_fail(
    pair: Pair, engine: PostgreSQLEngine
) -> None:
    with pair.connect("a") as reader, pair.connect("a") as serializable:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        serializable.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
        for session in (reader, serializable):
            assert session.execute("SELECT epoch FROM understudy.fence").fetchone() == (1,)
            session.execute("INSERT INTO item (name) VALUES ('x')")
        assert await engine.announce(at(2), ("a", "b")) == ("a", "b")
        for session in (reader, serializable):
            session.execute("SELECT epoch FROM understudy.fence")
            session.execute("COMMIT")
    assert pair.sql("a", "SELECT count(*) FROM item") == [(2,)]


async def test_trap_9_existing_sessions_do_not_survive_the_fence(
    pair: Pair, engine: PostgreSQLEngine
) -> None:
    sessions = [pair.connect("a") for _ in range(5)]
    looking = pair.connect("a", "postgres")
    await engine.fence("a", at(1))
    for session in sessions:
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert looking.execute("SELECT 1").fetchone() == (1,), "a superuser who only looks may stay"
    looking.close()
    with pair.connect("a") as reader:
        assert reader.execute("SELECT count(*) FROM item").fetchone() == (0,)
        with pytest.raises(errors.ReadOnlySqlTransaction):
            reader.execute("INSERT INTO item (name) VALUES ('no')")
        assert (await engine.probe("a", heartbeat=None, epoch=1)).fenced


async def test_a_superuser_who_is_writing_is_named(pair: Pair, engine: PostgreSQLEngine) -> None:
    with pair.connect("a", "postgres") as session:
        session.execute("BEGIN; INSERT INTO item (name) VALUES ('by hand')")
        async with hurried(pair) as soon:
            with pytest.raises(EngineError, match=r"postgres.*end them by hand"):
                await soon.fence("a", at(1))
        session.execute("ROLLBACK")
    await engine.fence("a", at(1))


async def test_trap_12_wait_replay_proves_that_everything_is_applied(
    pair: Pair, engine: PostgreSQLEngine
) -> None:
    with pair.connect("b", "postgres") as blocker:
        blocker.execute("BEGIN READ WRITE")
        blocker.execute("LOCK TABLE item IN EXCLUSIVE MODE")
        pair.sql("a", "INSERT INTO item (name) VALUES ('slow')")
        waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'item'::regclass"
        await until(lambda: pair.sql("b", waits))
        await engine.fence("a", at(1))
        waiting = asyncio.create_task(engine.wait_replay(pair.link(1), at(1)))
        sent = "SELECT sent_lsn >= pg_current_wal_lsn() FROM pg_stat_replication WHERE application_name = %s"
        await until(lambda: pair.sql("a", sent, pair.link(1).name, user="postgres") == [(True,)])
        assert not waiting.done(), "everything is sent, not everything is applied"
        blocker.execute("ROLLBACK")
    await waiting
    assert pair.sql("b", "SELECT count(*) FROM item") == [(1,)]


async def test_wait_replay_names_a_subscription_that_somebody_disabled(
    pair: Pair, engine: PostgreSQLEngine
) -> None:
    with pair.connect("b", "postgres", options=WRITABLE) as session:
        session.execute(f"ALTER SUBSCRIPTION {pair.link(1).name} DISABLE")
    with pytest.raises(EngineError, match=r"^b: somebody disabled subscription .* ENABLE"):
        await engine.wait_replay(pair.link(1), at(1))


async def test_wait_replay_ends_where_the_standby_cannot_apply(pair: Pair, engine: PostgreSQLEngine) -> None:
    with pair.connect("b", "postgres", options=WRITABLE) as session:
        session.execute("INSERT INTO item (id, name) VALUES (1, 'in the way')")
        pair.sql("a", "INSERT INTO item (id, name) VALUES (1, 'conflict')")
        async with hurried(pair) as soon:
            with pytest.raises(EngineError, match=r"^b: has not applied everything of a within 0.8 s"):
                await soon.wait_replay(pair.link(1), at(1))
        assert (await engine.probe("b", heartbeat=None, epoch=1)).subscriptions[pair.link(1).name].enabled
        # Somebody takes away what is in the way, and all goes on by itself.
        session.execute("DELETE FROM item")
    await engine.wait_replay(pair.link(1), at(1))
    assert pair.sql("b", "SELECT name FROM item") == [("conflict",)]


async def test_sequences_are_raised_past_what_was_sampled(pair: Pair, engine: PostgreSQLEngine) -> None:
    pair.sql("a", "CREATE SEQUENCE small MAXVALUE 50; CREATE SEQUENCE never; CREATE SEQUENCE round CYCLE")
    with pair.connect("b", options=WRITABLE) as session:
        session.execute(
            "CREATE SEQUENCE small MAXVALUE 50; CREATE SEQUENCE never; CREATE SEQUENCE round CYCLE"
        )
    pair.sql("a", "INSERT INTO item (name) SELECT 'n' FROM generate_series(1, 30)")
    pair.sql("a", "SELECT nextval('ticket'), nextval('small'), nextval('round')")
    await engine.probe("a", heartbeat=1, epoch=1)
    pair.sql("a", "INSERT INTO item (name) SELECT 'n' FROM generate_series(1, 70)")  # seen by no sample
    await engine.wait_replay(pair.link(1), at(1))
    await engine.stop_apply(pair.link(1), at(1))
    for _ in range(2):
        await engine.raise_sequences("b", at(1))
        values = pair.sql(
            "b", "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1", user="postgres"
        )
        assert dict(values) == {
            "item_id_seq": 1100,
            "never": None,
            "note_id_seq": None,
            "round": None,
            "small": 50,
            "ticket": 10 - 2 * 1000,
        }


async def test_a_fast_sequence_gets_a_wide_margin(pair: Pair, engine: PostgreSQLEngine) -> None:
    await engine.probe("a", heartbeat=1, epoch=1)
    pair.sql("a", "SELECT nextval('note_id_seq')")
    await engine.probe("a", heartbeat=2, epoch=1)
    pair.sql("a", "SELECT nextval('note_id_seq') FROM generate_series(1, 100000)")
    await engine.probe("a", heartbeat=3, epoch=1)
    await engine.wait_replay(pair.link(1), at(1))
    await engine.stop_apply(pair.link(1), at(1))
    await engine.raise_sequences("b", at(1))
    ((rate,),) = pair.sql("b", "SELECT per_second FROM understudy.sequence_sample", user="postgres")
    ((value,),) = pair.sql("b", "SELECT last_value FROM note_id_seq")
    assert value >= 100_001 + 10 * rate * pair.cluster.policy.lease_ttl


@IMPATIENT
async def test_a_frozen_server_costs_no_more_than_the_bound(pair: Pair, engine: PostgreSQLEngine) -> None:
    await engine.probe("a", heartbeat=1, epoch=1)
    pair.servers["a"].freeze()
    with pytest.raises(Unreachable):
        await engine.probe("a", heartbeat=2, epoch=1)
    assert await engine.announce(at(2, "b"), ("a", "b")) == ("b",)
    with pytest.raises(Unreachable):
        await engine.fence("a", at(2, "b"))
    await engine.stop_apply(pair.link(1), at(2, "b"))
    await engine.promote("b", at(2, "b"))
    pair.sql("b", "INSERT INTO item (id, name) VALUES (%s, 'b')", uuid4().int % 10**9)
    left = await engine.drop_link(pair.link(1), at(2, "b"))
    assert left == ("a",)
    pair.servers["a"].thaw()
    with pytest.raises(EngineError, match="not fenced"):
        await engine.full_copy(pair.link(9, "a", "b"), at(2, "b"))
    await engine.fence("a", at(2, "b"))
    assert await engine.drop_link(pair.link(1), at(2, "b")) == ()


async def test_an_agent_that_stops_with_the_fence_row_locked_holds_nobody_up(
    pair: Pair, engine: PostgreSQLEngine
) -> None:
    stopped = PostgreSQLEngine(pair.cluster, application="stopped")
    with pytest.raises(Unreachable):
        async with stopped.sessions.change("a", at(1)) as connection:
            assert await engine.announce(at(2, "b"), ("a", "b")) == ("a", "b")
            await connection.execute("SELECT 1")
    await stopped.close()


async def test_keeping_waits_for_the_disk_beside_the_event_loop(
    pair: Pair, engine: PostgreSQLEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flushing a large table takes seconds, in which the agent has to probe and to renew."""
    threads, fsync = set(), os.fsync

    def noted(descriptor: int) -> None:
        threads.add(threading.get_ident())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    pair.sql("a", "INSERT INTO item (name) SELECT 'n' || i FROM generate_series(1, 100) i")
    await until(lambda: pair.sql("b", "SELECT count(*) FROM item") == [(100,)])
    report = await engine.keep("b", tmp_path / "contents", at(1))
    assert report.changes == 100
    assert threads
    assert threading.get_ident() not in threads
