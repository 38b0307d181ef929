"""Reads of farms and paddocks."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet

from ifarm.core.actors import Actor
from ifarm.farms.models import Farm, Paddock
from ifarm.farms.policies import FARMS, PADDOCKS, access_farm


def list_farms(actor: Actor) -> QuerySet[Farm]:
    """The farms the actor may see."""
    return FARMS.instances(actor)


def list_paddocks(actor: Actor, farm_id: UUID) -> QuerySet[Paddock]:
    """The paddocks of one farm. Raises `NotFound`."""
    return PADDOCKS.instances(actor).filter(farm=access_farm(actor, farm_id))
