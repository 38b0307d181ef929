"""Herds into the database: one farm at a time, by COPY, as the owner of the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Final
from uuid import UUID

from django.db import connection
from psycopg import sql

from ifarm.animals.groups import create_group
from ifarm.animals.models import Breed
from ifarm.animals.words import GroupKind, Species
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.farms.services import create_farm, create_paddock
from ifarm.simulator import rates
from ifarm.simulator.herd import Herd
from ifarm.simulator.rates import Rates
from ifarm.simulator.sheets import Keys, Sheet
from ifarm.simulator.tables import Book, Place, write_flock, write_herd
from ifarm.simulator.tables_breeding import write_breeding
from ifarm.simulator.tables_health import write_health, write_medicine
from ifarm.simulator.tables_trade import write_contacts, write_trade

ROWS_PER_COW: Final = (1.9, 1.05)
"""Rows of animals for each cow: those of the herd at the start, and those born in a year (both kinds of herds)."""
FEW: Final = 1500
"""Animals of a tenant that has one farm only; others have one of each of `KINDS` at least."""
MOST: Final = 4000
"""Animals of one farm: what is in memory, and in one transaction, at a time."""
KINDS: Final[tuple[tuple[str, Rates], ...]] = (
    ("Hill", rates.DAIRY),
    ("Valley", rates.DAIRY),
    ("Upland", rates.BEEF),
)
TIMEZONE: Final = "Europe/Vienna"
HENS: Final = 600
DAYS_PER_YEAR: Final = 365

Progress = Callable[[int, int], None]
"""Called with animals and rows that have been written."""


@dataclass(frozen=True, slots=True)
class Period:
    """The days of the records, as numbers of `date.toordinal`, and how often milk is weighed."""

    first: int
    last: int
    milk_every: int


def fill_tenant(actor: Actor, animals: int, period: Period, chance: Random, progress: Progress) -> None:
    """Give a tenant about this many animals. Each farm is a transaction of its own."""
    farms = max(len(KINDS), -(-animals // MOST)) if animals > FEW else 1
    born_each_year = ROWS_PER_COW[1] * (period.last - period.first + 1) / DAYS_PER_YEAR
    cows = max(1, round(animals / farms / (ROWS_PER_COW[0] + born_each_year)))
    tags = count(1)
    shared = "", ("", "")
    for number in range(farms):
        kind, known = KINDS[number % len(KINDS)]
        name = kind if number < len(KINDS) else f"{kind} {number // len(KINDS) + 1}"
        herd = Herd(known, cows, Random(chance.getrandbits(64)), period.first, period.last).run()  # noqa: S311
        with unit_of_work(actor.tenant_id):
            place = _place(actor, name, known, period, tags)
            book = _book(place, known, period, chance)
            write_herd(book, herd)
            if number == 0:
                shared = write_medicine(book), write_contacts(book)
                _flocks(actor, book)
            write_breeding(book, herd)
            write_health(book, herd, shared[0])
            write_trade(book, herd, shared[1])
            rows = copy(book.sheets.values())
            summarise(UUID(book.place.farm_id))
        progress(len(herd), rows)


def _place(actor: Actor, name: str, known: Rates, period: Period, tags: count[int]) -> Place:
    farm = create_farm(actor, name=name, timezone=TIMEZONE)
    paddocks = [create_paddock(actor, farm_id=farm.id, name=word) for word in ("Cows", "Young stock")]
    kind = GroupKind.MILKING if known.lactations else GroupKind.BREEDING
    group = create_group(actor, farm_id=farm.id, name="Cows", kind=kind)
    return Place(
        tenant_id=str(actor.tenant_id),
        farm_id=str(farm.id),
        paddock_ids=tuple(str(paddock.id) for paddock in paddocks),
        group_id=str(group.id),
        group_kind=kind,
        breeds={one.code: str(one.id) for one in Breed.objects.filter(species=Species.CATTLE)},
        tags=tags,
        milk_every=period.milk_every,
    )


def _book(place: Place, known: Rates, period: Period, chance: Random) -> Book:
    keys = Keys(Random(place.farm_id))  # noqa: S311 - the same seed gives other keys on another farm
    return Book(place, known, Random(chance.getrandbits(64)), keys, period.first, period.last)  # noqa: S311


def _flocks(actor: Actor, book: Book) -> None:
    """Hens on the farm's side: one flock after another, the last still laying."""
    housed, number = book.last - book.chance.randrange(rates.LAYING_ENDS), 0
    while housed + rates.LAYING_ENDS > book.first:
        number += 1
        name = f"Hens {number}"
        group = create_group(actor, farm_id=UUID(book.place.farm_id), name=name, kind=GroupKind.MANAGEMENT)
        write_flock(book, str(group.id), HENS, housed)
        housed -= rates.LAYING_ENDS


def copy(sheets: Iterable[Sheet]) -> int:
    """Write the rows of sheets in one transaction; how many there were. As a role with BYPASSRLS only."""
    total = 0
    for sheet in sheets:
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
            sql.Identifier(sheet.model._meta.db_table),
            sql.SQL(", ").join(map(sql.Identifier, sheet.columns)),
        )
        with connection.cursor() as cursor, cursor.copy(statement) as pipe:
            for row in sheet.rows:
                pipe.write_row(row)
        total += len(sheet.rows)
    return total


def summarise(farm_id: UUID) -> None:
    """The daily summaries of a farm that has none, all at once; the sums are those of `production.summaries`."""
    with connection.cursor() as cursor:
        cursor.execute(_SUMMARIES, {"farm": farm_id})


_SUMMARIES: Final = """
INSERT INTO production_dailysummary (id, tenant_id, created_at, modified_at, farm_id, day, production_type, records,
    milk_kg, sampled_milk_kg, fat_kg, protein_milk_kg, protein_kg, eggs_count, eggs_broken_count, wool_kg, carcass_kg)
SELECT md5(concat_ws(' ', farm_id, production_date, production_type))::uuid, tenant_id, max(created_at),
    max(created_at), farm_id, production_date, production_type, count(*), coalesce(sum(milk_kg), 0),
    coalesce(sum(milk_kg) FILTER (WHERE fat_percent IS NOT NULL), 0), coalesce(sum(milk_kg * fat_percent / 100), 0),
    coalesce(sum(milk_kg) FILTER (WHERE protein_percent IS NOT NULL), 0),
    coalesce(sum(milk_kg * protein_percent / 100), 0), coalesce(sum(eggs_count), 0),
    coalesce(sum(eggs_broken_count), 0), coalesce(sum(wool_kg), 0), coalesce(sum(carcass_kg), 0)
FROM production_production WHERE farm_id = %(farm)s GROUP BY tenant_id, farm_id, production_date, production_type
"""
