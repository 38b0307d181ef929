"""Asking the nodes directly, as an agent does, for commands that show the present."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from understudy.agent.probing import Watch
from understudy.engines.base import Engine
from understudy.errors import EngineError
from understudy.lease import Lease, LeaseFile, ProcessView, boot_now
from understudy.model import ClusterState, NodeView, View


async def look_at(
    engine: Engine, names: list[str], *, epoch: int = 0, attempts: int = 1
) -> dict[str, NodeView]:
    """Probe every node at the same time; one that does not answer is asked up to ``attempts`` times."""
    views = await asyncio.gather(*(_look(engine, name, epoch, attempts) for name in names))
    return {view.name: view for view in views}


async def _look(engine: Engine, name: str, epoch: int, attempts: int) -> NodeView:
    error = ""
    for _ in range(attempts):
        try:
            return NodeView(name=name, probe=await engine.probe(name, heartbeat=None, epoch=epoch))
        except EngineError as failed:
            error = str(failed)
    return NodeView(name=name, misses=attempts, error=error)


def view_of(state: ClusterState, nodes: dict[str, NodeView]) -> View:
    """A `View` of this moment. Durations that only a watching agent knows begin now."""
    watch = Watch()
    primary = nodes[state.primary].probe
    if primary is not None:
        watch.wrote_heartbeat(primary.heartbeat, primary.answered)
    # The state was read before the nodes were asked: every answer counts.
    return watch.look(state, nodes, now=boot_now(), wall=time.time(), changed_at=0.0)


def bytes_behind(state: ClusterState, nodes: dict[str, NodeView]) -> int | None:
    """How much log the standby still has to apply, or None when it cannot be known."""
    primary, standby = nodes[state.primary].probe, nodes[state.other].probe
    if primary is None or standby is None or state.link is None:
        return None
    subscription = standby.subscriptions.get(state.link.name)
    return None if subscription is None else max(0, primary.wal - subscription.origin)


def read_lease(path: Path) -> tuple[Lease | None, list[ProcessView]]:
    """The lease of this host and the processes registered in it; nothing is created."""
    if not path.exists():
        return None, []
    with contextlib.closing(LeaseFile(path)) as file:
        return file.read(), file.processes()
