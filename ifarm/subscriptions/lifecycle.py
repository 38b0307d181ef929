"""Where a subscription is in its life; whoever changes that holds the subscription's row lock."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import current_tenant, unit_of_work
from ifarm.core.errors import NotFound
from ifarm.core.events import record_event
from ifarm.subscriptions.models import Subscription
from ifarm.subscriptions.plans import PLANS
from ifarm.subscriptions.words import SubscriptionStatus
from ifarm.tenants.models import Tenant, TenantStatus

TRIAL: Final = timedelta(days=30)
RUNS: Final = frozenset({SubscriptionStatus.ACTIVE, SubscriptionStatus.PAST_DUE})
OVER: Final = frozenset({SubscriptionStatus.EXPIRED, SubscriptionStatus.CANCELLED})


def zone_of_tenant() -> ZoneInfo:
    """Where the tenant's days begin."""
    return ZoneInfo(Tenant.objects.get(pk=current_tenant()).timezone)


def day_of_tenant(moment: datetime) -> date:
    """The day it is there at a moment."""
    return moment.astimezone(zone_of_tenant()).date()


def subscription_of_tenant(*, lock: bool = False) -> Subscription:
    """The tenant's. Raises `NotFound` before its trial was begun."""
    rows = Subscription.objects.select_for_update() if lock else Subscription.objects
    found: Subscription | None = rows.first()
    if found is None:
        raise NotFound("the subscription was not found. A trial begins with the next run of the jobs.")
    return found


def begin_trial(actor: Actor) -> Subscription:
    """The subscription of the tenant, locked; a trial of 30 days from its first moment if there is none."""
    with unit_of_work() as tenant_id:
        tenant = Tenant.objects.select_for_update().get(
            pk=tenant_id
        )  # two at once: the second finds the first's
        found: Subscription | None = Subscription.objects.select_for_update().first()
        if found is not None:
            return found
        currency = next(iter(PLANS.values())).currency
        trial = Subscription(trial_ends_at=tenant.created_at + TRIAL, currency=currency)
        writes.insert(actor, trial)
        record_event("trial_started", trial, trial_ends_at=trial.trial_ends_at)
        return trial


def begin(actor: Actor, subscription: Subscription, day: date) -> None:
    """The plan that was chosen runs from a day on."""
    writes.update(actor, subscription, beginning(subscription, day))
    set_tenant_status(actor, TenantStatus.ACTIVE)
    record_event("subscription_began", subscription, plan=subscription.plan)


def beginning(subscription: Subscription, day: date) -> dict[str, Any]:
    """What changes when a plan begins on a day: that is the first of its next period."""
    return {
        "status": SubscriptionStatus.ACTIVE.value,
        "anchor_date": day,
        "anchor_period": subscription.next_period,
        "next_billing_date": day,
    }


def end(actor: Actor, subscription: Subscription, status: SubscriptionStatus) -> None:
    """It is over: the tenant is closed, its data stay, and its owners can still choose a plan."""
    writes.update(actor, subscription, {"status": status.value})
    set_tenant_status(actor, TenantStatus.SUSPENDED)
    record_event(f"subscription_{status}", subscription, plan=subscription.plan)
    record_event("tenant_suspended", subscription, reason=status.value)


def set_tenant_status(actor: Actor, status: TenantStatus) -> None:
    """Open or close the tenant."""
    tenant = Tenant.objects.select_for_update().get(pk=current_tenant())
    writes.update(actor, tenant, {"status": status.value})
