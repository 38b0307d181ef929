"""What an agent takes over from the one before it when the configuration is read again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.unit.web_world import World, probe, state, world

from understudy.agent.agent import ClusterAgent
from understudy.engines import engine_for
from understudy.lease import boot_now
from understudy.model import Cluster, NodeView


@contextmanager
def successor(w: World, cluster: Cluster, directory: Path) -> Iterator[ClusterAgent]:
    """An agent that has never asked a node, after the one of that world."""
    agent = ClusterAgent(cluster, engine_for(cluster), w.witness, directory)
    agent.inherit(w.agent)
    agent._state = state()  # as read from the witness
    try:
        yield agent
    finally:
        agent._lease.close()


def written(seconds_ago: float) -> int:
    return int((boot_now() - seconds_ago) * 1000)


async def test_what_was_seen_and_the_time_in_between_counts_as_lag(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        lost = NodeView(name="home", misses=2, error="x", probe=probe("primary", heartbeat=written(3)))
        w.see(state(), lost, probe("standby", heartbeat=written(4)))
        assert 1.0 <= (w.agent.sight.lag_seconds or 0) < 30.0
        with successor(w, w.agent._cluster, tmp_path) as agent:
            assert agent.sight.nodes == w.agent.sight.nodes
            assert (agent.sight.lag_seconds or 0) >= 4.0
            assert agent._changed_at > max(n.probe.at for n in agent.sight.nodes.values() if n.probe)


async def test_nothing_of_another_server(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        before = w.agent._cluster
        moved = replace(before.nodes[0], admin_dsn="postgresql://app@elsewhere:5432/farm")
        with successor(w, replace(before, nodes=(moved, before.nodes[1])), tmp_path) as agent:
            assert (agent.sight.lag_seconds, agent.sight.nodes["home"]) == (None, NodeView(name="home"))


async def test_what_nobody_knew_stays_unknown(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.agent._watch = type(w.agent._watch)()
        with successor(w, w.agent._cluster, tmp_path) as agent:
            assert agent.sight.lag_seconds is None


async def test_nothing_of_an_agent_that_only_looked_on(tmp_path: Path) -> None:
    """Another one wrote the heartbeats, and may have written more."""
    async with world(tmp_path) as w:
        w.agent._acting = False
        with successor(w, w.agent._cluster, tmp_path) as agent:
            assert (agent.sight.lag_seconds, agent.sight.nodes["home"]) == (None, NodeView(name="home"))
