"""Milk of an animal in withdrawal does not go into the tank, unless somebody who may says why."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from threading import Barrier
from typing import Any
from uuid import UUID

import psycopg
import pytest

from ifarm.animals.groups import create_group, join_group
from ifarm.animals.models import Animal
from ifarm.animals.tests.herd import beast
from ifarm.animals.words import GroupKind
from ifarm.api.tests.test_requests import Api, problem
from ifarm.audit.models import AuditEntry
from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.errors import NotAllowed
from ifarm.core.models import OutboxEvent
from ifarm.core.tests.factories import make_member, make_owner
from ifarm.core.tests.threads import in_thread
from ifarm.core.versions import Seen
from ifarm.farms.models import Farm
from ifarm.farms.services import create_farm
from ifarm.health.tests.examples import make_medicine, make_treatment
from ifarm.health.withdrawal import InWithdrawal
from ifarm.production import services
from ifarm.production.models import Production
from ifarm.production.tests.test_production import milk
from ifarm.production.words import MilkUse, Session

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
HELD, FREE = date(2024, 5, 3), date(2024, 5, 4)  # 36 hours after noon of the first of May, in days
WHY = "The vet has tested it"


@pytest.fixture
def cow(owner: Actor, cow: Animal) -> Animal:
    make_treatment(owner, cow.id, make_medicine(owner), (NOON, 10))
    return cow


def overrides() -> list[tuple[str, Any]]:
    rows = AuditEntry.objects.filter(action="withdrawal_overridden")
    return [(row.reason, row.changes["product"]) for row in rows]


def test_milk_goes_into_the_tank_unless_somebody_says_otherwise(owner: Actor, farm: Farm) -> None:
    assert milk(owner, beast(owner, farm)).milk_use == MilkUse.TANK


def test_withheld_milk_is_refused_for_the_tank_and_nothing_is_kept(owner: Actor, cow: Animal) -> None:
    for wrong in ({}, {"milk_use": ""}, {"milk_use": MilkUse.TANK.value, "override_reason": "  "}):
        with pytest.raises(InWithdrawal, match="2024-05-04") as refused:
            milk(owner, cow, HELD, **wrong)
        assert refused.value.extra["free_on"] == str(FREE)
    assert not Production.objects.exists()
    for use in (MilkUse.CALVES, MilkUse.DISCARDED):
        session = {MilkUse.CALVES: "Morning", MilkUse.DISCARDED: "Evening"}[use]
        assert milk(owner, cow, HELD, milk_use=use.value, session=session).milk_use == use
    assert milk(owner, cow, FREE).milk_use == MilkUse.TANK
    assert overrides() == []


def test_an_override_is_audited_told_and_for_those_who_may(owner: Actor, cow: Animal) -> None:
    with pytest.raises(NotAllowed):
        milk(make_member(owner, Role.WORKER), cow, HELD, override_reason=WHY)
    assert milk(make_member(owner, Role.MANAGER), cow, HELD, override_reason=WHY).milk_use == MilkUse.TANK
    assert overrides() == [(WHY, "Milk")]
    (told,) = OutboxEvent.objects.filter(type="animal_withdrawal_overridden")
    assert (told.aggregate_id, told.payload["day"]) == (cow.id, str(HELD))


def test_a_groups_list_refuses_the_lines_of_those_in_withdrawal_only(
    owner: Actor, farm: Farm, cow: Animal
) -> None:
    group = create_group(owner, farm_id=farm.id, name="Milking", kind=GroupKind.MILKING)
    herd = [cow, *(beast(owner, farm, f"AT {number}") for number in (2, 3))]
    for one in herd:
        join_group(owner, group.id, animal_id=one.id, starts_on=date(2023, 1, 1))

    def record(session: Session, **rest: Any) -> list[Any]:
        rows = [{"animal_id": one.id, "milk_kg": Decimal(9), **(rest if one is cow else {})} for one in herd]
        lines = services.record_group_milk(owner, group.id, production_date=HELD, session=session, rows=rows)
        return [
            getattr(line.problem, "type", None) or getattr(line.production, "milk_use", "") for line in lines
        ]

    assert record(Session.MORNING) == ["in-withdrawal", "Tank", "Tank"]
    assert record(Session.MIDDAY, milk_use="Discarded") == ["Discarded", "Tank", "Tank"]
    assert overrides() == []
    assert record(Session.EVENING, override_reason=WHY) == ["Tank", "Tank", "Tank"]
    assert overrides() == [(WHY, "Milk")]


def test_a_correction_into_the_tank_is_a_delivery_too(owner: Actor, cow: Animal) -> None:
    row = milk(owner, cow, HELD, milk_use=MilkUse.DISCARDED.value)
    change = {"milk_use": MilkUse.TANK.value}
    with pytest.raises(InWithdrawal):
        services.correct_production(owner, row.id, change, Seen(1))
    row = services.correct_production(owner, row.id, {"milk_kg": Decimal(8)}, Seen(1))
    row = services.correct_production(owner, row.id, change, Seen(2), override_reason=WHY)
    assert (row.version, row.milk_use, overrides()) == (3, "Tank", [(WHY, "Milk")])
    again = services.correct_production(owner, row.id, {**change, "milk_kg": Decimal(7)}, Seen(3))
    assert (again.milk_kg, len(overrides())) == (7, 1)


@pytest.mark.django_db
def test_a_client_is_told_which_treatments_and_until_when() -> None:
    actor = make_owner()
    with unit_of_work(actor.tenant_id):
        farm = create_farm(actor, name="Hill")
        cow = beast(actor, farm)
        group = create_group(actor, farm_id=farm.id, name="Milking", kind=GroupKind.MILKING)
        join_group(actor, group.id, animal_id=cow.id, starts_on=date(2023, 1, 1))
    treatment = make_treatment(actor, cow.id, make_medicine(actor), (NOON, 10))
    api = Api(actor)
    body = {"production_type": "milk", "animal_id": str(cow.id), "session": "Morning", "milk_kg": "9"}
    body["production_date"] = str(HELD)
    answer = api("POST", "production/", body)
    assert problem(answer) == (422, "in-withdrawal")
    told = {"product": "Milk", "free_on": str(FREE), "treatment_ids": [str(treatment)]}
    assert told.items() <= answer.json().items()
    rows = [{"animal_id": str(cow.id), "milk_kg": "9"}]
    lines = {"production_date": str(HELD), "session": "Evening", "rows": rows}
    (line,) = api("POST", f"groups/{group.id}/milk/", lines).json()["rows"]
    assert told.items() <= line["problem"].items()
    made = api("POST", "production/", {**body, "milk_use": "Discarded"})
    assert (made.status_code, made.json()["milk_use"]) == (201, "Discarded")
    address = f"production/{made.json()['id']}/"
    change = {"milk_use": "Tank", "reason": "mistyped"}
    assert problem(api("PATCH", address, change, If_Match='"1"')) == (422, "in-withdrawal")
    answer = api("PATCH", address, {**change, "override_reason": WHY}, If_Match='"1"')
    assert (answer.status_code, answer.json()["milk_use"]) == (200, "Tank")


def test_a_treatment_and_a_milking_at_once_are_one_after_the_other(
    committed: psycopg.Connection[Any],
) -> None:
    """The milking waits for a treatment that is under way, and is then refused."""
    owner = make_owner()
    with unit_of_work(owner.tenant_id):
        cow = beast(owner, create_farm(owner, name="Hill"))
    medicine: UUID = make_medicine(owner)
    locked, about_to_ask = Barrier(2, timeout=60), Barrier(2, timeout=60)

    def treat() -> str:
        with unit_of_work(owner.tenant_id):
            make_treatment(owner, cow.id, medicine, (NOON, 10))
            locked.wait()
            about_to_ask.wait()
        return "treated"

    def milked() -> str:
        locked.wait()
        with unit_of_work(owner.tenant_id):
            about_to_ask.wait()
            try:
                milk(owner, cow, HELD)
            except InWithdrawal:
                return "refused"
        return "recorded"

    assert [wait() for wait in [in_thread(treat), in_thread(milked)]] == ["treated", "refused"]
    assert committed.execute("SELECT count(*) FROM production_production").fetchall() == [(0,)]
