"""What a schedule calls, as the owner of the tables; a task may run twice, or twice at once."""

from __future__ import annotations

from typing import Final

from ifarm.core.context import unit_of_work
from ifarm.production.summaries import AT_ONCE, aggregate_dirty_days
from ifarm.tenants.models import Tenant

MOST: Final = 1000
"""Transactions for one tenant in one run; what is left waits for the next."""


def update_daily_summaries() -> int:
    """Make all marked days of every tenant anew, a hundred in each transaction; how many there were.

    Days are those of the farms' calendars, so it does not matter when it runs.
    """
    total = 0
    for tenant_id in Tenant.objects.order_by("id").values_list("id", flat=True):
        for _ in range(MOST):
            with unit_of_work(tenant_id):
                done = aggregate_dirty_days(AT_ONCE)
            total += done
            if done < AT_ONCE:
                break
    return total
