"""The witness: where the decision lives. A register changed by compare-and-set, and its history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from understudy.model import ClusterState


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of history: what was seen, by whom, which rule fired, how long it took.

    ``took`` is seconds (None where nothing was timed). ``boot``: when it was written, in seconds since the host's boot
    (CLOCK_BOOTTIME); None where an earlier version wrote it.
    """

    id: int
    wall: float
    cluster: str
    agent: str
    epoch: int
    kind: str
    message: str
    took: float | None
    boot: float | None = None

    def seconds_since(self, earlier: Event) -> float:
        """How many seconds later this was written, whoever sets the clock; after a reboot it is what the clock says."""
        if self.boot is not None and earlier.boot is not None and self.boot >= earlier.boot:
            return self.boot - earlier.boot
        return max(0.0, self.wall - earlier.wall)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of history about to be written; the witness adds number, time, cluster and epoch."""

    agent: str
    kind: str
    message: str
    took: float | None = None


class Witness(Protocol):
    """A small compare-and-set register per cluster. Every method raises `WitnessError` when it cannot answer."""

    def read(self, cluster: str) -> ClusterState | None:
        """The present state, or None before `setup`."""

    def write(self, state: ClusterState, *, expected: int, entry: Entry | None = None) -> ClusterState:
        """Replace version ``expected`` (0: none yet) by this state. Returns it with its new version: one more, or
        one more than the version it says itself, where that is higher (a witness that is made anew must not give
        numbers that the nodes have seen).

        ``entry`` becomes history together with the state: neither is there without the other. Durable when this
        returns. Raises `StaleVersion` if another version is there.
        """

    def take_agent(self, cluster: str, agent: str, now: float, takeover: float) -> tuple[bool, str, float]:
        """Become or stay the acting agent. ``now`` is boot time (seconds, CLOCK_BOOTTIME).

        Another agent is replaced only once it has been silent for ``takeover`` seconds. Returns (acting?,
        id of the acting agent, seconds since it was last heard).
        """

    def agent(self, cluster: str) -> tuple[str, float] | None:
        """The acting agent and when it was last heard (boot time, seconds), or None."""

    def release_agent(self, cluster: str, agent: str) -> None:
        """Stop being the acting agent, if one is."""

    def log(self, cluster: str, *, epoch: int, entry: Entry) -> None:
        """Add one line of history."""

    def events(self, cluster: str, *, limit: int, after: int = 0) -> Sequence[Event]:
        """The newest ``limit`` events with id > ``after``, oldest first."""

    def close(self) -> None:
        """Release the file or connection."""
