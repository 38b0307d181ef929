"""The agent on real servers that are killed, frozen and brought back."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from tests.faults.agent_world import PATIENCE, Servers, World, names, replicated, world_of
from tests.integration.conftest import make_pair

from understudy.agent.agent import AlreadyRunning
from understudy.engines.base import Severity
from understudy.engines.postgresql.engine import PostgreSQLEngine
from understudy.lease import LeaseFile, Phase
from understudy.model import Failback, RequestKind, Role, Rpo

BOTH_MODES = pytest.mark.parametrize(
    "world", [{"rpo": Rpo.BOUNDED}, {"rpo": Rpo.ZERO}], indirect=True, ids=["bounded", "zero"]
)


@BOTH_MODES
@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_a_lost_primary_is_replaced_returns_and_follows(
    world: World, servers: Servers, fault: str
) -> None:
    await replicated(world, "a", "b")
    getattr(servers["a"], fault)()
    await world.until(lambda s: s.primary == "b" and s.plan is None, "failover")
    world.pair.sql("b", "INSERT INTO item (name) VALUES ('written on b')")
    servers["a"].thaw() if fault == "freeze" else servers["a"].start()
    await world.settled("b")
    async with asyncio.timeout(PATIENCE):
        while "written on b" not in names(world, "a"):
            await asyncio.sleep(0.01)
    with pytest.raises(Exception, match="read-only"):
        world.pair.sql("a", "INSERT INTO item (name) VALUES ('refused')")


async def test_what_only_the_old_primary_had_is_rescued_and_rewound(world: World, servers: Servers) -> None:
    """The process that sends to the standby is stopped, a commits, a dies: the tail is in the rescue files."""
    await replicated(world, "a", "b")
    link = world.state().link
    assert link is not None
    sender = world.pair.sql(
        "a", "SELECT pid FROM pg_stat_replication WHERE application_name = %s", link.name, user="postgres"
    )
    os.kill(sender[0][0], signal.SIGSTOP)
    world.pair.sql("a", "INSERT INTO item (name) VALUES ('only on a')")
    world.pair.sql("a", "UPDATE item SET name = 'changed on a' WHERE name = 'sentinel'")
    servers["a"].kill()
    await world.until(lambda s: s.primary == "b" and s.plan is None, "failover")
    assert "only on a" not in names(world, "b")
    servers["a"].start()
    await world.settled("b")
    assert names(world, "a") == names(world, "b")
    rescued = list((world.directory / "rescue").iterdir())
    assert len(rescued) == 1
    text = (rescued[0] / "changes.jsonl").read_text()
    assert "only on a" in text
    assert "changed on a" in text


@BOTH_MODES
async def test_a_planned_change_and_back(world: World) -> None:
    await replicated(world, "a", "b")
    world.ask(RequestKind.SWITCHOVER, "b")
    state = await world.settled("b")
    assert state.epoch == 2
    ids = world.pair.sql("b", "INSERT INTO item (name) VALUES ('next') RETURNING id")
    assert ids == [(2,)]  # the sequence goes on without a gap: its exact value came along
    if world.pair.cluster.policy.rpo is Rpo.ZERO:
        await world.until(lambda s: s.in_sync, "in sync")
    world.ask(RequestKind.SWITCHOVER, "a")
    state = await world.settled("a")
    assert state.epoch == 3
    assert names(world, "a") == {"sentinel", "next"}


@pytest.mark.parametrize("world", [{"failback": Failback.AUTO, "failback_after": 0.5}], indirect=True)
async def test_the_preferred_node_becomes_primary_again_by_itself(world: World, servers: Servers) -> None:
    servers["a"].kill()
    await world.until(lambda s: s.primary == "b" and s.plan is None, "failover")
    servers["a"].start()
    state = await world.settled("a")
    assert len(state.failbacks) == 1


@pytest.mark.parametrize("world", [{"rpo": Rpo.ZERO}], indirect=True)
async def test_zero_refuses_a_failover_to_a_standby_that_is_not_in_sync(
    world: World, servers: Servers
) -> None:
    servers["b"].kill()
    await world.until(lambda s: not s.in_sync and s.plan is None, "withdrawn")
    world.pair.sql("a", "INSERT INTO item (name) VALUES ('alone')")  # writes go on
    servers["a"].kill()
    servers["b"].start()
    await world.until(lambda _: "b is not in sync" in world.story(), "refused for the right reason")
    assert world.state().primary == "a"
    servers["a"].start()
    await world.until(lambda s: s.in_sync, "in sync again")
    assert "alone" in names(world, "b")


async def test_a_switchover_that_cannot_get_quiet_is_rolled_back(world: World) -> None:
    """A transaction in flight past quiet_timeout: the change is given up, the transaction commits."""
    lease = LeaseFile(world.directory / f"{world.name}.lease")
    async with asyncio.timeout(PATIENCE):
        while lease.read() is None:
            await asyncio.sleep(0.01)
    slot = lease.register()
    slot.enter()
    world.ask(RequestKind.SWITCHOVER, "b")
    await world.until(lambda s: s.epoch == 3 and s.plan is None, "rolled back")
    assert world.state().primary == "a"
    slot.release()
    await world.settled("a")
    world.pair.sql("a", "INSERT INTO item (name) VALUES ('a still writes')")
    world.ask(RequestKind.SWITCHOVER, "b")
    await world.settled("b")


async def test_bounded_needs_no_right_to_set_what_only_zero_sets(world: World) -> None:
    """`check` asks for no ALTER SYSTEM in `bounded`, and managed providers give none: changes do without."""
    grant = "ALTER SYSTEM ON PARAMETER synchronous_standby_names"
    for node in "ab":
        world.pair.sql(node, f"SET TRANSACTION READ WRITE; REVOKE {grant} FROM understudy", user="postgres")
    try:
        engine = PostgreSQLEngine(world.pair.cluster)
        assert not [f for f in await engine.check() if f.severity is Severity.ERROR]
        await engine.close()
        world.ask(RequestKind.SWITCHOVER, "b")
        await world.settled("b")
        lease = LeaseFile(world.directory / f"{world.name}.lease")
        slot = lease.register()
        slot.enter()
        world.ask(RequestKind.SWITCHOVER, "a")
        await world.until(lambda s: s.epoch == 4 and s.plan is None, "rolled back")
        slot.release()
        await world.settled("b")
        world.pair.sql("b", "INSERT INTO item (name) VALUES ('b still writes')")
    finally:
        for node in "ab":  # the servers' roles are all tests'
            world.pair.sql(node, f"SET TRANSACTION READ WRITE; GRANT {grant} TO understudy", user="postgres")


@pytest.mark.parametrize("world", [{"rpo": Rpo.ZERO}], indirect=True)
async def test_the_next_agent_finishes_what_a_dead_one_began(world: World, servers: Servers) -> None:
    """The agent is stopped dead after each step of a failover; a new one goes on every time."""
    await replicated(world, "a", "b")
    servers["a"].kill()

    def done() -> int:
        plan = world.state().plan
        return len(plan.done) if plan is not None else 0

    for _ in range(40):
        seen = done()
        await world.until(lambda s, seen=seen: done() != seen or s.primary == "b", "one more step")
        await world.stop_agents(abruptly=True)
        world.witness.release_agent(world.name, (world.witness.agent(world.name) or ("", 0.0))[0])
        if world.state().primary == "b" and world.state().plan is None:
            break
        world.start_agent()
    assert world.state().primary == "b"
    world.start_agent()
    servers["a"].start()
    await world.settled("b")


async def test_a_second_agent_is_refused_or_waits_and_takes_over(world: World) -> None:
    with pytest.raises(AlreadyRunning, match="--standby"):
        await world.start_agent()
    _, _, engine = world.running.pop()
    await engine.close()
    first = world.running[0]
    world.start_agent(standby=True)
    first[0].cancel()  # silent from now on, without giving its place up
    await world.until(lambda _: "agent_took_over" in world.kinds(), "takeover")
    world.running.remove(first)
    await first[2].close()
    world.ask(RequestKind.SWITCHOVER, "b")
    await world.settled("b")


async def test_starts_with_the_standby_down_and_repairs_it_when_it_is_back(
    servers: Servers, healed: None, tmp_path: Path
) -> None:
    pair = make_pair(servers, failback=Failback.MANUAL)
    async with world_of(pair, tmp_path) as world:
        servers["b"].kill()
        world.start_agent()
        await world.until(lambda _: "node_down" in world.kinds(), "b is down")
        lease = LeaseFile(tmp_path / f"{world.name}.lease")
        async with asyncio.timeout(PATIENCE):  # witness and a: two of three
            while (found := lease.read()) is None or found.phase is not Phase.OPEN:
                await asyncio.sleep(0.01)
        servers["b"].start()
        await replicated(world, "a", "b")
        assert world.state().record("b").role is Role.STANDBY


async def test_a_slot_that_vanished_means_a_full_copy_and_nothing_lost(world: World) -> None:
    await replicated(world, "a", "b")
    link = world.state().link
    assert link is not None
    end = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s"
    drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"
    async with asyncio.timeout(PATIENCE):  # the standby's worker takes the slot again and again
        while world.pair.sql("a", "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", link.name):
            world.pair.sql("a", end, link.name, user="postgres")
            with suppress(psycopg.errors.ObjectInUse):
                world.pair.sql("a", drop, link.name, user="postgres")
            await asyncio.sleep(0.005)
    world.pair.sql("a", "INSERT INTO item (name) VALUES ('after the slot')")
    await world.until(lambda s: s.link is not None and s.link.name != link.name and s.plan is None, "copied")
    await world.settled("a")
    await replicated(world, "a", "b")
    assert "after the slot" in names(world, "b")


async def test_drift_blocks_a_change_and_says_so(world: World) -> None:
    engine = PostgreSQLEngine(world.pair.cluster)
    world.pair.sql("a", "ALTER TABLE item ADD COLUMN added int")
    await world.stop_agents()
    world.start_agent()
    await world.until(lambda _: world.kinds().count("agent_started") == 2, "restarted")
    world.ask(RequestKind.SWITCHOVER, "b")
    state = await world.until(lambda s: bool(s.answer), "answered")
    assert "schemas of a and b differ" in state.answer
    assert state.primary == "a"
    await engine.close()


async def test_where_the_tail_cannot_be_read_everything_is_kept_before_the_copy(
    world: World, servers: Servers
) -> None:
    """The old primary's slot is lost: what only it had cannot be told, so all of it is in the rescue folder."""
    await replicated(world, "a", "b")
    link = world.state().link
    assert link is not None
    servers["a"].kill()
    await world.until(lambda s: s.primary == "b" and s.plan is None, "failover")
    await world.stop_agents()
    servers["a"].start()
    world.pair.sql("a", "INSERT INTO item (name) VALUES ('only here')")
    drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"
    world.pair.sql("a", drop, link.name, user="postgres")
    world.start_agent()
    await world.settled("b")
    assert names(world, "a") == names(world, "b")
    kept = list((world.directory / "rescue").glob("*-contents-*"))
    assert len(kept) == 1
    tables = json.loads((kept[0] / "contents.json").read_text())["tables"]
    text = gzip.decompress((kept[0] / tables["public.item"]["file"]).read_bytes()).decode()
    assert "only here" in text


async def test_an_agent_that_starts_right_after_another_was_killed_takes_its_place(world: World) -> None:
    """A supervisor restarts a killed agent at once; its place is still taken for a moment."""
    await world.stop_agents(abruptly=True)
    world.start_agent()
    await world.until(lambda _: world.kinds().count("agent_started") == 2, "it acts")
    world.ask(RequestKind.SWITCHOVER, "b")
    await world.settled("b")


async def test_a_primary_that_somebody_made_read_only_is_opened_again(world: World) -> None:
    world.pair.sql(
        "a",
        f'ALTER DATABASE "{world.pair.database}" SET default_transaction_read_only = on',
        user="postgres",
    )
    await world.until(lambda s: s.epoch == 2 and s.plan is None, "reinstated")
    assert "primary_fenced" in world.kinds()
    assert world.state().primary == "a"
    world.pair.sql("a", "INSERT INTO item (name) VALUES ('writable')")
    await replicated(world, "a", "b")
    assert "writable" in names(world, "b")
