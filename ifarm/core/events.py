"""Record what happened, beside the change itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from django.db import models

from ifarm.core.encoding import plain
from ifarm.core.models import OutboxEvent

AT_ONCE: Final = 500
"""Events in one statement."""


def record_event(event: str, row: models.Model, **payload: Any) -> OutboxEvent:
    """Add one event about ``row``, whose lock the caller holds (a new row is its own lock). Inside a unit of work only.

    ``event`` is "<aggregate>_<what happened>"; the payload has plain values of JSON, dates and decimals as text.
    """
    recorded = _event(event, row, payload)
    recorded.save(force_insert=True)
    return recorded


def record_events(event: str, told: Iterable[tuple[models.Model, Mapping[str, Any]]]) -> None:
    """The same event about many rows, each with its payload, in few statements."""
    OutboxEvent.objects.bulk_create([_event(event, *one) for one in told], batch_size=AT_ONCE)


def _event(event: str, row: models.Model, payload: Mapping[str, Any]) -> OutboxEvent:
    return OutboxEvent(
        type=event,
        aggregate=row._meta.label_lower,
        aggregate_id=row.id,
        aggregate_version=getattr(row, "version", 1),
        payload=plain(payload),
    )
