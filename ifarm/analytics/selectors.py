"""The numbers of a dashboard, each by one plain query; nothing is kept.

Sums and counts, never averages: those of farms can be added to those of a tenant. Money is summed by currency, of
living animals only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.db.models import Count, DateField, F, Max, Min, OuterRef, Q, QuerySet, Subquery, Sum, Value

from ifarm.animals.models import Animal
from ifarm.animals.policies import ANIMALS, BODY_CONDITIONS, MOVEMENTS, WEIGHTS
from ifarm.animals.selectors import list_animals
from ifarm.animals.words import Status
from ifarm.core.actors import Actor
from ifarm.core.policies import Policy
from ifarm.farms.policies import FARMS
from ifarm.financial.models import Sale, SaleLine
from ifarm.financial.policies import EXPENSES, SALES
from ifarm.financial.selectors import earned, spent
from ifarm.health.models import HealthCheck
from ifarm.health.policies import HEALTH_CHECKS, TREATMENTS
from ifarm.health.withdrawal import day_at
from ifarm.production.policies import SUMMARIES

MOST: Final = 100
"""Rows of what was last."""
_DAYS_A_MONTH: Final = Decimal("30.4375")
"""Of the Julian year: 365.25 / 12."""


@dataclass(frozen=True, slots=True)
class Herd:
    """Animals that are or were here; not reference animals, nor those that were recorded by mistake.

    Args:
        total: of every status. active: alive and here.
        aged: living ones whose day of birth is known; ``age_days`` is the sum of their ages.
        values: by currency: the sum of estimated values of living animals, and of how many.
    """

    total: int = 0
    active: int = 0
    dead: int = 0
    off_farm: int = 0
    aged: int = 0
    age_days: int = 0
    youngest: date | None = None
    oldest: date | None = None
    values: dict[str, tuple[Decimal, int]] = field(default_factory=dict)

    @property
    def average_age_months(self) -> Decimal | None:
        """With one digit; None where no age is known."""
        return months(Decimal(self.age_days) / self.aged) if self.aged else None


def months(days: Decimal | int) -> Decimal:
    """An age in months, with one digit."""
    return (days / _DAYS_A_MONTH).quantize(Decimal("0.1"))


Sums = Mapping[str, Decimal]
"""Amounts by currency."""


@dataclass(frozen=True, slots=True)
class Stats:
    """Today at a glance. ``revenue`` and ``expenses``: of the month up to today; None where the role may not see."""

    as_of: date
    herd: Herd
    revenue: Sums | None
    expenses: Sums | None
    milk_kg: Decimal


@dataclass(frozen=True, slots=True)
class Sold:
    """Animals sold in one currency."""

    amount: Decimal
    animals: int
    sales: int


@dataclass(frozen=True, slots=True)
class Activity:
    """Something that was recorded about an animal. ``kind`` is the name of its model; ``at`` a time or a day."""

    id: UUID
    kind: str
    animal_id: UUID
    tag_number: str
    at: datetime | date
    recorded_at: datetime


def herds_by_farm(actor: Actor, on: date) -> dict[UUID, Herd]:
    """The herd of each of the actor's farms that has or had animals, with ages on a day. Two queries."""
    ANIMALS.require(actor, "view")
    rows = ANIMALS.instances(actor).filter(is_reference=False)
    alive = Q(status=Status.ALIVE.value)
    aged = alive & Q(birth_date__lte=on)
    age = Value(on, DateField()) - F("birth_date")
    counted = rows.values("farm_id").annotate(
        total=Count("id"),
        active=Count("id", filter=alive),
        dead=Count("id", filter=Q(status=Status.DEAD.value)),
        off_farm=Count("id", filter=Q(status=Status.OFF_FARM.value)),
        aged=Count("id", filter=aged),
        ages=Sum(age, filter=aged, default=timedelta()),
        youngest=Max("birth_date", filter=aged),
        oldest=Min("birth_date", filter=aged),
    )
    found = {row.pop("farm_id"): Herd(age_days=row.pop("ages").days, **row) for row in counted.order_by()}
    valued = rows.filter(alive, estimated_value__isnull=False).values("farm_id", "value_currency")
    for row in valued.annotate(sum=Sum("estimated_value"), animals=Count("id")).order_by("value_currency"):
        found[row["farm_id"]].values[row["value_currency"]] = (row["sum"], row["animals"])
    return found


def herd(actor: Actor, on: date) -> Herd:
    """That of all the actor's farms together."""
    return together(herds_by_farm(actor, on).values())


def together(herds: Iterable[Herd]) -> Herd:
    """Several herds as one."""
    every = list(herds)
    values: dict[str, tuple[Decimal, int]] = {}
    for one in every:
        for currency, (amount, animals) in one.values.items():
            before, count = values.get(currency, (Decimal(0), 0))
            values[currency] = (before + amount, count + animals)
    return Herd(
        total=sum(one.total for one in every),
        active=sum(one.active for one in every),
        dead=sum(one.dead for one in every),
        off_farm=sum(one.off_farm for one in every),
        aged=sum(one.aged for one in every),
        age_days=sum(one.age_days for one in every),
        youngest=max((one.youngest for one in every if one.youngest), default=None),
        oldest=min((one.oldest for one in every if one.oldest), default=None),
        values=values,
    )


_KINDS: Final[Sequence[tuple[Policy[Any], str]]] = (
    (MOVEMENTS, "moved_at"),
    (WEIGHTS, "weighed_on"),
    (BODY_CONDITIONS, "scored_on"),
    (HEALTH_CHECKS, "checked_at"),
    (TREATMENTS, "treated_at"),
)


def recent_activities(actor: Actor, limit: int = 10) -> list[Activity]:
    """What was recorded last, of every kind, newest first: by the keys, which are by time. A query for each kind."""
    found: list[Activity] = []
    most = min(limit, MOST)
    for policy, when in _KINDS:
        if not policy.may(actor, "view"):
            continue
        rows = (
            policy.instances(actor)
            .order_by("-id")
            .values_list("id", "animal_id", "animal__tag_number", when, "created_at")[:most]
        )
        found += [
            Activity(pk, policy.model.__name__, animal, tag, at, recorded)
            for pk, animal, tag, at, recorded in rows
        ]
    return sorted(found, key=lambda one: one.id, reverse=True)[:most]


def recent_sales(actor: Actor, limit: int = 5) -> QuerySet[Sale]:
    """The last sales with their buyers, newest first. Raises `NotAllowed`."""
    SALES.require(actor, "view")
    rows = SALES.instances(actor).select_related("buyer", "farm")
    return rows.order_by("-sale_date", "-id")[: min(limit, MOST)]


def stats(actor: Actor, today: date, now: datetime) -> Stats:
    """What the dashboard begins with. ``today`` is the tenant's day; milk is that of each farm's own day."""
    month = today.replace(day=1)
    return Stats(
        today,
        herd(actor, today),
        earned(actor, month, today) if SALES.may(actor, "view") else None,
        spent(actor, month, today) if EXPENSES.may(actor, "view") else None,
        milk_of_today(actor, now),
    )


def milk_of_today(actor: Actor, now: datetime) -> Decimal:
    """Kilograms that were milked so far on the day it is on each of the actor's farms."""
    zones = FARMS.instances(actor).order_by().values_list("timezone", flat=True).distinct()
    here = Q(pk__in=[])
    for zone in zones:
        here |= Q(farm__timezone=zone, day=day_at(zone, now))
    milk: Decimal | None = SUMMARIES.instances(actor).filter(here).aggregate(Sum("milk_kg"))["milk_kg__sum"]
    return milk or Decimal("0.00")


def sold(actor: Actor, first: date, last: date) -> dict[str, Sold]:
    """Animals sold from ``first`` to ``last``, by currency. Raises `NotAllowed`."""
    SALES.require(actor, "view")
    sales = SALES.instances(actor).filter(sale_date__range=(first, last))
    rows = (
        SaleLine.objects.filter(sale__in=sales)
        .order_by("sale__currency")
        .values_list("sale__currency")
        .annotate(Sum("amount"), Count("id"), Count("sale", distinct=True))
    )
    return {currency: Sold(amount, animals, count) for currency, amount, animals, count in rows}


def dashboard_animals(actor: Actor) -> QuerySet[Animal]:
    """Animals by tag, with farm, breed and the status of their last check."""
    checks = HealthCheck.objects.filter(animal=OuterRef("pk")).order_by("-checked_at", "-id")
    rows = list_animals(actor).annotate(current_health_status=Subquery(checks.values("health_status")[:1]))
    return rows.order_by("tag_number", "id")
