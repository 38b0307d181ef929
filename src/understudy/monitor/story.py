"""From the witness's history to notices: changes of primary, rescues, changes of agent. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from understudy.config_alerts import Severity
from understudy.monitor.edges import Kind, Notice
from understudy.witness import Event

BEFORE = 200
"""Lines of history before the news that are read again, to know what began a change."""

_ALONE = {
    "agent_took_over": (Severity.WARNING, "another agent acts now"),
    "sync_lost": (Severity.WARNING, "the primary no longer waits for its standby"),
    "link_lost": (Severity.WARNING, "the standby is copied anew"),
    "needs_copy": (Severity.WARNING, "a node is copied anew"),
    "request_refused": (Severity.INFO, "an order was refused"),
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

_EMPTY = ("had nothing that", "has nothing of its own", "it has nothing of its own")


def told(events: Sequence[Event], after: int) -> list[Notice]:
    """The notices that the events past ``after`` give. ``events``: oldest first, with some that came before."""
    notices: list[Notice] = []
    cause: Event | None = None
    for event in events:
        notice = None
        if event.kind in _CAUSES:
            cause = event
        elif event.kind == "step:publish":
            notice = _change(event, cause)
        elif event.kind == "step:rescue" and not any(empty in event.message for empty in _EMPTY):
            notice = _notice(event, Severity.WARNING, "only the old primary had this", event.message)
        elif event.kind in _ALONE:
            severity, title = _ALONE[event.kind]
            notice = _notice(event, severity, title, event.message)
        if notice is not None and event.id > after:
            notices.append(notice)
    return notices


def _change(published: Event, cause: Event | None) -> Notice:
    severity, what = _CAUSES[cause.kind] if cause is not None else (Severity.WARNING, "change of primary")
    if cause is None:
        return _notice(
            published, severity, f"{what}: {published.message}", "`understudy events` has the story."
        )
    lasted = max(0.0, published.wall - cause.wall)
    text = f"{cause.message}. Decided by {cause.agent}, published {lasted:.1f} s later."
    return _notice(published, severity, f"{what}: {published.message}", text)


def _notice(event: Event, severity: Severity, title: str, text: str) -> Notice:
    return Notice(kind=Kind.EVENT, severity=severity, key=f"event:{event.id}", title=title, text=text)
