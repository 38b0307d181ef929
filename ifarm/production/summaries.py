"""Daily summaries: kept exact by every write, and made anew from the rows for days that are marked as dirty.

Locks come in one order, here and in the services: animals, records, the mark of a day, its summary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.db import connection
from django.db.models import Count, F, Model, Q, QuerySet, Sum, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from ifarm.core.context import current_tenant, unit_of_work
from ifarm.core.ids import uuid7
from ifarm.farms.models import Farm
from ifarm.production.models import DailySummary, DirtyDay, Production

AT_ONCE: Final = 100
"""Dirty days in one transaction: each holds the lock of its summary until the end."""

Totals = Mapping[str, Decimal | int]
"""What adds up in a `DailySummary`, by the names of its columns."""
Day = tuple[UUID, date, str]
"""A farm's id, its local day, a kind of production."""

_KEY = ("tenant_id", "farm_id", "day", "production_type")
_PERCENT = Decimal("0.01")
_PLAIN = ("milk_kg", "eggs_count", "eggs_broken_count", "wool_kg", "carcass_kg")
_SUMS: Final[dict[str, Any]] = {
    "records": Count("id"),
    **{
        name: Coalesce(Sum(name), Value(0), output_field=DailySummary._meta.get_field(name))
        for name in _PLAIN
    },
    **{
        name: Coalesce(
            Sum(term, filter=Q(**{f"{percent}__isnull": False})),
            Value(0),
            output_field=DailySummary._meta.get_field(name),
        )
        for name, percent, term in (
            ("sampled_milk_kg", "fat_percent", F("milk_kg")),
            ("protein_milk_kg", "protein_percent", F("milk_kg")),
            ("fat_kg", "fat_percent", F("milk_kg") * F("fat_percent") * Value(_PERCENT)),
            ("protein_kg", "protein_percent", F("milk_kg") * F("protein_percent") * Value(_PERCENT)),
        )
    },
}
COLUMNS: Final = tuple(_SUMS)


def day_of(row: Production) -> Day:
    """The day whose summary a record is part of."""
    return row.farm_id, row.production_date, row.production_type


def local_today(farm: Farm) -> date:
    """The day it is on a farm."""
    return farm.today()


def totals_of(row: Production) -> Totals:
    """What one record adds."""
    milk, fat, protein = row.milk_kg or Decimal(0), row.fat_percent, row.protein_percent
    return {
        "records": 1,
        **{name: getattr(row, name) or 0 for name in _PLAIN},
        "sampled_milk_kg": milk if fat is not None else 0,
        "protein_milk_kg": milk if protein is not None else 0,
        "fat_kg": milk * (fat or 0) * _PERCENT,
        "protein_kg": milk * (protein or 0) * _PERCENT,
    }


def difference(new: Totals | None, old: Totals | None) -> Totals:
    """What changes a summary when a record comes (no ``old``), goes (no ``new``) or is corrected."""
    return {name: (new[name] if new else 0) - (old[name] if old else 0) for name in COLUMNS}


def together(many: Iterable[Totals]) -> Totals:
    """The sum of many records."""
    found = list(many)
    return {name: sum((one[name] for one in found), Decimal(0)) for name in COLUMNS}


def add(day: Day, change: Totals) -> None:
    """Add to a day's summary, in the transaction of the records themselves. Whoever adds to the same day waits.

    One statement, so that two writers lose nothing; a mark (`mark_dirty`) comes before it.
    """
    given: dict[str, Any] = dict(zip(_KEY, (current_tenant(), *day), strict=True))
    _upsert(DailySummary, given | dict(change), [f"{name} = s.{name} + EXCLUDED.{name}" for name in COLUMNS])


def mark_dirty(days: Iterable[Day]) -> None:
    """Have these days made anew. A mark that is being worked on is waited for, so none is lost."""
    for day in sorted(set(days)):
        _upsert(DirtyDay, dict(zip(_KEY, (current_tenant(), *day), strict=True)), [])


def _upsert(model: type[Model], values: Mapping[str, Any], changes: list[str]) -> None:
    now: datetime = timezone.now()
    row = {"id": uuid7(), "created_at": now, "modified_at": now, **values}
    settings = ", ".join([*changes, "modified_at = EXCLUDED.modified_at"])
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {connection.ops.quote_name(model._meta.db_table)} AS s ({', '.join(row)})"
            f" VALUES ({', '.join(['%s'] * len(row))})"
            f" ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {settings}",
            list(row.values()),
        )


def computed(rows: QuerySet[Production]) -> Totals:
    """The totals of some records, as the database adds them up."""
    found = rows.aggregate(**{f"sum_{name}": term for name, term in _SUMS.items()})
    return {name: found[f"sum_{name}"] for name in COLUMNS}


def aggregate_day(day: Day) -> None:
    """Make one day's summary anew from its rows.

    The lock comes first and the sum after it, in a statement of its own: a writer who holds the summary is waited for
    and counted, one who comes later adds to what is written here.
    """
    with unit_of_work():
        add(day, difference(None, None))
        farm_id, local_day, kind = day
        key = {"farm_id": farm_id, "production_type": kind}
        found = computed(Production.objects.filter(production_date=local_day, **key))
        DailySummary.objects.filter(day=local_day, **key).update(modified_at=timezone.now(), **found)


def aggregate_dirty_days(limit: int = AT_ONCE) -> int:
    """Make up to ``limit`` marked days of the tenant anew; how many there were. Several may do so at once."""
    with unit_of_work():
        marks = list(DirtyDay.objects.select_for_update(skip_locked=True).order_by("day", "id")[:limit])
        days: list[Day] = [(mark.farm_id, mark.day, mark.production_type) for mark in marks]
        for day in sorted(days):
            aggregate_day(day)
        DirtyDay.objects.filter(id__in=[mark.id for mark in marks]).delete()
        return len(marks)
