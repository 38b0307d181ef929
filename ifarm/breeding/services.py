"""Breeding events: recorded in any order of entry, judged in the order of their days; the next one follows from them.

Each service holds the animal's lock, so two events of one animal are never judged at once. Whoever also writes a
pedigree takes its lock first, as `animals.services.set_parent` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.db.models import F, QuerySet

from ifarm.animals.growth import record_weight
from ifarm.animals.models import Animal
from ifarm.animals.policies import access_animal
from ifarm.animals.services import create_animal, set_parent
from ifarm.animals.words import ParentRole, Purpose, Relation, Sex, Species
from ifarm.audit import writes
from ifarm.breeding import calvings, cycle
from ifarm.breeding.models import BreedingEvent, BreedingPlan, DueEvent, Offspring
from ifarm.breeding.policies import EVENTS
from ifarm.breeding.words import BirthStatus, DueKind, EventKind, ServiceMethod
from ifarm.core.actors import Actor
from ifarm.core.context import current_tenant, unit_of_work
from ifarm.core.errors import RuleBroken
from ifarm.core.events import record_event
from ifarm.core.locks import Lock, take
from ifarm.core.versions import Seen
from ifarm.production.lactations import open_lactation
from ifarm.production.summaries import local_today

_SIRES: Final = frozenset({Sex.MALE.value, Sex.UNKNOWN.value})
_DAMS: Final = frozenset({Sex.FEMALE.value, Sex.UNKNOWN.value})
_NOT_MILKED: Final = frozenset({Purpose.SUCKLER.value, Purpose.MEAT.value, Purpose.PET.value})


def record_heat(
    actor: Actor, animal_id: UUID, *, happened_on: date, detection: str, **meta: Any
) -> BreedingEvent:
    """A heat was seen. Raises `RuleBroken`, as all of these, for what cannot have happened."""
    with unit_of_work():
        event = BreedingEvent(kind=EventKind.HEAT.value, happened_on=happened_on, detection=detection, **meta)
        return _add(actor, access_animal(actor, animal_id, lock=True), event, "animal_heat_seen")[0]


def record_service(
    actor: Actor,
    animal_id: UUID,
    *,
    happened_on: date,
    service_method: str,
    sire_id: UUID | None = None,
    **rest: Any,
) -> BreedingEvent:
    """The animal was served or inseminated, or got an embryo. The sire may be a reference animal."""
    with unit_of_work():
        animal = access_animal(actor, animal_id, lock=True)
        sire = None if sire_id is None else access_animal(actor, sire_id)
        if sire is not None and (sire.sex not in _SIRES or sire.animal_type != animal.animal_type):
            raise RuleBroken(
                f"expected a male {animal.animal_type} as sire, found {sire.sex} {sire.animal_type}."
            )
        event = BreedingEvent(
            kind=EventKind.SERVICE.value,
            happened_on=happened_on,
            service_method=service_method,
            sire=sire,
            **rest,
        )
        return _add(actor, animal, event, "animal_served")[0]


def record_check(
    actor: Actor,
    animal_id: UUID,
    *,
    happened_on: date,
    check_method: str,
    result: str,
    days_pregnant: int | None = None,
    **meta: Any,
) -> BreedingEvent:
    """The animal was examined. ``days_pregnant`` dates the conception, also where no service was seen."""
    with unit_of_work():
        event = BreedingEvent(
            kind=EventKind.CHECK.value,
            happened_on=happened_on,
            check_method=check_method,
            result=result,
            days_pregnant=days_pregnant,
            **meta,
        )
        return _add(actor, access_animal(actor, animal_id, lock=True), event, "animal_pregnancy_checked")[0]


def record_abortion(actor: Actor, animal_id: UUID, *, happened_on: date, **meta: Any) -> BreedingEvent:
    """A pregnancy ended too early. It begins no lactation."""
    with unit_of_work():
        event = BreedingEvent(kind=EventKind.ABORTION.value, happened_on=happened_on, **meta)
        return _add(actor, access_animal(actor, animal_id, lock=True), event, "animal_aborted")[0]


def record_calving(
    actor: Actor,
    animal_id: UUID,
    *,
    happened_on: date,
    ease: str,
    offspring: Sequence[Mapping[str, Any]],
    **meta: Any,
) -> BreedingEvent:
    """An animal gave birth: to one, to twins, to none that lived. It begins a lactation.

    Each of ``offspring`` has ``birth_status`` and ``sex``; one that is alive has a ``tag_number`` too, and perhaps a
    ``name`` and a ``birth_weight_kg``. It becomes an animal, born on its dam's farm, with dam and (if a service led
    here) sire; the dam of an embryo is its recipient. A stillborn one is counted, and is no animal (RuFaS #2484).
    One with an ``animal_id`` was recorded before its mother's calving, as those are whom another system sends.
    """
    with unit_of_work():
        take(Lock.PEDIGREE, str(current_tenant()))
        dam = access_animal(actor, animal_id, lock=True)
        alive = [one for one in offspring if one["birth_status"] == BirthStatus.ALIVE]
        _require_tags(offspring)
        event = BreedingEvent(
            kind=EventKind.CALVING.value,
            happened_on=happened_on,
            ease=ease,
            born_alive_count=len(alive),
            stillborn_count=len(offspring) - len(alive),
            **meta,
        )
        event, state = _add(actor, dam, event, "animal_parturition")
        by = None if state.conceived_by is None else BreedingEvent.objects.get(id=state.conceived_by.id)
        for one in offspring:
            calf = (
                _calf(actor, dam, by, happened_on, one) if one["birth_status"] == BirthStatus.ALIVE else None
            )
            born = Offspring(calving=event, birth_status=one["birth_status"], sex=one["sex"], animal=calf)
            writes.insert(actor, born)
        open_lactation(actor, dam.id, starts_on=happened_on)
        return event


def _require_tags(offspring: Sequence[Mapping[str, Any]]) -> None:
    if not offspring:
        raise RuleBroken("expected at least one that was born, alive or not, found none.")
    for one in offspring:
        if (one["birth_status"] == BirthStatus.ALIVE) != bool(one.get("tag_number") or one.get("animal_id")):
            raise RuleBroken(
                "expected a tag number for who is born alive, and for nobody else, found otherwise."
            )


def _calf(
    actor: Actor, dam: Animal, service: BreedingEvent | None, day: date, one: Mapping[str, Any]
) -> Animal:
    calf = _found(actor, dam, day, one["animal_id"]) if "animal_id" in one else _born(actor, dam, day, one)
    carried = service is not None and service.service_method == ServiceMethod.IMPLANTATION
    relation = Relation.RECIPIENT if carried else Relation.GENETIC
    set_parent(actor, calf.id, parent_id=dam.id, role=ParentRole.DAM, relation=relation)
    if service is not None and service.sire_id is not None:
        set_parent(actor, calf.id, parent_id=service.sire_id, role=ParentRole.SIRE)
    weight: Decimal | None = one.get("birth_weight_kg")
    if weight is not None:
        record_weight(actor, calf.id, weighed_on=day, weight_kg=weight)
    return calf


def _born(actor: Actor, dam: Animal, day: date, one: Mapping[str, Any]) -> Animal:
    return create_animal(
        actor,
        farm_id=dam.farm_id,
        paddock_id=dam.paddock_id,
        tag_number=one["tag_number"],
        name=one.get("name", ""),
        sex=one["sex"],
        animal_type=dam.animal_type,
        purpose=dam.purpose,
        birth_date=day,
    )


def _found(actor: Actor, dam: Animal, day: date, animal_id: UUID) -> Animal:
    calf = access_animal(actor, animal_id, lock=True)
    if calf.birth_date != day:
        raise RuleBroken(f"{calf.tag_number}: expected an animal born on {day}, found {calf.birth_date}.")
    return calf


def delete_event(actor: Actor, event_id: UUID, *, reason: str = "recorded by mistake") -> None:
    """Take an event back, unless those after it rest on it.

    With a calving go the lactation that it began and what it said of the parents of its offspring; who was born stays.
    """
    with unit_of_work():
        found = EVENTS.access(actor, event_id)
        if found.kind == EventKind.CALVING:
            take(Lock.PEDIGREE, str(current_tenant()))
        animal = access_animal(actor, found.animal_id, lock=True)
        event = EVENTS.access(actor, event_id, lock=True)
        if event.kind == EventKind.CALVING:
            calvings.undo(actor, animal, event, _led_to(animal, event))
        record_event("animal_breeding_deleted", animal, kind=event.kind, happened_on=event.happened_on)
        writes.delete(actor, event, reason=reason)
        settle(animal)


def correct_calving(
    actor: Actor, event_id: UUID, changes: Mapping[str, Any], seen: Seen, *, reason: str = ""
) -> BreedingEvent:
    """Correct the day or the ease of a calving; its lactation follows. Who was born is corrected by itself.

    Raises `StaleVersion`, and `RuleBroken` for another event, for a day that offspring were not born on, or to which
    another service leads: that is another calving, so take this one back.
    """
    with unit_of_work():
        animal = access_animal(actor, EVENTS.access(actor, event_id).animal_id, lock=True)
        event = EVENTS.access(actor, event_id, lock=True)
        seen.require(event)
        if event.kind != EventKind.CALVING:
            raise RuleBroken(f"expected a calving, found {event.kind}. Take it back and record it again.")
        day = changes.get("happened_on", event.happened_on)
        before = _led_to(animal, event)
        if day != event.happened_on:
            _require_possible(animal, day)
            calvings.move(actor, animal, event, day)
        event = writes.update(actor, event, changes, reason=reason)
        settle(animal)
        if _led_to(animal, event) != before:
            raise RuleBroken(
                f"expected a day to which the same service leads, found {day}. Take the calving back and record it"
                " again."
            )
        record_event("animal_breeding_corrected", animal, event_id=event.id, kind=event.kind, happened_on=day)
        return event


def _led_to(animal: Animal, calving: BreedingEvent) -> BreedingEvent | None:
    """The service that led to a calving, as far as the events up to it say."""
    events = _history(animal)
    until = next(place for place, event in enumerate(events) if event.id == calving.id)
    by = cycle.replay(events[: until + 1], cycle.PLANS[Species(animal.animal_type)]).conceived_by
    return None if by is None else BreedingEvent.objects.get(id=by.id)


def _add(actor: Actor, animal: Animal, event: BreedingEvent, told: str) -> tuple[BreedingEvent, cycle.State]:
    """Add an event of an animal whose lock is held."""
    _require_possible(animal, event.happened_on)
    event.animal = animal
    writes.insert(actor, event)
    state = settle(animal)
    record_event(
        told,
        animal,
        event_id=event.id,
        farm_id=animal.farm_id,
        happened_on=event.happened_on,
        result=event.result,
        born_alive_count=event.born_alive_count,
        stillborn_count=event.stillborn_count,
        status=state.status.value,
    )
    return event, state


def _require_possible(animal: Animal, day: date) -> None:
    if animal.is_reference or animal.sex not in _DAMS or animal.animal_type not in cycle.PLANS:
        raise RuleBroken(
            f"expected a female of the herd that is bred, found {animal.sex} {animal.animal_type}"
            f"{', a reference animal' if animal.is_reference else ''}."
        )
    if animal.birth_date is not None and day <= animal.birth_date:
        raise RuleBroken(f"expected a day after the animal's birth ({animal.birth_date}), found {day}.")
    if day > local_today(animal.farm):
        raise RuleBroken(f"expected a day that has come, found {day}.")


def state_of(animal: Animal) -> cycle.State:
    """What all events of an animal say, in the order of their days."""
    return cycle.replay(_history(animal), cycle.PLANS[Species(animal.animal_type)])


def _history(animal: Animal) -> list[cycle.Event]:
    rows = BreedingEvent.objects.filter(animal=animal).order_by("happened_on", "id")
    columns = rows.values_list("id", "kind", "happened_on", "result", "days_pregnant")
    return [cycle.Event(pk, EventKind(kind), on, result, days) for pk, kind, on, result, days in columns]


def settle(animal: Animal) -> cycle.State:
    """Derive anew what follows from the events of an animal whose lock is held: outcomes of services, and what is due.

    Raises `RuleBroken` where the events contradict each other.
    """
    plan = plan_of(Species(animal.animal_type))
    state = cycle.replay(_history(animal), plan)
    services = BreedingEvent.objects.filter(animal=animal, kind=EventKind.SERVICE.value)
    for event in services.only("id", "conceived"):
        if event.conceived != state.outcomes[event.id]:
            BreedingEvent.objects.filter(id=event.id).update(conceived=state.outcomes[event.id])
    wanted = {due.kind: due for due in cycle.dues(state, plan)}
    if animal.purpose in _NOT_MILKED:
        wanted.pop(DueKind.DRY_OFF, None)
    DueEvent.objects.filter(id__in=_held(DueEvent.objects.filter(animal=animal))).delete()
    DueEvent.objects.bulk_create(
        [
            DueEvent(
                animal=animal,
                kind=due.kind.value,
                anchor_on=due.anchor_on,
                due_from=due.due_from,
                due_until=due.due_until,
            )
            for due in wanted.values()
        ]
    )
    return state


def _held(rows: QuerySet[DueEvent]) -> list[UUID]:
    """Lock what is due, in the one order that everybody keeps; the ids."""
    return list(rows.select_for_update(of=("self",)).order_by("id").values_list("id", flat=True))


def plan_of(species: Species) -> cycle.Plan:
    """The days planned for a species: the tenant's, or else the common ones."""
    plan = cycle.PLANS[species]
    own = BreedingPlan.objects.filter(species=species.value).first()
    if own is None:
        return plan
    return replace(
        plan, wait=own.voluntary_wait_days, check=own.pregnancy_check_days, dry=own.dry_period_days
    )


def set_plan(actor: Actor, *, species: Species, **days: Any) -> BreedingPlan:
    """Set the days that a tenant plans for a species; what is due moves with them.

    Whoever writes events at the same moment may still see the old plan; the next event of the animal sees the new one.
    """
    with unit_of_work():
        if species not in cycle.PLANS:
            raise RuleBroken(f"expected a species that is bred here, found {species.value}.")
        own = BreedingPlan.objects.select_for_update().filter(species=species.value).first()
        if own is None:
            own = writes.insert(actor, BreedingPlan(species=species.value, **days))
        else:
            own = writes.update(actor, own, days)
        _reschedule(species)
        return own


def _reschedule(species: Species) -> None:
    """Move what is due for all animals of a species: one statement for each kind.

    A kind that was not planned before appears with the next event of each animal.
    """
    plan = plan_of(species)
    held = _held(DueEvent.objects.filter(animal__animal_type=species.value))
    for kind in DueKind:
        rows = DueEvent.objects.filter(id__in=held, kind=kind.value)
        days = cycle.offsets(kind, plan)
        if days is None:
            rows.delete()
        else:
            first, last = (F("anchor_on") + timedelta(days=number) for number in days)
            rows.update(due_from=first, due_until=last)
