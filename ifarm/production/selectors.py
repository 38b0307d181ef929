"""Reads of production."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from django.db.models import QuerySet

from ifarm.animals.policies import access_animal
from ifarm.core.actors import Actor
from ifarm.production.models import DailySummary, Lactation, Production
from ifarm.production.policies import LACTATIONS, PRODUCTIONS, SUMMARIES

HISTORY: Final = 30
"""How many records `animals/{id}/production_history` shows."""


def list_production(actor: Actor) -> QuerySet[Production]:
    """Records of every kind, with their animals."""
    return PRODUCTIONS.instances(actor).select_related("animal")


def production_history(actor: Actor, animal_id: UUID) -> QuerySet[Production]:
    """The newest records of an animal, newest first. Raises `NotFound`."""
    rows = list_production(actor).filter(animal=access_animal(actor, animal_id))
    return rows.order_by("-production_date", "-id")[:HISTORY]


def list_lactations(actor: Actor, animal_id: UUID) -> QuerySet[Lactation]:
    """The lactations of an animal. Raises `NotFound`."""
    return LACTATIONS.instances(actor).filter(animal=access_animal(actor, animal_id))


def list_summaries(actor: Actor) -> QuerySet[DailySummary]:
    """What each farm gave on each day."""
    return SUMMARIES.instances(actor)
