"""Reads of health."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from django.db.models import DateField, DateTimeField, F, Func, QuerySet, Value
from django.db.models.functions import Cast
from django.utils import timezone

from ifarm.animals.policies import access_animal
from ifarm.core.actors import Actor
from ifarm.health.models import (
    HealthCheck,
    Medicine,
    MedicineBatch,
    MedicinePurchase,
    StockMove,
    Treatment,
    TreatmentDose,
    Withdrawal,
)
from ifarm.health.policies import (
    BATCHES,
    DOSES,
    HEALTH_CHECKS,
    MEDICINES,
    PURCHASES,
    STOCK_MOVES,
    TREATMENTS,
    WITHDRAWALS,
    access_batch,
    access_treatment,
)
from ifarm.health.withdrawal import day_at
from ifarm.health.words import TreatmentKind

RECORDS: Final = 30
"""How many checks, and vaccinations, `animals/{id}/health_records` shows."""


@dataclass(frozen=True, slots=True)
class Clock:
    """One product that must not be used; ``days_left`` with today."""

    product: str
    free_on: date
    days_left: int


@dataclass(frozen=True, slots=True)
class Condition:
    """How an animal is, as far as is known: the status of its last check, and what is withheld today."""

    animal_id: UUID
    health_status: str | None
    checked_at: datetime | None
    in_withdrawal: list[Clock]


@dataclass(frozen=True, slots=True)
class Records:
    """The last of what is known of an animal's health, newest first; `RECORDS` of each at most."""

    health_checks: list[HealthCheck]
    vaccinations: list[Treatment]


def records_of(actor: Actor, animal_id: UUID) -> Records:
    """The last checks and vaccinations of an animal; no vaccinations for a role that may not see treatments."""
    animal = access_animal(actor, animal_id)
    checks = HEALTH_CHECKS.instances(actor).filter(animal=animal).order_by("-checked_at", "-id")
    given: list[Treatment] = []
    if TREATMENTS.may(actor, "view"):
        rows = list_treatments(actor).filter(animal=animal, kind=TreatmentKind.VACCINATION.value)
        given = list(rows.order_by("-treated_at", "-id")[:RECORDS])
    return Records(list(checks[:RECORDS]), given)


def list_checks(actor: Actor, animal_id: UUID) -> QuerySet[HealthCheck]:
    """What was seen of an animal. Raises `NotFound`, as all of these."""
    return HEALTH_CHECKS.instances(actor).filter(animal=access_animal(actor, animal_id))


def condition_of(actor: Actor, animal_id: UUID) -> Condition:
    """An animal's badge: today, at its farm."""
    animal = access_animal(actor, animal_id)
    last = HEALTH_CHECKS.instances(actor).filter(animal=animal).order_by("-checked_at", "-id").first()
    today = day_at(animal.farm.timezone, timezone.now())
    running = Withdrawal.objects.filter(animal=animal, starts_on__lte=today, free_on__gt=today)
    longest = dict(running.order_by("free_on").values_list("product", "free_on"))
    return Condition(
        animal.id,
        last and last.health_status,
        last and last.checked_at,
        [Clock(product, free_on, (free_on - today).days) for product, free_on in sorted(longest.items())],
    )


def list_withdrawals(actor: Actor) -> QuerySet[Withdrawal]:
    """What is withheld today, each farm in its own time zone."""
    rows = running_today(WITHDRAWALS.instances(actor), "animal__farm__timezone")
    return rows.select_related("animal", "treatment")


def running_today(rows: QuerySet[Withdrawal], zone: str) -> QuerySet[Withdrawal]:
    """Those of the withdrawals that run today where the farm is; ``zone`` is the path to its time zone."""
    now = Value(timezone.now(), DateTimeField())  # one clock for what is counted here and in the database
    there = Cast(Func(F(zone), now, function="timezone"), DateField())
    # No place is a whole day behind UTC: the index can begin there.
    rows = rows.filter(free_on__gte=timezone.localdate() - timedelta(days=1))
    return rows.filter(starts_on__lte=there, free_on__gt=there)


def list_medicines(actor: Actor) -> QuerySet[Medicine]:
    """All medicines with their labels."""
    return MEDICINES.instances(actor).prefetch_related("label")


def list_batches(actor: Actor) -> QuerySet[MedicineBatch]:
    """Batches of the actor's farms, also used up ones. Sorted by expiry, the first is the one to use first."""
    return BATCHES.instances(actor).select_related("medicine")


def list_moves(actor: Actor, batch_id: UUID) -> QuerySet[StockMove]:
    """The ledger of a batch."""
    batch = access_batch(actor, batch_id)
    return STOCK_MOVES.instances(actor).filter(batch=batch).select_related("batch__medicine")


def list_purchases(actor: Actor) -> QuerySet[MedicinePurchase]:
    """What was acquired."""
    return PURCHASES.instances(actor).select_related("batch__medicine")


def list_treatments(actor: Actor) -> QuerySet[Treatment]:
    """The medicine book of the actor's farms."""
    return TREATMENTS.instances(actor).select_related("animal", "medicine")


def list_treatments_of(actor: Actor, animal_id: UUID) -> QuerySet[Treatment]:
    """The treatments of one animal."""
    return list_treatments(actor).filter(animal=access_animal(actor, animal_id))


def list_doses(actor: Actor, treatment_id: UUID) -> QuerySet[TreatmentDose]:
    """The doses of a treatment, also voided ones."""
    treatment = access_treatment(actor, treatment_id)
    return DOSES.instances(actor).filter(treatment=treatment).select_related("batch", "treatment__medicine")
