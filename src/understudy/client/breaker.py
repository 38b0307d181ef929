"""A circuit breaker: after some failures in a row, do not even try for a while. No I/O, no clock of its own.

The names and defaults of the policy are those of the documents this grew from (``threshold = 5, timeout = 60000,
monitoringPeriod = 10000``, milliseconds there, seconds here). It guards reads from the standby; who is primary is
decided by the lease and by nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from math import isfinite

_NAMES = ("threshold", "timeout", "monitoringPeriod")


class Outcome(Enum):
    """What a call said about the server. NEUTRAL: nothing (a constraint violation, a full pool, a cancelled call)."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"


class BreakerState(Enum):
    """CLOSED: calls go through. OPEN: none does. HALF_OPEN: one at a time, to see."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When a breaker opens, and for how long.

    Args:
        threshold: failures in a row that open it.
        timeout: seconds it stays open before one call may try.
        monitoring_period: seconds without a failure after which earlier ones no longer count.

    Raises ValueError for a threshold below 1 and for times that are not positive.
    """

    threshold: int = 5
    timeout: float = 60.0
    monitoring_period: float = 10.0

    def __post_init__(self) -> None:
        if self.threshold < 1:
            raise ValueError(f"breaker: expected a threshold of 1 or more, found {self.threshold}")
        for name in ("timeout", "monitoring_period"):
            seconds = getattr(self, name)
            if not (isfinite(seconds) and seconds > 0):
                raise ValueError(f"breaker: expected a positive {name} in seconds, found {seconds}")

    @classmethod
    def of(cls, given: BreakerPolicy | Mapping[str, int] | None) -> BreakerPolicy:
        """A policy from the names and units of the documents; what is left out keeps its default.

        ``{"threshold": 5, "timeout": 60000, "monitoringPeriod": 10000}``: a count and milliseconds. A policy is
        taken as it is. Raises ValueError for any other name or value.
        """
        if given is None or isinstance(given, BreakerPolicy):
            return given or cls()
        for name, value in given.items():
            if name not in _NAMES:
                raise ValueError(f"breaker: expected {', '.join(_NAMES)}, found {name!r}")
            if isinstance(value, bool) or not isinstance(value, int):
                raise ValueError(f"breaker: expected a whole number as {name}, found {value!r}")  # noqa: TRY004
        default = cls()
        return cls(
            threshold=given.get("threshold", default.threshold),
            timeout=given.get("timeout", default.timeout * 1000) / 1000,
            monitoring_period=given.get("monitoringPeriod", default.monitoring_period * 1000) / 1000,
        )


class Permit:
    """Leave to make one call. Tell it once how the call ended."""

    __slots__ = ("_breaker", "_generation")

    def __init__(self, breaker: Breaker, generation: int) -> None:
        self._breaker, self._generation = breaker, generation

    def tell(self, outcome: Outcome) -> None:
        """How the call ended. Ignored where the breaker has changed its state since the call began."""
        self._breaker._told(self._generation, outcome)


class Breaker:
    """The breaker of one node. Safe from several threads; its lock is held for a few instructions, never during I/O.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, policy: BreakerPolicy, clock: Callable[[], float]) -> None:
        self._policy, self._clock = policy, clock
        self._lock = threading.Lock()
        self._state = BreakerState.CLOSED
        self._generation = (
            0  # grows with every change of state: what began before it says nothing about after
        )
        self._failures = 0
        self._last_failure = 0.0
        self._since = 0.0
        self._trying_since: float | None = None

    @property
    def state(self) -> BreakerState:
        """The state as the last call left it: OPEN turns to HALF_OPEN when somebody asks after the timeout."""
        return self._state

    def ask(self) -> Permit | None:
        """Leave to call now, or None. In HALF_OPEN one call has it at a time.

        A call that never tells how it ended blocks the others for ``timeout`` seconds, not for ever.
        """
        now = self._clock()
        with self._lock:
            if self._state is BreakerState.OPEN and now - self._since >= self._policy.timeout:
                self._become(BreakerState.HALF_OPEN, now)
            if self._state is BreakerState.OPEN:
                return None
            if self._state is BreakerState.HALF_OPEN:
                if self._trying_since is not None and now - self._trying_since < self._policy.timeout:
                    return None
                self._trying_since = now
                self._generation += 1  # an attempt that was given up does not speak for this one
            return Permit(self, self._generation)

    def _told(self, generation: int, outcome: Outcome) -> None:
        now = self._clock()
        with self._lock:
            if generation != self._generation:
                return
            self._trying_since = None
            if outcome is Outcome.SUCCESS:
                self._failures = 0
                if self._state is BreakerState.HALF_OPEN:
                    self._become(BreakerState.CLOSED, now)
            elif outcome is Outcome.FAILURE:
                self._failed(now)

    def _failed(self, now: float) -> None:
        if now - self._last_failure > self._policy.monitoring_period:
            self._failures = 0
        self._failures += 1
        self._last_failure = now
        if self._state is BreakerState.HALF_OPEN or self._failures >= self._policy.threshold:
            self._become(BreakerState.OPEN, now)

    def _become(self, state: BreakerState, now: float) -> None:
        self._state, self._since = state, now
        self._generation += 1
        self._failures = 0
        self._trying_since = None
