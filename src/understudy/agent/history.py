"""What the event log says about the last change of primary. Pure functions over events."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from understudy.witness import Entry, Event

_STEP = "step:"
_PASSING = ("node_up", "node_down", "agent_started", "agent_took_over", "witness_down", "try_again")
HISTORY = 1000
"""Events read to find the last change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A finished change of primary as the log tells it.

    Args:
        cause: the event of the rule that began it, or None where it is no longer in the log.
        steps: its steps in order, the last is ``publish``.
        seconds: from the beginning of the first step to the end of the last.
    """

    cause: Event | None
    steps: tuple[Event, ...]
    seconds: float

    @property
    def finished(self) -> Event:
        return self.steps[-1]


def step_name(event: Event | Entry) -> str:
    """The step an event reports, or an empty string."""
    return event.kind.removeprefix(_STEP) if event.kind.startswith(_STEP) else ""


def made_a_rescue(event: Event) -> bool:
    """Whether a step of rescuing has left files behind; else nothing was there, or a full copy has to follow."""
    return step_name(event) == "rescue" and "kept in " in event.message


def last_change(events: Sequence[Event]) -> Change | None:
    """The newest finished change of primary (or reinstatement) among these events, oldest first."""
    publishes = [i for i, e in enumerate(events) if step_name(e) == "publish"]
    if not publishes:
        return None
    end = publishes[-1]
    begin = publishes[-2] + 1 if len(publishes) > 1 else 0
    epoch = events[end].epoch
    steps = [e for e in events[begin : end + 1] if step_name(e) and e.epoch == epoch]
    before = [
        e for e in events[: end + 1] if e.id < steps[0].id and not step_name(e) and e.kind not in _PASSING
    ]
    cause = before[-1] if before else None
    seconds = steps[-1].seconds_since(steps[0]) + (steps[0].took or 0.0)
    return Change(cause=cause, steps=tuple(steps), seconds=seconds)


def clock(event: Event) -> str:
    """The local time of an event, with the date where it is not today's."""
    at = time.localtime(event.wall)
    today = time.strftime("%Y-%m-%d", at) == time.strftime("%Y-%m-%d")
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", at)


def tell(event: Event) -> str:
    """One event as a line for people."""
    took = f" ({event.took:.3f} s)" if event.took is not None else ""
    name = step_name(event) or event.kind
    return f"{clock(event)}  epoch {event.epoch}  {name}{took}: {event.message}"
