"""From heat to calving: what may follow what, what is due next, who is born, and the figures."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from threading import Barrier
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError, transaction

from ifarm.animals.growth import gain_of
from ifarm.animals.models import Animal, Parentage
from ifarm.animals.movements import move_animal
from ifarm.animals.tests.herd import beast
from ifarm.animals.words import MovementKind, Relation, Species
from ifarm.api.tests.test_requests import Api
from ifarm.breeding import services
from ifarm.breeding.models import BreedingEvent, DueEvent, Offspring
from ifarm.breeding.selectors import figures_of, list_due, reproduction_of
from ifarm.breeding.words import CalvingEase, ReproductionStatus
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import RuleBroken
from ifarm.core.models import OutboxEvent
from ifarm.core.tests.factories import make_owner
from ifarm.core.tests.threads import in_thread
from ifarm.core.versions import Seen
from ifarm.farms.models import Farm
from ifarm.farms.services import create_farm
from ifarm.production.lactations import dry_off

DAY = date(2024, 1, 1)


def day(number: int) -> date:
    return DAY + timedelta(days=number)


def serve(owner: Actor, cow: Animal, number: int, **rest: Any) -> BreedingEvent:
    given = {"service_method": "Insemination", **rest}
    return services.record_service(owner, cow.id, happened_on=day(number), **given)


def check(owner: Actor, cow: Animal, number: int, result: str = "Pregnant", **rest: Any) -> BreedingEvent:
    return services.record_check(
        owner, cow.id, happened_on=day(number), check_method="Ecography", result=result, **rest
    )


ALIVE = {"birth_status": "Alive", "sex": "Female"}
STILLBORN = {"birth_status": "Stillborn", "sex": "Male"}


def calve(owner: Actor, cow: Animal, number: int, *offspring: dict[str, Any]) -> BreedingEvent:
    born = offspring or ({**ALIVE, "tag_number": f"AT {cow.tag_number[3:]}{number}"},)
    ease = CalvingEase.EASY_UNASSISTED.value
    return services.record_calving(owner, cow.id, happened_on=day(number), ease=ease, offspring=born)


def due(owner: Actor) -> list[tuple[str, int, int]]:
    rows = list_due(owner).order_by("due_from", "kind")
    return [(row.kind, (row.due_from - DAY).days, (row.due_until - DAY).days) for row in rows]


def test_each_event_leads_to_the_next(owner: Actor, cow: Animal) -> None:
    assert due(owner) == []
    services.record_heat(owner, cow.id, happened_on=day(0), detection="Visual")
    assert due(owner) == [("HeatRepeat", 20, 22)]
    serve(owner, cow, 21)
    assert due(owner) == [("HeatRepeat", 41, 43), ("PregnancyCheck", 53, 67)]
    check(owner, cow, 50, "Unknown")
    assert due(owner) == [("HeatRepeat", 41, 43), ("PregnancyCheck", 53, 67)]
    check(owner, cow, 53)
    assert due(owner) == [("Calving", 294, 308)]  # a heifer gives no milk that could be ended
    calve(owner, cow, 300)
    assert due(owner) == [("Service", 350, 371)]
    serve(owner, cow, 360)
    check(owner, cow, 392)
    assert due(owner) == [("DryOff", 580, 580), ("Calving", 633, 647)]
    lactation = cow.lactations.get()
    dry_off(owner, lactation.id, ends_on=day(580), seen=Seen(lactation.version))
    assert due(owner) == [("Calving", 633, 647)]
    services.record_abortion(owner, cow.id, happened_on=day(600))
    assert due(owner) == [("Service", 650, 671)]
    move_animal(owner, cow.id, kind=MovementKind.DEPARTURE, reason="Sale")
    assert due(owner) == []


def test_who_was_found_empty_is_served_again(owner: Actor, cow: Animal) -> None:
    calve(owner, cow, 0)
    first = serve(owner, cow, 60)
    check(owner, cow, 92, "Empty")
    assert reproduction_of(owner, cow.id).status is ReproductionStatus.NOT_PREGNANT
    second = serve(owner, cow, 95)
    check(owner, cow, 130, "Multiple")
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.conceived, second.conceived) == (False, True)
    found = reproduction_of(owner, cow.id)
    assert (found.status, found.conceived_on, found.calved_on) == (
        ReproductionStatus.PREGNANT,
        day(95),
        day(0),
    )


def test_a_check_may_date_what_nobody_saw(owner: Actor, cow: Animal) -> None:
    with pytest.raises(RuleBroken, match="days_pregnant"), transaction.atomic():
        check(owner, cow, 50)
    with pytest.raises(RuleBroken, match="another result"), transaction.atomic():
        check(owner, cow, 50, "Empty", days_pregnant=40)
    check(owner, cow, 50, days_pregnant=40)
    assert reproduction_of(owner, cow.id).conceived_on == day(10)
    early, late = serve(owner, cow, -11), serve(owner, cow, 8)  # entered later, both before the check
    assert [BreedingEvent.objects.get(id=one.id).conceived for one in (early, late)] == [False, True]


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([(serve, 0), (check, 40), (serve, 41)], "not pregnant"),
        ([(calve, 0), (calve, 223)], "224 days or more after the birth"),
        ([(serve, 0), (check, 40), (calve, 223)], "224 days or more after the conception"),
        ([(serve, 0), (check, 40), (serve, 20)], None),
        ([(serve, 0), (check, 40), (check, 60, "Empty"), (serve, 50)], "not pregnant"),
    ],
)
def test_what_cannot_follow_is_refused_whenever_it_is_entered(
    owner: Actor, cow: Animal, steps: list[Any], words: str | None
) -> None:
    *before, (last, *given) = steps
    for step, *rest in before:
        step(owner, cow, *rest)
    events, waiting = BreedingEvent.objects.count(), due(owner)
    if words is None:
        last(owner, cow, *given)
        return
    with pytest.raises(RuleBroken, match=words), transaction.atomic():
        last(owner, cow, *given)
    assert (BreedingEvent.objects.count(), due(owner)) == (events, waiting)


def test_an_abortion_needs_a_pregnancy(owner: Actor, cow: Animal) -> None:
    with pytest.raises(RuleBroken, match="served or is pregnant"):
        services.record_abortion(owner, cow.id, happened_on=day(0))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sex": "Male"}, "female of the herd"),
        ({"animal_type": "Chicken"}, "female of the herd"),
        ({"is_reference": True}, "reference animal"),
        ({"birth_date": DAY}, "after the animal's birth"),
    ],
)
def test_who_cannot_be_bred_is_refused(owner: Actor, farm: Farm, fields: dict[str, Any], words: str) -> None:
    animal = beast(owner, farm, **fields)
    with pytest.raises(RuleBroken, match=words):
        serve(owner, animal, 0)


def test_a_sire_is_a_male_of_the_species(owner: Actor, farm: Farm, cow: Animal) -> None:
    for tag, fields in (("AT 2", {}), ("AT 3", {"sex": "Male", "animal_type": "Sheep"})):
        with pytest.raises(RuleBroken, match="male Cattle"):
            serve(owner, cow, 0, sire_id=beast(owner, farm, tag, **fields).id)


def test_twins_one_of_them_stillborn(owner: Actor, farm: Farm, cow: Animal) -> None:
    bull = beast(owner, farm, "DE 9", sex="Male", is_reference=True)
    serve(owner, cow, 0, sire_id=bull.id)
    animals = Animal.objects.count()
    event = calve(
        owner,
        cow,
        281,
        {**ALIVE, "tag_number": "AT 77", "birth_weight_kg": Decimal("38.50"), "name": "Elsa"},
        STILLBORN,
    )
    assert (event.born_alive_count, event.stillborn_count) == (1, 1)
    assert Animal.objects.count() == animals + 1
    calf = Animal.objects.get(tag_number="AT 77")
    assert (calf.birth_date, calf.farm, calf.animal_type, calf.name) == (day(281), farm, "Cattle", "Elsa")
    parents = (
        Parentage.objects.filter(child=calf).order_by("role").values_list("role", "parent_id", "relation")
    )
    assert list(parents) == [("Dam", cow.id, "Genetic"), ("Sire", bull.id, "Genetic")]
    assert [move.kind for move in calf.movements.all()] == ["Birth"]
    assert gain_of(owner, calf.id, day(281)).weight_kg == Decimal("38.50")
    assert Offspring.objects.filter(birth_status="Stillborn", animal=None).count() == 1
    lactation = cow.lactations.get()
    assert (lactation.number, lactation.starts_on, lactation.ends_on) == (1, day(281), None)
    told = OutboxEvent.objects.filter(aggregate_id=cow.id).latest("id")
    assert (told.type, told.payload["stillborn_count"]) == ("animal_parturition", 1)
    types = set(OutboxEvent.objects.values_list("type", flat=True))
    assert not {"animal_died", "animal_moved"} & types


def test_a_calf_of_an_embryo_has_a_recipient_for_a_dam(owner: Actor, farm: Farm, cow: Animal) -> None:
    serve(owner, cow, 0, service_method="Implantation")
    calve(owner, cow, 275)
    assert Parentage.objects.get(parent=cow).relation == Relation.RECIPIENT


def test_a_calving_is_whole_or_not_at_all(owner: Actor, farm: Farm, cow: Animal) -> None:
    for wrong in ((), ({**STILLBORN, "tag_number": "AT 5"},), (ALIVE,)):
        with pytest.raises(RuleBroken, match="expected"):
            services.record_calving(owner, cow.id, happened_on=day(0), ease="EasyUnassisted", offspring=wrong)
    beast(owner, farm, "AT 5")
    with pytest.raises(IntegrityError, match="identifiers_in_use_differ"), transaction.atomic():
        calve(owner, cow, 0, {**ALIVE, "tag_number": "AT 4"}, {**ALIVE, "tag_number": "AT 5"})
    assert not (BreedingEvent.objects.exists() or cow.lactations.exists() or DueEvent.objects.exists())
    assert Animal.objects.count() == 2


def test_an_event_is_taken_back_unless_others_rest_on_it(owner: Actor, cow: Animal) -> None:
    first, found = serve(owner, cow, 0), check(owner, cow, 40)
    with pytest.raises(RuleBroken, match="days_pregnant"), transaction.atomic():
        services.delete_event(owner, first.id)
    services.delete_event(owner, found.id)
    assert due(owner) == [("HeatRepeat", 20, 22), ("PregnancyCheck", 32, 46)]
    first.refresh_from_db()
    assert first.conceived is None


def test_what_is_due_moves_with_the_plan(owner: Actor, farm: Farm, cow: Animal) -> None:
    calve(owner, cow, 0)
    ewe = beast(owner, farm, "AT 2", animal_type="Sheep")
    calve(owner, ewe, 0)
    assert due(owner) == [("Service", 50, 71)]
    plan = partial(services.set_plan, owner, species=Species.CATTLE, pregnancy_check_days=35)
    plan(voluntary_wait_days=70, dry_period_days=56)
    assert due(owner) == [("Service", 70, 91)]
    serve(owner, cow, 80)
    assert due(owner) == [("HeatRepeat", 100, 102), ("PregnancyCheck", 115, 129)]
    check(owner, cow, 116)
    assert due(owner) == [("DryOff", 304, 304), ("Calving", 353, 367)]
    plan(voluntary_wait_days=None, dry_period_days=None)
    assert due(owner) == [("Calving", 353, 367)]


def test_the_figures_by_hand(owner: Actor, farm: Farm, cow: Animal) -> None:
    """One cow conceives by her second service, one is open at the end, one leaves; a second farm is not counted."""
    calve(owner, cow, 0)
    serve(owner, cow, 60)
    serve(owner, cow, 81)
    check(owner, cow, 115)
    calve(owner, cow, 361)
    open_one, sold, other = (
        beast(owner, farm, "AT 2"),
        beast(owner, farm, "AT 3"),
        beast(owner, create_farm(owner, name="Vale"), "AT 4"),
    )
    for one in (open_one, sold, other):
        calve(owner, one, 10)
    serve(owner, open_one, 70)
    check(owner, open_one, 102, "Empty")
    serve(owner, open_one, 110)  # nobody knows yet
    noon = datetime.combine(day(100), time(12), UTC)
    move_animal(
        owner,
        sold.id,
        kind=MovementKind.DEPARTURE,
        reason="Sale",
        moved_at=noon,
    )
    found = figures_of(owner, farm.id, species=Species.CATTLE, since=day(0), until=day(364))
    assert (found.calvings, found.calving_interval_days) == (1, Decimal("361.0"))
    assert (found.conceptions, found.days_open) == (1, Decimal("81.0"))
    assert (found.services, found.conception_rate) == (3, Decimal("0.333"))
    at_risk = (82 - 50) + (365 - 60) + (100 - 60)
    assert found.days_at_risk == at_risk
    assert found.pregnancy_rate == (Decimal(21) / at_risk).quantize(Decimal("0.001"))
    empty = figures_of(owner, farm.id, species=Species.SHEEP, since=day(0), until=day(1))
    assert (empty.calvings, empty.calving_interval_days, empty.pregnancy_rate) == (0, None, None)


@pytest.mark.django_db
def test_figures_are_up_to_today_at_the_farm(clock: Callable[[datetime], None]) -> None:
    """In the morning, where it is the month before still in UTC."""
    clock(datetime(2026, 2, 28, 20, tzinfo=UTC))
    actor = make_owner()
    with unit_of_work(actor.tenant_id):
        farm = create_farm(actor, name="Hill", timezone="Pacific/Auckland")
        cow = beast(actor, farm)
        services.record_calving(
            actor, cow.id, happened_on=date(2026, 1, 1), ease="EasyUnassisted", offspring=[STILLBORN]
        )
    api, path = Api(actor), f"farms/{farm.id}/breeding-figures/?species=Cattle"
    assert api("GET", path).json()["days_at_risk"] == 10  # from 20 February on
    assert api("GET", f"{path}&until=2026-02-28").json()["days_at_risk"] == 9
    sold: dict[str, Any] = {"kind": MovementKind.DEPARTURE, "reason": "Sale"}
    with unit_of_work(actor.tenant_id):  # on 27 February, where it is the 26th still in UTC
        move_animal(actor, cow.id, moved_at=datetime(2026, 2, 26, 20, tzinfo=UTC), **sold)
    assert api("GET", path).json()["days_at_risk"] == 7


def test_two_who_record_a_calving_at_once_make_one_calf(committed: psycopg.Connection[Any]) -> None:
    actor = make_owner()
    with unit_of_work(actor.tenant_id):
        animal = beast(actor, create_farm(actor, name="Hill"))
    both = Barrier(2, timeout=60)

    def record(tag: str) -> str:
        both.wait()
        try:
            with unit_of_work(actor.tenant_id):
                calve(actor, animal, 0, {**ALIVE, "tag_number": tag})
        except (RuleBroken, IntegrityError):
            return "refused"
        return "done"

    waits = [in_thread(partial(record, tag)) for tag in ("AT 5", "AT 6")]
    assert sorted(wait() for wait in waits) == ["done", "refused"]
    with unit_of_work(actor.tenant_id):
        assert (Animal.objects.count(), BreedingEvent.objects.count()) == (2, 1)
