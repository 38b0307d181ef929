"""One fault at one step of one plan, on real servers and agent processes: the cells of the table of steps × faults."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path

import psycopg
from tests.faults.agent_world import PATIENCE, Servers, World, names

from understudy.model import ClusterState, PlanKind, RequestKind, Role, Step


class Fault(StrEnum):
    """What happens at the step. *Stopped*: SIGSTOP; another agent takes over; then SIGCONT."""

    KILL_BEFORE = "agent killed before"
    KILL_AFTER = "agent killed after"
    STOP_BEFORE = "agent stopped before"
    STOP_AFTER = "agent stopped after"
    CRASH_A = "server a crashes"
    CRASH_B = "server b crashes"


class Agents:
    """The agent processes of one test; all are gone at its end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._config = world.directory / "understudy.toml"
        self._config.write_text(_toml(world))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._log = (world.directory / "agents.log").open("ab")

    def start(self, *trap: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.faults.trapped_agent", str(self._config), *trap]
        process = subprocess.Popen(command, stdout=self._log, stderr=self._log, start_new_session=True)
        self._processes.append(process)
        return process

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self._log.close()


@asynccontextmanager
async def agents_of(world: World) -> AsyncIterator[Agents]:
    agents = Agents(world)
    try:
        yield agents
    finally:
        agents.end()


def _toml(world: World) -> str:
    policy = world.pair.cluster.policy
    lines = [
        f'directory = "{world.directory}"',
        f"[clusters.{world.name}]",
        f'rpo = "{policy.rpo}"',
        f"[clusters.{world.name}.policy]",
        f'failback = "{policy.failback}"',
        f"probe_timeout = {policy.probe_timeout}",
        f"agent_takeover = {policy.agent_takeover}",
    ]
    for node in world.pair.cluster.nodes:
        lines += [
            f"[[clusters.{world.name}.nodes]]",
            f'name = "{node.name}"',
            f"dsn = {json.dumps(node.dsn)}",
        ]
        lines += [f"admin_dsn = {json.dumps(node.admin_dsn)}"]
        lines += [f"replication_dsn = {json.dumps(node.replication_dsn)}"]
    return "\n".join(lines) + "\n"


async def begin(world: World, servers: Servers, kind: PlanKind) -> None:
    """Bring about a plan of that kind: an order, a crash, or a crash and a return."""
    if kind is PlanKind.SWITCHOVER:
        world.ask(RequestKind.SWITCHOVER, "b")
    else:
        servers["a"].kill()
    if kind is PlanKind.REJOIN:
        await world.until(lambda s: s.primary == "b" and s.plan is None, "failover")
        servers["a"].start()


async def play(
    world: World, servers: Servers, agents: Agents, kind: PlanKind, step: Step, fault: Fault
) -> None:
    """One cell: begin the plan, let the fault happen at the step, and bring back whatever may come back."""
    if fault in (Fault.CRASH_A, Fault.CRASH_B):
        first = agents.start(kind, step, "before", "STOP")
        await _look_known(world)
        await begin(world, servers, kind)
        await _sprung(first, world)
        name = "a" if fault is Fault.CRASH_A else "b"
        servers[name].kill()
        first.send_signal(18)
        await world.until(lambda s: f"{name} missed" in world.story() or s.plan is None, "noticed")
        for server in servers.values():
            if not server.running:
                server.start()
        return
    when = "before" if fault in (Fault.KILL_BEFORE, Fault.STOP_BEFORE) else "after"
    killed = fault in (Fault.KILL_BEFORE, Fault.KILL_AFTER)
    first = agents.start(kind, step, when, "KILL" if killed else "STOP")
    await _look_known(world)
    await begin(world, servers, kind)
    await _sprung(first, world)
    agents.start()
    # An agent that was stopped in the middle of a write of the witness is woken by the other one and goes on itself.
    await world.until(
        lambda s: "agent_took_over" in world.kinds() or len(_starts(world)) > 1 or s.plan is None,
        "somebody acts",
    )
    if not killed:
        await world.until(lambda s: s.plan is None, "the other agent has finished the plan")
        first.send_signal(18)
    for server in servers.values():
        if not server.running:
            server.start()


def _starts(world: World) -> list[str]:
    return [kind for kind in world.kinds() if kind == "agent_started"]


async def _look_known(world: World) -> None:
    """The first agent acts and knows what it needs for any plan."""
    zero = world.pair.cluster.policy.rpo == "zero"

    def known(state: ClusterState) -> bool:
        return state.in_sync if zero else world.lag_known()

    await world.until(known, "the agent knows the pair")


async def _sprung(process: subprocess.Popen[bytes], world: World) -> None:
    """Wait until the process has stopped or ended at its trap."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if process.poll() is not None:
                assert process.returncode == -9, f"the agent ended: {process.returncode}\n{world.story()}"
                return
            state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state == "T":
                return
            await asyncio.sleep(0.01)


async def converged(world: World) -> ClusterState:
    """At rest: one primary, the other follows and is verified, and both hold the same rows."""

    def rest(state: ClusterState) -> bool:
        other = state.record(state.other)
        settled = state.plan is None and other.role is Role.STANDBY and other.verified and not state.old_links
        return settled and bool(state.spare_slot)

    state = await world.until(rest, "at rest")
    world.pair.sql(state.primary, "INSERT INTO item (name) VALUES ('last')")
    async with asyncio.timeout(PATIENCE):
        while not _same_rows(world, state):
            await asyncio.sleep(0.02)
    return state


def _same_rows(world: World, state: ClusterState) -> bool:
    """A session that is ended while it reads (an agent that has just taken over fences the standby once more) asks
    again; a node that stays away is noticed by the time limit. Where the end meets a question that is on its way, the
    reset of the connection may overtake the server's reason.
    """
    try:
        return names(world, state.primary) == names(world, state.other)
    except psycopg.OperationalError:
        return False
