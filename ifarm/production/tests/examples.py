from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from ifarm.api.tests.examples import Examples, Ids
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.production.lactations import open_lactation
from ifarm.production.services import record_production
from ifarm.production.words import ProductionType

examples = Examples()
BEGIN = date(2024, 1, 1)


def milk(actor: Actor, animal_id: UUID, day: date, kilograms: str = "12.50") -> UUID:
    with unit_of_work(actor.tenant_id):
        return record_production(
            actor,
            production_type=ProductionType.MILK,
            production_date=day,
            animal_id=animal_id,
            session="Morning",
            milk_kg=Decimal(kilograms),
        ).id


@examples.row("production_id")
def production(actor: Actor, ids: Ids) -> UUID:
    return milk(actor, ids["mother_id"], BEGIN)


@examples.row("lactation_id")
def lactation(actor: Actor, ids: Ids) -> UUID:
    with unit_of_work(actor.tenant_id):
        return open_lactation(actor, ids["mother_id"], starts_on=date(2023, 6, 1)).id


@examples.body("production", "POST")
def new_production(ids: Ids, number: int) -> dict[str, Any]:
    return {
        "production_type": "milk",
        "production_date": str(BEGIN + timedelta(days=number)),
        "animal_id": str(ids["animal_id"]),
        "session": "Evening",
        "milk_kg": "14.20",
        "fat_percent": "4.10",
        "somatic_cells_per_ml": 120_000,
    }


@examples.body("production-record", "PATCH")
def corrected_production(ids: Ids, number: int) -> dict[str, Any]:
    return {"milk_kg": "13.00", "reason": "misread"}


@examples.body("lactations", "POST")
def new_lactation(ids: Ids, number: int) -> dict[str, Any]:
    return {"starts_on": str(BEGIN + timedelta(days=number))}


@examples.body("lactation", "PATCH")
def dried_off(ids: Ids, number: int) -> dict[str, Any]:
    return {"ends_on": "2024-03-01"}


@examples.body("group-milk", "POST")
def group_milk(ids: Ids, number: int) -> dict[str, Any]:
    rows = [{"animal_id": str(ids["mother_id"]), "milk_kg": "11.10"}]
    return {"production_date": "2024-02-01", "session": "Morning", "rows": rows}


@examples.fill("daily-summaries")
def another_day(actor: Actor, ids: Ids, number: int) -> None:
    milk(actor, ids["mother_id"], BEGIN + timedelta(days=number))


examples.queries["lactations"] = 4  # the animal, which may be out of bounds
