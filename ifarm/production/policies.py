"""Rights on production, lactations and daily summaries."""

from __future__ import annotations

from uuid import UUID

from ifarm.core.actors import LEADERS, STOCKKEEPERS, Actor
from ifarm.core.policies import Policy
from ifarm.production.models import DailySummary, Lactation, Production

PRODUCTIONS = Policy(Production, farm="farm_id", add=STOCKKEEPERS, change=STOCKKEEPERS, delete=LEADERS)
LACTATIONS = Policy(Lactation, farm="animal__farm_id", add=STOCKKEEPERS, change=STOCKKEEPERS)
SUMMARIES = Policy(DailySummary, farm="farm_id")


def access_production(actor: Actor, production_id: UUID, *, lock: bool = False) -> Production:
    """One record. Raises `NotFound`."""
    return PRODUCTIONS.access(actor, production_id, lock=lock)


def access_lactation(actor: Actor, lactation_id: UUID, *, lock: bool = False) -> Lactation:
    """One lactation. Raises `NotFound`."""
    return LACTATIONS.access(actor, lactation_id, lock=lock)
