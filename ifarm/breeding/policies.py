"""Rights on breeding."""

from __future__ import annotations

from django.db.models import Q

from ifarm.animals.words import Status
from ifarm.breeding.models import BreedingEvent, BreedingPlan, DueEvent
from ifarm.core.actors import CARERS, LEADERS, STOCKKEEPERS
from ifarm.core.policies import Policy

EVENTS = Policy(BreedingEvent, farm="animal__farm_id", add=CARERS, calve=STOCKKEEPERS, delete=LEADERS)
DUE = Policy(
    DueEvent,
    farm="animal__farm_id",
    where=Q(animal__status=Status.ALIVE.value, animal__is_deleted=False, animal__is_reference=False),
)
PLANS = Policy(BreedingPlan, farm=None, change=LEADERS)
