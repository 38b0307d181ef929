from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.utils import timezone

from ifarm.api.tests.examples import Examples, Ids
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.health.medicines import create_medicine
from ifarm.health.models import TreatmentDose
from ifarm.health.services import record_check
from ifarm.health.stock import record_purchase
from ifarm.health.treatments import GivenDose, record_treatment
from ifarm.health.words import HealthStatus, TreatmentKind, Unit

examples = Examples()
WHEN = datetime(2024, 5, 1, 8, tzinfo=UTC)
GOOD_UNTIL = date(2034, 1, 1)
CATTLE = [
    {"species": "Cattle", "product": "Meat", "hours": 28 * 24},
    {"species": "Cattle", "product": "Milk", "hours": 36},
]


def make_medicine(actor: Actor, name: str = "Penicillin", label: Any = CATTLE) -> UUID:
    with unit_of_work(actor.tenant_id):
        return create_medicine(actor, name=name, unit=Unit.MILLILITRE, label=label).id


def make_batch(
    actor: Actor, farm_id: UUID, medicine_id: UUID, number: str = "B1", quantity: int = 1000, **rest: Any
) -> UUID:
    with unit_of_work(actor.tenant_id):
        purchase = record_purchase(
            actor,
            farm_id=farm_id,
            medicine_id=medicine_id,
            unit=Unit.MILLILITRE,
            batch_number=number,
            quantity=Decimal(quantity),
            **{"expires_on": GOOD_UNTIL, "purchased_on": date(2024, 1, 1), **rest},
        )
        return UUID(str(purchase.batch_id))


def make_treatment(
    actor: Actor,
    animal_id: UUID,
    medicine_id: UUID,
    *given: tuple[datetime, int],
    batch_id: UUID | None = None,
    **rest: Any,
) -> UUID:
    doses = [GivenDose(Decimal(quantity), moment, batch_id) for moment, quantity in given]
    with unit_of_work(actor.tenant_id):
        return record_treatment(
            actor,
            animal_id,
            medicine_id=medicine_id,
            unit=Unit.MILLILITRE,
            doses=doses,
            **{"kind": TreatmentKind.TREATMENT, **rest},
        ).id


@examples.row("check_id")
def check(actor: Actor, ids: Ids) -> UUID:
    with unit_of_work(actor.tenant_id):
        return record_check(actor, ids["animal_id"], health_status=HealthStatus.HEALTHY, checked_at=WHEN).id


@examples.row("medicine_id")
def medicine(actor: Actor, ids: Ids) -> UUID:
    return make_medicine(actor)


@examples.row("batch_id")
def batch(actor: Actor, ids: Ids) -> UUID:
    return make_batch(actor, ids["farm_id"], ids["medicine_id"])


@examples.row("treatment_id")
def treatment(actor: Actor, ids: Ids) -> UUID:
    return make_treatment(actor, ids["animal_id"], ids["medicine_id"], (WHEN, 10), batch_id=ids["batch_id"])


@examples.row("dose_id")
def dose(actor: Actor, ids: Ids) -> UUID:
    with unit_of_work(actor.tenant_id):
        return UUID(str(TreatmentDose.objects.get(treatment_id=ids["treatment_id"]).id))


@examples.body("health-checks", "POST")
@examples.body("health-records", "POST")
def new_check(ids: Ids, number: int) -> dict[str, Any]:
    return {
        "checked_at": (WHEN + timedelta(days=number)).isoformat(),
        "health_status": "Ill",
        "temperature_c": "39.8",
        "findings": "coughs",
    }


@examples.body("animal-treatments", "POST")
def new_treatment(ids: Ids, number: int) -> dict[str, Any]:
    given = {
        "given_at": (WHEN + timedelta(days=number)).isoformat(),
        "quantity": "12.5",
        "batch_id": str(ids["batch_id"]),
    }
    return {
        "kind": "Treatment",
        "medicine_id": str(ids["medicine_id"]),
        "unit": "MLT",
        "target": "mastitis",
        "doses": [given],
    }


@examples.body("group-treatments", "POST")
def new_group_treatment(ids: Ids, number: int) -> dict[str, Any]:
    _ = ids["group_membership_id"]  # the mother is in the group
    return {
        "kind": "Vaccination",
        "medicine_id": str(ids["medicine_id"]),
        "unit": "MLT",
        "given_at": WHEN.isoformat(),
        "quantity": "2",
        "batch_ids": [str(ids["batch_id"])],
        "target": "BVD",
        "due_again_on": "2025-05-01",
    }


@examples.body("treatment", "PATCH")
def changed_treatment(ids: Ids, number: int) -> dict[str, Any]:
    return {"comment": "better"}


@examples.body("doses", "POST")
def new_dose(ids: Ids, number: int) -> dict[str, Any]:
    return {
        "given_at": (WHEN + timedelta(days=number)).isoformat(),
        "quantity": "10",
        "unit": "MLT",
        "batch_id": str(ids["batch_id"]),
    }


@examples.body("dose", "PATCH")
def corrected_dose(ids: Ids, number: int) -> dict[str, Any]:
    return {"quantity": "11", "given_at": WHEN.isoformat()}


@examples.body("void-dose", "POST")
def voided_dose(ids: Ids, number: int) -> dict[str, Any]:
    return {"reason": "another animal"}


@examples.body("medicines", "POST")
def new_medicine(ids: Ids, number: int) -> dict[str, Any]:
    return {"name": f"Medicine {number}", "unit": "XTU", "label": CATTLE}


@examples.body("medicine", "PATCH")
def changed_medicine(ids: Ids, number: int) -> dict[str, Any]:
    return {"name": "Penicillin G", "label": CATTLE[:1]}


@examples.body("medicine-purchases", "POST")
def new_purchase(ids: Ids, number: int) -> dict[str, Any]:
    return {
        "farm_id": str(ids["farm_id"]),
        "medicine_id": str(ids["medicine_id"]),
        "batch_number": f"LOT {number}",
        "expires_on": str(GOOD_UNTIL),
        "quantity": "100",
        "unit": "MLT",
        "purchased_on": str(date(2024, 2, 1) + timedelta(days=number)),
        "supplier": "Dr. Vet",
        "cost_amount": "42.00",
        "cost_currency": "EUR",
    }


@examples.body("batch-moves", "POST")
def new_move(ids: Ids, number: int) -> dict[str, Any]:
    return {"kind": "Disposal", "quantity": "1", "unit": "MLT", "reason": "broken"}


@examples.fill("medicine-batches")
def more_batches(actor: Actor, ids: Ids, number: int) -> None:
    make_batch(actor, ids["farm_id"], ids["medicine_id"], f"C{number}", expires_on=date(2030, 1, number))


@examples.fill("treatments")
def more_treatments(actor: Actor, ids: Ids, number: int) -> None:
    make_treatment(actor, ids["animal_id"], ids["medicine_id"], (WHEN + timedelta(hours=number), 1))


@examples.fill("withdrawals")
def more_withdrawals(actor: Actor, ids: Ids, number: int) -> None:
    moment = timezone.now() - timedelta(minutes=number)  # withheld today and tomorrow, whatever hour it is
    make_treatment(actor, ids["animal_id"], ids["medicine_id"], (moment, 1))


examples.queries["medicines"] = 4  # what the labels say
for route in ("health-checks", "animal-treatments", "doses", "batch-moves"):
    examples.queries[route] = 4  # the animal, treatment or batch, which may be out of bounds
