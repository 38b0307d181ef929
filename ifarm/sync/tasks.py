"""Forget what no device needs any more. A schedule calls it daily, as the owner of the tables."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.db.models import Max
from django.utils import timezone

from ifarm.core.context import unit_of_work
from ifarm.sync.models import Change, Commit, PushedOperation
from ifarm.tenants.models import Tenant

KEPT_DAYS: Final = 90
"""A device that was away for longer starts from the beginning."""
MOST: Final = 5_000
"""Commits that one transaction forgets."""


def forget_old_changes(now: datetime | None = None, days: int = KEPT_DAYS) -> int:
    """Forget changes and answers that are older; the newest commit always stays. How many commits were forgotten.

    May run twice, at once, and be stopped at any point.
    """
    until = (now or timezone.now()) - timedelta(days=days)
    total = 0
    for tenant_id in Tenant.objects.order_by("id").values_list("id", flat=True):
        while True:
            with unit_of_work(tenant_id):
                forgotten = _forget(until)
            total += forgotten
            if forgotten < MOST:
                break
    return total


def _forget(until: datetime) -> int:
    PushedOperation.objects.filter(created_at__lt=until).delete()
    newest = Commit.objects.aggregate(number=Max("number"))["number"]
    if newest is None:
        return 0
    old = Commit.objects.filter(created_at__lt=until, number__lt=newest).order_by("number")
    ids = list(old.values_list("id", flat=True)[:MOST])
    Change.objects.filter(commit_id__in=ids).delete()
    Commit.objects.filter(id__in=ids).delete()
    return len(ids)
