from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from ifarm.api.tests.examples import Examples, Ids
from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.subscriptions.billing import issue_invoice
from ifarm.subscriptions.lifecycle import begin_trial
from ifarm.subscriptions.models import Charge
from ifarm.subscriptions.usage import aggregate_hour
from ifarm.subscriptions.words import ChargeStatus

examples = Examples()
DAY = date(2024, 3, 1)
HOUR = datetime(2024, 3, 1, tzinfo=UTC)


@examples.row("subscription_id")  # in no address: there is one
def subscription(actor: Actor, ids: Ids) -> UUID:
    with unit_of_work(actor.tenant_id):
        return begin_trial(actor).id


@examples.body("subscription", "PUT")
def chosen(ids: Ids, number: int) -> dict[str, Any]:
    return {"plan": "herd", "payment_method": "pm_ok"}


@examples.fill("subscription-invoices")
def more_invoices(actor: Actor, ids: Ids, number: int) -> None:
    with unit_of_work(actor.tenant_id):
        charge = Charge(
            subscription_id=ids["subscription_id"],
            period=number,
            first_day=DAY,
            last_day=DAY,
            plan="herd",
            payment_method="pm_ok",
            amount=Decimal(79),
            currency="EUR",
            status=ChargeStatus.SUCCEEDED.value,
            paid_at=HOUR,
        )
        issue_invoice(actor, writes.insert(actor, charge), DAY)


@examples.fill("subscription-usage")
def more_usage(actor: Actor, ids: Ids, number: int) -> None:
    aggregate_hour(actor.tenant_id, HOUR + timedelta(hours=number))
