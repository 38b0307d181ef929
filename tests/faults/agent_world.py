"""A pair with a real agent on it, for tests that hurt the servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.integration.conftest import Pair, remove

from understudy.agent.agent import ClusterAgent
from understudy.agent.doorbell import ring
from understudy.embedded import EmbeddedPostgreSQL
from understudy.engines.postgresql.engine import PostgreSQLEngine
from understudy.lease import LeaseFile, boot_now
from understudy.model import ClusterState, Link, NodeRecord, Request, RequestKind, Role
from understudy.witness import SqliteWitness

PATIENCE = 60.0
Servers = dict[str, EmbeddedPostgreSQL]


@dataclass
class World:
    """A pair that is set up, its witness, and agents that can be started and stopped like processes."""

    pair: Pair
    directory: Path
    witness: SqliteWitness
    running: list[tuple[asyncio.Task[None], asyncio.Event, PostgreSQLEngine]] = field(default_factory=list)
    newest: ClusterAgent | None = None

    @property
    def name(self) -> str:
        return self.pair.cluster.name

    def state(self) -> ClusterState:
        state = self.witness.read(self.name)
        assert state is not None
        return state

    def start_agent(self, *, standby: bool = False) -> asyncio.Task[None]:
        engine = PostgreSQLEngine(self.pair.cluster, clock=boot_now)
        agent = ClusterAgent(self.pair.cluster, engine, self.witness, self.directory, standby=standby)
        self.newest = agent
        stop = asyncio.Event()
        task = asyncio.create_task(agent.run(stop))
        self.running.append((task, stop, engine))
        return task

    async def stop_agents(self, *, abruptly: bool = False) -> None:
        """End all agents; ``abruptly`` gives them no time to finish a step or to give their place up."""
        while self.running:
            task, stop, engine = self.running.pop()
            stop.set()
            if abruptly:
                task.cancel()
            await asyncio.wait({task})
            await engine.close()
            if not task.cancelled():
                task.result()

    async def until(self, holds: Callable[[ClusterState], bool], what: str) -> ClusterState:
        """Wait until the witness says so; the events of the story are the error when it does not."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not holds(state := self.state()):
                    for task, _, _ in self.running:
                        if task.done() and not task.cancelled():
                            task.result()
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"not reached: {what}\n{self.story()}\n{self.state()}") from None
        return state

    def story(self) -> str:
        return "\n".join(f"{e.kind}: {e.message}" for e in self.witness.events(self.name, limit=200))

    def kinds(self) -> list[str]:
        return [e.kind for e in self.witness.events(self.name, limit=10_000)]

    def lag_known(self) -> bool:
        """The agent has written a heartbeat and knows how far the standby is behind it."""
        lease = LeaseFile(self.directory / f"{self.name}.lease").read()
        return lease is not None and 0.0 <= lease.standby_lag < 1.0

    def ask(self, kind: RequestKind, target: str, *, accept_loss: bool = False) -> None:
        state = self.state()
        request = Request(id="test", kind=kind, target=target, accept_loss=accept_loss)
        self.witness.write(replace(state, request=request, answer=""), expected=state.version)
        ring(self.directory / f"{self.name}.sock")

    async def settled(self, primary: str) -> ClusterState:
        """``primary`` is primary, the other follows and was verified, nothing is under way."""
        other = next(n for n in ("a", "b") if n != primary)

        def holds(state: ClusterState) -> bool:
            record = state.record(other)
            return (
                state.primary == primary
                and state.plan is None
                and record.role is Role.STANDBY
                and record.verified
                and not state.old_links
                and bool(state.spare_slot)
            )

        return await self.until(holds, f"{primary} primary, {other} follows")


def _take_away(pair: Pair) -> None:
    """Leave the servers as they were: databases that go on replicating would slow every later test down."""
    for server in pair.servers.values():
        server.thaw()
        if not server.running:
            server.start()
    for node in pair.servers:
        remove(pair, node)


@asynccontextmanager
async def world_of(pair: Pair, directory: Path) -> AsyncIterator[World]:
    """Set the pair up and write its first state; stops every agent in the end."""
    engine = PostgreSQLEngine(pair.cluster)
    try:
        made = await engine.setup(progress=lambda _: None)
    finally:
        await engine.close()
    witness = SqliteWitness(directory / "witness.db")
    first = ClusterState(
        cluster=pair.cluster.name,
        version=0,
        epoch=1,
        primary="a",
        nodes=(
            NodeRecord(name="a", role=Role.PRIMARY, identity=made["identity:a"], verified=True),
            NodeRecord(name="b", role=Role.STANDBY, identity=made["identity:b"], verified=True),
        ),
        link=Link(name=made["link"], publisher="a", subscriber="b"),
        spare_slot=made["spare_slot"],
    )
    witness.write(first, expected=0)
    world = World(pair=pair, directory=directory, witness=witness)
    try:
        yield world
    finally:
        await world.stop_agents()
        witness.close()
        _take_away(pair)


def names(world: World, node: str) -> set[str]:
    """The names in table item on a node."""
    return {row[0] for row in world.pair.sql(node, "SELECT name FROM item")}


async def replicated(world: World, source: str, target: str, name: str = "sentinel") -> None:
    """Wait until a row of now is on the other side."""
    world.pair.sql(source, "INSERT INTO item (name) VALUES (%s)", name)
    async with asyncio.timeout(PATIENCE):
        while name not in names(world, target):
            await asyncio.sleep(0.01)
