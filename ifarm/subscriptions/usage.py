"""How much each tenant uses, by the hour. Counted from what is recorded, so that it can be counted again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from django.db.models import Max

from ifarm.animals.models import Stay
from ifarm.audit.models import AuditEntry
from ifarm.core.context import unit_of_work
from ifarm.permissions.models import Membership
from ifarm.subscriptions.models import UsageMetric
from ifarm.subscriptions.words import Metric

HOUR: Final = timedelta(hours=1)
FARTHEST: Final = 48
"""How many hours one run goes back at most."""


def aggregate_hour(tenant_id: UUID, hour: datetime) -> dict[Metric, int]:
    """Count one hour that has ended; a second time replaces what was counted, as late records may have come.

    Animals: those on a farm at the end of the hour. Changes: rows written in it. Members: those that are active.
    """
    until = hour + HOUR
    with unit_of_work(tenant_id):
        there = Stay.objects.filter(starts_at__lt=until, animal__is_deleted=False).exclude(ends_at__lt=until)
        values = {
            Metric.ANIMALS: there.count(),
            Metric.CHANGES: AuditEntry.objects.filter(created_at__gte=hour, created_at__lt=until).count(),
            Metric.MEMBERS: Membership.objects.filter(is_active=True, created_at__lt=until).count(),
        }
        UsageMetric.objects.bulk_create(
            [UsageMetric(hour=hour, metric=metric.value, value=value) for metric, value in values.items()],
            update_conflicts=True,
            unique_fields=["tenant", "hour", "metric"],
            update_fields=["value", "modified_at"],
        )
        return values


def aggregate_usage(tenant_id: UUID, now: datetime) -> list[datetime]:
    """Count the hours that have ended since the last run, and the last one again; gives them, oldest first."""
    begun = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    with unit_of_work(tenant_id):
        last = UsageMetric.objects.aggregate(Max("hour"))["hour__max"]
    first = max(last or begun - HOUR, begun - FARTHEST * HOUR)
    hours = []
    while first < begun:
        hours.append(first)
        first += HOUR
    for hour in hours:
        aggregate_hour(tenant_id, hour)
    return hours
