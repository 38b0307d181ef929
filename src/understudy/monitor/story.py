"""From the witness's history to notices: changes of primary, rescues, changes of agent. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from understudy.agent.history import made_a_rescue
from understudy.config_alerts import Severity
from understudy.monitor.edges import Kind, Notice
from understudy.witness import Event

JOBS = "schedule"
"""Who writes the lines about scheduled jobs: ``<job>_done`` and ``<job>_failed``."""
_WELL = " does as it is told again"
"""What follows the name of a gate that is well."""
BEFORE = 200
"""Lines of history before the news that are read again, to know what began a change."""

_ALONE = {
    "agent_took_over": (Severity.WARNING, "another agent acts now"),
    "sync_lost": (Severity.WARNING, "the primary no longer waits for its standby"),
    "link_lost": (Severity.WARNING, "the standby is copied anew"),
    "needs_copy": (Severity.WARNING, "a node is copied anew"),
    "request_refused": (Severity.INFO, "an order was refused"),
    "gate_well": (Severity.INFO, "a gate does as it is told again"),
}
"""Events that are told as they are."""

_CAUSES = {
    "primary_down": (Severity.CRITICAL, "failover"),
    "escalate": (Severity.CRITICAL, "failover"),
    "failback": (Severity.INFO, "failback"),
    "request": (Severity.INFO, "change of primary on request"),
    "step_failed": (Severity.WARNING, "a change of primary was rolled back"),
    "primary_fenced": (Severity.WARNING, "the primary was read-only and is opened again"),
    "target_lost": (Severity.WARNING, "a change of primary was rolled back"),
}
"""What begins, or turns back, a change of primary; it is told when the change is published."""


def told(events: Sequence[Event], after: int) -> list[Notice]:
    """The notices that the events past ``after`` give. ``events``: oldest first, with some that came before."""
    notices: list[Notice] = []
    cause: Event | None = None
    failing: set[str] = set()  # gates and jobs
    for event in events:
        notice = None
        if event.kind in _CAUSES:
            cause = event
        elif event.kind == "step:publish":
            notice, cause = _change(event, cause), None
        elif made_a_rescue(event):
            notice = _notice(event, Severity.WARNING, "only the old primary had this", event.message)
        elif event.kind == "gate_failed":
            gate = event.message.partition(": ")[0]
            if gate not in failing:  # a gate that fails in another way now is told already
                notice = _notice(event, Severity.WARNING, "a gate does not do as it is told", event.message)
            failing.add(gate)
        elif event.agent == JOBS:
            notice = _job(event, failing)
        elif event.kind in _ALONE:
            failing.discard(event.message.partition(_WELL)[0])
            severity, title = _ALONE[event.kind]
            notice = _notice(event, severity, title, event.message)
        if notice is not None and event.id > after:
            notices.append(notice)
    return notices


def _job(event: Event, failing: set[str]) -> Notice | None:
    """A scheduled job that fails is told once, and again only after it was done meanwhile."""
    job, _, outcome = event.kind.rpartition("_")
    known = job in failing
    if outcome != "failed":
        failing.discard(job)
        return None
    failing.add(job)
    return (
        None if known else _notice(event, Severity.WARNING, f"{job.replace('_', ' ')} failed", event.message)
    )


def _change(published: Event, cause: Event | None) -> Notice:
    severity, what = _CAUSES[cause.kind] if cause is not None else (Severity.WARNING, "change of primary")
    if cause is None:
        return _notice(
            published, severity, f"{what}: {published.message}", "`understudy events` has the story."
        )
    lasted = published.seconds_since(cause)
    text = f"{cause.message}. Decided by {cause.agent}, published {lasted:.1f} s later."
    return _notice(published, severity, f"{what}: {published.message}", text)


def _notice(event: Event, severity: Severity, title: str, text: str) -> Notice:
    return Notice(kind=Kind.EVENT, severity=severity, key=f"event:{event.id}", title=title, text=text)
