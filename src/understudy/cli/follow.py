"""Following an order from its answer to the end of its plan, with each step as it happens."""

from __future__ import annotations

import time
from dataclasses import dataclass

from understudy.agent.history import step_name
from understudy.cli.common import Exit, duration, note
from understudy.decide.plans import CHANGES
from understudy.model import Cluster, ClusterState, Request
from understudy.witness import Event, SqliteWitness

_POLL = 0.05
_LAST_LINE = 1.0
"""The last step is recorded before its event is written: wait so long for the event (seconds)."""
_QUIET = ("asked", "node_up", "agent_started")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an order ended."""

    ok: bool
    code: Exit
    text: str
    state: ClusterState


class Following:
    """Watches the state and the events of a cluster for what becomes of one request.

    Args:
        after: id of the newest event before the request was placed.
    """

    def __init__(self, witness: SqliteWitness, cluster: Cluster, request: Request, *, after: int) -> None:
        self._witness, self._cluster, self._request = witness, cluster, request
        self._after = after
        self._asked: Event | None = None
        self._published: Event | None = None
        self._reason = ""
        self.steps: list[dict[str, object]] = []

    def until(self, deadline: float) -> Outcome | None:
        """Follow until the plan is over or the order refused; None when ``deadline`` (monotonic) passes first."""
        while time.monotonic() < deadline:
            self._tell()
            state = self._witness.read(self._cluster.name)
            if state is not None and (outcome := self._ended(state)) is not None:
                return outcome
            time.sleep(_POLL)
        return None

    def _ended(self, state: ClusterState) -> Outcome | None:
        if state.request is not None and state.request.id == self._request.id:
            return None
        target = self._request.target
        answer = state.answer if state.answer.startswith(f"{self._request.id}: ") else ""
        refused = answer.partition(": refused: ")[2]
        if refused:
            if state.primary == target:
                return Outcome(True, Exit.OK, f"{target} is the primary already", state)
            return Outcome(False, Exit.REFUSED, f"refused: {refused}; nothing was changed", state)
        if state.plan is not None and state.plan.kind in CHANGES:
            return None
        self._last_lines()
        if state.primary == target:
            took = ""
            if self._published is not None and self._asked is not None:
                took = f", took {duration(self._published.seconds_since(self._asked))}"
            return Outcome(True, Exit.OK, f"{target} is primary at epoch {state.epoch}{took}", state)
        text = (
            f"rolled back: {state.primary} is still primary (epoch {state.epoch}); see `understudy explain`"
        )
        return Outcome(False, Exit.PROBLEM, text, state)

    def _last_lines(self) -> None:
        until = time.monotonic() + _LAST_LINE
        self._tell()
        while self._published is None and time.monotonic() < until:
            time.sleep(_POLL)
            self._tell()

    def _tell(self) -> None:
        for event in self._witness.events(self._cluster.name, limit=200, after=self._after):
            self._after = event.id
            if self._published is not None:
                return  # what follows is tidying up
            if self._asked is None and event.kind == "asked":
                self._asked = event
            name = step_name(event)
            if name:
                self.steps.append(
                    {"step": name, "took": event.took, "message": event.message, "epoch": event.epoch}
                )
                note(f"  {name:<18} {duration(event.took):>8}  {event.message}")
                if name == "publish":
                    self._published = event
            elif event.kind not in _QUIET and event.message != self._reason:
                self._reason = event.message
                note(f"  {event.kind}: {event.message}")
