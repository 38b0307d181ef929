"""A whole group moves in one call: each animal by the rules of one, all or none. And the form of breed codes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import partial
from threading import Barrier
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import IntegrityError, transaction

from ifarm.animals.groups import create_group, join_group, leave_group, members_on
from ifarm.animals.models import Animal, Breed, GroupMembership, Movement, Stay
from ifarm.animals.movements import move_animal, move_group
from ifarm.animals.tests.examples import make_animal
from ifarm.animals.words import GroupKind, MovementKind
from ifarm.api.tests.test_requests import Api, problem
from ifarm.audit.models import AuditEntry
from ifarm.core.actors import Role
from ifarm.core.context import unit_of_work
from ifarm.core.errors import NotFound, RuleBroken
from ifarm.core.models import OutboxEvent
from ifarm.core.tests.factories import make_member, make_owner
from ifarm.core.tests.threads import in_thread
from ifarm.core.versions import Seen
from ifarm.farms.services import create_farm, create_paddock
from ifarm.health.tests.examples import make_medicine, make_treatment
from ifarm.health.withdrawal import InWithdrawal

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
SINCE = date(2024, 1, 1)


class Mob:
    """Three animals in a group, a fourth outside, two paddocks, another farm."""

    def __init__(self) -> None:
        self.owner = make_owner()
        with unit_of_work(self.owner.tenant_id):
            self.farm: UUID = create_farm(self.owner, name="Hill").id
            self.far: UUID = create_farm(self.owner, name="Far").id
            self.paddock: UUID = create_paddock(self.owner, farm_id=self.farm, name="West").id
            self.group: UUID = create_group(
                self.owner, farm_id=self.farm, name="Mob", kind=GroupKind.MANAGEMENT
            ).id
        self.members = [make_animal(self.owner, self.farm, f"AT {number}") for number in range(1, 4)]
        self.other = make_animal(self.owner, self.farm, "AT 9")
        with unit_of_work(self.owner.tenant_id):
            for animal in self.members:
                join_group(self.owner, self.group, animal_id=animal, starts_on=SINCE)

    def move(self, **movement: Any) -> list[Movement]:
        with unit_of_work(self.owner.tenant_id):
            return move_group(
                self.owner, self.group, **{"kind": MovementKind.TRANSFER, "moved_at": NOON, **movement}
            )


@pytest.fixture
def mob(db: None) -> Mob:
    return Mob()


def test_each_animal_gets_its_movement_and_stays_in_the_group(mob: Mob) -> None:
    found = mob.move(paddock_id=mob.paddock)
    assert [move.animal_id for move in found] == sorted(mob.members)
    with unit_of_work(mob.owner.tenant_id):
        assert set(Animal.objects.filter(paddock=mob.paddock).values_list("id", flat=True)) == set(
            mob.members
        )
        stays = Stay.objects.filter(ends_at=None, starts_at=NOON, paddock=mob.paddock)
        assert stays.count() == 3
        assert sorted(members_on(mob.owner, mob.group, NOON.date())) == sorted(mob.members)
        assert OutboxEvent.objects.filter(type="animal_moved", payload__kind="Transfer").count() == 3
        assert AuditEntry.objects.filter(model="animals.movement", reason="").count() == 4 + 3


def test_who_leaves_the_farm_leaves_the_group(mob: Mob) -> None:
    mob.move(farm_id=mob.far)
    with unit_of_work(mob.owner.tenant_id):
        assert Animal.objects.filter(farm=mob.far).count() == 3
        assert not GroupMembership.objects.filter(ends_on=None).exists()
    with pytest.raises(RuleBroken, match="expected animals in the group on 2024-05-02"):
        mob.move(moved_at=NOON + timedelta(days=1))


def test_members_are_those_of_the_day(mob: Mob) -> None:
    with unit_of_work(mob.owner.tenant_id):
        left = GroupMembership.objects.get(animal=mob.members[0])
        leave_group(mob.owner, left.id, ends_on=NOON.date(), seen=Seen(1))
    assert len(mob.move(paddock_id=mob.paddock)) == 2
    assert len(mob.move(moved_at=NOON + timedelta(hours=1), kind=MovementKind.DEPARTURE, reason="Sale")) == 2
    with unit_of_work(mob.owner.tenant_id):
        assert Animal.objects.filter(status="OffFarm").count() == 2


def test_one_that_cannot_move_keeps_all_where_they_are_and_is_named(mob: Mob) -> None:
    with unit_of_work(mob.owner.tenant_id):
        move_animal(mob.owner, mob.members[1], kind=MovementKind.TRANSFER, moved_at=NOON + timedelta(days=1))
        before = Movement.objects.count()
    with pytest.raises(RuleBroken, match="AT 2: expected a time after") as refused:
        mob.move(paddock_id=mob.paddock)
    assert refused.value.extra["animal_id"] == str(mob.members[1])
    with unit_of_work(mob.owner.tenant_id):
        assert Movement.objects.count() == before
        assert not Animal.objects.filter(paddock=mob.paddock).exists()


def test_one_in_withdrawal_holds_the_group_back_unless_somebody_says_why(mob: Mob) -> None:
    make_treatment(mob.owner, mob.members[2], make_medicine(mob.owner), (NOON, 10))
    sale = {"kind": MovementKind.DEPARTURE, "reason": "Slaughter", "moved_at": NOON + timedelta(days=2)}
    with pytest.raises(InWithdrawal, match="AT 3") as refused:
        mob.move(**sale)
    assert refused.value.extra["animal_id"] == str(mob.members[2])
    assert len(mob.move(**sale, override_reason="The vet agreed")) == 3
    with unit_of_work(mob.owner.tenant_id):
        assert AuditEntry.objects.filter(action="withdrawal_overridden").count() == 1


@pytest.mark.parametrize(
    ("movement", "words"),
    [
        ({"kind": MovementKind.ARRIVAL, "reason": "Purchase"}, "found an arrival"),
        ({"kind": MovementKind.BIRTH}, "found a birth"),
        ({"kind": MovementKind.DEPARTURE, "reason": "Nonsense"}, "expected a reason"),
        ({"moved_at": datetime(2023, 1, 1, tzinfo=UTC)}, "expected animals in the group"),
        ({"moved_at": datetime(2999, 1, 1, tzinfo=UTC)}, "a time that has come"),
    ],
)
def test_what_a_group_cannot_do(mob: Mob, movement: dict[str, Any], words: str) -> None:
    with pytest.raises(RuleBroken, match=words):
        mob.move(**movement)


def test_a_group_of_another_farm_is_not_found(mob: Mob) -> None:
    far = make_member(mob.owner, Role.OWNER, [mob.far])
    with unit_of_work(mob.owner.tenant_id), pytest.raises(NotFound):
        move_group(far, mob.group, kind=MovementKind.TRANSFER, moved_at=NOON)


def test_a_client_sees_every_movement(mob: Mob) -> None:
    body = {"kind": "Transfer", "moved_at": NOON.isoformat(), "paddock_id": str(mob.paddock), "source": "app"}
    api = Api(mob.owner)
    answer = api("POST", f"groups/{mob.group}/movements/", body, Idempotency_Key="once")
    assert answer.status_code == 201, answer.content
    told = answer.json()
    assert told["moved"] == 3
    assert {row["animal_id"] for row in told["movements"]} == {str(key) for key in mob.members}
    assert {row["to_paddock_id"] for row in told["movements"]} == {str(mob.paddock)}
    again = api("POST", f"groups/{mob.group}/movements/", body, Idempotency_Key="once")
    assert again.json() == told
    answer = api("POST", f"groups/{mob.group}/movements/", body)
    assert problem(answer) == (422, "rule-broken")
    assert answer.json()["animal_id"] == told["movements"][0]["animal_id"]


def test_two_who_move_the_same_group_at_once_move_it_once(committed: psycopg.Connection[Any]) -> None:
    mob = Mob()
    start = Barrier(2, timeout=60)

    def move(_: int) -> str:
        start.wait()
        try:
            return f"moved {len(mob.move(paddock_id=mob.paddock))}"
        except RuleBroken:
            return "refused"

    waits = [in_thread(partial(move, number)) for number in range(2)]
    assert sorted(wait() for wait in waits) == ["moved 3", "refused"]
    rows = committed.execute("SELECT count(*) FROM animals_movement WHERE kind = 'Transfer'").fetchall()
    assert rows == [(3,)]


@pytest.mark.parametrize("code", ["sim", "S", "SIMM", "S1M", "SIM\n", ""])
def test_a_breed_code_has_icars_form(mob: Mob, code: str) -> None:
    body = {
        "farm_id": str(mob.farm),
        "tag_number": "AT 50",
        "animal_type": "Cattle",
        "sex": "Female",
        "breeds": [{"code": code, "parts": 1}],
    }
    api = Api(mob.owner)
    if code != "SIM\n":  # spaces around a text are no part of it
        answer = api("POST", "animals/", body)
        assert problem(answer) == (400, "invalid")
        assert answer.json()["errors"][0]["pointer"] == "#/breeds/0/code"
    with pytest.raises(IntegrityError, match="breed_codes_of_icar"), transaction.atomic():
        Breed(species="Cattle", code=code, name="None").save()
    body["breeds"] = [{"code": "XX", "parts": 1}]
    assert problem(api("POST", "animals/", body)) == (404, "not-found")
