"""Reads of breeding, and its figures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet

from ifarm.animals.policies import access_animal
from ifarm.animals.words import Species, Status
from ifarm.breeding.cycle import PLANS as CYCLES
from ifarm.breeding.models import BreedingEvent, BreedingPlan, DueEvent
from ifarm.breeding.policies import DUE, EVENTS, PLANS
from ifarm.breeding.services import plan_of, state_of
from ifarm.breeding.words import DueKind, ReproductionStatus
from ifarm.core.actors import Actor
from ifarm.core.context import current_tenant
from ifarm.core.errors import Invalid, RuleBroken
from ifarm.farms.policies import access_farm
from ifarm.production.models import Lactation


@dataclass(frozen=True, slots=True)
class Reproduction:
    """Where an animal is in its cycle."""

    animal_id: UUID
    status: ReproductionStatus
    since: date | None
    calved_on: date | None
    served_on: date | None
    conceived_on: date | None
    due: list[DueEvent]


@dataclass(frozen=True, slots=True)
class Figures:
    """How well a farm's females of one species conceived, in a period (both days included).

    Rates are parts of one; a mean or rate of nothing is None.

    Args:
        calving_interval_days: mean days between two calvings in a row, of ``calvings`` the second of which is in the
            period.
        days_open: mean days from a calving to the service that led to a pregnancy, of ``conceptions`` in the period.
        conception_rate: the part of ``services`` of known outcome that led to a pregnancy.
        pregnancy_rate: pregnancies in 21 days at risk. An animal is at risk from the end of the voluntary waiting
            period until it conceives, calves again or leaves. Source: the 21-day pregnancy rate of dairy herd
            management (VanRaden et al. 2004, J. Dairy Sci. 87:2285), with days at risk instead of whole cycles.
    """

    calvings: int
    calving_interval_days: Decimal | None
    conceptions: int
    days_open: Decimal | None
    services: int
    conception_rate: Decimal | None
    days_at_risk: int
    pregnancy_rate: Decimal | None


def list_events(actor: Actor, animal_id: UUID) -> QuerySet[BreedingEvent]:
    """All breeding events of an animal. Raises `NotFound`."""
    return EVENTS.instances(actor).filter(animal=access_animal(actor, animal_id))


def list_due(actor: Actor) -> QuerySet[DueEvent]:
    """What is due for animals that are here; drying off only of those that give milk."""
    milked = Lactation.objects.filter(animal=OuterRef("animal"), ends_on=None)
    rows = DUE.instances(actor).filter(~Q(kind=DueKind.DRY_OFF.value) | Exists(milked))
    return rows.select_related("animal")


def list_plans(actor: Actor) -> QuerySet[BreedingPlan]:
    """The days that the tenant plans otherwise than the common ones."""
    return PLANS.instances(actor)


def reproduction_of(actor: Actor, animal_id: UUID) -> Reproduction:
    """Where an animal is in its cycle. Raises `NotFound`, `RuleBroken` for one that is not bred."""
    animal = access_animal(actor, animal_id)
    if animal.animal_type not in CYCLES:
        raise RuleBroken(f"expected an animal that is bred, found {animal.animal_type}.")
    state = state_of(animal)
    due = list(list_due(actor).filter(animal=animal).order_by("due_from", "id"))
    return Reproduction(
        animal.id, state.status, state.since, state.calved_on, state.served_on, state.conceived_on, due
    )


_FIGURES = """
WITH event AS MATERIALIZED (
  SELECT e.animal_id, e.kind, e.happened_on AS day, e.conceived
  FROM breeding_breedingevent e JOIN animals_animal a ON a.tenant_id = e.tenant_id AND a.id = e.animal_id
  WHERE e.tenant_id = %(tenant)s AND a.farm_id = %(farm)s AND a.animal_type = %(species)s
    AND NOT a.is_deleted AND e.kind IN ('Service', 'Calving', 'Abortion')
), calving AS (
  SELECT animal_id, day, lag(day) OVER w AS before, lead(day) OVER w AS following
  FROM event WHERE kind = 'Calving' WINDOW w AS (PARTITION BY animal_id ORDER BY day)
), cow AS (
  SELECT c.animal_id, c.day, c.following, least(s.day, 'infinity') AS conceived,
    CASE WHEN a.status = %(alive)s THEN 'infinity'::date ELSE
      (SELECT max(t.ends_at AT TIME ZONE %(zone)s)::date FROM animals_stay t
       WHERE t.tenant_id = %(tenant)s AND t.animal_id = a.id)
    END AS gone
  FROM calving c JOIN animals_animal a ON a.tenant_id = %(tenant)s AND a.id = c.animal_id
  LEFT JOIN LATERAL (
    SELECT min(e.day) AS day FROM event e
    WHERE e.animal_id = c.animal_id AND e.kind = 'Service' AND e.conceived AND e.day >= c.day
      AND (c.following IS NULL OR e.day < c.following)
  ) s ON true
), risk AS (
  SELECT greatest(day + %(wait)s, %(since)s) AS first, conceived,
    least(conceived + 1, coalesce(following, 'infinity'), coalesce(gone, 'infinity'), %(until)s + 1) AS last
  FROM cow
)
SELECT
  (SELECT count(*) FROM calving WHERE before IS NOT NULL AND day BETWEEN %(since)s AND %(until)s),
  (SELECT avg(day - before) FROM calving WHERE day BETWEEN %(since)s AND %(until)s),
  (SELECT count(*) FROM cow WHERE conceived BETWEEN %(since)s AND %(until)s),
  (SELECT avg(conceived - day) FROM cow WHERE conceived BETWEEN %(since)s AND %(until)s),
  (SELECT count(*) FROM event WHERE conceived IS NOT NULL AND day BETWEEN %(since)s AND %(until)s),
  (SELECT avg(conceived::int) FROM event WHERE day BETWEEN %(since)s AND %(until)s),
  (SELECT coalesce(sum(last - first), 0) FROM risk WHERE last > first),
  (SELECT count(*) FROM risk WHERE last > first AND conceived >= first AND conceived < last)
"""


def figures_of(actor: Actor, farm_id: UUID, *, species: Species, since: date, until: date) -> Figures:
    """The figures of a farm's females. Raises `NotFound`, `Invalid` for a period that ends before it begins."""
    farm = access_farm(actor, farm_id)
    if until < since:
        raise Invalid(f"until: expected a day from {since} on, found {until}.")
    if species not in CYCLES:
        raise RuleBroken(f"expected a species that is bred, found {species.value}.")
    given: dict[str, Any] = {
        "tenant": current_tenant(),
        "farm": farm.id,
        "zone": farm.timezone,
        "species": species.value,
        "alive": Status.ALIVE.value,
        "wait": plan_of(species).wait or 0,
        "since": since,
        "until": until,
    }
    with connection.cursor() as cursor:
        cursor.execute(_FIGURES, given)
        calvings, interval, conceptions, open_days, services, conceived, at_risk, pregnant = cursor.fetchone()
    return Figures(
        calvings,
        _rounded(interval, "0.1"),
        conceptions,
        _rounded(open_days, "0.1"),
        services,
        _rounded(conceived, "0.001"),
        at_risk,
        _rounded(Decimal(21 * pregnant) / at_risk, "0.001") if at_risk else None,
    )


def _rounded(value: Decimal | None, to: str) -> Decimal | None:
    return None if value is None else value.quantize(Decimal(to))
