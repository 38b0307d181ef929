"""Animals: what they are known by, where they come from, where they are, how they grow."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from ifarm.animals import groups, growth
from ifarm.animals.identifiers import normalised
from ifarm.animals.many import create_animals
from ifarm.animals.models import Animal, GroupMembership, Stay
from ifarm.animals.movements import move_animal
from ifarm.animals.policies import access_animal
from ifarm.animals.selectors import list_animals
from ifarm.animals.serializers import AnimalOutput
from ifarm.animals.services import delete_animal, issue_identifier, set_parent, update_animal
from ifarm.animals.tests.herd import beast
from ifarm.animals.words import (
    ArrivalReason,
    GroupKind,
    IdentifierKind,
    MovementKind,
    ParentRole,
    Relation,
    Sex,
)
from ifarm.audit.models import AuditEntry
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import NotFound, RuleBroken
from ifarm.core.models import OutboxEvent, Tombstone
from ifarm.core.tests.factories import make_owner
from ifarm.core.tests.threads import in_thread
from ifarm.core.versions import Seen
from ifarm.farms.models import Farm
from ifarm.farms.services import create_farm, create_paddock

BORN = date(2022, 3, 31)
SPRING = datetime(2023, 4, 1, 8, tzinfo=UTC)


def cow(owner: Actor, farm: Farm, tag: str = "AT 1", **fields: Any) -> Animal:
    return beast(owner, farm, tag, **{"birth_date": BORN, **fields})


@pytest.mark.parametrize(
    ("kind", "written", "form"),
    [
        ("EarTag", " at 0012-34.5 ", "AT12345"),
        ("EarTag", "AT12345", "AT12345"),
        ("EarTag", "UK 700007 00042", "UK70000700042"),
        ("Management", "007", "7"),
        ("Management", "0", "0"),
        ("Eid", "040 000 123 456 789", "40000123456789"),
        ("Eid", "40000123456789", "40000123456789"),
    ],
)
def test_a_tag_has_one_form(kind: str, written: str, form: str) -> None:
    assert normalised(IdentifierKind(kind), written) == form


@pytest.mark.parametrize(("kind", "written"), [("Eid", "12"), ("Eid", "98200012345678X"), ("EarTag", " - ")])
def test_what_is_no_tag_is_refused(kind: str, written: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        normalised(IdentifierKind(kind), written)


def test_an_identifier_in_use_belongs_to_one_animal(owner: Actor, farm: Farm) -> None:
    cow(owner, farm, "AT 0012")
    with pytest.raises(IntegrityError, match="identifiers_in_use_differ"), transaction.atomic():
        cow(owner, farm, "at-12")


def test_a_replaced_tag_stays_in_the_history_and_is_free_again(owner: Actor, farm: Farm) -> None:
    first = cow(owner, farm, "AT 1")
    issue_identifier(owner, first.id, kind=IdentifierKind.EAR_TAG, value="AT 2", issued_on=date(2023, 1, 1))
    animal = access_animal(owner, first.id)
    assert animal.tag_number == "AT 2"
    history = animal.identifiers.order_by("issued_on").values_list("value", "issued_on", "retired_on")
    assert list(history) == [("AT 1", BORN, date(2023, 1, 1)), ("AT 2", date(2023, 1, 1), None)]
    assert cow(owner, farm, "AT 1").id != first.id
    with pytest.raises(RuleBroken, match="newer"):
        issue_identifier(owner, first.id, kind=IdentifierKind.EAR_TAG, value="AT 3", issued_on=BORN)


def test_an_animal_knows_its_age(owner: Actor, farm: Farm) -> None:
    animal = cow(owner, farm)
    assert [animal.age_months(day) for day in (BORN, date(2022, 4, 30), date(2022, 5, 1), date(2024, 3, 31))] == [
        0, 0, 1, 24,
    ]  # fmt: skip
    assert animal.age_days(date(2022, 4, 2)) == 2
    assert cow(owner, farm, "AT 2", birth_date=None).age_months(BORN) is None


def test_a_tag_is_given_and_taken_on_a_day_of_the_farm(
    owner: Actor, clock: Callable[[datetime], None]
) -> None:
    """In the evening, where it is the next month already in UTC."""
    clock(datetime(2026, 3, 1, 2, tzinfo=UTC))
    hill = create_farm(owner, name="Hill", timezone="America/New_York")
    animal = cow(owner, hill, birth_date=None)
    (many,) = create_animals(
        owner, [{"farm_id": hill.id, "tag_number": "AT 2", "animal_type": "Cattle", "sex": "Female"}]
    )
    assert isinstance(many, Animal)
    for one in (animal, many):
        assert one.identifiers.get().issued_on == date(2026, 2, 28)
        delete_animal(owner, one.id)
        assert one.identifiers.get().retired_on == date(2026, 2, 28)


def test_an_age_and_a_gain_are_of_today_at_the_farm(owner: Actor, clock: Callable[[datetime], None]) -> None:
    """In the morning, where it is the month before still in UTC."""
    clock(datetime(2026, 2, 28, 20, tzinfo=UTC))
    hill = create_farm(owner, name="Hill", timezone="Pacific/Auckland")
    animal = cow(owner, hill, birth_date=date(2025, 3, 1))
    assert AnimalOutput().get_age_months(animal) == 12
    for day, kilograms in ((date(2026, 2, 19), 300), (date(2026, 3, 1), 310)):
        growth.record_weight(owner, animal.id, weighed_on=day, weight_kg=Decimal(kilograms))
    assert growth.gain_of(owner, animal.id) == growth.Gain(
        date(2026, 3, 1), Decimal(310), Decimal("1.000"), Decimal("310.00")
    )


def test_breeds_are_parts_of_a_whole(owner: Actor, farm: Farm) -> None:
    animal = cow(owner, farm, breeds=[{"code": "SIM", "parts": 1}, {"code": "HOL", "parts": 3}])
    assert animal.breed.code == "HOL"
    update_animal(owner, animal.id, {"breeds": [{"code": "SIM", "parts": 1}]}, Seen(animal.version))
    assert access_animal(owner, animal.id).breed.code == "SIM"
    with pytest.raises(NotFound, match="breed TEX of Cattle"):
        cow(owner, farm, "AT 2", breeds=[{"code": "TEX", "parts": 1}])


def test_a_pedigree_has_no_cycle(owner: Actor, farm: Farm) -> None:
    line = [cow(owner, farm, f"AT {n}", birth_date=None) for n in range(5)]
    for child, parent in pairwise(line):
        set_parent(owner, child.id, parent_id=parent.id, role=ParentRole.DAM)
    for youngest in line[:4]:
        with pytest.raises(RuleBroken, match="descends"):
            set_parent(
                owner, line[4].id, parent_id=youngest.id, role=ParentRole.DAM, relation=Relation.ADOPTIVE
            )
    with pytest.raises(RuleBroken, match="descends"):
        set_parent(owner, line[0].id, parent_id=line[0].id, role=ParentRole.DAM)


@pytest.mark.parametrize(
    ("fields", "role", "words"),
    [
        ({"sex": Sex.MALE}, ParentRole.DAM, "that sex"),
        ({}, ParentRole.SIRE, "that sex"),
        ({"animal_type": "Sheep"}, ParentRole.DAM, "expected Cattle"),
        ({"birth_date": BORN}, ParentRole.DAM, "born before"),
    ],
)
def test_a_parent_must_be_possible(
    owner: Actor, farm: Farm, fields: dict[str, Any], role: ParentRole, words: str
) -> None:
    child = cow(owner, farm, "AT 1")
    parent = cow(owner, farm, "AT 2", **{"birth_date": date(2019, 1, 1), **fields})
    with pytest.raises(RuleBroken, match=words):
        set_parent(owner, child.id, parent_id=parent.id, role=role)


def test_a_parent_that_is_not_owned_is_a_reference(owner: Actor, farm: Farm) -> None:
    child = cow(owner, farm)
    bull = cow(owner, farm, "DE 9", sex="Male", birth_date=None, is_reference=True)
    set_parent(owner, child.id, parent_id=bull.id, role=ParentRole.SIRE)
    assert not bull.movements.exists()
    with pytest.raises(RuleBroken, match="reference"):
        move_animal(owner, bull.id, kind=MovementKind.DEPARTURE, reason="Sale")


def test_a_birth_makes_a_movement_in(owner: Actor, farm: Farm) -> None:
    animal = cow(owner, farm)
    movement, stay = animal.movements.get(), animal.stays.get()
    assert (movement.kind, movement.to_farm_id) == ("Birth", farm.id)
    assert movement.moved_at.isoformat() == "2022-03-30T22:00:00+00:00"  # midnight in Vienna
    assert (stay.starts_at, stay.ends_at) == (movement.moved_at, None)


def test_animals_leave_and_return(owner: Actor, farm: Farm) -> None:
    west = create_paddock(owner, farm_id=farm.id, name="West")
    animal = cow(owner, farm, arrival_reason=ArrivalReason.PURCHASE, arrived_at=SPRING)
    steps: list[tuple[MovementKind, str, dict[str, Any], str]] = [
        (MovementKind.TRANSFER, "", {"paddock_id": west.id}, "Alive"),
        (MovementKind.DEPARTURE, "Other", {"counterpart": "the alp"}, "OffFarm"),
        (MovementKind.ARRIVAL, "AgistmentReturn", {}, "Alive"),
        (MovementKind.DEATH, "Disease", {}, "Dead"),
    ]
    for day, (kind, reason, rest, status) in enumerate(steps, 1):
        move_animal(owner, animal.id, kind=kind, reason=reason, moved_at=SPRING + timedelta(days=day), **rest)
        assert access_animal(owner, animal.id).status == status
    stays = Stay.objects.filter(animal=animal).order_by("starts_at")
    days = [((s.starts_at - SPRING).days, (s.ends_at - SPRING).days, s.paddock_id) for s in stays]
    assert days == [(0, 1, None), (1, 2, west.id), (3, 4, None)]
    types = OutboxEvent.objects.filter(aggregate_id=animal.id).order_by("id").values_list("type", flat=True)
    assert list(types) == ["animal_created", "animal_moved", "animal_moved", "animal_moved", "animal_died"]


@pytest.mark.parametrize(
    ("kind", "reason", "words"),
    [
        (MovementKind.BIRTH, "", "birth"),
        (MovementKind.ARRIVAL, "Purchase", "away"),
        (MovementKind.DEPARTURE, "", "expected a reason"),
        (MovementKind.DEATH, "Sale", "expected a reason"),
    ],
)
def test_a_movement_must_fit(owner: Actor, farm: Farm, kind: MovementKind, reason: str, words: str) -> None:
    animal = cow(owner, farm)
    with pytest.raises(RuleBroken, match=words):
        move_animal(owner, animal.id, kind=kind, reason=reason)


def test_the_dead_stay_where_they_are(owner: Actor, farm: Farm) -> None:
    animal = cow(owner, farm)
    move_animal(owner, animal.id, kind=MovementKind.DEATH, reason="Accident")
    for kind, reason in ((MovementKind.ARRIVAL, "Other"), (MovementKind.DEPARTURE, "Sale")):
        with pytest.raises(RuleBroken):
            move_animal(owner, animal.id, kind=kind, reason=reason)


def test_movements_come_in_the_order_of_time(owner: Actor, farm: Farm) -> None:
    animal = cow(owner, farm)
    move_animal(owner, animal.id, kind=MovementKind.TRANSFER, moved_at=SPRING)
    for moment in (SPRING, SPRING - timedelta(days=1), timezone.now() + timedelta(days=1)):
        with pytest.raises(RuleBroken, match="expected a time"):
            move_animal(owner, animal.id, kind=MovementKind.TRANSFER, moved_at=moment)


def test_a_paddock_belongs_to_the_farm(owner: Actor, farm: Farm) -> None:
    other = create_farm(owner, name="Vale")
    far = create_paddock(owner, farm_id=other.id, name="Far")
    animal = cow(owner, farm)
    with pytest.raises(RuleBroken, match="paddock of that farm"):
        move_animal(owner, animal.id, kind=MovementKind.TRANSFER, paddock_id=far.id)
    with pytest.raises(RuleBroken, match="paddock of the animal's farm"):
        cow(owner, farm, "AT 2", paddock_id=far.id)
    move_animal(owner, animal.id, kind=MovementKind.TRANSFER, farm_id=other.id, paddock_id=far.id)
    assert access_animal(owner, animal.id).farm_id == other.id


def test_the_database_keeps_an_animal_in_one_place(owner: Actor, farm: Farm) -> None:
    animal = cow(owner, farm)
    with pytest.raises(IntegrityError, match="one_place_at_a_time"), transaction.atomic():
        Stay(animal=animal, farm=farm, starts_at=SPRING).save()


def group(owner: Actor, farm: Farm, name: str, kind: GroupKind = GroupKind.MILKING) -> UUID:
    return groups.create_group(owner, farm_id=farm.id, name=name, kind=kind).id


def test_an_animal_is_in_one_group_of_a_kind(owner: Actor, farm: Farm) -> None:
    animal = cow(owner, farm)
    one, two, feed = (
        group(owner, farm, "1"),
        group(owner, farm, "2"),
        group(owner, farm, "3", GroupKind.FEEDING),
    )
    for where, day in ((one, 1), (feed, 2), (two, 5)):
        groups.join_group(owner, where, animal_id=animal.id, starts_on=date(2024, 1, day))
    assert groups.members_on(owner, one, date(2024, 1, 4)) == [animal.id]
    assert groups.members_on(owner, one, date(2024, 1, 5)) == []
    assert groups.members_on(owner, two, date(2024, 1, 5)) == [animal.id]
    assert groups.members_on(owner, feed, date(2024, 1, 9)) == [animal.id]
    with pytest.raises(IntegrityError, match="one_group_of_a_kind"), transaction.atomic():
        GroupMembership(animal=animal, group_id=one, kind="Milking", starts_on=date(2024, 1, 3)).save()
    with pytest.raises(RuleBroken, match="from 2024-01-05"):
        groups.join_group(owner, one, animal_id=animal.id, starts_on=date(2024, 1, 4))


def test_who_leaves_the_farm_leaves_its_groups(owner: Actor, farm: Farm) -> None:
    animal, milking = cow(owner, farm), group(owner, farm, "1")
    joined = groups.join_group(owner, milking, animal_id=animal.id, starts_on=date(2023, 1, 1))
    move_animal(owner, animal.id, kind=MovementKind.TRANSFER, moved_at=SPRING)
    assert groups.members_on(owner, milking, SPRING.date()) == [animal.id]
    move_animal(
        owner, animal.id, kind=MovementKind.DEPARTURE, reason="Sale", moved_at=SPRING + timedelta(days=1)
    )
    joined.refresh_from_db()
    assert joined.ends_on == date(2023, 4, 2)
    with pytest.raises(RuleBroken):
        groups.join_group(owner, milking, animal_id=animal.id, starts_on=date(2023, 5, 1))


def weigh(owner: Actor, animal: Animal, day: int, kilograms: str) -> None:
    when = BORN + timedelta(days=day)
    growth.record_weight(owner, animal.id, weighed_on=when, weight_kg=Decimal(kilograms))


def test_daily_gain_is_of_the_last_two_days(owner: Actor, farm: Farm) -> None:
    animal = cow(owner, farm)

    def at(day: int) -> growth.Gain:
        return growth.gain_of(owner, animal.id, BORN + timedelta(days=day))

    assert at(100) == growth.Gain(None, None, None, None)
    for day, kilograms in ((0, "40"), (100, "130"), (200, "200"), (200, "210")):
        weigh(owner, animal, day, kilograms)
    assert at(0).gain_kg_per_day is None
    assert at(150).gain_kg_per_day == Decimal("0.900")
    assert at(200).gain_kg_per_day == Decimal("0.800")  # of two on one day the later
    assert at(290).projected_kg == Decimal("282.00")
    assert at(291).projected_kg is None


def test_what_cannot_have_been_measured_is_refused(owner: Actor, farm: Farm) -> None:
    animal = cow(owner, farm)
    with pytest.raises(RuleBroken, match="birth"):
        weigh(owner, animal, -1, "40")
    with pytest.raises(IntegrityError, match="weight_positive"), transaction.atomic():
        weigh(owner, animal, 1, "0")
    with pytest.raises(RuleBroken, match="quarters"):
        growth.record_condition(owner, animal.id, scored_on=BORN, score=Decimal("3.1"))


def test_an_animal_recorded_by_mistake_is_gone_and_told(owner: Actor, farm: Farm) -> None:
    animal = cow(owner, farm, "AT 1")
    delete_animal(owner, animal.id)
    assert not list_animals(owner).exists()
    with pytest.raises(NotFound):
        access_animal(owner, animal.id)
    assert Tombstone.objects.filter(object_id=animal.id, model="animals.animal", version=2).exists()
    cow(owner, farm, "AT 1")  # its tag is free


def test_each_change_is_in_the_audit_with_before_and_after(owner: Actor, farm: Farm) -> None:
    animal = cow(owner, farm)
    update_animal(owner, animal.id, {"name": "Elsa"}, Seen(animal.version))
    entry = AuditEntry.objects.filter(object_id=animal.id).order_by("-id")[0]
    assert (entry.action, entry.actor_id, entry.changes) == ("changed", owner.id, {"name": ["", "Elsa"]})


def test_a_pedigree_has_no_cycle_when_two_draw_it_at_once(committed: Any) -> None:
    actor = make_owner()
    with unit_of_work(actor.tenant_id):
        hill = create_farm(actor, name="Hill")
        one, two = (cow(actor, hill, f"AT {n}", birth_date=None) for n in (1, 2))
    both = threading.Barrier(2, timeout=60)

    def draw(child: UUID, parent: UUID) -> str:
        both.wait()
        try:
            with unit_of_work(actor.tenant_id):
                set_parent(actor, child, parent_id=parent, role=ParentRole.DAM)
        except RuleBroken:
            return "refused"
        return "done"

    waits = [in_thread(partial(draw, *pair)) for pair in ((one.id, two.id), (two.id, one.id))]
    assert sorted(wait() for wait in waits) == ["done", "refused"]
