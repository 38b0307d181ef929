"""What every answer is made from: the agents' own knowledge, and the witness where another agent acts.

Nothing here asks a database. The agents live in another thread; what they know is replaced, never changed in place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from understudy.agent.agent import Sight
from understudy.agent.history import HISTORY, step_name
from understudy.agent.probing import Watch
from understudy.agent.service import Running
from understudy.decide.plans import CHANGES
from understudy.errors import UnderstudyError
from understudy.lease import boot_now
from understudy.model import Cluster, ClusterState, NodeView, Role
from understudy.readiness.kept import Reader
from understudy.witness import Event

_EVERY = 0.25
"""Seconds between two looks at the witness."""
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One cluster at this moment.

    Args:
        fresh: the state is the acting agent's, or was read within the lease's time.
        behind: seconds that the node which does not write is behind (`Watch.lag_shown`); None: nobody knows.
    """

    cluster: Cluster
    sight: Sight
    state: ClusterState | None
    fresh: bool
    behind: float | None

    @property
    def lag(self) -> float | None:
        """Seconds the standby is behind; None: nobody knows, or nobody stands by."""
        if self.state is None or self.state.record(self.state.other).role is not Role.STANDBY:
            return None
        return self.behind

    @property
    def changing(self) -> bool:
        """A change of primary is under way: nobody is to be led to either node."""
        return self.state is not None and self.state.plan is not None and self.state.plan.kind in CHANGES

    def answers(self, name: str) -> bool:
        """The node's last probe was answered, not longer ago than a lease is valid."""
        node = self.sight.nodes[name]
        return node.up and node.probe is not None and self._recent(node)

    def _recent(self, node: NodeView) -> bool:
        return node.probe is not None and boot_now() - node.probe.answered <= self.cluster.policy.lease_ttl

    def is_primary(self, name: str) -> bool:
        """That node takes writes now: it is primary, it and its fence row say so, and no change is under way."""
        node, state = self.sight.nodes[name], self.state
        if state is None or node.probe is None or not self.fresh or self.changing or state.primary != name:
            return False
        return (
            self.answers(name)
            and not node.probe.fenced
            and not node.probe.unwritable
            and node.probe.epoch == state.epoch
        )

    def is_standby(self, name: str, max_lag: float | None) -> bool:
        """That node follows and may be read from; ``max_lag`` seconds behind at most, where given."""
        state, node = self.state, self.sight.nodes[name]
        if state is None or state.link is None or not self.fresh or node.probe is None or self.changing:
            return False
        subscription = node.probe.subscriptions.get(state.link.name)
        follows = subscription is not None and subscription.running and subscription.ready
        if state.record(name).role is not Role.STANDBY or not follows or not self.answers(name):
            return False
        return max_lag is None or (self.lag is not None and self.lag <= max_lag)


class Watcher:
    """Keeps what the witness says beside what the agents see. `run` looks until cancelled."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self._states: dict[str, tuple[float, ClusterState]] = {}
        self._watches: dict[str, Watch] = {}
        self.readers = {name: Reader(running.config.directory, name) for name in running.agents}
        """By cluster: what the agent keeps of its readiness, backups and drills."""
        self._after: dict[str, int] = {}
        self.published: dict[str, Event] = {}
        """By cluster: the newest event that says who became primary."""
        self.listeners: list[Callable[[Event], None]] = []
        """Told of each new line of history, in the event loop: they must not wait."""
        self.counters: list[Callable[[Event], None]] = []
        """The same, in the thread that reads the witness: they may read it too."""
        self.leaving = False
        """The server is about to end: who listens is let go, or it would wait for them. Set from another thread."""

    def seen(self, name: str) -> Seen:
        """One configured cluster. Raises KeyError."""
        sight = self.running.agents[name].sight
        cluster = self.running.config.cluster(name)
        if sight.acting:
            return Seen(cluster=cluster, sight=sight, state=sight.state, fresh=True, behind=sight.lag_shown)
        at, state = self._states.get(name, (0.0, None))
        fresh = state is not None and boot_now() - at <= cluster.policy.lease_ttl
        behind = (
            None if state is None else self._watch(name, state, sight).lag_shown(state, dict(sight.nodes))
        )
        return Seen(cluster=cluster, sight=sight, state=state, fresh=fresh, behind=behind)

    def _watch(self, name: str, state: ClusterState, sight: Sight) -> Watch:
        """The heartbeats that another agent writes, as far as they were seen here."""
        watch, primary = self._watches.setdefault(name, Watch()), sight.nodes[state.primary].probe
        if primary is not None:
            watch.wrote_heartbeat(primary.heartbeat, primary.answered)
        return watch

    @property
    def all(self) -> list[Seen]:
        return [self.seen(name) for name in self.running.agents]

    async def run(self) -> None:
        """Look again and again; a witness that does not answer leaves things as they are, and they grow old."""
        while True:
            try:
                events = await asyncio.to_thread(self.look)
            except UnderstudyError as error:
                _log.debug("witness_not_read", error=str(error))
                events = []
            for event in events:
                for listener in list(self.listeners):
                    listener(event)
            await asyncio.sleep(_EVERY)

    def look(self) -> list[Event]:
        """Read the witness once: states where another agent acts, and what is new in history. Blocking."""
        found: list[Event] = []
        for name, agent in self.running.agents.items():
            if not agent.sight.acting:
                at, state = boot_now(), self.running.witness.read(name)
                if state is not None:
                    self._states[name] = (at, state)
                    self._watch(name, state, agent.sight)
            found += self._new_events(name)
        return found

    def _new_events(self, name: str) -> Sequence[Event]:
        first = name not in self._after
        events = self.running.witness.events(name, limit=HISTORY, after=self._after.get(name, 0))
        self._after[name] = events[-1].id if events else self._after.get(name, 0)
        for event in events:
            if step_name(event) == "publish":
                self.published[name] = event
        if first:
            return []  # what was before this process began is not news
        for event in events:
            for counter in self.counters:
                try:
                    counter(event)
                except UnderstudyError as error:  # the lines must reach the listeners all the same
                    _log.warning("event_not_counted", kind=event.kind, error=str(error))
        return events
