"""Reads of animals."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet

from ifarm.animals.models import (
    Animal,
    AnimalGroup,
    AnimalIdentifier,
    BodyCondition,
    Breed,
    GroupMembership,
    Movement,
    Parentage,
    Weight,
)
from ifarm.animals.policies import (
    ANIMALS,
    BODY_CONDITIONS,
    GROUP_MEMBERSHIPS,
    GROUPS,
    IDENTIFIERS,
    MOVEMENTS,
    PARENTAGES,
    WEIGHTS,
    access_animal,
    access_group,
)
from ifarm.core.actors import Actor


def list_animals(actor: Actor) -> QuerySet[Animal]:
    """Animals with farm and breed, of every status."""
    return ANIMALS.instances(actor).select_related("farm", "breed")


def list_identifiers(actor: Actor, animal_id: UUID) -> QuerySet[AnimalIdentifier]:
    """What an animal is and was known by. Raises `NotFound`, as all of these."""
    return IDENTIFIERS.instances(actor).filter(animal=access_animal(actor, animal_id))


def list_parents(actor: Actor, animal_id: UUID) -> QuerySet[Parentage]:
    """The parents of an animal."""
    return PARENTAGES.instances(actor).filter(child=access_animal(actor, animal_id)).select_related("parent")


def list_movements(actor: Actor, animal_id: UUID) -> QuerySet[Movement]:
    """Where an animal came from and went."""
    return MOVEMENTS.instances(actor).filter(animal=access_animal(actor, animal_id))


def list_weights(actor: Actor, animal_id: UUID) -> QuerySet[Weight]:
    """What an animal weighed."""
    return WEIGHTS.instances(actor).filter(animal=access_animal(actor, animal_id))


def list_conditions(actor: Actor, animal_id: UUID) -> QuerySet[BodyCondition]:
    """How fat an animal was."""
    return BODY_CONDITIONS.instances(actor).filter(animal=access_animal(actor, animal_id))


def list_groups(actor: Actor) -> QuerySet[AnimalGroup]:
    """Groups, also ended ones."""
    return GROUPS.instances(actor)


def list_group_memberships(actor: Actor, group_id: UUID) -> QuerySet[GroupMembership]:
    """Who is and was in a group."""
    group = access_group(actor, group_id)
    return GROUP_MEMBERSHIPS.instances(actor).filter(group=group).select_related("animal")


def list_breeds() -> QuerySet[Breed]:
    """The catalogue, which every tenant shares."""
    return Breed.objects.order_by("species", "name")
