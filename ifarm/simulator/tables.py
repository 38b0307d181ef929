"""Which rows a herd makes: of animals and what is known of them, of what they give.

The rows are those that the services would write for the same events; what the services add for people (audit, events to
publish) is left out, as for any data that comes from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Final

from ifarm.animals import models as animals
from ifarm.animals.identifiers import normalised
from ifarm.animals.words import (
    DepartureReason,
    IdentifierKind,
    MovementKind,
    ParentRole,
    Purpose,
    Sex,
    Species,
    Status,
    WeightMethod,
)
from ifarm.core.models import TenantModel
from ifarm.production.models import Lactation, Production
from ifarm.production.words import LactationEnd, ProductionType, Session
from ifarm.simulator import prices, rates
from ifarm.simulator.curves import eggs_per_hen, milk, weight
from ifarm.simulator.herd import Animal
from ifarm.simulator.rates import Rates
from ifarm.simulator.sheets import EVENING, MORNING, Keys, Sheet, day, moment

FIRST_TEST: Final = 5
"""Days after calving from which milk is weighed (ICAR Guidelines, Section 2: a test day is at least 4 days later)."""
SAMPLED: Final = 4
"""Of so many weighings one is sampled for fat, protein and cells."""
WEIGHED_AT: Final = (rates.WEANED, 200, 365)
"""Days of age; besides at birth, at each calving and on the way to slaughter. An assumption."""
SCALE_ERROR: Final = 0.02
CONDITION: Final = (3.25, 0.3)
"""Scores at calving; 3.0 to 3.5 is advised (Roche et al. 2009, JDS 92:5769)."""
TEST_EIDS: Final = "999"
"""The prefix that ISO 11784 keeps for tests."""
DEALER: Final = "Cattle dealer"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a herd is, and how it is written down: keys of farm, paddocks and group, and the breeds' by their codes."""

    tenant_id: str
    farm_id: str
    paddock_ids: tuple[str, ...]
    group_id: str
    group_kind: str
    breeds: Mapping[str, str]
    tags: count[int]
    milk_every: int


@dataclass(slots=True)
class Book:
    """The rows of one farm from day ``first`` to day ``last``."""

    place: Place
    known: Rates
    chance: Random
    keys: Keys
    first: int
    last: int
    ids: dict[int, str] = field(default_factory=dict)
    """Keys of animals, by `id` of the animal; so are those of the movements by which they came and left."""
    arrivals: dict[int, str] = field(default_factory=dict)
    departures: dict[int, str] = field(default_factory=dict)
    sheets: dict[str, Sheet] = field(default_factory=dict)

    def sheet(self, model: type[TenantModel], *given: str) -> Sheet:
        """The sheet of a model."""
        found = self.sheets.get(model.__name__)
        if found is None:
            found = self.sheets[model.__name__] = Sheet(model, self.place.tenant_id, self.keys, *given)
        return found

    def within(self, number: int) -> bool:
        """Whether the records know of this day."""
        return self.first <= number <= self.last


def write_herd(book: Book, herd: list[Animal]) -> None:
    """All rows of a herd."""
    for animal in herd:
        book.ids[id(animal)] = book.keys.new(max(animal.born, animal.came[0]))
    for animal in herd:
        _identity(book, animal)
        _places(book, animal)
        _growth(book, animal)
        if book.known.lactations:
            _lactations(book, animal)


def _identity(book: Book, animal: Animal) -> None:
    place, key, came = book.place, book.ids[id(animal)], animal.came[0]
    breed_id, number = place.breeds[animal.breed.code], next(place.tags)
    tag = f"UT {number:07}"
    age = book.last - animal.born
    value = prices.live(weight(animal.breed, animal.size, age)) if animal.left is None else None
    paddock = _paddock(book, animal) if animal.left is None else None
    sex = Sex.MALE if animal.male else Sex.FEMALE
    purpose = Purpose.MILK if book.known.lactations else Purpose.SUCKLER
    purpose = Purpose.MEAT if animal.male else purpose
    book.sheet(
        animals.Animal,
        "farm_id",
        "paddock_id",
        "tag_number",
        "animal_type",
        "sex",
        "birth_date",
        "breed_id",
        "purpose",
        "status",
        "estimated_value",
        "value_currency",
    ).keep(
        key,
        came,
        place.farm_id,
        paddock,
        tag,
        Species.CATTLE.value,
        sex.value,
        day(animal.born),
        breed_id,
        purpose.value,
        _status(animal).value,
        value,
        prices.CURRENCY if value is not None else "",
    )
    identifiers = book.sheet(
        animals.AnimalIdentifier, "animal_id", "kind", "value", "normalised", "issued_on"
    )
    for kind, text in (
        (IdentifierKind.EAR_TAG, tag),
        (IdentifierKind.EID, f"{TEST_EIDS}{number:012}"),
    ):
        identifiers.add(came, key, kind.value, text, normalised(kind, text), day(animal.born))
    book.sheet(animals.BreedFraction, "animal_id", "breed_id", "parts").add(came, key, breed_id, 1)
    dam = book.ids.get(id(animal.dam))
    if dam is not None:
        parents = book.sheet(animals.Parentage, "child_id", "parent_id", "role")
        parents.add(came, key, dam, ParentRole.DAM.value)


def _status(animal: Animal) -> Status:
    if animal.left is None:
        return Status.ALIVE
    return Status.DEAD if animal.left[1] is MovementKind.DEATH else Status.OFF_FARM


def _paddock(book: Book, animal: Animal) -> str:
    return book.place.paddock_ids[0 if animal.parity else 1]


def _places(book: Book, animal: Animal) -> None:
    place, key = book.place, book.ids[id(animal)]
    movements = book.sheet(
        animals.Movement,
        "animal_id",
        "kind",
        "reason",
        "moved_at",
        "from_farm_id",
        "from_paddock_id",
        "to_farm_id",
        "to_paddock_id",
        "counterpart",
    )
    came, kind, reason = animal.came
    paddock = _paddock(book, animal)
    other = DEALER if kind is MovementKind.ARRIVAL else ""
    book.arrivals[id(animal)] = movements.add(
        came, key, kind.value, reason, moment(came, MORNING), None, None, place.farm_id, paddock, other
    )
    gone = None
    if animal.left is not None:
        left, kind, reason = animal.left
        gone = moment(left, EVENING)
        other = DEALER if reason == DepartureReason.SALE else "Slaughterhouse"
        other = "" if kind is MovementKind.DEATH else other
        book.departures[id(animal)] = movements.add(
            left, key, kind.value, reason, gone, place.farm_id, paddock, None, None, other
        )
    stays = book.sheet(animals.Stay, "animal_id", "farm_id", "paddock_id", "starts_at", "ends_at")
    stays.add(came, key, place.farm_id, paddock, moment(came, MORNING), gone)
    if animal.calvings:
        joined = max(animal.calvings[0].day, came)
        members = book.sheet(animals.GroupMembership, "animal_id", "group_id", "kind", "starts_on", "ends_on")
        ended = None if animal.left is None else day(animal.left[0])
        members.add(joined, key, place.group_id, place.group_kind, day(joined), ended)


def _growth(book: Book, animal: Animal) -> None:
    key, chance = book.ids[id(animal)], book.chance
    weights = book.sheet(animals.Weight, "animal_id", "weighed_on", "weight_kg", "method")
    gone = book.last if animal.left is None else animal.left[0]
    ages = [0, *WEIGHED_AT, *(calving.day - animal.born for calving in animal.calvings)]
    slaughtered = is_slaughtered(animal)
    if slaughtered:
        ages.append(gone - animal.born)
    for age in ages:
        on = animal.born + age
        if book.within(on) and animal.came[0] <= on <= gone:
            kg = weight(animal.breed, animal.size, age) * chance.gauss(1, SCALE_ERROR)
            weights.add(on, key, day(on), f"{kg:.1f}", WeightMethod.LOAD_CELL.value)
    conditions = book.sheet(animals.BodyCondition, "animal_id", "scored_on", "score")
    for calving in animal.calvings:
        if book.within(calving.day):
            score = min(5.0, max(1.0, round(chance.gauss(*CONDITION) * 4) / 4))
            conditions.add(calving.day, key, day(calving.day), score)
    if slaughtered and book.within(gone):
        carcass = weight(animal.breed, animal.size, gone - animal.born) * rates.DRESSING
        _produce(book).add(
            gone,
            book.place.farm_id,
            key,
            None,
            ProductionType.MEAT.value,
            day(gone),
            "",
            None,
            None,
            None,
            None,
            None,
            None,
            f"{carcass:.1f}",
        )


def is_slaughtered(animal: Animal) -> bool:
    """Whether it went to slaughter: for any reason but a sale, by which it lives elsewhere."""
    left = animal.left
    return left is not None and left[1] is MovementKind.DEPARTURE and left[2] != DepartureReason.SALE


def _produce(book: Book) -> Sheet:
    return book.sheet(
        Production,
        "farm_id",
        "animal_id",
        "group_id",
        "production_type",
        "production_date",
        "session",
        "milk_kg",
        "fat_percent",
        "protein_percent",
        "somatic_cells_per_ml",
        "eggs_count",
        "eggs_broken_count",
        "carcass_kg",
    )


def _lactations(book: Book, animal: Animal) -> None:
    sheet = book.sheet(Lactation, "animal_id", "number", "starts_on", "ends_on", "end_reason")
    key = book.ids[id(animal)]
    gone = book.last + 1 if animal.left is None else animal.left[0]
    for calving in animal.calvings:
        end = calving.next_on if calving.dry_on is None else calving.dry_on
        if end is not None and end < book.first:
            continue
        reason = LactationEnd.CALVING if calving.dry_on is None else LactationEnd.DRY_OFF
        sheet.add(
            calving.day,
            key,
            calving.number,
            day(calving.day),
            None if end is None else day(end),
            "" if end is None else reason.value,
        )
        until = gone if end is None else min(end, gone)
        _milk(
            book, animal, calving.number, range(max(calving.day + FIRST_TEST, book.first), until), calving.day
        )


def _milk(book: Book, animal: Animal, number: int, days: range, calved: int) -> None:
    """One weight of the whole day, on the days on which this farm weighs."""
    place, chance, every = book.place, book.chance, book.place.milk_every
    sheet, key, farm = _produce(book), book.ids[id(animal)], place.farm_id
    wood = book.known.lactations[min(number, len(book.known.lactations)) - 1]
    start = days.start + (book.first - days.start) % every
    in_milk = range(start - calved, max(days.stop - calved, start - calved), every)
    for since, kg in milk(wood, animal.yields, chance, in_milk):
        on = calved + since
        fat = protein = cells = None
        if (on - book.first) // every % SAMPLED == 0:
            fat = f"{min(max(chance.gauss(*rates.FAT), 2.0), 8.0):.2f}"
            protein = f"{min(max(chance.gauss(*rates.PROTEIN), 2.0), 6.0):.2f}"
            median, deviation = rates.CELLS
            cells = min(int(median * chance.lognormvariate(0, deviation)), 9_999_000)
        sheet.add(
            on,
            farm,
            key,
            None,
            "milk",
            day(on),
            Session.WHOLE_DAY.value,
            f"{kg:.2f}",
            fat,
            protein,
            cells,
            None,
            None,
            None,
        )


def write_flock(book: Book, group_id: str, hens: int, housed: int) -> None:
    """A flock's eggs, day by day, from ``housed`` until it is too old."""
    sheet, chance, alive = _produce(book), book.chance, float(hens)
    for on in range(housed, min(housed + rates.LAYING_ENDS, book.last + 1)):
        alive *= 1 - rates.HEN_DEATH
        eggs = round(alive * eggs_per_hen(on - housed) * chance.gauss(1, 0.02))
        if book.within(on) and eggs > 0:
            sheet.add(
                on,
                book.place.farm_id,
                None,
                group_id,
                ProductionType.EGGS.value,
                day(on),
                "",
                None,
                None,
                None,
                None,
                eggs,
                round(eggs * rates.EGGS_BROKEN * chance.uniform(0.5, 1.5)),
                None,
            )
