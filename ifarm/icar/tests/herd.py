"""A tenant's side of the exchange, and a herd of which there is something to tell in every collection."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.test import Client

from ifarm.animals.growth import record_weight
from ifarm.animals.movements import move_animal
from ifarm.animals.services import create_animal, set_parent
from ifarm.animals.words import ArrivalReason, MovementKind, ParentRole
from ifarm.breeding.services import (
    record_abortion,
    record_calving,
    record_check,
    record_heat,
    record_service,
)
from ifarm.breeding.words import BirthStatus
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.tests.factories import make_token
from ifarm.farms.services import create_farm
from ifarm.health.medicines import create_medicine
from ifarm.health.stock import record_purchase
from ifarm.health.treatments import GivenDose, record_treatment
from ifarm.health.words import TreatmentKind, Unit
from ifarm.icar.resources import RESOURCES
from ifarm.production.services import record_production
from ifarm.production.words import ProductionType

ZONE: Final = "Europe/Vienna"
IN_ORDER: Final = (
    "births",
    "arrivals",
    "animals",
    "departures",
    "deaths",
    *(
        one.name
        for one in RESOURCES
        if one.name not in ("births", "arrivals", "animals", "departures", "deaths")
    ),
)
"""Who must be there comes first."""


class Side:
    """A tenant with one farm, its medicine cabinet, and a token."""

    def __init__(self, actor: Actor) -> None:
        self.actor, self.token = actor, make_token(actor)
        with unit_of_work(actor.tenant_id):
            self.farm_id = create_farm(actor, name="Hill", timezone=ZONE).id
            label = [
                {"species": "Cattle", "product": p, "hours": h} for p, h in (("Meat", 672), ("Milk", 36))
            ]
            medicine = create_medicine(
                actor,
                name="Penicillin",
                unit=Unit.MILLILITRE,
                label=label,
                registration_number="8-00123",
            )
            self.medicine_id = medicine.id
            purchase = record_purchase(
                actor,
                farm_id=self.farm_id,
                medicine_id=medicine.id,
                unit=Unit.MILLILITRE,
                batch_number="B1",
                quantity=Decimal(1000),
                expires_on=date(2034, 1, 1),
                purchased_on=date(2024, 1, 1),
            )
            self.batch_id = purchase.batch_id

    def url(self, name: str, batch: bool = False) -> str:
        base = f"/api/v1/tenants/{self.actor.tenant_id}/icar"
        return f"{base}{'/batches' if batch else ''}/locations/ifarm.farm/{self.farm_id}/{name}"

    def get(self, url: str, status: int = 200) -> Any:
        answer = Client().get(url, headers={"Authorization": self.token})
        assert answer.status_code == status, answer.content
        return answer.json()

    def members(self, name: str, size: int = 500) -> list[dict[str, Any]]:
        """All of a collection, page by page."""
        found: list[dict[str, Any]] = []
        following = f"{self.url(name)}?pageSize={size}"
        while following:
            page = self.get(following)
            assert len(page["member"]) <= size
            found += page["member"]
            following = page["view"].get("next", "")
        return found

    def everything(self) -> dict[str, list[dict[str, Any]]]:
        return {name: self.members(name) for name in IN_ORDER}

    def send(self, name: str, rows: Any, status: int = 200, token: str = "") -> Any:
        answer = Client().post(
            self.url(name, batch=True),
            json.dumps(rows),
            "application/json",
            headers={"Authorization": token or self.token},
        )
        assert answer.status_code == status, answer.content
        return answer.json()

    def one(self, name: str, row: dict[str, Any]) -> Any:
        """Send one row; its result."""
        (found,) = self.send(name, [row])
        return found


def at(month: int, day: int, hour: int = 8, year: int = 2024) -> datetime:
    return datetime(year, month, day, hour, tzinfo=UTC)


def keep_herd(side: Side) -> None:
    """Fill a side."""
    actor = side.actor
    with unit_of_work(actor.tenant_id):
        bull = _animal(side, "AT 900", sex="Male", birth_date=date(2018, 1, 1), is_reference=True)
        cow = _animal(
            side,
            "AT 100",
            name="Elsa",
            purpose="Milk",
            birth_date=date(2020, 1, 1),
            breeds=[{"code": "SIM", "parts": 3}, {"code": "HOL", "parts": 1}],
            identifiers=[
                {"kind": "Eid", "value": "040000000000100"},
                {"kind": "Management", "value": "17"},
            ],
        )
        bought = _animal(
            side,
            "AT 200",
            birth_date=date(2021, 5, 1),
            arrived_at=at(1, 10),
            arrival_reason=ArrivalReason.PURCHASE,
        )
        sold = _animal(side, "AT 300", birth_date=date(2022, 5, 1))
        dead = _animal(side, "AT 400", birth_date=date(2024, 1, 5), arrived_at=at(1, 5))
        set_parent(actor, cow, parent_id=bull, role=ParentRole.SIRE)
        _move(actor, sold, MovementKind.DEPARTURE, at(3, 1), "Sale", counterpart="Dairy")
        _move(actor, dead, MovementKind.DEATH, at(3, 2), "Disease")
        _recorded(side, cow, bought)
        _bred(actor, cow, bought, bull)
        _treated(side, cow, bought)


def _animal(side: Side, tag: str, **fields: Any) -> UUID:
    given = {"animal_type": "Cattle", "sex": "Female", **fields}
    return create_animal(side.actor, farm_id=side.farm_id, tag_number=tag, **given).id


def _move(actor: Actor, animal: UUID, kind: MovementKind, moment: datetime, reason: str, **rest: Any) -> None:
    move_animal(actor, animal, kind=kind, moved_at=moment, reason=reason, **rest)


def _recorded(side: Side, cow: UUID, bought: UUID) -> None:
    actor = side.actor
    for day, kilograms in ((1, "610.50"), (20, "618")):
        record_weight(actor, cow, weighed_on=date(2024, 2, day), weight_kg=Decimal(kilograms))
    record_weight(
        actor, bought, weighed_on=date(2024, 2, 1), weight_kg=Decimal("433.25"), method="FrontEndCorrelated"
    )
    milk: dict[str, Any] = {"production_type": ProductionType.MILK}
    for session in ("Morning", "Midday", "Evening", "Night"):
        record_production(
            actor,
            animal_id=cow,
            production_date=date(2024, 2, 3),
            session=session,
            milk_kg=Decimal("7.25"),
            fat_percent=Decimal("4.10"),
            protein_percent=Decimal("3.4"),
            somatic_cells_per_ml=120_500,
            **milk,
        )
    record_production(
        actor,
        animal_id=bought,
        production_date=date(2024, 2, 4),
        session="WholeDay",
        milk_kg=Decimal("21.50"),
        **milk,
    )


def _bred(actor: Actor, cow: UUID, bought: UUID, bull: UUID) -> None:
    record_heat(actor, cow, happened_on=date(2023, 4, 1), detection="Collar")
    record_service(
        actor,
        cow,
        happened_on=date(2023, 4, 2),
        service_method="Insemination",
        sire_id=bull,
        semen_batch="S 7",
    )
    record_check(
        actor,
        cow,
        happened_on=date(2023, 5, 10),
        check_method="Ecography",
        result="Pregnant",
        days_pregnant=38,
    )
    record_calving(
        actor,
        cow,
        happened_on=date(2024, 1, 8),
        ease="EasyAssisted",
        offspring=[
            {
                "birth_status": BirthStatus.ALIVE,
                "sex": "Female",
                "tag_number": "AT 500",
                "name": "Calf",
                "birth_weight_kg": Decimal("41.50"),
            },
            {"birth_status": BirthStatus.STILLBORN, "sex": "Male"},
        ],
    )
    record_service(actor, bought, happened_on=date(2024, 2, 1), service_method="NaturalService")
    record_check(actor, bought, happened_on=date(2024, 3, 15), check_method="Palpation", result="Pregnant")
    record_abortion(actor, bought, happened_on=date(2024, 4, 1))


def _treated(side: Side, cow: UUID, bought: UUID) -> None:
    doses = [GivenDose(Decimal("12.5"), at(5, day), side.batch_id) for day in (1, 2, 3)]
    record_treatment(
        side.actor,
        cow,
        kind=TreatmentKind.TREATMENT,
        medicine_id=side.medicine_id,
        unit=Unit.MILLILITRE,
        doses=doses,
        target="mastitis",
        procedure="intramuscular",
        site="neck",
        prescribed_by="Dr. Hoof",
        comment="better",
    )
    record_treatment(
        side.actor,
        bought,
        kind=TreatmentKind.VACCINATION,
        medicine_id=side.medicine_id,
        unit=Unit.MILLILITRE,
        doses=[GivenDose(Decimal(2), at(6, 1))],
    )
    record_treatment(
        side.actor, cow, kind=TreatmentKind.PROCEDURE, procedure="FootTrimming", treated_at=at(7, 1)
    )
