"""Record what happened, beside the change itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import models
from django.utils import timezone

from ifarm.core.encoding import plain
from ifarm.core.many import insert_values
from ifarm.core.models import OutboxEvent


def record_event(event: str, row: models.Model, **payload: Any) -> OutboxEvent:
    """Add one event about ``row``, whose lock the caller holds (a new row is its own lock). Inside a unit of work only.

    ``event`` is "<aggregate>_<what happened>"; the payload has plain values of JSON, dates and decimals as text.
    """
    recorded = OutboxEvent(
        type=event,
        aggregate=row._meta.label_lower,
        aggregate_id=row.id,
        aggregate_version=getattr(row, "version", 1),
        payload=plain(payload),
    )
    recorded.save(force_insert=True)
    return recorded


def record_events(event: str, told: Iterable[tuple[models.Model, Mapping[str, Any]]]) -> None:
    """The same event about many rows of one model, each with its payload, in few statements."""
    events = [
        {
            "aggregate": row._meta.label_lower,
            "aggregate_id": row.id,
            "aggregate_version": getattr(row, "version", 1),
            "payload": payload,
        }
        for row, payload in told
    ]
    shared = {"type": event, "schema_version": 1, "occurred_at": timezone.now(), "traceparent": ""}
    insert_values(OutboxEvent, shared, events)
