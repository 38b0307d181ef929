"""Billing: each period is paid once, whatever happens to whoever charges."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, connection, transaction
from django.test import Client

from ifarm.audit.models import AuditEntry
from ifarm.config.django.test import OWNER
from ifarm.core.actors import Role
from ifarm.core.context import unit_of_work
from ifarm.core.errors import NotFound, RuleBroken
from ifarm.core.models import OutboxEvent
from ifarm.core.tests.factories import make_member, make_owner, make_token
from ifarm.notifications.models import Notification
from ifarm.subscriptions import tasks
from ifarm.subscriptions.billing import IN_DOUBT, RETRIES, process
from ifarm.subscriptions.lifecycle import begin_trial
from ifarm.subscriptions.models import SubscriptionInvoice, TrialNotice, UsageMetric
from ifarm.subscriptions.periods import months_later
from ifarm.subscriptions.provider import Answer, Order, configured
from ifarm.subscriptions.services import (
    BillingService,
    SubscriptionService,
    cancel_subscription,
    choose_plan,
)
from ifarm.subscriptions.signatures import BadSignature, sign, verify
from ifarm.subscriptions.standin import StandIn
from ifarm.subscriptions.tests.factories import MONTH, NOON, SECRET, bill, charges, look, post, subscribed
from ifarm.subscriptions.trials import check_trial
from ifarm.subscriptions.usage import aggregate_hour, aggregate_usage
from ifarm.subscriptions.words import ChargeStatus, Metric
from ifarm.tenants.models import Tenant


@contextmanager
def as_owner() -> Iterator[None]:
    """A job crosses tenants: its connection is the tables' owner's."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET ROLE {OWNER}")
        try:
            yield
        finally:
            cursor.execute("SET ROLE ifarm_app")


@pytest.fixture(autouse=True)
def _secret(settings: Any) -> None:
    settings.PAYMENT_SECRETS = [SECRET]


pytestmark = pytest.mark.django_db


def test_a_31st_stays_a_31st() -> None:
    first = date(2024, 1, 31)
    assert [months_later(first, n) for n in (0, 1, 2, 13)] == [
        first,
        date(2024, 2, 29),
        date(2024, 3, 31),
        date(2025, 2, 28),
    ]


def test_a_period_is_charged_once_and_billed() -> None:
    owner, subscription = subscribed()
    assert (subscription.status, subscription.next_billing_date) == ("active", date(2026, 1, 31))
    provider = StandIn(SECRET)
    assert [bill(owner, provider), bill(owner, provider)] == [1, 0]
    after = look(owner)
    assert (after.next_period, after.next_billing_date) == (1, date(2026, 2, 28))
    with unit_of_work(owner.tenant_id):
        invoice = SubscriptionInvoice.objects.get()
        assert (invoice.year, invoice.number, invoice.amount, invoice.currency) == (
            2026,
            1,
            Decimal(79),
            "EUR",
        )
        assert "2026-01-31 to 2026-02-27" in invoice.description
        assert OutboxEvent.objects.filter(type="payment_succeeded").count() == 1
    assert len(provider.payments) == 1


def test_after_a_long_stop_every_period_is_charged_in_order() -> None:
    owner, _ = subscribed()
    provider = StandIn(SECRET)
    assert bill(owner, provider, NOON + 3 * MONTH) == 4
    assert [charge.period for charge in charges(owner)] == [0, 1, 2, 3]
    assert look(owner).next_billing_date == date(2026, 5, 31)
    with unit_of_work(owner.tenant_id):
        assert sorted(SubscriptionInvoice.objects.values_list("number", flat=True)) == [1, 2, 3, 4]


def test_an_answer_that_is_lost_is_asked_for_with_the_same_key() -> None:
    owner, _ = subscribed("pm_lost")
    provider = StandIn(SECRET)
    assert bill(owner, provider) == 0
    assert bill(owner, provider, NOON + timedelta(minutes=1)) == 0
    assert len(provider.asked) == 1  # somebody may still be waiting for the answer
    assert bill(owner, provider, NOON + IN_DOUBT) == 1
    assert len({order.key for order in provider.asked}) == len(provider.payments) == 1


def test_another_way_to_pay_changes_no_question_that_is_open() -> None:
    owner, _ = subscribed("pm_lost")
    provider = StandIn(SECRET)
    bill(owner, provider)
    with unit_of_work(owner.tenant_id):
        choose_plan(owner, plan="family", payment_method="pm_ok", now=NOON)
    assert bill(owner, provider, NOON + IN_DOUBT) == 1
    assert {(order.key, order.payment_method, order.amount) for order in provider.asked} == {
        (provider.asked[0].key, "pm_lost", Decimal(79))
    }
    bill(owner, provider, NOON + MONTH)
    assert (provider.asked[-1].payment_method, provider.asked[-1].amount) == ("pm_ok", Decimal(19))


def test_a_refusal_is_tried_again_with_longer_waits_until_it_is_past_due() -> None:
    owner, _ = subscribed("pm_declined")
    provider, now = StandIn(SECRET), NOON
    for number, wait in enumerate(RETRIES, 1):
        assert bill(owner, provider, now) == 0
        assert bill(owner, provider, now + wait - timedelta(seconds=1)) == 0
        assert len(provider.asked) == number
        now += wait
    bill(owner, provider, now)
    assert look(owner).status == "past_due"
    assert len({order.key for order in provider.asked}) == len(RETRIES) + 1
    assert bill(owner, provider, now + 3 * MONTH) == 0
    (charge,) = charges(owner)
    assert (charge.status, charge.failure, charge.failures) == ("failed", "card_declined", 4)
    with unit_of_work(owner.tenant_id):
        choose_plan(owner, plan="herd", payment_method="pm_ok", now=now)
    assert bill(owner, provider, now) == 1
    assert look(owner).status == "active"


def test_a_message_settles_what_the_answer_did_not_and_the_second_does_nothing() -> None:
    owner, _ = subscribed("pm_later")
    provider = StandIn(SECRET)
    assert bill(owner, provider) == 0
    (message,) = provider.messages
    assert provider.deliver(post) == [200]
    assert [charge.status for charge in charges(owner)] == [ChargeStatus.SUCCEEDED]
    headers = {"Payment-Signature": sign(SECRET, message, int(time.time()))}
    assert post(message, headers) == 200
    assert look(owner).next_period == 1
    with unit_of_work(owner.tenant_id):
        assert SubscriptionInvoice.objects.count() == 1
        assert OutboxEvent.objects.filter(type="payment_unexpected").count() == 0


def test_a_late_refusal_of_an_earlier_try_changes_nothing() -> None:
    owner, _ = subscribed("pm_declined")
    provider = StandIn(SECRET)
    bill(owner, provider)
    with unit_of_work(owner.tenant_id):
        choose_plan(owner, plan="herd", payment_method="pm_later", now=NOON)
    bill(owner, provider, NOON + RETRIES[0])
    refused, paid = provider.messages
    provider.messages = [refused]
    assert provider.deliver(post) == [200]
    (charge,) = charges(owner)
    assert (charge.status, charge.failures) == ("pending", 1)
    provider.messages = [paid]
    provider.deliver(post)
    assert look(owner).next_period == 1


def test_a_second_payment_for_a_period_is_told() -> None:
    owner, _ = subscribed()
    bill(owner, StandIn(SECRET))
    (charge,) = charges(owner)
    for _ in range(2):
        SubscriptionService.handle_successful_payment(
            owner.tenant_id, charge_id=charge.id, reference=charge.reference
        )
    SubscriptionService.handle_successful_payment(owner.tenant_id, charge_id=charge.id, reference="pay_2")
    with unit_of_work(owner.tenant_id):
        assert SubscriptionInvoice.objects.count() == 1
        assert OutboxEvent.objects.filter(type="payment_unexpected").count() == 1
        assert AuditEntry.objects.filter(action="paid_twice").count() == 1
    with pytest.raises(NotFound):
        SubscriptionService.handle_successful_payment(owner.tenant_id, charge_id=uuid4(), reference="pay_3")


def test_only_messages_of_the_provider_and_of_now_are_believed(settings: Any) -> None:
    owner, _ = subscribed("pm_later")
    provider = StandIn(SECRET)
    bill(owner, provider)
    (body,) = provider.messages
    now = int(time.time())
    name = "Payment-Signature"
    assert post(body, {}) == 400
    assert post(body, {name: sign("another", body, now)}) == 400
    assert post(body, {name: sign(SECRET, body, now - 301)}) == 400
    assert post(body, {name: sign(SECRET, body, now + 400)}) == 400
    assert post(body.replace(b"succeeded", b"succeedee"), {name: sign(SECRET, body, now)}) == 400
    assert post(b"{}", {name: sign(SECRET, b"{}", now)}) == 400
    assert post(b"[1]", {name: sign(SECRET, b"[1]", now)}) == 400
    huge = b" " * 70_000
    assert post(huge, {name: sign(SECRET, huge, now)}) == 413
    strange = json.dumps({**json.loads(body), "charge_id": str(uuid4())}).encode()
    assert post(strange, {name: sign(SECRET, strange, now)}) == 404
    other = json.dumps({**json.loads(body), "tenant_id": str(make_owner().tenant_id)}).encode()
    assert post(other, {name: sign(SECRET, other, now)}) == 404
    settings.PAYMENT_SECRETS = []
    assert post(body, {name: sign("", body, now)}) == 400
    assert [charge.status for charge in charges(owner)] == ["pending"]
    settings.PAYMENT_SECRETS = ["the next one", SECRET]
    assert post(body, {name: sign(SECRET, body, now)}) == 200
    assert [charge.status for charge in charges(owner)] == ["succeeded"]


@pytest.mark.parametrize("header", ["", "t=1", "v1=00", "t=1,t=2,v1=00", "t=²,v1=00", "t=x,v1=é"])
def test_what_is_no_signature_is_refused(header: str) -> None:
    with pytest.raises(BadSignature):
        verify([SECRET], header, b"", 1.0)


def test_a_trial_is_announced_once_for_each_milestone_and_ends() -> None:
    owner = make_owner()
    with unit_of_work(owner.tenant_id):
        ends = begin_trial(owner).trial_ends_at
    told = [check_trial(owner.tenant_id, ends - timedelta(days=days)) for days in (5, 3, 3, 2, 1, 1)]
    assert told == [None, 3, None, None, 1, None]
    assert check_trial(owner.tenant_id, ends) == 0
    assert check_trial(owner.tenant_id, ends + timedelta(days=1)) is None
    assert look(owner).status == "expired"
    with unit_of_work(owner.tenant_id):
        assert Tenant.objects.get(pk=owner.tenant_id).status == "suspended"
        assert TrialNotice.objects.count() == 3
        by_channel = Notification.objects.filter(notification_type="trial_expiring").values_list("channel")
        assert sorted(channel for (channel,) in by_channel) == ["email"] * 3 + ["in_app"] * 3


def test_after_a_stop_only_the_nearest_milestone_is_told() -> None:
    owner = make_owner()
    with unit_of_work(owner.tenant_id):
        ends = begin_trial(owner).trial_ends_at
    assert check_trial(owner.tenant_id, ends - timedelta(days=1)) == 1
    with unit_of_work(owner.tenant_id):
        assert TrialNotice.objects.count() == 1


def test_the_owner_of_a_closed_tenant_can_open_it_again_and_nobody_else() -> None:
    owner = make_owner()
    tokens = {"owner": make_token(owner), "manager": make_token(make_member(owner, Role.MANAGER))}
    with unit_of_work(owner.tenant_id):
        ends = begin_trial(owner).trial_ends_at
    check_trial(owner.tenant_id, ends)
    url = f"/api/v1/tenants/{owner.tenant_id}"
    body = {"plan": "family", "payment_method": "pm_ok"}

    def put(who: str) -> int:
        headers = {"Authorization": tokens[who]}
        answer = Client().put(f"{url}/subscription/", body, content_type="application/json", headers=headers)
        return answer.status_code

    headers = {"Authorization": tokens["owner"]}
    assert Client().get(f"{url}/animals/", headers=headers).status_code == 403
    assert Client().get(f"{url}/subscription/", headers=headers).json()["status"] == "expired"
    assert put("manager") == 403
    assert put("owner") == 200
    assert look(owner).status == "active"
    assert Client().get(f"{url}/animals/", headers=headers).status_code == 200


def test_a_cancelled_subscription_ends_with_what_is_paid() -> None:
    owner, _ = subscribed()
    provider = StandIn(SECRET)
    bill(owner, provider)
    with unit_of_work(owner.tenant_id):
        cancel_subscription(owner)
    assert look(owner).status == "active"
    assert bill(owner, provider, NOON + MONTH) == 0
    assert look(owner).status == "cancelled"
    assert len(provider.asked) == 1
    with unit_of_work(owner.tenant_id), pytest.raises(RuleBroken, match="cancelled"):
        cancel_subscription(owner)


def test_another_length_of_period_begins_with_the_next_one() -> None:
    owner, _ = subscribed()
    provider = StandIn(SECRET)
    bill(owner, provider)
    with unit_of_work(owner.tenant_id):
        choose_plan(owner, plan="herd-year", payment_method="pm_ok", now=NOON)
    assert bill(owner, provider, NOON + MONTH) == 1
    last = charges(owner)[-1]
    assert (last.first_day, last.last_day, last.amount) == (
        date(2026, 2, 28),
        date(2027, 2, 27),
        Decimal(790),
    )


def test_billing_refuses_a_unit_of_work_and_needs_a_provider(settings: Any) -> None:
    owner, subscription = subscribed()
    with unit_of_work(owner.tenant_id), pytest.raises(RuntimeError, match="no unit of work"):
        process(owner.tenant_id, subscription.id, provider=StandIn(SECRET), now=NOON)
    settings.PAYMENT_PROVIDER = ""
    with pytest.raises(ImproperlyConfigured, match="Nothing was charged"):
        configured()
    settings.PAYMENT_PROVIDER = "ifarm.subscriptions.standin.StandIn"
    assert isinstance(configured(), StandIn)


class FailsForOne(StandIn):
    """Does what nobody expects of it for one tenant."""

    tenant_id: UUID | None = None

    def charge(self, order: Order) -> Answer:
        if order.tenant_id == self.tenant_id:
            raise ValueError("something unexpected")
        return super().charge(order)


def test_the_jobs_cross_tenants_and_one_failure_holds_up_nobody() -> None:
    first, _ = subscribed()
    second, _ = subscribed()
    newcomer = make_owner()
    provider = FailsForOne(SECRET)
    provider.tenant_id = first.tenant_id
    with as_owner():
        assert tasks.process_recurring_billing(NOON, provider) == (1, 1)
        provider.tenant_id = None
        assert tasks.process_recurring_billing(NOON + IN_DOUBT, provider) == (1, 0)
        again = BillingService.process_subscription_billing(
            look(first).id, provider=provider, now=NOON + MONTH
        )
        assert again == 1  # the tenant is looked up
        assert tasks.check_trial_expirations(NOON).badly == 0
        assert tasks.aggregate_usage_metrics(NOON).badly == 0
    assert (look(first).next_period, look(second).next_period) == (2, 1)
    assert look(newcomer).status == "trial"


def test_an_hour_is_counted_once_however_often() -> None:
    owner = make_owner()
    with unit_of_work(owner.tenant_id):
        joined = AuditEntry.objects.get(model="permissions.membership").created_at
    hour = joined.replace(minute=0, second=0, microsecond=0)
    for _ in range(2):
        counted = aggregate_hour(owner.tenant_id, hour)
    assert counted[Metric.MEMBERS] == 1
    assert counted[Metric.CHANGES] >= 1
    assert len(aggregate_usage(owner.tenant_id, hour + timedelta(hours=3))) == 3
    assert len(aggregate_usage(owner.tenant_id, hour + timedelta(hours=3))) == 1
    assert len(aggregate_usage(owner.tenant_id, hour + timedelta(days=30))) == 48
    with unit_of_work(owner.tenant_id):
        assert UsageMetric.objects.filter(hour=hour).count() == len(Metric)


def test_the_database_itself_keeps_a_second_charge_out() -> None:
    owner, subscription = subscribed()
    bill(owner, StandIn(SECRET))
    (charge,) = charges(owner)
    with (
        unit_of_work(owner.tenant_id),
        pytest.raises(IntegrityError, match="one_charge_per_period"),
        transaction.atomic(),
    ):
        charge.pk = uuid4()
        charge.save(force_insert=True)
    assert subscription.tenant_id == owner.tenant_id
