"""Asking every node how it is, each on a loop of its own, and turning the answers into a `View`."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace

from understudy.engines.base import Engine
from understudy.errors import EngineError, Unreachable
from understudy.model import ClusterState, NodeView, Policy, Role, View

_SUSPECT_PAUSE = 0.1
"""Seconds between probes of a node that missed one: three misses of a dead server take 0.2 s, and a server that
restarts in less is not given up."""
_SHORTEST_PAUSE = 0.02
"""However often clients report errors, a node is not asked more often than this (seconds)."""
_JITTER = 0.1
"""Pauses vary by this share, so that the probes of many agents do not fall together."""


class Prober:
    """Probes one node until cancelled. `view` is always the newest knowledge.

    Args:
        heartbeat: called before each probe: the heartbeat number to write, or None (the node is not the
            primary, or a change is under way).
        changed: called after each probe.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        engine: Engine,
        node: str,
        policy: Policy,
        *,
        heartbeat: Callable[[str], tuple[int | None, int]],
        changed: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._engine, self._policy = engine, policy
        self._heartbeat, self._changed, self._clock = heartbeat, changed, clock
        self._bell = asyncio.Event()
        self.view = NodeView(name=node)

    def ring(self) -> None:
        """A client saw an error: ask now, do not wait for the next turn."""
        self._bell.set()

    def forget_position(self) -> None:
        """The node has been given new contents: where its log was before says nothing any more."""
        self.view = replace(self.view, highest_wal=0)

    async def run(self) -> None:
        """Probe for ever (until the task is cancelled)."""
        while True:
            self._bell.clear()
            await self._once()
            self._changed()
            await asyncio.sleep(_SHORTEST_PAUSE)
            await self._pause()

    async def _once(self) -> None:
        name = self.view.name
        heartbeat, epoch = self._heartbeat(name)
        try:
            probe = await self._engine.probe(name, heartbeat=heartbeat, epoch=epoch)
        except Unreachable as error:
            self.view = replace(self.view, misses=self.view.misses + 1, error=str(error))
        except EngineError as error:
            # The server is there and says no: nothing a change of primary would mend.
            self.view = replace(self.view, misses=0, error=str(error))
        else:
            unwritable = self.view.unwritable + 1 if probe.unwritable else 0
            highest = max(self.view.highest_wal, probe.wal)
            self.view = NodeView(name=name, probe=probe, unwritable=unwritable, highest_wal=highest)

    async def _pause(self) -> None:
        """Wait for the next turn or the bell, whichever is first; a suspect is asked again soon."""
        interval = self._policy.probe_interval
        if 0 < max(self.view.misses, self.view.unwritable) < self._policy.failure_threshold:
            interval = min(interval, _SUSPECT_PAUSE)
        pause = interval * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 (no secret depends on it)
        try:
            async with asyncio.timeout(pause):
                await self._bell.wait()
        except TimeoutError:
            return


DRIFT_AFTER = 20.0
"""Seconds for which the schemas must differ before that is drift: twice the age of a fingerprint (`SCHEMA_EVERY`)."""


_REMEMBERED = 1024
"""Heartbeats that are remembered; at one a second, a quarter of an hour."""


class Watch:
    """Remembers since when things have been as they are; turns node views into one `View`."""

    def __init__(self) -> None:
        self._heartbeat_written = 0
        self._taken: tuple[tuple[int, float], ...] = ()  # replaced, never changed: other threads read it
        self._healthy_since: float | None = None
        self._sync_lost_since: float | None = None
        self._differ_since: float | None = None
        self._drifted = False

    @property
    def heard(self) -> bool:
        """The primary has taken a heartbeat since this watch began."""
        return self._heartbeat_written > 0

    def wrote_heartbeat(self, number: int, taken: float) -> None:
        """The primary has taken this heartbeat (number: boot time in milliseconds) before ``taken`` (monotonic)."""
        if number > (self._taken[-1][0] if self._taken else 0):
            self._taken = (*self._taken, (number, taken))[-_REMEMBERED:]
        self.assume_commits_until(number)

    def assume_commits_until(self, number: int) -> None:
        """The primary may have taken commits until then (boot time in milliseconds): for decisions, that is lag."""
        self._heartbeat_written = max(self._heartbeat_written, number)

    def look(
        self, state: ClusterState, nodes: dict[str, NodeView], *, now: float, wall: float, changed_at: float
    ) -> View:
        """The view of this moment."""
        self._healthy_since = _since(self._healthy_since, _healthy(state, nodes), now)
        self._sync_lost_since = _since(self._sync_lost_since, _sync_lost(state, nodes), now)
        self._compare_schemas(nodes, now)
        return View(
            now=now,
            wall=wall,
            nodes=nodes,
            changed_at=changed_at,
            lag_seconds=self.lag(state, nodes),
            healthy_since=self._healthy_since,
            sync_lost_since=self._sync_lost_since,
            drifted=self._drifted,
        )

    def _compare_schemas(self, nodes: dict[str, NodeView], now: float) -> None:
        """Only while all answer: what a dead node said last may be from before a migration."""
        schemas = [n.probe.schema for n in nodes.values() if n.up and n.probe is not None and n.probe.schema]
        if len(schemas) < len(nodes):
            self._differ_since = None
            return
        self._differ_since = _since(self._differ_since, len(set(schemas)) > 1, now)
        if self._differ_since is None:
            self._drifted = False
        elif now - self._differ_since > DRIFT_AFTER:
            self._drifted = True

    def lag(self, state: ClusterState, nodes: dict[str, NodeView]) -> float | None:
        """Seconds between the newest heartbeat the primary took and the newest the standby has: the most it can be.

        For decisions. A standby that was asked before the newest heartbeat was written seems to lack it.
        """
        standby = nodes[state.other].probe
        if not self._heartbeat_written or standby is None or not standby.heartbeat:
            return None
        return max(0.0, (self._heartbeat_written - standby.heartbeat) / 1000.0)

    def lag_shown(self, state: ClusterState, nodes: dict[str, NodeView]) -> float | None:
        """Age of the oldest heartbeat that the standby lacked when it was last asked, then; 0 where it lacked none.

        For people and balancers. The same as `lag` where the standby does not answer, or where that heartbeat is from
        before this watch.
        """
        most, view = self.lag(state, nodes), nodes[state.other]
        if most is None or view.probe is None or not view.up:
            return most
        taken, standby = self._taken, view.probe
        lacking = bisect_right(taken, standby.heartbeat, key=lambda one: one[0])
        if lacking == len(taken) or taken[lacking][1] > standby.at:
            return 0.0
        return most if lacking == 0 else max(0.0, standby.at - taken[lacking][0] / 1000.0)


def _since(since: float | None, holds: bool, now: float) -> float | None:
    if not holds:
        return None
    return now if since is None else since


def _healthy(state: ClusterState, nodes: dict[str, NodeView]) -> bool:
    """Both nodes answer, the standby follows, and nothing is under way."""
    standby = nodes[state.other].probe
    if state.plan is not None or state.link is None or standby is None:
        return False
    if not all(node.up for node in nodes.values()) or state.record(state.other).role is not Role.STANDBY:
        return False
    subscription = standby.subscriptions.get(state.link.name)
    return subscription is not None and subscription.running and subscription.ready


def _sync_lost(state: ClusterState, nodes: dict[str, NodeView]) -> bool:
    """The primary waits for a standby that does not stream or does not answer."""
    primary, standby = nodes[state.primary], nodes[state.other]
    if not primary.up or primary.probe is None or not primary.probe.sync_names:
        return False
    streams = state.link is not None and state.link.name in primary.probe.streaming
    return not (streams and standby.up)
