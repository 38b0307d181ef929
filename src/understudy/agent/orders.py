"""Leaving a person's order for the agent: the same for the command line and for the API."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from understudy.agent.doorbell import ring
from understudy.errors import StaleVersion, UnderstudyError, WitnessError
from understudy.lease import boot_now
from understudy.model import Cluster, ClusterState, Request, RequestKind
from understudy.witness import Entry, Witness

_ATTEMPTS = 10
"""Times a compare-and-set is tried: the agent writes several versions a second during a change."""


class OrderError(UnderstudyError):
    """An order cannot be left; nothing was changed."""


class NotSetUp(OrderError):
    """The witness knows no state of the cluster."""


class NoSuchTarget(OrderError):
    """The target is no node of the cluster."""


class NoAgent(OrderError):
    """No agent acts: nobody would carry the order out."""


class OrderWaits(OrderError):
    """Another order has not been answered yet."""


class Orders:
    """Orders for one cluster in the name of one person. Blocking; every method raises OrderError or WitnessError.

    Args:
        directory: where the agent's doorbell is.
        who: for the history, e.g. ``cli:ada`` or ``api:operator``.
    """

    def __init__(self, cluster: Cluster, witness: Witness, directory: Path, *, who: str) -> None:
        self._cluster, self._witness, self._directory, self._who = cluster, witness, directory, who

    def state(self) -> ClusterState:
        """The present state."""
        state = self._witness.read(self._cluster.name)
        if state is None:
            raise NotSetUp(f"cluster {self._cluster.name} has not been set up: run `understudy setup`")
        return state

    def target(self, state: ClusterState, wanted: str | None) -> str:
        """The node that was named, or the one that is not primary."""
        if wanted is None:
            return state.other
        names = [record.name for record in state.nodes]
        if wanted not in names:
            raise NoSuchTarget(f"TARGET: expected one of {', '.join(names)}, found {wanted!r:.60}")
        return wanted

    def silence(self) -> float | None:
        """Seconds since the acting agent was heard, or None."""
        return silence(self._witness.agent(self._cluster.name))

    def require_agent(self) -> None:
        """Nobody would carry an order out while no agent acts."""
        silent = self.silence()
        if silent is not None and silent < self._cluster.policy.agent_takeover:
            return
        heard = "" if silent is None else f" (the last one was heard {silent:.1f} s ago)"
        raise NoAgent(
            f"no agent acts for cluster {self._cluster.name}{heard}; start one with `understudy run`"
        )

    def change(self, kind: RequestKind, target: str, *, accept_loss: bool = False) -> Request:
        """Leave the order in the state, write it down, and hurry the agent."""
        request = Request(id=uuid.uuid4().hex[:12], kind=kind, target=target, accept_loss=accept_loss)
        placed = self.update(lambda now: _placed(now, request))
        self.log(placed, "asked", f"{kind} to {target} was asked for")
        self.ring()
        return request

    def pause(self, *, paused: bool) -> tuple[ClusterState, bool]:
        """Stop or resume automatic changes. Returns the state and whether anything changed."""
        before = self.state().paused
        state = self.update(lambda now: None if now.paused is paused else replace(now, paused=paused))
        if before is not paused:
            word = "paused" if paused else "resumed"
            self.log(state, word, f"automatic changes {word}")
            self.ring()
        return state, before is not paused

    def update(self, change: Callable[[ClusterState], ClusterState | None]) -> ClusterState:
        """Compare-and-set, repeated a bounded number of times; None from ``change`` leaves things as they are."""
        for _ in range(_ATTEMPTS):
            before = self.state()
            after = change(before)
            if after is None:
                return before
            with contextlib.suppress(StaleVersion):
                return self._witness.write(after, expected=before.version)
        raise WitnessError(f"the state changed {_ATTEMPTS} times meanwhile; try again")

    def log(self, state: ClusterState, kind: str, message: str) -> None:
        """One line of history in the name of this person."""
        entry = Entry(agent=self._who, kind=kind, message=message)
        self._witness.log(self._cluster.name, epoch=state.epoch, entry=entry)

    def ring(self) -> None:
        """Hurry the agent of this host, if there is one."""
        ring(self._directory / f"{self._cluster.name}.sock")


def silence(agent: tuple[str, float] | None) -> float | None:
    """Seconds since the acting agent was heard; None where there is none (or it was before a reboot)."""
    if agent is None or agent[1] > boot_now():
        return None
    return boot_now() - agent[1]


def _placed(now: ClusterState, request: Request) -> ClusterState:
    if now.request is not None:
        raise OrderWaits(f"another order waits: {now.request.kind} to {now.request.target}")
    return replace(now, request=request, answer="")
