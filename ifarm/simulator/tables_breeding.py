"""Rows of reproduction: services, checks, abortions, calvings and who was born; what follows is derived by `cycle`."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from ifarm.animals.words import Sex, Species
from ifarm.breeding import cycle
from ifarm.breeding.models import BreedingEvent, DueEvent, Offspring
from ifarm.breeding.words import (
    BirthStatus,
    CalvingEase,
    CheckMethod,
    CheckResult,
    DueKind,
    EventKind,
    ServiceMethod,
)
from ifarm.simulator import rates
from ifarm.simulator.herd import Animal
from ifarm.simulator.sheets import day
from ifarm.simulator.tables import Book

EASE: Final = (0.85, 0.10, 0.03, 0.015, 0.005)
"""Shares of calving ease, in the order of `CalvingEase`; an assumption."""
_EMPTY: Final[dict[str, Any]] = {
    "service_method": "",
    "check_method": "",
    "result": "",
    "days_pregnant": None,
    "ease": "",
    "born_alive_count": None,
    "stillborn_count": None,
    "conceived": None,
}

Told = tuple[int, EventKind, dict[str, Any]]
"""A day, what happened, and the words of its kind."""


def write_breeding(book: Book, herd: list[Animal]) -> None:
    """Every event of every female, whether services took, and what is due next."""
    plan = cycle.PLANS[Species.CATTLE]
    for animal in herd:
        told = sorted(_told(book, animal), key=lambda one: one[0])
        if told:
            _write(book, animal, told, plan)


def _told(book: Book, animal: Animal) -> list[Told]:
    """What was recorded of one animal, not in order."""
    method = ServiceMethod.INSEMINATION if book.known.lactations else ServiceMethod.NATURAL_SERVICE
    told: list[Told] = [
        (on, EventKind.SERVICE, {"service_method": method.value}) for on in animal.services if book.within(on)
    ]
    for on, conceived in animal.checks:
        if book.within(on):
            result = CheckResult.EMPTY if conceived is None else CheckResult.PREGNANT
            words: dict[str, Any] = {"check_method": CheckMethod.ECOGRAPHY.value, "result": result.value}
            words["days_pregnant"] = None if conceived is None else on - conceived
            told.append((on, EventKind.CHECK, words))
    last_check = rates.PREGNANCY_CHECKS[-1]
    for one in animal.conceptions:
        if (
            one.lost_on is not None
            and one.lost_on > one.day + last_check
            and book.within(one.day + last_check)
        ):
            told.append((one.lost_on, EventKind.ABORTION, {}))
    for calving in animal.calvings:
        if book.within(calving.day):
            ease = book.chance.choices(list(CalvingEase), EASE)[0]
            alive = int(calving.calf is not None)
            words = {"ease": ease.value, "born_alive_count": alive, "stillborn_count": 1 - alive}
            told.append((calving.day, EventKind.CALVING, words))
    return told


def _write(book: Book, animal: Animal, told: list[Told], plan: cycle.Plan) -> None:
    sheet = book.sheet(BreedingEvent, "animal_id", "kind", "happened_on", *_EMPTY)
    key = book.ids[id(animal)]
    keys = [book.keys.new(on) for on, _, _ in told]
    state = cycle.replay(
        (
            cycle.Event(UUID(one), kind, day(on), words.get("result", ""), words.get("days_pregnant"))
            for one, (on, kind, words) in zip(keys, told, strict=True)
        ),
        plan,
    )
    calves = {calving.day: calving for calving in animal.calvings}
    born = book.sheet(Offspring, "calving_id", "birth_status", "sex", "animal_id")
    for one, (on, kind, words) in zip(keys, told, strict=True):
        values = {**_EMPTY, **words}
        if kind is EventKind.SERVICE:
            values["conceived"] = state.outcomes[UUID(one)]
        sheet.keep(one, on, key, kind.value, day(on), *values.values())
        if kind is EventKind.CALVING:
            calf = calves[on].calf
            status = BirthStatus.STILLBORN if calf is None else BirthStatus.ALIVE
            sex = Sex.MALE if calves[on].male else Sex.FEMALE
            born.add(on, one, status.value, sex.value, None if calf is None else book.ids[id(calf)])
    if animal.left is None:
        dues = book.sheet(DueEvent, "animal_id", "kind", "anchor_on", "due_from", "due_until")
        for due in cycle.dues(state, plan):
            if book.known.lactations or due.kind is not DueKind.DRY_OFF:
                dues.add(told[-1][0], key, due.kind.value, due.anchor_on, due.due_from, due.due_until)
