"""Record what happened, beside the change itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import connection, models
from django.utils import timezone

from ifarm.core.context import current_tenant
from ifarm.core.encoding import as_json, plain
from ifarm.core.ids import uuid7
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
    """The same event about many rows of one model, each with its payload, in one statement."""
    events = [
        {
            "id": uuid7(),
            "aggregate": row._meta.label_lower,
            "aggregate_id": row.id,
            "version": getattr(row, "version", 1),
            "payload": payload,
        }
        for row, payload in told
    ]
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO core_outboxevent (id, tenant_id, created_at, modified_at, type, schema_version, aggregate,"
            " aggregate_id, aggregate_version, payload, occurred_at, traceparent) SELECT v.id, %s, %s, %s, %s, 1,"
            " v.aggregate, v.aggregate_id, v.version, v.payload, %s, '' FROM jsonb_to_recordset(%s::jsonb) AS v"
            " (id uuid, aggregate text, aggregate_id uuid, version integer, payload jsonb)",
            [current_tenant(), now, now, event, now, as_json(events)],
        )
