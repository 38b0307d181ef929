from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import UUID

from ifarm.animals.tests.examples import make_animal
from ifarm.api.tests.examples import Examples, Ids
from ifarm.breeding.cycle import PLANS
from ifarm.breeding.services import record_calving, record_heat, record_service, set_plan
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work

examples = Examples()
BEGIN = date(2024, 6, 1)


@examples.row("event_id")
def service(actor: Actor, ids: Ids) -> UUID:
    with unit_of_work(actor.tenant_id):
        return record_service(actor, ids["animal_id"], happened_on=BEGIN, service_method="NaturalService").id


@examples.row("calving_id")
def calving(actor: Actor, ids: Ids) -> UUID:
    born = {"birth_status": "Alive", "sex": "Male", "tag_number": "AT 780"}
    with unit_of_work(actor.tenant_id):
        day = date(2023, 6, 2)
        cow = make_animal(actor, ids["farm_id"], "AT 781", birth_date=date(2020, 1, 1))
        return record_calving(actor, cow, happened_on=day, ease="EasyAssisted", offspring=[born]).id


@examples.body("calving", "PATCH")
def corrected_calving(ids: Ids, number: int) -> dict[str, Any]:
    return {"ease": "DifficultVeterinaryCare", "reason": "as the vet wrote"}


@examples.body("heats", "POST")
def new_heat(ids: Ids, number: int) -> dict[str, Any]:
    return {"happened_on": str(BEGIN + timedelta(days=number)), "detection": "Collar"}


@examples.body("services", "POST")
def new_service(ids: Ids, number: int) -> dict[str, Any]:
    return {"happened_on": "2024-07-01", "service_method": "Insemination", "semen_batch": "B 12"}


@examples.body("pregnancy-checks", "POST")
def new_check(ids: Ids, number: int) -> dict[str, Any]:
    return {
        "happened_on": "2024-08-01",
        "check_method": "Ecography",
        "result": "Pregnant",
        "days_pregnant": 31,
    }


@examples.body("abortions", "POST")
def new_abortion(ids: Ids, number: int) -> dict[str, Any]:
    return {"happened_on": "2024-09-01"}


@examples.body("calvings", "POST")
def new_calving(ids: Ids, number: int) -> dict[str, Any]:
    return {
        "happened_on": "2025-03-10",
        "ease": "EasyAssisted",
        "offspring": [
            {
                "birth_status": "Alive",
                "sex": "Female",
                "tag_number": f"AT 8{number}",
                "birth_weight_kg": "41.50",
            },
            {"birth_status": "Stillborn", "sex": "Male"},
        ],
    }


@examples.body("breeding-plans", "PUT")
def new_plan(ids: Ids, number: int) -> dict[str, Any]:
    return {
        "species": "Cattle",
        "voluntary_wait_days": 60,
        "pregnancy_check_days": 35,
        "dry_period_days": 56,
    }


@examples.fill("breeding-events")
def more_events(actor: Actor, ids: Ids, number: int) -> None:
    with unit_of_work(actor.tenant_id):
        day = BEGIN + timedelta(days=number)
        record_heat(actor, ids["animal_id"], happened_on=day, detection="Visual")


@examples.fill("breeding-due")
def more_due(actor: Actor, ids: Ids, number: int) -> None:
    animal_id = make_animal(actor, ids["farm_id"], f"AT 31{number:03}")
    with unit_of_work(actor.tenant_id):
        day = BEGIN + timedelta(days=number // 3)
        record_service(actor, animal_id, happened_on=day, service_method="NaturalService")


@examples.fill("breeding-plans")
def more_plans(actor: Actor, ids: Ids, number: int) -> None:
    species = list(PLANS)[number - 1]
    with unit_of_work(actor.tenant_id):
        set_plan(
            actor,
            species=species,
            voluntary_wait_days=40,
            pregnancy_check_days=30,
            dry_period_days=None,
        )


examples.longest["breeding-plans"] = len(PLANS)
examples.queries["breeding-events"] = 4  # the animal, which may be out of bounds
