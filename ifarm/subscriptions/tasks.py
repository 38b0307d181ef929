"""The jobs, as functions that a schedule calls; each may run twice, at once, and after a stop.

They cross tenants, so their process connects as the owner of the tables. What fails for one tenant is told and does not
hold up the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.utils import timezone

from ifarm.subscriptions import billing
from ifarm.subscriptions.lifecycle import RUNS
from ifarm.subscriptions.models import Subscription
from ifarm.subscriptions.provider import PaymentProvider, configured
from ifarm.subscriptions.trials import check_trial
from ifarm.subscriptions.usage import aggregate_usage
from ifarm.tenants.models import Tenant, TenantStatus

_log = logging.getLogger(__name__)


class Done(NamedTuple):
    """How many went well, and how many did not."""

    well: int
    badly: int


def due_subscriptions(now: datetime) -> list[tuple[UUID, UUID]]:
    """(tenant, subscription) of those that may be due; `billing` looks at the day in the tenant's own time zone."""
    somewhere = (now + timedelta(hours=14)).date()  # the earliest time zone there is
    rows = Subscription.objects.unscoped().filter(status__in=RUNS, next_billing_date__lte=somewhere)
    return list(rows.order_by("next_billing_date", "id").values_list("tenant_id", "id"))


def process_recurring_billing(now: datetime | None = None, provider: PaymentProvider | None = None) -> Done:
    """Charge what is due. With workers, one task calls `BillingService.process_subscription_billing` for each."""
    moment, taker = now or timezone.now(), provider or configured()
    return _each(
        due_subscriptions(moment),
        lambda ids: billing.process(*ids, provider=taker, now=moment),
    )


def check_trial_expirations(now: datetime | None = None) -> Done:
    """Begin, announce and end trials, in every tenant that is in one."""
    tenants = Tenant.objects.filter(status=TenantStatus.TRIAL.value).order_by("id")
    return _each(list(tenants.values_list("id", flat=True)), partial(check_trial, now=now or timezone.now()))


def aggregate_usage_metrics(now: datetime | None = None) -> Done:
    """Count what open tenants used in the hours that have ended."""
    tenants = Tenant.objects.exclude(status=TenantStatus.SUSPENDED.value).order_by("id")
    return _each(
        list(tenants.values_list("id", flat=True)), partial(aggregate_usage, now=now or timezone.now())
    )


def _each(rows: list[Any], work: Callable[[Any], Any]) -> Done:
    badly = 0
    for row in rows:
        try:
            work(row)
        except Exception:  # noqa: BLE001 - told with its trace; one tenant does not hold up the others
            badly += 1
            _log.exception("%s: a job failed and goes on with the next", row)
    return Done(len(rows) - badly, badly)
