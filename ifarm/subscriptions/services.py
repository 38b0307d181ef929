"""A subscription's life: tried, chosen, ended; and the services that the requirement documents name."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone

from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import RuleBroken
from ifarm.core.events import record_event
from ifarm.subscriptions import billing
from ifarm.subscriptions.lifecycle import (
    OVER,
    begin_trial,
    beginning,
    day_of_tenant,
    end,
    set_tenant_status,
    subscription_of_tenant,
)
from ifarm.subscriptions.models import Charge, Subscription
from ifarm.subscriptions.plans import plan_of
from ifarm.subscriptions.provider import Answer, Outcome, PaymentProvider, configured
from ifarm.subscriptions.words import ChargeStatus, SubscriptionStatus
from ifarm.tenants.models import TenantStatus


def choose_plan(actor: Actor, *, plan: str, payment_method: str, now: datetime | None = None) -> Subscription:
    """Choose a plan, or another, or another way to pay.

    In a trial it holds from the trial's end. One that is over begins again today. One that runs changes with its next
    period; what failed to be paid is tried again at once. Raises `NotFound` for an unknown plan.
    """
    with unit_of_work():
        moment = now or timezone.now()
        chosen = plan_of(plan)
        subscription = begin_trial(actor)
        terms: dict[str, Any] = {
            "plan": chosen.code,
            "amount": chosen.amount,
            "currency": chosen.currency,
            "months": chosen.months,
            "payment_method": payment_method,
            "ends_with_period": False,
        }
        status = SubscriptionStatus(subscription.status)
        if status in OVER or (status is SubscriptionStatus.TRIAL and subscription.trial_ends_at <= moment):
            terms |= beginning(subscription, day_of_tenant(moment))
        elif status is not SubscriptionStatus.TRIAL and chosen.months != subscription.months:
            terms |= {
                "anchor_date": subscription.next_billing_date,
                "anchor_period": subscription.next_period,
            }
        writes.update(actor, subscription, terms)
        if subscription.status == SubscriptionStatus.ACTIVE:
            set_tenant_status(actor, TenantStatus.ACTIVE)
        if status is SubscriptionStatus.PAST_DUE:
            failed = Charge.objects.select_for_update().filter(
                subscription=subscription, status=ChargeStatus.FAILED.value
            )
            for charge in failed:
                writes.update(actor, charge, {"next_attempt_at": moment}, reason="another way to pay")
        record_event("tenant_plan_changed", subscription, plan=chosen.code)
        return subscription


def cancel_subscription(actor: Actor) -> Subscription:
    """End it with what is paid, or with the trial; at once where nothing is paid. Raises `RuleBroken` if it is over."""
    with unit_of_work():
        subscription = subscription_of_tenant(lock=True)
        if subscription.status in OVER:
            raise RuleBroken(f"expected a subscription that runs, found one that is {subscription.status}.")
        writes.update(actor, subscription, {"ends_with_period": True})
        if subscription.status == SubscriptionStatus.PAST_DUE:
            end(actor, subscription, SubscriptionStatus.CANCELLED)
        return subscription


class BillingService:
    """The name that the requirement documents use; see `billing`."""

    @staticmethod
    def process_subscription_billing(
        subscription_id: UUID,
        *,
        tenant_id: UUID | None = None,
        provider: PaymentProvider | None = None,
        now: datetime | None = None,
    ) -> int:
        """Charge what is due; how many periods were paid. Any number of times at once, each period is charged once.

        Without ``tenant_id`` it is looked up, which only the owner of the tables can (jobs).
        """
        if tenant_id is None:
            rows = Subscription.objects.unscoped().filter(pk=subscription_id)
            tenant_id = rows.values_list("tenant_id", flat=True).get()
        return billing.process(
            tenant_id, subscription_id, provider=provider or configured(), now=now or timezone.now()
        )


class SubscriptionService:
    """The name that the requirement documents use."""

    @staticmethod
    def handle_successful_payment(
        tenant_id: UUID, *, charge_id: UUID, reference: str, now: datetime | None = None
    ) -> Charge:
        """A payment has come: once or many times, the period is paid once. Raises `NotFound`."""
        answer = Answer(Outcome.SUCCEEDED, reference=reference)
        return billing.settle(tenant_id, charge_id, key="", answer=answer, now=now or timezone.now())
