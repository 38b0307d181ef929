"""Weights and body condition, and what they say about growth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from ifarm.animals.models import BodyCondition, Weight
from ifarm.animals.policies import ANIMALS, BODY_CONDITIONS, WEIGHTS, access_animal
from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import NotFound, Problem, RuleBroken

PROJECTED_DAYS: Final = 90
"""A gain is not carried further than this past the last weight."""


@dataclass(frozen=True, slots=True)
class Gain:
    """Average daily gain between the last two days on which the animal was weighed.

    Args:
        gain_kg_per_day: None with fewer than two such days.
        projected_kg: the weight on the day asked for; None without a gain, or more than 90 days after the last weight.
    """

    weighed_on: date | None
    weight_kg: Decimal | None
    gain_kg_per_day: Decimal | None
    projected_kg: Decimal | None


def record_weight(
    actor: Actor, animal_id: UUID, *, weighed_on: date, weight_kg: Decimal, **rest: Any
) -> Weight:
    """Record a weight. Raises `RuleBroken` for a day before the animal's birth."""
    with unit_of_work():
        animal = access_animal(actor, animal_id)
        _require_born(animal.birth_date, weighed_on)
        return writes.insert(actor, Weight(animal=animal, weighed_on=weighed_on, weight_kg=weight_kg, **rest))


def record_weights(actor: Actor, wanted: Sequence[Mapping[str, Any]]) -> list[Weight | Problem]:
    """Record many weights; each has the arguments of `record_weight`. For each the weight, or why it cannot be.

    Raises as `writes.insert_all` does: then undo all of it.
    """
    with unit_of_work():
        animals = ANIMALS.instances(actor).in_bulk({given["animal_id"] for given in wanted})
        found: list[Weight | Problem] = []
        for given in wanted:
            values = dict(given)
            animal = animals.get(values.pop("animal_id"))
            try:
                if animal is None:
                    raise NotFound(f"animal {given['animal_id']} was not found.")
                _require_born(animal.birth_date, values["weighed_on"])
            except Problem as problem:
                found.append(problem)
                continue
            found.append(Weight(animal=animal, **values))
        writes.insert_all(actor, [one for one in found if isinstance(one, Weight)])
        return found


def delete_weight(actor: Actor, weight_id: UUID) -> None:
    """Take a weight back."""
    with unit_of_work():
        writes.delete(actor, WEIGHTS.access(actor, weight_id, lock=True))


def record_condition(
    actor: Actor, animal_id: UUID, *, scored_on: date, score: Decimal, **rest: Any
) -> BodyCondition:
    """Record a score in quarters. Raises `RuleBroken`."""
    with unit_of_work():
        animal = access_animal(actor, animal_id)
        _require_born(animal.birth_date, scored_on)
        if score % Decimal("0.25"):
            raise RuleBroken(f"expected a score in quarters, found {score}.")
        return writes.insert(actor, BodyCondition(animal=animal, scored_on=scored_on, score=score, **rest))


def delete_condition(actor: Actor, condition_id: UUID) -> None:
    """Take a score back."""
    with unit_of_work():
        writes.delete(actor, BODY_CONDITIONS.access(actor, condition_id, lock=True))


def _require_born(born: date | None, day: date) -> None:
    if born is not None and day < born:
        raise RuleBroken(f"expected a day from the animal's birth ({born}) on, found {day}.")


def gain_of(actor: Actor, animal_id: UUID, on: date | None = None) -> Gain:
    """Growth of one animal, as known on a day; without one, today at its farm. Raises `NotFound`."""
    animal = access_animal(actor, animal_id)
    on = on or animal.farm.today()
    rows = WEIGHTS.instances(actor).filter(animal=animal, weighed_on__lte=on)
    newest = rows.order_by("-weighed_on", "-id").values_list("weighed_on", "weight_kg")
    last = newest.first()
    if last is None:
        return Gain(None, None, None, None)
    before = newest.filter(weighed_on__lt=last[0]).first()
    return gain_between(before, last, on)


def gain_between(before: tuple[date, Decimal] | None, last: tuple[date, Decimal], on: date) -> Gain:
    """The arithmetic of `gain_of`; days and kilograms."""
    day, weight = last
    if before is None:
        return Gain(day, weight, None, None)
    gain = (weight - before[1]) / (day - before[0]).days
    ahead = (on - day).days
    projected = weight + gain * ahead if ahead <= PROJECTED_DAYS else None
    return Gain(
        day,
        weight,
        gain.quantize(Decimal("0.001")),
        None if projected is None else projected.quantize(Decimal("0.01")),
    )
