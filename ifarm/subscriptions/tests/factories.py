"""Tenants with a subscription, and what has become of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from django.test import Client

from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.tests.factories import make_owner
from ifarm.subscriptions.lifecycle import subscription_of_tenant
from ifarm.subscriptions.models import Charge, Subscription
from ifarm.subscriptions.services import BillingService, choose_plan
from ifarm.subscriptions.standin import StandIn
from ifarm.subscriptions.trials import check_trial
from ifarm.tenants.models import Tenant

SECRET = "only-for-tests"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
MONTH = timedelta(days=31)


def subscribed(payment_method: str = "pm_ok", plan: str = "herd") -> tuple[Actor, Subscription]:
    """A tenant whose trial has just ended, so that the first period is due at `NOON`."""
    owner = make_owner()
    with unit_of_work(owner.tenant_id):
        Tenant.objects.filter(pk=owner.tenant_id).update(created_at=NOON - timedelta(days=30))
        choose_plan(owner, plan=plan, payment_method=payment_method, now=NOON - timedelta(days=9))
    check_trial(owner.tenant_id, NOON)
    return owner, look(owner)


def look(owner: Actor) -> Subscription:
    with unit_of_work(owner.tenant_id):
        return subscription_of_tenant()


def charges(owner: Actor) -> list[Charge]:
    with unit_of_work(owner.tenant_id):
        return list(Charge.objects.order_by("period"))


def bill(owner: Actor, provider: StandIn, now: datetime = NOON) -> int:
    return BillingService.process_subscription_billing(
        look(owner).id, tenant_id=owner.tenant_id, provider=provider, now=now
    )


def post(body: bytes, headers: Mapping[str, str]) -> int:
    named = {name: value for name, value in headers.items() if name != "Content-Type"}
    answer = Client().post("/api/v1/payment-messages/", body, content_type="application/json", headers=named)
    return answer.status_code
