"""Lactations: begun by a calving, ended by drying off or the next calving; and what a cow gives in 305 days."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

from django.db.models import Count, F, Q, Sum

from ifarm.animals.models import Animal
from ifarm.animals.policies import access_animal
from ifarm.animals.words import Sex, Species
from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import RuleBroken
from ifarm.core.events import record_event
from ifarm.core.versions import Seen
from ifarm.production.models import Lactation
from ifarm.production.policies import PRODUCTIONS, access_lactation
from ifarm.production.summaries import local_today
from ifarm.production.words import LactationEnd, ProductionType, Session

STANDARD_DAYS: Final = 305
"""The length to which lactations are compared (ICAR Guidelines, Section 2)."""


@dataclass(frozen=True, slots=True)
class Yield:
    """What a lactation gave, up to 305 days of it.

    Args:
        days: how many days the figures are of.
        test_days: days of milk that they rest on.
        is_complete: 305 days are over, or the lactation is; else it is a record in progress.
        milk_kg: None without a test day; ``fat_kg`` and ``protein_kg``: None without a sample.
    """

    lactation_id: UUID
    days: int
    test_days: int
    is_complete: bool
    milk_kg: Decimal | None
    fat_kg: Decimal | None
    protein_kg: Decimal | None


@dataclass(frozen=True, slots=True)
class MilkDay:
    """One day's milk, and its content as far as it was sampled. ``day`` counts from the calving, which is 0."""

    day: int
    milk_kg: Decimal
    fat_kg: Decimal | None
    protein_kg: Decimal | None


def open_lactation(actor: Actor, animal_id: UUID, *, starts_on: date, number: int | None = None) -> Lactation:
    """A lactation begins with a calving; one that is not dried off ends on that day.

    ``number``: the parity, for an animal that came with calvings nobody recorded; else the next. Raises `RuleBroken`.
    """
    with unit_of_work():
        animal = access_animal(actor, animal_id, lock=True)
        _require_possible(animal, starts_on)
        last = animal.lactations.select_for_update().order_by("-starts_on").first()
        before = 0 if last is None else last.number
        if number is not None and number <= before:
            raise RuleBroken(f"expected a number above {before}, found {number}.")
        if last is not None:
            if starts_on <= last.starts_on or (last.ends_on is not None and starts_on < last.ends_on):
                since = last.ends_on or last.starts_on
                raise RuleBroken(
                    f"expected a day after lactation {last.number} ({since}), found {starts_on}."
                )
            if last.ends_on is None:
                _end(actor, last, starts_on, LactationEnd.CALVING)
        lactation = writes.insert(
            actor, Lactation(animal=animal, starts_on=starts_on, number=number or before + 1)
        )
        _tell("production_lactation_opened", lactation)
        return lactation


def dry_off(actor: Actor, lactation_id: UUID, *, ends_on: date, seen: Seen) -> Lactation:
    """A lactation ends: ``ends_on`` is the first dry day. Raises `StaleVersion`, `RuleBroken`."""
    with unit_of_work():
        lactation = access_lactation(actor, lactation_id, lock=True)
        seen.require(lactation)
        if lactation.end_reason == LactationEnd.CALVING:
            raise RuleBroken("expected a lactation that no calving has ended, found one.")
        if ends_on <= lactation.starts_on or ends_on > local_today(lactation.animal.farm) + timedelta(days=1):
            raise RuleBroken(f"expected a day after {lactation.starts_on} that has come, found {ends_on}.")
        _end(actor, lactation, ends_on, LactationEnd.DRY_OFF)
        return lactation


def take_back_lactation(actor: Actor, animal: Animal, *, starts_on: date) -> None:
    """The calving that began a lactation was none: the one before goes on, if it was this calving that ended it.

    Milk stays where it is: it belongs to an animal and a day. Part of the caller's unit of work, which holds the
    animal's lock. Raises `RuleBroken` where a later lactation rests on this one.
    """
    before, lactation, after = _neighbours(animal, starts_on)
    if lactation is None:
        return
    if after is not None:
        raise RuleBroken(
            f"expected the last lactation, found one that lactation {after.number} ({after.starts_on}) follows."
            " Take back the later calving first."
        )
    record_event("production_lactation_deleted", lactation, animal_id=animal.id, number=lactation.number)
    writes.delete(actor, lactation, reason="calving taken back")
    if before is not None and before.end_reason == LactationEnd.CALVING:
        writes.update(actor, before, {"ends_on": None, "end_reason": ""}, reason="calving taken back")
        _tell("production_lactation_reopened", before)


def move_lactation(actor: Actor, animal: Animal, *, starts_on: date, to: date) -> None:
    """The calving that began a lactation was on another day; the lactation that it ended ends on that day too.

    Part of the caller's unit of work, which holds the animal's lock. Raises `RuleBroken` for a day that is not between
    its neighbours.
    """
    _require_possible(animal, to)
    before, lactation, _ = _neighbours(animal, starts_on)
    if lactation is None or starts_on == to:
        return
    ended = before is not None and before.end_reason == LactationEnd.CALVING
    first = None
    if before is not None:
        first = before.starts_on + timedelta(days=1) if ended else before.ends_on
    if (first is not None and to < first) or (lactation.ends_on is not None and to >= lactation.ends_on):
        raise RuleBroken(
            f"expected a day from {first or 'the first'} until {lactation.ends_on or 'today'}, between the lactations"
            f" beside it, found {to}."
        )
    changes: list[tuple[Lactation, dict[str, Any]]] = [(lactation, {"starts_on": to})]
    if ended:  # two never overlap, not even between these two statements
        changes.insert(0 if to < starts_on else 1, (before, {"ends_on": to}))
    for row, change in changes:
        writes.update(actor, row, change, reason="calving corrected")
        _tell("production_lactation_corrected", row)


def _neighbours(animal: Animal, starts_on: date) -> tuple[Any, Lactation | None, Lactation | None]:
    """The lactation before, the one that begins on a day, the one after; locked."""
    rows = list(animal.lactations.select_for_update().order_by("starts_on"))
    days = [row.starts_on for row in rows]
    if starts_on not in days:
        return None, None, None
    place = days.index(starts_on)
    return (
        rows[place - 1] if place else None,
        rows[place],
        rows[place + 1] if place + 1 < len(rows) else None,
    )


def _end(actor: Actor, lactation: Lactation, day: date, reason: LactationEnd) -> None:
    writes.update(actor, lactation, {"ends_on": day, "end_reason": reason.value})
    _tell("production_lactation_closed", lactation)


def _tell(event: str, lactation: Lactation) -> None:
    days: dict[str, Any] = {"starts_on": lactation.starts_on, "ends_on": lactation.ends_on}
    record_event(event, lactation, animal_id=lactation.animal_id, number=lactation.number, **days)


def _require_possible(animal: Animal, day: date) -> None:
    if animal.animal_type == Species.CHICKEN or animal.sex not in (Sex.FEMALE, Sex.UNKNOWN):
        raise RuleBroken(f"expected a female that gives milk, found {animal.sex} {animal.animal_type}.")
    if animal.birth_date is not None and day <= animal.birth_date:
        raise RuleBroken(f"expected a day after the animal's birth ({animal.birth_date}), found {day}.")
    if day > local_today(animal.farm):
        raise RuleBroken(f"expected a day that has come, found {day}.")


def yield_of(actor: Actor, lactation_id: UUID) -> Yield:
    """What a lactation gave in its first 305 days, or has given so far. Raises `NotFound`."""
    lactation = access_lactation(actor, lactation_id)
    tests = _test_days(actor, lactation)
    length = (lactation.ends_on - lactation.starts_on).days if lactation.ends_on else None
    so_far = tests[-1].day if tests else 0
    days = min(STANDARD_DAYS, so_far if length is None else length)
    return Yield(
        lactation.id,
        days,
        len(tests),
        length is not None or so_far >= STANDARD_DAYS,
        by_test_intervals([(test.day, test.milk_kg) for test in tests], days),
        by_test_intervals([(test.day, test.fat_kg) for test in tests if test.fat_kg is not None], days),
        by_test_intervals(
            [(test.day, test.protein_kg) for test in tests if test.protein_kg is not None], days
        ),
    )


def by_test_intervals(tests: Sequence[tuple[int, Decimal]], days: int) -> Decimal | None:
    """The yield of ``days`` days by the test interval method, in kilograms; None without a test day.

    Up to the first test day its yield counts for each day, between two the mean of both, after the last its own. An
    interval across the end is cut there. ``tests``: (days since calving, kilograms in 24 hours), in order.
    Source: ICAR Guidelines, Section 2, Procedure 2 (2020), 1: the Test Interval Method (Sargent, 1968).
    """
    if not tests:
        return None
    first, last = tests[0], tests[-1]
    total = min(first[0], days) * first[1]
    for (day, kilograms), (following, later) in pairwise(tests):
        end = min(following, days)
        if end <= day:
            break
        at_end = kilograms + (later - kilograms) * (end - day) / (following - day)
        total += (end - day) * (kilograms + at_end) / 2
    total += max(days - last[0], 0) * last[1]
    return total.quantize(Decimal("0.01"))


def _test_days(actor: Actor, lactation: Lactation) -> list[MilkDay]:
    """The days of a lactation on which the milk of all milkings was weighed.

    A day counts with a weight of the whole day, or with as many milkings as most days of this lactation have: a day of
    which the evening is missing would halve the yield. A sample of some milkings stands for the day's milk.
    """
    rows = PRODUCTIONS.instances(actor).filter(
        animal=lactation.animal_id,
        production_type=ProductionType.MILK.value,
        production_date__gte=lactation.starts_on,
    )
    if lactation.ends_on is not None:
        rows = rows.filter(production_date__lt=lactation.ends_on)
    fat, protein = Q(fat_percent__isnull=False), Q(protein_percent__isnull=False)
    found = list(
        rows.values("production_date")
        .annotate(
            milk=Sum("milk_kg"),
            milkings=Count("id"),
            whole=Count("id", filter=Q(session=Session.WHOLE_DAY.value)),
            fat_milk=Sum("milk_kg", filter=fat),
            fat=Sum(F("milk_kg") * F("fat_percent"), filter=fat),
            protein_milk=Sum("milk_kg", filter=protein),
            protein=Sum(F("milk_kg") * F("protein_percent"), filter=protein),
        )
        .order_by("production_date")
    )
    usual = Counter(one["milkings"] for one in found if not one["whole"]).most_common(1)
    least = usual[0][0] if usual else 1
    return [
        MilkDay(
            (one["production_date"] - lactation.starts_on).days,
            one["milk"],
            _content(one["milk"], one["fat"], one["fat_milk"]),
            _content(one["milk"], one["protein"], one["protein_milk"]),
        )
        for one in found
        if one["whole"] or one["milkings"] >= least
    ]


def _content(milk_kg: Decimal, weighted: Decimal | None, sampled_kg: Decimal | None) -> Decimal | None:
    """Kilograms of fat or protein in a day's milk, from the sampled part of it (percent times kilograms)."""
    return None if weighted is None or not sampled_kg else milk_kg * weighted / sampled_kg / 100
