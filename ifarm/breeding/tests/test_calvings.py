"""A calving that was recorded wrongly: taken back with what it led to, or corrected."""

from __future__ import annotations

from datetime import date
from functools import partial
from threading import Barrier
from typing import Any

import psycopg
import pytest
from django.db import transaction

from ifarm.animals.models import Animal, Parentage
from ifarm.animals.services import delete_animal, set_parent, update_animal
from ifarm.animals.tests.herd import beast
from ifarm.animals.words import ParentRole, Relation
from ifarm.api.tests.test_requests import Api, problem
from ifarm.audit.models import AuditEntry
from ifarm.breeding import services
from ifarm.breeding.models import BreedingEvent, Offspring
from ifarm.breeding.selectors import reproduction_of
from ifarm.breeding.tests.test_breeding import ALIVE, DAY, STILLBORN, calve, check, day, due, serve
from ifarm.breeding.words import CalvingEase, ReproductionStatus
from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.errors import NotFound, RuleBroken, StaleVersion
from ifarm.core.models import OutboxEvent, Tombstone
from ifarm.core.tests.factories import make_member, make_owner
from ifarm.core.tests.threads import in_thread
from ifarm.core.versions import Seen
from ifarm.farms.models import Farm
from ifarm.farms.services import create_farm
from ifarm.production.lactations import dry_off
from ifarm.production.models import Lactation, Production
from ifarm.production.tests.test_production import milk

HARD = CalvingEase.DIFFICULT_VETERINARY_CARE.value


def lactations(cow: Animal) -> list[tuple[int, int, int | None, str]]:
    return [
        (row.number, (row.starts_on - DAY).days, row.ends_on and (row.ends_on - DAY).days, row.end_reason)
        for row in Lactation.objects.filter(animal=cow).order_by("starts_on")
    ]


def parents(calf: Animal) -> set[tuple[str, Any]]:
    return set(Parentage.objects.filter(child=calf).values_list("role", "parent_id"))


def test_with_a_calving_goes_what_it_led_to_and_the_calf_stays(
    owner: Actor,
    farm: Farm,
    cow: Animal,
) -> None:
    bull = beast(owner, farm, "DE 9", sex="Male", is_reference=True)
    first = calve(owner, cow, -400, STILLBORN)
    serve(owner, cow, 0, sire_id=bull.id)
    check(owner, cow, 40)
    waiting = due(owner)
    event = calve(owner, cow, 281, {**ALIVE, "tag_number": "AT 77", "birth_weight_kg": 40}, STILLBORN)
    calf = Animal.objects.get(tag_number="AT 77")
    assert lactations(cow) == [(1, -400, 281, "Calving"), (2, 281, None, "")]
    assert parents(calf) == {("Dam", cow.id), ("Sire", bull.id)}
    services.delete_event(owner, event.id)
    assert lactations(cow) == [(1, -400, None, "")]
    assert due(owner) == waiting
    assert reproduction_of(owner, cow.id).status == ReproductionStatus.PREGNANT
    assert parents(calf) == set()
    assert list(Offspring.objects.values_list("calving_id", flat=True)) == [first.id]
    calf.refresh_from_db()
    assert (calf.status, calf.is_deleted, calf.birth_date) == ("Alive", False, day(281))
    assert calf.weights.count() == 1
    gone = set(Tombstone.objects.values_list("model", flat=True))
    assert gone == {
        "breeding.breedingevent",
        "breeding.offspring",
        "production.lactation",
        "animals.parentage",
    }
    assert AuditEntry.objects.filter(action="deleted", model="production.lactation").count() == 1
    told = list(OutboxEvent.objects.order_by("-id").values_list("type", flat=True)[:3])
    assert told == [
        "animal_breeding_deleted",
        "production_lactation_reopened",
        "production_lactation_deleted",
    ]


def test_the_calving_of_the_wrong_cow_is_recorded_again_with_the_same_calf(
    owner: Actor,
    farm: Farm,
    cow: Animal,
) -> None:
    right = beast(owner, farm, "AT 2")
    wrong = calve(owner, cow, 0, {**ALIVE, "tag_number": "AT 77"})
    calf = Animal.objects.get(tag_number="AT 77")
    services.delete_event(owner, wrong.id)
    again = calve(owner, right, 0, {**ALIVE, "animal_id": calf.id})
    assert (lactations(cow), lactations(right)) == ([], [(1, 0, None, "")])
    assert (parents(calf), again.offspring.get().animal_id) == ({("Dam", right.id)}, calf.id)


def test_what_others_said_of_the_parents_stays(owner: Actor, farm: Farm, cow: Animal) -> None:
    bull, other = (beast(owner, farm, tag, sex="Male") for tag in ("AT 8", "AT 9"))
    nurse = beast(owner, farm, "AT 2")
    serve(owner, cow, 0, sire_id=bull.id)
    event = calve(owner, cow, 280, {**ALIVE, "tag_number": "AT 77"})
    calf = Animal.objects.get(tag_number="AT 77")
    set_parent(owner, calf.id, parent_id=other.id, role=ParentRole.SIRE)
    for mother in (nurse, cow):
        set_parent(owner, calf.id, parent_id=mother.id, role=ParentRole.DAM, relation=Relation.ADOPTIVE)
    services.delete_event(owner, event.id)
    assert parents(calf) == {("Sire", other.id), ("Dam", cow.id)}
    assert Parentage.objects.get(child=calf, role="Dam").relation == Relation.ADOPTIVE


def test_a_recipient_is_no_dam_any_more_either(owner: Actor, cow: Animal) -> None:
    serve(owner, cow, 0, service_method="Implantation")
    event = calve(owner, cow, 275)
    services.delete_event(owner, event.id)
    assert not Parentage.objects.exists()


def test_a_calving_on_which_others_rest_stays(owner: Actor, cow: Animal) -> None:
    first = calve(owner, cow, 0)
    serve(owner, cow, 80)
    second = calve(owner, cow, 360)
    with pytest.raises(RuleBroken, match="Take back the later calving first"), transaction.atomic():
        services.delete_event(owner, first.id)
    assert [row[:2] for row in lactations(cow)] == [(1, 0), (2, 360)]
    services.delete_event(owner, second.id)
    services.delete_event(owner, first.id)
    assert lactations(cow) == []


def test_a_dried_off_lactation_before_stays_dry_and_milk_stays_milk(owner: Actor, cow: Animal) -> None:
    calve(owner, cow, 0)
    row = Lactation.objects.get()
    dry_off(owner, row.id, ends_on=day(300), seen=Seen(row.version))
    event = calve(owner, cow, 360)
    milk(owner, cow, day(361))
    services.delete_event(owner, event.id)
    assert lactations(cow) == [(1, 0, 300, "DryOff")]
    assert Production.objects.count() == 1


def test_a_calf_that_never_was_is_deleted_before_or_after(owner: Actor, cow: Animal) -> None:
    event = calve(owner, cow, 0, {**ALIVE, "tag_number": "AT 77"})
    delete_animal(owner, Animal.objects.get(tag_number="AT 77").id)
    services.delete_event(owner, event.id)
    assert not Offspring.objects.exists()
    calve(owner, cow, 0, {**ALIVE, "tag_number": "AT 77"})


def test_the_ease_and_the_day_of_a_calving_are_corrected(owner: Actor, cow: Animal) -> None:
    calve(owner, cow, -400, STILLBORN)
    serve(owner, cow, 0)
    event = calve(owner, cow, 280, {**ALIVE, "tag_number": "AT 77"})
    event = services.correct_calving(owner, event.id, {"ease": HARD}, Seen(1), reason="mistyped")
    assert (event.ease, event.version) == (HARD, 2)
    assert AuditEntry.objects.get(object_id=event.id, action="changed").reason == "mistyped"
    calf = Animal.objects.get(tag_number="AT 77")
    for number in (278, 283):
        with pytest.raises(RuleBroken, match="birth date first"), transaction.atomic():
            services.correct_calving(owner, event.id, {"happened_on": day(number)}, Seen(event.version))
        calf = update_animal(owner, calf.id, {"birth_date": day(number)}, Seen(calf.version))
        event = services.correct_calving(owner, event.id, {"happened_on": day(number)}, Seen(event.version))
        assert lactations(cow) == [(1, -400, number, "Calving"), (2, number, None, "")]
        assert (due(owner)[0][:2], event.happened_on) == (("Service", number + 50), day(number))
    with pytest.raises(StaleVersion):
        services.correct_calving(owner, event.id, {"ease": HARD}, Seen(1))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (-400, "between the lactations"),
        (-401, "between the lactations"),
        (300, "between the lactations"),
        (-200, "expected a birth 224 days or more"),
        (10_000, "has come"),
        (224, "same service"),
    ],
)
def test_a_day_that_cannot_be_is_refused(owner: Actor, cow: Animal, number: int, words: str) -> None:
    calve(owner, cow, -400, STILLBORN)
    serve(owner, cow, 0)
    event = calve(owner, cow, 280, STILLBORN)
    row = Lactation.objects.get(number=2)
    dry_off(owner, row.id, ends_on=day(300), seen=Seen(row.version))
    with pytest.raises(RuleBroken, match=words), transaction.atomic():
        services.correct_calving(owner, event.id, {"happened_on": day(number)}, Seen(1))
    assert lactations(cow) == [(1, -400, 280, "Calving"), (2, 280, 300, "DryOff")]


def test_a_calving_after_a_dry_period_moves_within_it(owner: Actor, cow: Animal) -> None:
    calve(owner, cow, 0, STILLBORN)
    row = Lactation.objects.get()
    dry_off(owner, row.id, ends_on=day(300), seen=Seen(row.version))
    event = calve(owner, cow, 360, STILLBORN)
    event = services.correct_calving(owner, event.id, {"happened_on": day(300)}, Seen(1))
    assert lactations(cow) == [(1, 0, 300, "DryOff"), (2, 300, None, "")]
    with pytest.raises(RuleBroken, match="between"), transaction.atomic():
        services.correct_calving(owner, event.id, {"happened_on": day(299)}, Seen(2))


def test_only_a_calving_is_corrected_as_one(owner: Actor, cow: Animal) -> None:
    with pytest.raises(RuleBroken, match="expected a calving, found Service"):
        services.correct_calving(owner, serve(owner, cow, 0).id, {"ease": HARD}, Seen(1))


@pytest.mark.django_db
def test_a_client_corrects_and_takes_back() -> None:
    actor = make_owner()
    with unit_of_work(actor.tenant_id):
        cow = beast(actor, create_farm(actor, name="Hill"))
        event = calve(actor, cow, 0, {**ALIVE, "tag_number": "AT 77"})
        far = make_member(actor, Role.OWNER, [create_farm(actor, name="Far").id])
        with pytest.raises(NotFound):
            services.delete_event(far, event.id)
    api = Api(actor)
    answer = api("PATCH", f"calvings/{event.id}/", {"ease": HARD, "reason": "mistyped"}, If_Match='"1"')
    assert (answer.status_code, answer.json()["ease"], answer["ETag"]) == (200, HARD, '"2"')
    answer = api("PATCH", f"calvings/{event.id}/", {"happened_on": "2024-01-03"}, If_Match='"2"')
    assert problem(answer) == (422, "rule-broken")
    assert api("DELETE", f"breeding-events/{event.id}/").status_code == 204
    assert api("GET", f"animals/{cow.id}/lactations/").json()["results"] == []
    calf = api("GET", "animals/?sort=-created_at").json()["results"][0]
    body = {
        "happened_on": str(date(2024, 1, 1)),
        "ease": HARD,
        "offspring": [{"birth_status": "Alive", "sex": "Female", "animal_id": calf["id"]}],
    }
    assert api("POST", f"animals/{cow.id}/calvings/", body).status_code == 201


def test_taken_back_by_two_at_once_it_is_gone_once(committed: psycopg.Connection[Any]) -> None:
    actor = make_owner()
    with unit_of_work(actor.tenant_id):
        animal = beast(actor, create_farm(actor, name="Hill"))
        event = calve(actor, animal, 0)
    both = Barrier(2, timeout=60)

    def take_back(_: int) -> str:
        both.wait()
        try:
            with unit_of_work(actor.tenant_id):
                services.delete_event(actor, event.id)
        except NotFound:
            return "gone"
        return "done"

    waits = [in_thread(partial(take_back, number)) for number in range(2)]
    assert sorted(wait() for wait in waits) == ["done", "gone"]
    with unit_of_work(actor.tenant_id):
        assert not (BreedingEvent.objects.exists() or Lactation.objects.exists())
        assert Tombstone.objects.filter(model="production.lactation").count() == 1
