"""Rights on animals and what is recorded about them."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Q

from ifarm.animals.models import (
    Animal,
    AnimalGroup,
    AnimalIdentifier,
    BodyCondition,
    GroupMembership,
    Movement,
    Parentage,
    Weight,
)
from ifarm.core.actors import CARERS, LEADERS, STOCKKEEPERS, Actor
from ifarm.core.policies import Policy

ANIMALS = Policy(
    Animal, farm="farm_id", where=Q(is_deleted=False), add=STOCKKEEPERS, change=STOCKKEEPERS, delete=LEADERS
)
IDENTIFIERS = Policy(AnimalIdentifier, farm="animal__farm_id", add=STOCKKEEPERS)
PARENTAGES = Policy(Parentage, farm="child__farm_id", change=STOCKKEEPERS)
MOVEMENTS = Policy(Movement, farm="animal__farm_id", add=STOCKKEEPERS)
GROUPS = Policy(AnimalGroup, farm="farm_id", add=LEADERS, change=LEADERS)
GROUP_MEMBERSHIPS = Policy(GroupMembership, farm="animal__farm_id", add=STOCKKEEPERS, change=STOCKKEEPERS)
WEIGHTS = Policy(Weight, farm="animal__farm_id", add=CARERS, delete=LEADERS)
BODY_CONDITIONS = Policy(BodyCondition, farm="animal__farm_id", add=CARERS, delete=LEADERS)


def access_animal(actor: Actor, animal_id: UUID, *, lock: bool = False) -> Animal:
    """One animal. Raises `NotFound`."""
    return ANIMALS.access(actor, animal_id, lock=lock)


def access_group(actor: Actor, group_id: UUID, *, lock: bool = False) -> AnimalGroup:
    """One group. Raises `NotFound`."""
    return GROUPS.access(actor, group_id, lock=lock)
