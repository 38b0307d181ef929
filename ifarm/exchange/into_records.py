"""Rows as weights, milkings and movements of animals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from ifarm.animals.growth import record_weights
from ifarm.animals.models import Animal, Movement, Weight
from ifarm.animals.movements import move_animal
from ifarm.animals.policies import ANIMALS, MOVEMENTS, WEIGHTS, access_animal
from ifarm.animals.words import MovementKind, WeightMethod
from ifarm.core.actors import Actor
from ifarm.core.errors import Problem
from ifarm.exchange.outcomes import Given, Outcome, duplicate, refused, written
from ifarm.exchange.places import Places, Strange, animals_of, known_records
from ifarm.production.policies import PRODUCTIONS
from ifarm.production.services import record_production
from ifarm.production.words import ProductionType

_NOT_TOLD = frozenset({"tag_number", "eid", "source", "source_id"})


def write_weights(actor: Actor, rows: Sequence[Given]) -> list[Outcome]:
    """Add the weights that can be, in few statements."""
    outcomes = known_records(actor, WEIGHTS, rows)
    fresh = [given for given in rows if given.row.id not in outcomes]
    places = dict(zip((given.row.id for given in fresh), animals_of(actor, fresh), strict=True))
    there = _weights_of([one for one in places.values() if isinstance(one, UUID)])
    wanted: dict[UUID, dict[str, Any]] = {}
    for given in fresh:
        animal, values = places[given.row.id], _own(given)
        if isinstance(animal, Outcome):
            outcomes[given.row.id] = animal
            continue
        same = (animal, values["weighed_on"], values["weight_kg"], values.get("method", _USUAL))
        if given.reference is None and same in there:
            detail = (
                f"expected a weight that is new, found {values['weight_kg']} kg, recorded that day already."
            )
            outcomes[given.row.id] = duplicate("weight_kg", detail, str(values["weight_kg"]), there[same])
            continue
        wanted[given.row.id] = {"animal_id": animal, **values, **given.meta}
    made = record_weights(actor, list(wanted.values()))
    for row_id, one in zip(wanted, made, strict=True):
        outcomes[row_id] = refused(one) if isinstance(one, Problem) else written(one.id)
    return [outcomes[given.row.id] for given in rows]


_USUAL = WeightMethod.LOAD_CELL.value


def _weights_of(animals: Sequence[UUID]) -> dict[tuple[Any, ...], UUID]:
    rows = Weight.objects.filter(animal__in=animals)
    return {
        tuple(row[:4]): row[4]
        for row in rows.values_list("animal_id", "weighed_on", "weight_kg", "method", "id")
    }


def _own(given: Given) -> dict[str, Any]:
    return {name: value for name, value in given.values.items() if name not in _NOT_TOLD}


def write_milk(actor: Actor, rows: Sequence[Given]) -> list[Outcome]:
    """Record the milkings that can be, each by the service for one."""

    def write(animal: Animal, given: Given) -> UUID:
        values: dict[str, Any] = {**_own(given), **given.meta}
        made = record_production(
            actor,
            production_type=ProductionType.MILK,
            animal_id=animal.id,
            **values,
        )
        return UUID(str(made.id))

    return _one_by_one(actor, rows, known_records(actor, PRODUCTIONS, rows), write)


def write_movements(actor: Actor, rows: Sequence[Given]) -> list[Outcome]:
    """Record the movements that can be, each by the service for one."""
    places = Places.of(actor)

    def write(animal: Animal, given: Given) -> UUID | Outcome:
        animal = access_animal(actor, animal.id)  # a row before may have moved it
        values = _own(given)
        kind, moment = MovementKind(values.pop("kind")), _on_clock(values.pop("moved_at"), animal)
        same = Movement.objects.filter(animal=animal, kind=kind.value, moved_at=moment).first()
        if same is not None:
            detail = (
                f"expected a movement that is new, found a {kind.value} of that moment, which is recorded."
            )
            return duplicate("moved_at", detail, moment.isoformat(), same.id)
        to_farm = values.pop("to_farm", None)
        farm = animal.farm if to_farm is None else places.farm(to_farm, "to_farm")
        paddock_id = places.paddock(farm, values.pop("to_paddock", None), "to_paddock")
        made = move_animal(
            actor,
            animal.id,
            kind=kind,
            moved_at=moment,
            farm_id=farm.id,
            paddock_id=paddock_id,
            **values,
            **given.meta,
        )
        return UUID(str(made.id))

    return _one_by_one(actor, rows, known_records(actor, MOVEMENTS, rows), write)


def _on_clock(moment: datetime, animal: Animal) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(animal.farm.timezone))


def _one_by_one(
    actor: Actor,
    rows: Sequence[Given],
    outcomes: dict[UUID, Outcome],
    write: Callable[[Animal, Given], UUID | Outcome],
) -> list[Outcome]:
    """Each row in a transaction of its own inside the chunk's; what is refused leaves nothing.

    The animals are locked first and in the order of their ids, so that two who write about many cannot lock each
    other out.
    """
    fresh = [given for given in rows if given.row.id not in outcomes]
    found = dict(zip((given.row.id for given in fresh), animals_of(actor, fresh), strict=True))
    ids = {one for one in found.values() if isinstance(one, UUID)}
    locked = ANIMALS.instances(actor).select_for_update(of=("self",)).select_related("farm")
    animals = {animal.id: animal for animal in locked.filter(id__in=ids).order_by("id")}
    for given in fresh:
        animal = found[given.row.id]
        outcomes[given.row.id] = (
            animal if isinstance(animal, Outcome) else _one(write, animals[animal], given)
        )
    return [outcomes[given.row.id] for given in rows]


def _one(write: Callable[[Animal, Given], UUID | Outcome], animal: Animal, given: Given) -> Outcome:
    try:
        with transaction.atomic():
            made = write(animal, given)
    except Strange as strange:
        return strange.outcome
    except (Problem, ValidationError, IntegrityError) as problem:
        return refused(problem)
    return written(made) if isinstance(made, UUID) else made
