"""The livestock schedule: how many animals of each class a farm had, what came, what went, what is there.

For each class: opening + births + purchases + other arrivals + transfers in + grown into it
              = closing + deaths + sales + slaughtered + other departures + transfers out + grown out of it.

Opening and closing are counted from stays, everything between from movements. Classes of cattle and buffalo are those
of the EU's livestock statistics by age: under one year, from one to two, two and over (Regulation (EC) No 1165/2008,
annex II); other species have one limit, at one year. Days are those of the farm's own time zone, as its births are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Q

from ifarm.animals.models import Animal, Movement, Stay
from ifarm.animals.words import ArrivalReason, DepartureReason, MovementKind, Sex, Species
from ifarm.core.actors import Actor
from ifarm.core.errors import RuleBroken
from ifarm.farms.models import Farm
from ifarm.farms.policies import access_farm

LONGEST: Final = timedelta(days=366 * 3)
_FEMALE = frozenset({Sex.FEMALE, Sex.FREEMARTIN, Sex.FEMALE_NEUTER})
_BOVINE = frozenset({Species.CATTLE, Species.BUFFALO})


class StockClass(NamedTuple):
    """A class of animals. ``age`` is in years: 0-1, 1-2, 2+ (1+ where that is all), unknown."""

    animal_type: str
    sex: str
    age: str


@dataclass(slots=True)
class Row:
    """One class in one period; heads."""

    stock: StockClass
    opening: int = 0
    births: int = 0
    purchases: int = 0
    other_arrivals: int = 0
    transfers_in: int = 0
    grown_in: int = 0
    deaths: int = 0
    sales: int = 0
    slaughtered: int = 0
    other_departures: int = 0
    transfers_out: int = 0
    grown_out: int = 0
    closing: int = 0


@dataclass(frozen=True, slots=True)
class Schedule:
    """The rows of a farm from ``first`` to ``last``, both included, by species, sex and age."""

    farm: Farm
    first: date
    last: date
    rows: list[Row] = field(default_factory=list)


def livestock_schedule(actor: Actor, farm_id: UUID, first: date, last: date) -> Schedule:
    """The schedule of one farm. Five questions to the database. Raises `NotFound`; `RuleBroken` for more than three
    years or a last day before the first.
    """
    farm = access_farm(actor, farm_id)
    if not first <= last <= first + LONGEST:
        raise RuleBroken(f"expected up to {LONGEST.days} days, found {first} to {last}.")
    zone = ZoneInfo(farm.timezone)
    begin = datetime.combine(first, time(), zone)
    after = last + timedelta(days=1)
    end = datetime.combine(after, time(), zone)
    opening, closing = _present(farm, begin), _present(farm, end)
    flows = list(_flows(farm, begin, end))
    animals = _animals({*opening, *closing, *(animal_id for animal_id, _, _ in flows)})
    rows: dict[StockClass, Row] = {}

    def row(animal_id: UUID, on: date) -> Row:
        stock = class_of(*animals[animal_id], on)
        return rows.setdefault(stock, Row(stock))

    now: dict[UUID, Row] = {}

    def grow(animal_id: UUID, on: date) -> Row:
        """The class it has grown into since it was last looked at."""
        before, present = now[animal_id], row(animal_id, on)
        if present is not before:
            before.grown_out += 1
            present.grown_in += 1
            now[animal_id] = present
        return present

    for animal_id in opening & animals.keys():
        now[animal_id] = row(animal_id, first)
        now[animal_id].opening += 1
    for animal_id, moment, (column, comes) in flows:
        if animal_id not in animals:  # recorded by mistake and taken back
            continue
        day = moment.astimezone(zone).date()
        if comes:
            now[animal_id] = row(animal_id, day)
        there = grow(animal_id, day)
        setattr(there, column, getattr(there, column) + 1)
    for animal_id in closing & animals.keys():
        grow(animal_id, after).closing += 1
    return Schedule(farm, first, last, [rows[stock] for stock in sorted(rows)])


def class_of(animal_type: str, sex: str, birth_date: date | None, on: date) -> StockClass:
    """The class of an animal on a day."""
    kind = "female" if sex in _FEMALE else "male" if sex != Sex.UNKNOWN else "unknown"
    if birth_date is None:
        return StockClass(animal_type, kind, "unknown")
    months = (on.year - birth_date.year) * 12 + on.month - birth_date.month - (on.day < birth_date.day)
    if months < 12:
        return StockClass(animal_type, kind, "0-1")
    if animal_type not in _BOVINE:
        return StockClass(animal_type, kind, "1+")
    return StockClass(animal_type, kind, "1-2" if months < 24 else "2+")


def _present(farm: Farm, moment: datetime) -> set[UUID]:
    """Who was there just before a moment."""
    stays = Stay.objects.filter(farm=farm, starts_at__lt=moment)
    return set(stays.exclude(ends_at__lt=moment).values_list("animal_id", flat=True))


def _flows(farm: Farm, begin: datetime, end: datetime) -> Iterator[tuple[UUID, datetime, tuple[str, bool]]]:
    """Who came and went, in order: (animal, time, (column, comes))."""
    moves: Iterable[tuple[UUID, datetime, str, str, UUID | None, UUID | None]] = (
        Movement.objects.filter(Q(from_farm=farm) | Q(to_farm=farm), moved_at__gte=begin, moved_at__lt=end)
        .order_by("moved_at", "id")
        .values_list("animal_id", "moved_at", "kind", "reason", "from_farm_id", "to_farm_id")
    )
    for animal_id, moment, kind, reason, before, there in moves:
        if before != there:  # else from paddock to paddock
            yield animal_id, moment, _column(kind, reason, comes=there == farm.id)


_COLUMNS: dict[str, dict[str, str]] = {
    MovementKind.BIRTH: defaultdict(lambda: "births"),
    MovementKind.DEATH: defaultdict(lambda: "deaths"),
    MovementKind.ARRIVAL: defaultdict(lambda: "other_arrivals", {ArrivalReason.PURCHASE: "purchases"}),
    MovementKind.DEPARTURE: defaultdict(
        lambda: "other_departures",
        {DepartureReason.SALE: "sales", DepartureReason.SLAUGHTER: "slaughtered"},
    ),
}


def _column(kind: str, reason: str, *, comes: bool) -> tuple[str, bool]:
    if kind == MovementKind.TRANSFER:
        return ("transfers_in" if comes else "transfers_out"), comes
    return _COLUMNS[kind][reason], comes


def _animals(ids: set[UUID]) -> dict[UUID, tuple[str, str, date | None]]:
    """Species, sex and birth of those that exist."""
    found = Animal.objects.filter(id__in=ids, is_deleted=False)
    return {
        pk: (species, sex, born)
        for pk, species, sex, born in found.values_list("id", "animal_type", "sex", "birth_date")
    }
