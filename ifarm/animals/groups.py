"""Groups of animals, with the days they are in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from typing import Any
from uuid import UUID

from ifarm.animals.models import Animal, AnimalGroup, GroupMembership
from ifarm.animals.policies import GROUP_MEMBERSHIPS, access_animal, access_group
from ifarm.animals.words import Status
from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import RuleBroken
from ifarm.core.versions import Seen
from ifarm.farms.policies import access_farm


def create_group(actor: Actor, *, farm_id: UUID, name: str, kind: str) -> AnimalGroup:
    """A new group of a farm."""
    with unit_of_work():
        return writes.insert(actor, AnimalGroup(farm=access_farm(actor, farm_id), name=name, kind=kind))


def update_group(actor: Actor, group_id: UUID, changes: Mapping[str, Any], seen: Seen) -> AnimalGroup:
    """Rename a group, or end it. Raises `StaleVersion`."""
    with unit_of_work():
        group = access_group(actor, group_id, lock=True)
        seen.require(group)
        return writes.update(actor, group, changes)


def join_group(
    actor: Actor, group_id: UUID, *, animal_id: UUID, starts_on: date, **meta: Any
) -> GroupMembership:
    """Put an animal into a group from a day on; it leaves another of the same kind on that day.

    Raises `RuleBroken`, and IntegrityError where days overlap.
    """
    with unit_of_work():
        animal = access_animal(actor, animal_id, lock=True)
        group = access_group(actor, group_id)
        require_joinable(group, animal)
        open_ones = animal.group_memberships.select_for_update().filter(kind=group.kind, ends_on=None)
        for before in open_ones:
            if starts_on < before.starts_on:
                raise RuleBroken(f"expected a day from {before.starts_on} on, found {starts_on}.")
            writes.update(actor, before, {"ends_on": starts_on})
        membership = GroupMembership(animal=animal, group=group, kind=group.kind, starts_on=starts_on, **meta)
        return writes.insert(actor, membership)


def require_joinable(group: AnimalGroup, animal: Animal) -> None:
    """Raises `RuleBroken` where the animal cannot be in the group."""
    if not group.is_active or animal.status != Status.ALIVE or animal.farm_id != group.farm_id:
        raise RuleBroken("expected a group in use and a living animal of its farm, found another.")


def leave_group(actor: Actor, membership_id: UUID, *, ends_on: date, seen: Seen) -> GroupMembership:
    """The animal leaves the group on a day, which is no longer counted. Raises `StaleVersion`."""
    with unit_of_work():
        membership = GROUP_MEMBERSHIPS.access(actor, membership_id, lock=True)
        seen.require(membership)
        return writes.update(actor, membership, {"ends_on": ends_on})


def leave_all_groups(actor: Actor, animal: Animal, day: date) -> None:
    """Part of a movement away from the farm, in its unit of work."""
    for membership in animal.group_memberships.select_for_update().filter(ends_on=None):
        writes.update(actor, membership, {"ends_on": max(day, membership.starts_on)}, reason="left the farm")


def members_on(actor: Actor, group_id: UUID, day: date) -> Collection[UUID]:
    """Ids of the animals that are in the group on a day."""
    rows = GROUP_MEMBERSHIPS.instances(actor).filter(group=access_group(actor, group_id), starts_on__lte=day)
    return list(rows.exclude(ends_on__lte=day).values_list("animal_id", flat=True))
