"""Recurring billing: each period is charged once, whoever runs this, however often, and wherever it is interrupted.

Three steps. A short transaction claims the next due period under the subscription's row lock (one charge for each
period, by a unique constraint). The provider is asked outside of any transaction, with a key that names the try. A
second transaction writes down what it said; its message to the webhook does the same, and whichever comes first has the
effect. If the process dies in between, nobody knows whether money was taken: after `IN_DOUBT` the same question is
asked with the same key, and the provider gives the answer it gave before.
"""

from __future__ import annotations

import logging
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db.models import Max

from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import NoTenant, current_tenant, unit_of_work
from ifarm.core.errors import NotFound
from ifarm.core.events import record_event
from ifarm.core.locks import Lock, take
from ifarm.permissions.services import job_actor
from ifarm.subscriptions.lifecycle import RUNS, day_of_tenant, end, set_tenant_status
from ifarm.subscriptions.models import Charge, Subscription, SubscriptionInvoice
from ifarm.subscriptions.plans import PLANS
from ifarm.subscriptions.provider import Answer, Order, Outcome, PaymentProvider, ProviderUnavailable
from ifarm.subscriptions.words import ChargeStatus, SubscriptionStatus
from ifarm.tenants.models import TenantStatus

IN_DOUBT: Final = timedelta(minutes=15)
"""After this, a question without an answer is asked again; longer than a provider may take (`TIMEOUT_SECONDS`)."""
RETRIES: Final = (timedelta(days=1), timedelta(days=3), timedelta(days=5))
"""How long after each refusal it is tried again; after the last, the subscription is past due."""
MOST_PERIODS: Final = 24
"""How many periods one run charges at most, after a long stop."""
_log = logging.getLogger(__name__)


def process(tenant_id: UUID, subscription_id: UUID, *, provider: PaymentProvider, now: datetime) -> int:
    """Charge the periods that are due, in order; how many were paid.

    Raises RuntimeError inside a unit of work: what the provider has done cannot be rolled back.
    """
    _require_no_unit()
    for paid in range(MOST_PERIODS):
        order = _claim(tenant_id, subscription_id, now)
        if order is None:
            return paid
        try:
            answer = provider.charge(order)
        except ProviderUnavailable as error:
            _log.warning("charge %s: no answer (%s); asked again in %s", order.charge_id, error, IN_DOUBT)
            return paid
        settle(tenant_id, order.charge_id, key=order.key, answer=answer, now=now)
        if answer.outcome is not Outcome.SUCCEEDED:
            return paid
    return MOST_PERIODS


def _require_no_unit() -> None:
    try:
        current_tenant()
    except NoTenant:
        return
    raise RuntimeError("expected no unit of work around billing, found one. Call it from a task of its own.")


def _claim(tenant_id: UUID, subscription_id: UUID, now: datetime) -> Order | None:
    """The next question to the provider; None where nothing is due or somebody else has just asked it."""
    with unit_of_work(tenant_id):
        actor = job_actor(tenant_id)
        subscription = Subscription.objects.select_for_update().get(pk=subscription_id)
        due = subscription.next_billing_date
        if subscription.status not in RUNS or due is None or due > day_of_tenant(now):
            return None
        period = Charge.objects.filter(subscription=subscription, period=subscription.next_period)
        charge: Charge | None = period.select_for_update().first()
        in_doubt = charge is not None and charge.status == ChargeStatus.PENDING
        if subscription.ends_with_period and not in_doubt:
            end(actor, subscription, SubscriptionStatus.CANCELLED)
            return None
        if charge is None:
            charge = _new_charge(actor, subscription, now)
        if charge.next_attempt_at is None or charge.next_attempt_at > now:
            return None
        changes: dict[str, Any] = {"next_attempt_at": now + IN_DOUBT}
        if charge.status == ChargeStatus.FAILED:
            changes |= {
                "status": ChargeStatus.PENDING.value,
                "payment_method": subscription.payment_method,
            }
        writes.update(actor, charge, changes)
        return Order(charge.key, tenant_id, charge.id, charge.payment_method, charge.amount, charge.currency)


def _new_charge(actor: Actor, subscription: Subscription, now: datetime) -> Charge:
    period = subscription.next_period
    charge = Charge(
        subscription=subscription,
        period=period,
        first_day=subscription.first_day(period),
        last_day=subscription.first_day(period + 1) - timedelta(days=1),
        plan=subscription.plan,
        amount=subscription.amount,
        currency=subscription.currency,
        payment_method=subscription.payment_method,
        next_attempt_at=now,
    )
    return writes.insert(actor, charge)


def settle(tenant_id: UUID, charge_id: UUID, *, key: str, answer: Answer, now: datetime) -> Charge:
    """Write down what the provider says of a charge, any number of times. Raises `NotFound`.

    A success counts whenever it comes: the money is there. A refusal counts only for the try it is about. A second
    success for the same period is money too much: it is recorded (`payment_unexpected`) for somebody to give back.
    """
    with unit_of_work(tenant_id):
        actor = job_actor(tenant_id)
        subscription, charge = locked(charge_id)
        if answer.outcome is Outcome.PENDING:
            return charge
        if charge.status == ChargeStatus.SUCCEEDED:
            if answer.outcome is Outcome.SUCCEEDED and answer.reference != charge.reference:
                writes.record(
                    actor, "paid_twice", charge, {"reference": [charge.reference, answer.reference]}
                )
                record_event("payment_unexpected", charge, reference=answer.reference)
            return charge
        if answer.outcome is Outcome.SUCCEEDED:
            _paid(actor, subscription, charge, answer, now)
        elif key == charge.key and charge.status == ChargeStatus.PENDING:
            _refused(actor, subscription, charge, answer, now)
        return charge


def locked(charge_id: UUID) -> tuple[Subscription, Charge]:
    """The subscription first, as everywhere, so that nobody waits in a circle."""
    found = Charge.objects.filter(pk=charge_id).values_list("subscription_id", flat=True).first()
    if found is None:
        raise NotFound(f"charge {charge_id} was not found.")
    subscription = Subscription.objects.select_for_update().get(pk=found)
    return subscription, Charge.objects.select_for_update().get(pk=charge_id)


def _paid(actor: Actor, subscription: Subscription, charge: Charge, answer: Answer, now: datetime) -> None:
    succeeded = {
        "status": ChargeStatus.SUCCEEDED.value,
        "reference": answer.reference,
        "failure": "",
        "next_attempt_at": None,
        "paid_at": now,
    }
    writes.update(actor, charge, succeeded)
    issue_invoice(actor, charge, day_of_tenant(now))
    changes: dict[str, Any] = {}
    if charge.period == subscription.next_period:
        following = subscription.next_period + 1
        changes = {"next_period": following, "next_billing_date": subscription.first_day(following)}
    if subscription.status == SubscriptionStatus.PAST_DUE:
        changes["status"] = SubscriptionStatus.ACTIVE.value
    writes.update(actor, subscription, changes)
    if subscription.status == SubscriptionStatus.ACTIVE:
        set_tenant_status(actor, TenantStatus.ACTIVE)
    money = {"amount": charge.amount, "currency": charge.currency}
    record_event("payment_succeeded", charge, subscription_id=subscription.id, period=charge.period, **money)


def _refused(actor: Actor, subscription: Subscription, charge: Charge, answer: Answer, now: datetime) -> None:
    failures = charge.failures + 1
    again = now + RETRIES[failures - 1] if failures <= len(RETRIES) else None
    changes = {
        "status": ChargeStatus.FAILED.value,
        "failures": failures,
        "failure": answer.failure[:80],
        "next_attempt_at": again,
    }
    writes.update(actor, charge, changes, reason=answer.failure[:80])
    if again is None and subscription.status == SubscriptionStatus.ACTIVE:
        writes.update(actor, subscription, {"status": SubscriptionStatus.PAST_DUE.value})
        record_event("subscription_past_due", subscription, period=charge.period)
    record_event(
        "payment_failed",
        charge,
        subscription_id=subscription.id,
        period=charge.period,
        failure=answer.failure,
        next_attempt_at=again,
    )


def issue_invoice(actor: Actor, charge: Charge, day: date) -> SubscriptionInvoice:
    """The bill for a charge, with the next number of the tenant's year. Part of the caller's unit of work."""
    take(Lock.INVOICE_NUMBER, f"subscription:{charge.tenant_id}:{day.year}")
    last = SubscriptionInvoice.objects.filter(year=day.year).aggregate(Max("number"))["number__max"] or 0
    plan = PLANS.get(charge.plan)
    name = plan.name if plan else charge.plan
    invoice = SubscriptionInvoice(
        charge=charge,
        year=day.year,
        number=last + 1,
        issued_on=day,
        description=f"iFarm, {name}, {charge.first_day} to {charge.last_day}",
        amount=charge.amount,
        currency=charge.currency,
    )
    return writes.insert(actor, invoice)
