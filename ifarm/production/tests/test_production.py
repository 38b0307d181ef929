"""What animals give: kinds, days, lists of a group, corrections, and the sums of days."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from threading import Barrier
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ifarm.animals.groups import create_group, join_group
from ifarm.animals.models import Animal
from ifarm.animals.movements import move_animal
from ifarm.animals.tests.herd import BORN, beast
from ifarm.animals.words import GroupKind, MovementKind
from ifarm.audit.models import AuditEntry
from ifarm.config.django.test import OWNER
from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.errors import Conflict, NotFound, Problem, RuleBroken, StaleVersion
from ifarm.core.models import OutboxEvent, Tombstone
from ifarm.core.tests.factories import make_member, make_owner
from ifarm.core.tests.threads import await_waiting, in_thread
from ifarm.core.versions import Seen
from ifarm.farms.models import Farm
from ifarm.farms.services import create_farm
from ifarm.production import services, summaries
from ifarm.production.models import DailySummary, DirtyDay, Production
from ifarm.production.selectors import HISTORY, production_history
from ifarm.production.tasks import update_daily_summaries
from ifarm.production.words import ProductionType, Session

DAY = date(2024, 5, 1)


def milk(owner: Actor, animal: Animal, day: date = DAY, kg: str = "10", **rest: Any) -> Production:
    given = {"session": Session.MORNING.value, "milk_kg": Decimal(kg), **rest}
    return services.record_production(
        owner,
        production_type=ProductionType.MILK,
        production_date=day,
        animal_id=animal.id,
        **given,
    )


def total(farm: Farm, day: date = DAY, kind: str = "milk") -> DailySummary:
    return DailySummary.objects.get(farm=farm, day=day, production_type=kind)


AMOUNTS: dict[str, dict[str, Any]] = {
    "milk": {"milk_kg": Decimal("9.50"), "session": "WholeDay", "milk_use": "Discarded"},
    "eggs": {"eggs_count": 30, "eggs_broken_count": 2, "egg_use": "Hatching"},
    "wool": {"wool_kg": Decimal("4.20"), "fibre_diameter_um": Decimal("21.5")},
    "meat": {"carcass_kg": Decimal("310.00"), "carcass_class": "R3"},
}
GIVER = {"milk": "Cattle", "eggs": "Chicken", "wool": "Sheep", "meat": "Cattle"}


@pytest.mark.parametrize("kind", list(ProductionType))
def test_each_kind_has_its_own_fields_and_no_others(owner: Actor, farm: Farm, kind: ProductionType) -> None:
    animal = beast(owner, farm, animal_type=GIVER[kind])
    record = partial(
        services.record_production, owner, production_type=kind, production_date=DAY, animal_id=animal.id
    )
    for other in AMOUNTS.keys() - {kind}:
        with pytest.raises(RuleBroken, match="expected"):
            record(**AMOUNTS[kind], **AMOUNTS[other])
        with pytest.raises(RuleBroken, match="without"):
            record()
        wrong = {"animal": animal, "farm": farm, "production_date": DAY, **AMOUNTS[other]}
        with pytest.raises(IntegrityError, match="production_of_one_kind"), transaction.atomic():
            Production(production_type=kind.value, **wrong).save()
    row = record(**AMOUNTS[kind])
    assert {name: getattr(row, name) for name in AMOUNTS[kind]} == AMOUNTS[kind]


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"sex": "Male"}, "milk", "female"),
        ({"animal_type": "Sheep"}, "eggs", "gives eggs"),
        ({}, "wool", "gives wool"),
        ({"birth_date": DAY + timedelta(days=1)}, "milk", "birth"),
        ({"is_reference": True}, "milk", "of your farms"),
    ],
)
def test_what_an_animal_cannot_give_is_refused(
    owner: Actor, farm: Farm, fields: dict[str, Any], kind: str, words: str
) -> None:
    animal = beast(owner, farm, **fields)
    with pytest.raises(RuleBroken, match=words):
        services.record_production(
            owner,
            production_type=ProductionType(kind),
            production_date=DAY,
            animal_id=animal.id,
            **AMOUNTS[kind],
        )
    assert not Production.objects.exists()


def test_the_database_refuses_what_cannot_be(owner: Actor, farm: Farm) -> None:
    animal = beast(owner, farm)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"milk_kg": Decimal("151")}, "milk_kg_possible"),
        ({"fat_percent": Decimal("26")}, "fat_percent_possible"),
    ]
    for values, name in wrong:
        with pytest.raises(IntegrityError, match=name), transaction.atomic():
            milk(owner, animal, **values)


def test_a_milking_is_recorded_once_and_never_beside_the_whole_day(owner: Actor, farm: Farm) -> None:
    animal = beast(owner, farm)
    milk(owner, animal)
    with pytest.raises(Conflict, match="already"):
        milk(owner, animal, kg="11")
    with pytest.raises(RuleBroken, match="twice"):
        milk(owner, animal, session="WholeDay")
    milk(owner, animal, session="Evening")
    milk(owner, animal, DAY + timedelta(days=1), session="WholeDay")
    with pytest.raises(RuleBroken, match="twice"):
        milk(owner, animal, DAY + timedelta(days=1))
    assert total(farm).milk_kg == 20


def test_a_record_belongs_to_the_farm_of_its_day(owner: Actor, farm: Farm) -> None:
    vale = create_farm(owner, name="Vale")
    animal = beast(owner, farm)
    moved = datetime(2024, 5, 2, 9, tzinfo=UTC)
    move_animal(owner, animal.id, kind=MovementKind.TRANSFER, farm_id=vale.id, moved_at=moved)
    move_animal(
        owner,
        animal.id,
        kind=MovementKind.DEPARTURE,
        reason="Slaughter",
        moved_at=moved + timedelta(days=3),
    )
    assert milk(owner, animal, date(2024, 5, 1)).farm == farm
    assert milk(owner, animal, date(2024, 5, 2)).farm == vale
    assert milk(owner, animal, date(2024, 5, 5)).farm == vale
    with pytest.raises(RuleBroken, match="not there"):
        milk(owner, animal, date(2024, 5, 6))
    carcass = services.record_production(
        owner,
        production_type=ProductionType.MEAT,
        production_date=date(2024, 5, 7),
        animal_id=animal.id,
        **AMOUNTS["meat"],
    )
    assert carcass.farm == vale
    far = make_member(owner, Role.WORKER, [vale.id])
    with pytest.raises(RuleBroken, match="your farms"):
        milk(far, animal, date(2024, 4, 1))


def test_a_day_is_that_of_the_farm(owner: Actor, clock: Callable[[datetime], None]) -> None:
    """In Kiritimati (UTC+14) it is always a later day than in Pago Pago (UTC-11)."""
    clock(datetime(2024, 2, 28, 10, 30, tzinfo=UTC))  # the 29th there, the 27th here
    east, west = (create_farm(owner, name=z, timezone=f"Pacific/{z}") for z in ("Kiritimati", "Pago_Pago"))
    today = summaries.local_today(east)
    milk(owner, beast(owner, east, "AT 1"), today)
    with pytest.raises(RuleBroken, match="has come in Pacific/Pago_Pago"):
        milk(owner, beast(owner, west, "AT 2"), today)
    assert not DirtyDay.objects.exists()  # neither is late
    milk(owner, beast(owner, east, "AT 3"), today - timedelta(days=1))
    assert DirtyDay.objects.get().day == today - timedelta(days=1)


def test_a_flock_lays_as_a_group(owner: Actor, farm: Farm) -> None:
    flock = create_group(owner, farm_id=farm.id, name="Flock", kind=GroupKind.MANAGEMENT)
    record = partial(services.record_production, owner, production_date=DAY, group_id=flock.id)
    row = record(production_type=ProductionType.EGGS, **AMOUNTS["eggs"])
    assert (row.farm, row.animal) == (farm, None)
    assert total(farm, kind="eggs").eggs_count == 30
    for kind in (ProductionType.MILK, ProductionType.MEAT):
        with pytest.raises(IntegrityError, match="production_of_somebody"), transaction.atomic():
            record(production_type=kind, **AMOUNTS[kind])
    with pytest.raises(RuleBroken, match="both or neither"):
        record(production_type=ProductionType.EGGS, animal_id=beast(owner, farm).id, **AMOUNTS["eggs"])
    with pytest.raises(IntegrityError, match="no_more_broken_than_laid"), transaction.atomic():
        record(production_type=ProductionType.EGGS, eggs_count=1, eggs_broken_count=2)


def herd_of(owner: Actor, farm: Farm, size: int) -> tuple[UUID, list[Animal]]:
    group = create_group(owner, farm_id=farm.id, name="Milking", kind=GroupKind.MILKING)
    cows = [beast(owner, farm, f"AT {number}") for number in range(size)]
    for cow in cows:
        join_group(owner, group.id, animal_id=cow.id, starts_on=date(2023, 1, 1))
    return group.id, cows


def test_a_groups_milk_is_one_list_and_a_bad_line_costs_itself_only(owner: Actor, farm: Farm) -> None:
    group_id, cows = herd_of(owner, farm, 3)
    stray = beast(owner, farm, "AT 9")
    milk(owner, cows[2])
    kg = Decimal("12.30")
    lines = services.record_group_milk(
        owner,
        group_id,
        production_date=DAY,
        session=Session.MORNING,
        source="parlour",
        rows=[
            {"animal_id": cows[1].id, "milk_kg": kg, "fat_percent": Decimal("4.00")},
            {"animal_id": stray.id, "milk_kg": kg},
            {"animal_id": cows[0].id, "milk_kg": kg},
            {"animal_id": cows[0].id, "milk_kg": kg},
            {"animal_id": cows[2].id, "milk_kg": kg},
        ],
    )
    assert [line.number for line in lines] == list(range(5))
    told = [line.problem and (line.problem.status, line.problem.detail[:30]) for line in lines]
    twice = (409, "This milking is recorded alrea")
    assert told == [None, (422, "expected an animal that is in "), None, twice, twice]
    row = total(farm)
    assert (row.records, row.milk_kg, row.sampled_milk_kg, row.fat_kg) == (
        3,
        Decimal("34.60"),
        kg,
        Decimal("0.492"),
    )
    assert Production.objects.filter(source="parlour").count() == 2
    with pytest.raises(NotFound):
        services.record_group_milk(
            make_member(owner, Role.WORKER, []),
            group_id,
            production_date=DAY,
            session=Session.NIGHT,
            rows=[],
        )


@pytest.mark.parametrize("wrong", [{"milk_kg": Decimal(0)}, {"milk_kg": 151}, {"fat_percent": Decimal(26)}])
def test_what_cannot_be_in_a_groups_list_costs_its_line_only(
    owner: Actor, farm: Farm, wrong: dict[str, Any]
) -> None:
    group_id, cows = herd_of(owner, farm, 2)
    good = {"milk_kg": Decimal(9)}
    lines = services.record_group_milk(
        owner,
        group_id,
        production_date=DAY,
        session=Session.MORNING,
        rows=[{"animal_id": cows[0].id, **good, **wrong}, {"animal_id": cows[1].id, **good}],
    )
    assert [line.problem and line.problem.status for line in lines] == [422, None]
    assert total(farm).milk_kg == 9


def test_a_correction_is_in_the_audit_and_in_the_sum(owner: Actor, farm: Farm) -> None:
    row = milk(owner, beast(owner, farm), kg="10", fat_percent=Decimal("4.00"))
    with pytest.raises(StaleVersion):
        services.correct_production(owner, row.id, {"milk_kg": Decimal(8)}, Seen(2))
    with pytest.raises(RuleBroken, match="eggs_count: expected one of fat_percent"):
        services.correct_production(owner, row.id, {"eggs_count": 8}, Seen(1))
    services.correct_production(owner, row.id, {"milk_kg": Decimal(8)}, Seen(1), reason="misread")
    entry = AuditEntry.objects.filter(object_id=row.id).latest("id")
    assert (entry.action, entry.reason, entry.changes) == ("changed", "misread", {"milk_kg": ["10.00", "8"]})
    assert (total(farm).milk_kg, total(farm).fat_kg, total(farm).records) == (8, Decimal("0.32"), 1)
    services.delete_production(owner, row.id)
    assert (total(farm).milk_kg, total(farm).fat_kg, total(farm).records) == (0, 0, 0)
    assert Tombstone.objects.filter(object_id=row.id).exists()
    types = OutboxEvent.objects.filter(aggregate_id=row.id).order_by("id").values_list("type", flat=True)
    assert list(types) == ["production_recorded", "production_corrected", "production_deleted"]


def test_the_history_is_the_newest_thirty(owner: Actor, farm: Farm) -> None:
    animal = beast(owner, farm)
    for number in range(HISTORY + 2):
        milk(owner, animal, DAY + timedelta(days=number))
    days = [row.production_date for row in production_history(owner, animal.id)]
    assert days == [DAY + timedelta(days=number) for number in range(HISTORY + 1, 1, -1)]


def recomputed() -> dict[summaries.Day, dict[str, Any]]:
    """Every day's totals from the rows alone, in Python."""
    found: dict[summaries.Day, list[Production]] = {}
    for row in Production.objects.all():
        found.setdefault(summaries.day_of(row), []).append(row)
    return {
        day: dict(summaries.together(summaries.totals_of(row) for row in rows)) for day, rows in found.items()
    }


def kept() -> dict[summaries.Day, dict[str, Any]]:
    """The summaries, without those of days from which everything was taken back."""
    return {
        (row.farm_id, row.day, row.production_type): {name: getattr(row, name) for name in summaries.COLUMNS}
        for row in DailySummary.objects.exclude(records=0)
    }


OPERATION = st.tuples(
    st.sampled_from(["milk", "wool", "correct", "delete", "bulk", "aggregate"]),
    st.integers(0, 3),
    st.integers(0, 2),
    st.integers(1, 9999),
    st.none() | st.integers(10, 2000),
)


@pytest.mark.django_db
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(operations=st.lists(OPERATION, max_size=20))
def test_dirty_days_made_anew_are_what_a_full_recomputation_gives(operations: list[Any]) -> None:
    owner = make_owner()
    with unit_of_work(owner.tenant_id):
        farms = [create_farm(owner, name=name) for name in ("Hill", "Vale")]
        animals = [
            beast(owner, farms[n % 2], f"AT {n}", animal_type="Sheep", birth_date=BORN) for n in range(4)
        ]
        bulk = False
        for what, who, later, amount, percent in operations:
            animal, day = animals[who], DAY + timedelta(days=later)
            value = Decimal(amount) / 100
            sample = None if percent is None else Decimal(percent) / 100
            rows = Production.objects.filter(animal=animal, production_type="milk").order_by("id")
            try:
                if what == "milk":
                    session = list(Session)[amount % 4]
                    milk(owner, animal, day, str(value), session=session.value, fat_percent=sample)
                elif what == "wool":
                    services.record_production(
                        owner,
                        production_type=ProductionType.WOOL,
                        production_date=day,
                        animal_id=animal.id,
                        wool_kg=value,
                    )
                elif what == "correct" and (row := rows.first()):
                    changes = {"milk_kg": value, "protein_percent": sample}
                    services.correct_production(owner, row.id, changes, Seen(row.version))
                elif what == "delete" and (row := rows.first()):
                    services.delete_production(owner, row.id)
                elif what == "bulk":
                    row = Production(
                        animal=animal,
                        farm=animal.farm,
                        production_type="wool",
                        production_date=day,
                        wool_kg=value,
                    )
                    Production.objects.bulk_create([row])
                    summaries.mark_dirty([summaries.day_of(row)])
                    bulk = True
                elif what == "aggregate":
                    summaries.aggregate_dirty_days(limit=1)
            except Problem:
                continue
            if not bulk:
                assert kept() == recomputed()
        while summaries.aggregate_dirty_days(limit=2):
            pass
        assert kept() == recomputed()
        assert not DirtyDay.objects.exists()


def two_cows(committed: Any) -> tuple[Actor, Farm, list[Animal]]:
    actor = make_owner()
    with unit_of_work(actor.tenant_id):
        hill = create_farm(actor, name="Hill")
        return actor, hill, [beast(actor, hill, f"AT {n}") for n in range(2)]


def test_two_who_record_at_once_lose_nothing(committed: psycopg.Connection[Any]) -> None:
    actor, farm, cows = two_cows(committed)
    both = Barrier(2, timeout=60)

    def record(cow: Animal) -> bool:
        for session in (Session.MORNING, Session.MIDDAY, Session.EVENING, Session.NIGHT):
            both.wait()
            with unit_of_work(actor.tenant_id):
                milk(actor, cow, kg="1.25", session=session.value)
        return True

    waits = [in_thread(partial(record, cow)) for cow in cows]
    assert all(wait() for wait in waits)
    with unit_of_work(actor.tenant_id):
        assert (total(farm).records, total(farm).milk_kg) == (8, Decimal("10.00"))


def test_two_who_record_the_same_milking_record_it_once(committed: psycopg.Connection[Any]) -> None:
    actor, farm, cows = two_cows(committed)
    both = Barrier(2, timeout=60)

    def record() -> str:
        both.wait()
        try:
            with unit_of_work(actor.tenant_id):
                milk(actor, cows[0])
        except Conflict:
            return "refused"
        return "done"

    assert sorted(wait() for wait in [in_thread(record), in_thread(record)]) == ["done", "refused"]
    with unit_of_work(actor.tenant_id):
        assert total(farm).records == 1


def test_a_day_made_anew_counts_the_writer_it_waited_for(committed: psycopg.Connection[Any]) -> None:
    actor, farm, cows = two_cows(committed)
    with unit_of_work(actor.tenant_id):
        milk(actor, cows[0], kg="5")

    def aggregate() -> int:
        with unit_of_work(actor.tenant_id):
            summaries.aggregate_day((farm.id, DAY, "milk"))
            return 1

    with unit_of_work(actor.tenant_id):
        milk(actor, cows[1], kg="7")
        done = in_thread(aggregate)
        await_waiting(committed)
    assert done() == 1
    with unit_of_work(actor.tenant_id):
        assert (total(farm).records, total(farm).milk_kg) == (2, 12)


def test_a_mark_set_while_its_day_is_made_anew_is_not_lost(committed: psycopg.Connection[Any]) -> None:
    actor, farm, cows = two_cows(committed)
    with unit_of_work(actor.tenant_id):
        milk(actor, cows[0], kg="5")  # late, so it marks its day

    def load() -> bool:
        with unit_of_work(actor.tenant_id):
            values = {"production_date": DAY, "session": "Night", "milk_kg": Decimal(7)}
            Production.objects.bulk_create(
                [Production(animal=cows[1], farm=farm, production_type="milk", **values)]
            )
            summaries.mark_dirty([(farm.id, DAY, "milk")])
        return True

    with unit_of_work(actor.tenant_id):
        assert summaries.aggregate_dirty_days() == 1
        loaded = in_thread(load)
        await_waiting(committed)
    assert loaded()
    with unit_of_work(actor.tenant_id):
        assert summaries.aggregate_dirty_days() == 1
        assert (total(farm).records, total(farm).milk_kg) == (2, 12)


@pytest.mark.django_db
def test_the_task_makes_the_days_of_all_tenants_anew() -> None:
    places = []
    for name in ("One", "Two"):
        actor = make_owner(name)
        with unit_of_work(actor.tenant_id):
            hill = create_farm(actor, name=name)
            milk(actor, beast(actor, hill))
            DailySummary.objects.update(milk_kg=99)
            places.append(hill)
    with connection.cursor() as cursor:
        cursor.execute(f"SET ROLE {OWNER}")
    try:
        assert update_daily_summaries() == 2
        assert update_daily_summaries() == 0
        for hill in places:
            with unit_of_work(hill.tenant_id):
                assert total(hill).milk_kg == 10
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET ROLE ifarm_app")
