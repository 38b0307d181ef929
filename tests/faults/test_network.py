"""Networks that break between agent, clients and primary, or between the servers: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Self

import psycopg
import pytest
from tests.faults.agent_world import PATIENCE, Servers, World, replicated, world_of
from tests.integration.conftest import Pair, make_pair

from understudy.client import Pool
from understudy.embedded import FaultProxy
from understudy.embedded.fault_proxy import WAYS
from understudy.model import Failback, Node, Rpo

Fault = Callable[[FaultProxy], None]


@dataclass(frozen=True)
class Ack:
    """A row whose commit was acknowledged: by which node, at which epoch; when begun, when noted (monotonic s)."""

    name: str
    node: str
    epoch: int
    began: float
    noted: float


class Writers:
    """Two threads that write rows through one pool, each row once and no row twice, and what they were told."""

    def __init__(self, world: World) -> None:
        self.acks: list[Ack] = []
        self.errors: list[str] = []
        self._world = world
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, daemon=True) for _ in range(2)]

    def __enter__(self) -> Self:
        self._pool = Pool(self._world.pair.cluster, self._world.directory, max_size=4)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.close()
        for thread in self._threads:
            thread.join(1)

    def _write(self) -> None:
        while not self._stop.is_set():
            name = f"row {next(self._numbers)}"
            try:
                with self._pool.connection(timeout=5) as conn:
                    node, epoch, began = conn.node, conn.epoch, time.monotonic()
                    conn.execute("INSERT INTO item (name) VALUES (%s)", (name,))
                self.acks.append(Ack(name, node, epoch, began, time.monotonic()))
            except psycopg.Error as error:
                self.errors.append(f"{type(error).__name__}: {error}")
            time.sleep(0.01)

    async def more(self, count: int = 20, node: str = "") -> None:
        """Wait for so many more rows acknowledged (by that node)."""
        seen = len(self.acks)
        try:
            async with asyncio.timeout(PATIENCE):
                while sum(node in ("", ack.node) for ack in self.acks[seen:]) < count:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"no more writes\n{self._world.story()}\n{self.errors[-5:]}") from None

    async def stop(self) -> None:
        """No more rows; what is under way may finish."""
        self._stop.set()
        for thread in self._threads:
            await asyncio.to_thread(thread.join, PATIENCE)
            assert not thread.is_alive(), "a writer hangs"


def through(node: Node, proxy: FaultProxy, *, clients: bool) -> Node:
    """The node with agent and clients (else: the other server's replication) on the way through the proxy."""
    port = str(psycopg.conninfo.conninfo_to_dict(node.dsn)["port"])

    def rerouted(dsn: str) -> str:
        assert dsn.count(f":{port}/") == 1
        return dsn.replace(f":{port}/", f":{proxy.port}/")

    if clients:
        return replace(node, dsn=rerouted(node.dsn), admin_dsn=rerouted(node.admin_dsn))
    return replace(node, replication_dsn=rerouted(node.replication_dsn))


@pytest.fixture
def proxy(servers: Servers) -> Iterator[FaultProxy]:
    """On the way to server a."""
    with FaultProxy("127.0.0.1", servers["a"].port) as proxy:
        yield proxy


@asynccontextmanager
async def running(
    servers: Servers, proxy: FaultProxy, directory: Path, *, clients: bool = True, **policy: object
) -> AsyncIterator[tuple[World, Writers]]:
    """A pair with a proxy on the way to its primary a, its agent, and writers at work."""
    policy = {"rpo": Rpo.BOUNDED, "failback": Failback.MANUAL, "probe_timeout": 0.6} | policy
    pair = proxied(make_pair(servers, **policy), proxy, clients=clients)
    async with world_of(pair, directory) as world:
        world.start_agent()
        if policy["rpo"] is Rpo.ZERO:
            await world.until(lambda s: s.in_sync, "in sync")
        else:
            await world.until(lambda _: world.lag_known(), "heartbeats arrive")
        try:
            with Writers(world) as writers:
                await writers.more()
                yield world, writers
        finally:
            proxy.pass_through()


def proxied(pair: Pair, proxy: FaultProxy, *, clients: bool) -> Pair:
    a, b = pair.cluster.nodes
    return replace(pair, cluster=replace(pair.cluster, nodes=(through(a, proxy, clients=clients), b)))


async def failed_over(world: World, writers: Writers) -> None:
    await world.until(lambda s: s.primary == "b" and s.plan is None, "failover")
    await writers.more(node="b")


def rescued(world: World) -> list[str]:
    """Names in the rescue files."""
    records = [
        json.loads(line)
        for changes in (world.directory / "rescue").glob("*/changes.jsonl")
        for line in changes.read_text().splitlines()
    ]
    return [r["new"]["name"] for r in records if r["table"] == "item"]


async def nothing_lost(world: World, writers: Writers) -> None:
    """With everything well again: all acknowledged rows exist, once, on both nodes, and there was one writer."""
    primary = world.state().primary
    other = world.state().other
    await world.settled(primary)
    await writers.more()
    await writers.stop()
    await replicated(world, primary, other, "the end")
    both = {n: world.pair.sql(n, "SELECT id, name FROM item ORDER BY id") for n in ("a", "b")}
    assert both["a"] == both["b"]
    present, kept = [name for _, name in both[primary]], rescued(world)
    assert len(present) == len(set(present)), "a row is there twice"
    assert not set(present) & set(kept), "a row was rescued although it is there"
    assert {ack.name for ack in writers.acks} <= set(present) | set(kept)
    epochs = sorted({ack.epoch for ack in writers.acks})
    for older, newer in pairwise(epochs):  # by its beginning: a thread may come late to note what it was told
        last = max(ack.began for ack in writers.acks if ack.epoch == older)
        first = min(ack.noted for ack in writers.acks if ack.epoch == newer)
        assert last <= first, "work was taken on at an older epoch after a newer one had acknowledged some"
    assert len({(ack.epoch, ack.node) for ack in writers.acks}) == len(epochs), "two nodes at one epoch"


def deaf(proxy: FaultProxy) -> None:
    proxy.deaf()
    proxy.cut()


FATAL: dict[str, Fault] = {
    "black hole": FaultProxy.black_hole,
    "deaf": deaf,
    "one way to the server": lambda proxy: proxy.one_way("to_server"),
    "one way to the client": lambda proxy: proxy.one_way("to_client"),
    "refuse and cut": FaultProxy.stop,
}


@pytest.mark.slow
@pytest.mark.parametrize("rpo", Rpo)
@pytest.mark.parametrize("fault", FATAL)
async def test_a_primary_that_cannot_be_reached_is_replaced_and_follows(
    servers: Servers, healed: None, proxy: FaultProxy, tmp_path: Path, fault: str, rpo: Rpo
) -> None:
    """Only the way of agent and clients is broken: the old primary is alive, unfenced, and still replicates."""
    async with running(servers, proxy, tmp_path, rpo=rpo) as (world, writers):
        FATAL[fault](proxy)
        await failed_over(world, writers)
        proxy.pass_through()
        await world.settled("b")
        await nothing_lost(world, writers)
        if rpo is Rpo.ZERO:
            assert not rescued(world)


@pytest.mark.parametrize("closed", [pytest.param("client", marks=pytest.mark.slow), "server"])
async def test_half_open_connections_are_no_failover(
    servers: Servers, healed: None, proxy: FaultProxy, tmp_path: Path, closed: str
) -> None:
    async with running(servers, proxy, tmp_path, probe_timeout=1.5) as (world, writers):
        proxy.half_open("client" if closed == "client" else "server")
        if closed == "client":
            await writers.more(40)  # with new connections
        else:
            await asyncio.sleep(
                3 * world.pair.cluster.policy.probe_timeout
            )  # calls hang; the agent connects anew
        assert world.state().primary == "a"
        assert "primary_down" not in world.kinds()
        proxy.pass_through()
        await nothing_lost(world, writers)


@pytest.mark.parametrize("seed", [pytest.param(n, marks=[pytest.mark.slow] if n else []) for n in range(4)])
async def test_connections_cut_at_any_byte_are_no_failover(
    servers: Servers, healed: None, proxy: FaultProxy, tmp_path: Path, seed: int
) -> None:
    source = random.Random(seed)
    async with running(servers, proxy, tmp_path, probe_timeout=3.0) as (world, writers):
        cuts = 0
        while (
            cuts < (8 if seed else 4) or len(writers.errors) < 2
        ):  # a cut between two transactions is no error
            cuts += 1
            assert cuts < 40
            cut = source.choice([proxy.cut_after, proxy.reset_after])
            cut(source.randrange(4000), source.choice(WAYS))
            await writers.more(60)  # more bytes than that, each way
        assert world.state().primary == "a"
        assert "primary_down" not in world.kinds()
        await nothing_lost(world, writers)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_latency_within_the_limits_of_the_probe_is_no_failover(
    servers: Servers, healed: None, proxy: FaultProxy, tmp_path: Path, seed: int
) -> None:
    """300 ± 100 ms a round trip; the lease stays open by itself."""
    async with running(servers, proxy, tmp_path, probe_timeout=3.0) as (world, writers):
        proxy.latency(0.15, jitter=0.05, seed=seed)
        seen = len(writers.acks)
        await asyncio.sleep(2 * world.pair.cluster.policy.lease_ttl)
        assert len(writers.acks) > seen + 10
        assert world.state().primary == "a"
        assert "primary_down" not in world.kinds()
        proxy.pass_through()
        await nothing_lost(world, writers)


@pytest.mark.slow
@pytest.mark.parametrize("way", [None, *WAYS])
async def test_a_slow_line_loses_nothing_whatever_is_decided(
    servers: Servers, healed: None, proxy: FaultProxy, tmp_path: Path, way: str | None
) -> None:
    """2 kB/s for agent and clients together: whether the primary is given up depends on who is first in the queue."""
    async with running(servers, proxy, tmp_path) as (world, writers):
        proxy.slow(2000, next((w for w in WAYS if w == way), None))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3 * world.pair.cluster.policy.lease_ttl):
                while world.state().primary == "a":
                    await asyncio.sleep(0.05)
        proxy.pass_through()
        await world.until(lambda s: s.plan is None, "decided")
        await nothing_lost(world, writers)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "why"),
    [
        # pg_stat_replication shows the standby streaming for wal_sender_timeout (60 s): only heartbeats tell.
        pytest.param(FaultProxy.black_hole, "behind, and writes wait", id="black hole"),
        pytest.param(FaultProxy.stop, "has not been streaming", id="refuse and cut"),
    ],
)
async def test_zero_goes_on_without_replication_and_is_in_sync_again(
    servers: Servers, healed: None, proxy: FaultProxy, tmp_path: Path, fault: Fault, why: str
) -> None:
    """Only the way between the servers is broken. Writes stall until *in sync* has been withdrawn, then go on."""
    policy = {"rpo": Rpo.ZERO, "max_lag_seconds": 3.0}
    async with running(servers, proxy, tmp_path, clients=False, **policy) as (world, writers):
        fault(proxy)
        await world.until(lambda s: not s.in_sync and s.plan is None, "in sync is withdrawn")
        await writers.more()
        await asyncio.sleep(2)
        assert world.kinds().count("sync_lost") == 1
        assert why in next(
            e.message for e in world.witness.events(world.name, limit=100) if e.kind == "sync_lost"
        )
        assert "sync_possible" not in world.kinds()[world.kinds().index("sync_lost") :]
        assert world.state().primary == "a"
        proxy.pass_through()
        await world.until(lambda s: s.in_sync and s.plan is None, "in sync again")
        await nothing_lost(world, writers)
        assert not rescued(world)
