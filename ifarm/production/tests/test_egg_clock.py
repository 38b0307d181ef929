"""Eggs of hens in withdrawal do not go to the table, unless somebody who may says why; of a flock, none of its eggs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from functools import partial
from threading import Barrier
from typing import Any
from uuid import UUID

import psycopg
import pytest

from ifarm.animals.groups import create_group, join_group, leave_group
from ifarm.animals.models import Animal, AnimalGroup
from ifarm.animals.tests.herd import beast
from ifarm.animals.words import GroupKind
from ifarm.api.tests.test_requests import Api, problem
from ifarm.audit.models import AuditEntry
from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.errors import NotAllowed, RuleBroken
from ifarm.core.models import OutboxEvent
from ifarm.core.tests.factories import make_member, make_owner
from ifarm.core.tests.threads import in_thread
from ifarm.core.versions import Seen
from ifarm.farms.services import create_farm
from ifarm.health.tests.examples import make_medicine, make_treatment
from ifarm.health.treatments import treat_group
from ifarm.health.withdrawal import InWithdrawal
from ifarm.health.words import TreatmentKind, Unit
from ifarm.production import services
from ifarm.production.models import Production
from ifarm.production.tests.test_tank import NOON, WHY
from ifarm.production.words import EggUse, ProductionType

HELD, FREE = date(2024, 5, 3), date(2024, 5, 4)  # 36 hours after noon of the first of May, in days
LABEL = [
    {"species": "Chicken", "product": "Meat", "hours": 24},
    {"species": "Chicken", "product": "Eggs", "hours": 36},
]


class Henhouse:
    """A flock of three hens on a farm, and a medicine whose label lets nobody eat their eggs for 36 hours."""

    def __init__(self) -> None:
        self.owner = make_owner()
        with unit_of_work(self.owner.tenant_id):
            farm = create_farm(self.owner, name="Hill", timezone="Europe/Vienna")
            group = partial(create_group, self.owner, farm_id=farm.id, kind=GroupKind.MANAGEMENT)
            self.flock: AnimalGroup = group(name="Hens")
            hens = [beast(self.owner, farm, f"H {number}", animal_type="Chicken") for number in range(3)]
            self.stays = [
                join_group(self.owner, self.flock.id, animal_id=hen.id, starts_on=date(2023, 1, 1))
                for hen in hens
            ]
        self.hens: list[Animal] = hens
        self.medicine: UUID = make_medicine(self.owner, label=LABEL)

    def treat(self, hen: int = 0) -> UUID:
        return make_treatment(self.owner, self.hens[hen].id, self.medicine, (NOON, 1))

    def lay(self, day: date = HELD, who: Actor | None = None, **rest: Any) -> Production:
        of = {} if "animal_id" in rest else {"group_id": self.flock.id}
        return services.record_production(
            who or self.owner,
            production_type=ProductionType.EGGS,
            production_date=day,
            **{"eggs_count": 3, **of, **rest},
        )


@pytest.fixture
def house(db: None) -> Iterator[Henhouse]:
    made = Henhouse()
    with unit_of_work(made.owner.tenant_id):
        yield made


def overrides() -> list[tuple[UUID, str, Any]]:
    rows = AuditEntry.objects.filter(action="withdrawal_overridden")
    return [(row.object_id, row.reason, row.changes["product"]) for row in rows]


def test_eggs_are_for_the_table_unless_somebody_says_otherwise(house: Henhouse) -> None:
    assert house.lay().egg_use == EggUse.TABLE
    assert house.lay(animal_id=house.hens[0].id).egg_use == EggUse.TABLE


def test_withheld_eggs_of_a_hen_are_refused_and_nothing_is_kept(house: Henhouse) -> None:
    treated, other = (hen.id for hen in house.hens[:2])
    house.treat()
    wrong: Any
    for wrong in ({}, {"egg_use": ""}, {"egg_use": EggUse.TABLE.value, "override_reason": "  "}):
        with pytest.raises(InWithdrawal, match="2024-05-04") as refused:
            house.lay(animal_id=treated, **wrong)
        assert refused.value.extra["product"] == "Eggs"
    assert not Production.objects.exists()
    for use in (EggUse.HATCHING, EggUse.DISCARDED):
        assert house.lay(animal_id=treated, egg_use=use.value).egg_use == use
    assert house.lay(FREE, animal_id=treated).egg_use == house.lay(animal_id=other).egg_use == "Table"
    assert overrides() == []


def test_one_treated_hen_withholds_the_eggs_of_her_flock(house: Henhouse) -> None:
    """Whose egg is whose nobody knows."""
    treatment = house.treat(2)
    with pytest.raises(InWithdrawal, match="Eggs of Hens: expected a day from 2024-05-04") as refused:
        house.lay()
    assert refused.value.extra["treatment_ids"] == [str(treatment)]
    assert house.lay(egg_use="Discarded").egg_use == "Discarded"
    assert house.lay(FREE).egg_use == "Table"
    leave_group(house.owner, house.stays[2].id, ends_on=HELD, seen=Seen(1))
    assert house.lay().egg_use == "Table"  # she laid elsewhere that day


def test_a_flock_that_is_treated_as_one_is_withheld_as_one_and_overridden_once(house: Henhouse) -> None:
    treat_group(
        house.owner,
        house.flock.id,
        kind=TreatmentKind.TREATMENT,
        medicine_id=house.medicine,
        unit=Unit.MILLILITRE,
        given_at=NOON,
        quantity=Decimal(1),
    )
    with pytest.raises(InWithdrawal) as refused:
        house.lay()
    assert len(refused.value.extra["treatment_ids"]) == 3
    with pytest.raises(NotAllowed):
        house.lay(who=make_member(house.owner, Role.WORKER), override_reason=WHY)
    assert house.lay(who=make_member(house.owner, Role.MANAGER), override_reason=WHY).egg_use == "Table"
    assert overrides() == [(house.flock.id, WHY, "Eggs")]
    (told,) = OutboxEvent.objects.filter(type="group_withdrawal_overridden")
    assert (told.aggregate_id, told.payload["day"]) == (house.flock.id, str(HELD))


def test_a_medicine_that_says_nothing_of_eggs_withholds_them_by_the_law(house: Henhouse) -> None:
    """Off its label: 14 days, whole ones after the day of the dose."""
    medicine = make_medicine(house.owner, "For cattle")
    make_treatment(house.owner, house.hens[0].id, medicine, (NOON, 1))
    with pytest.raises(InWithdrawal, match="2024-05-16"):
        house.lay(date(2024, 5, 15))
    assert house.lay(date(2024, 5, 16)).egg_use == "Table"


def test_a_correction_to_the_table_is_a_delivery_too(house: Henhouse) -> None:
    house.treat()
    row = house.lay(egg_use=EggUse.DISCARDED.value)
    change = {"egg_use": EggUse.TABLE.value}
    with pytest.raises(InWithdrawal):
        services.correct_production(house.owner, row.id, change, Seen(1))
    with pytest.raises(RuleBroken, match="milk_use: expected one of egg_use"):
        services.correct_production(house.owner, row.id, {"milk_use": "Tank"}, Seen(1))
    row = services.correct_production(house.owner, row.id, change, Seen(1), override_reason=WHY)
    assert (row.egg_use, overrides()) == ("Table", [(house.flock.id, WHY, "Eggs")])
    again = services.correct_production(house.owner, row.id, {**change, "eggs_count": 2}, Seen(2))
    assert (again.eggs_count, len(overrides())) == (2, 1)


@pytest.mark.django_db
def test_a_client_is_told_which_treatment_and_until_when() -> None:
    house = Henhouse()
    treatment, api = house.treat(), Api(house.owner)
    body = {"production_type": "eggs", "production_date": str(HELD), "eggs_count": 3}
    for of in ({"animal_id": str(house.hens[0].id)}, {"group_id": str(house.flock.id)}):
        answer = api("POST", "production/", {**body, **of})
        assert problem(answer) == (422, "in-withdrawal")
        told = {"product": "Eggs", "free_on": str(FREE), "treatment_ids": [str(treatment)]}
        assert told.items() <= answer.json().items()
        made = api("POST", "production/", {**body, **of, "egg_use": "Hatching"})
        assert (made.status_code, made.json()["egg_use"]) == (201, "Hatching")
    answer = api("PATCH", f"production/{made.json()['id']}/", {"egg_use": "Table"}, If_Match='"1"')
    assert problem(answer) == (422, "in-withdrawal")


def test_a_treatment_and_a_collection_at_once_are_one_after_the_other(
    committed: psycopg.Connection[Any],
) -> None:
    """The collection waits for a treatment of one of the flock that is under way, and is then refused."""
    house = Henhouse()
    locked, about_to_ask = Barrier(2, timeout=60), Barrier(2, timeout=60)

    def treat() -> str:
        with unit_of_work(house.owner.tenant_id):
            house.treat(1)
            locked.wait()
            about_to_ask.wait()
        return "treated"

    def laid() -> str:
        locked.wait()
        with unit_of_work(house.owner.tenant_id):
            about_to_ask.wait()
            try:
                house.lay()
            except InWithdrawal:
                return "refused"
        return "recorded"

    assert [wait() for wait in [in_thread(treat), in_thread(laid)]] == ["treated", "refused"]
    assert committed.execute("SELECT count(*) FROM production_production").fetchall() == [(0,)]
