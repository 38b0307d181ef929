"""Billing by several at once: real transactions, one effect."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest

from ifarm.core.tests.threads import in_thread
from ifarm.subscriptions.billing import process
from ifarm.subscriptions.signatures import sign
from ifarm.subscriptions.standin import StandIn
from ifarm.subscriptions.tests.factories import NOON, SECRET, bill, post, subscribed


@pytest.fixture(autouse=True)
def _secret(settings: Any) -> None:
    settings.PAYMENT_SECRETS = [SECRET]


def test_many_at_once_charge_a_period_once(committed: psycopg.Connection[Any]) -> None:
    owner, subscription = subscribed()
    provider, gate = StandIn(SECRET), threading.Barrier(4, timeout=60)

    def work() -> int:
        gate.wait()
        return process(owner.tenant_id, subscription.id, provider=provider, now=NOON)

    assert sum(wait() for wait in [in_thread(work) for _ in range(4)]) == 1
    assert len(provider.payments) == len(provider.asked) == 1
    counts = (
        "SELECT (SELECT count(*) FROM subscriptions_charge),"
        " (SELECT count(*) FROM subscriptions_subscriptioninvoice)"
    )
    assert committed.execute(counts).fetchall() == [(1, 1)]


def test_the_same_message_many_times_at_once_has_one_effect(committed: psycopg.Connection[Any]) -> None:
    owner, _ = subscribed("pm_later")
    provider, gate = StandIn(SECRET), threading.Barrier(4, timeout=60)
    bill(owner, provider)
    (body,) = provider.messages
    header = {"Payment-Signature": sign(SECRET, body, int(time.time()))}

    def work() -> int:
        gate.wait()
        return post(body, header)

    assert [wait() for wait in [in_thread(work) for _ in range(4)]] == [200] * 4
    query = (
        "SELECT next_period, (SELECT count(*) FROM subscriptions_subscriptioninvoice),"
        " (SELECT count(*) FROM subscriptions_providerevent) FROM subscriptions_subscription"
    )
    assert committed.execute(query).fetchall() == [(1, 1, 1)]
