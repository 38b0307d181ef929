"""Record what happened, beside the change itself."""

from __future__ import annotations

from typing import Any

from django.db import models

from ifarm.core.encoding import plain
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
