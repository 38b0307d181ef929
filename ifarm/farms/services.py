"""Changes of farms and paddocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import RuleBroken
from ifarm.core.versions import Seen
from ifarm.farms.models import Farm, Paddock
from ifarm.farms.policies import access_farm, access_paddock


def create_farm(actor: Actor, **fields: Any) -> Farm:
    """A new farm. Raises `RuleBroken` for an actor who would not see it."""
    with unit_of_work():
        if actor.farm_ids is not None:
            raise RuleBroken("expected somebody who sees all farms, found a set of farms. Ask an owner.")
        return writes.insert(actor, Farm(**fields))


def update_farm(actor: Actor, farm_id: UUID, changes: Mapping[str, Any], seen: Seen) -> Farm:
    """Change a farm. Raises `StaleVersion`."""
    with unit_of_work():
        farm = access_farm(actor, farm_id, lock=True)
        seen.require(farm)
        return writes.update(actor, farm, changes)


def delete_farm(actor: Actor, farm_id: UUID) -> None:
    """Remove a farm that was never used. Raises `Conflict` (by the database) where something refers to it."""
    with unit_of_work():
        writes.delete(actor, access_farm(actor, farm_id, lock=True))


def create_paddock(actor: Actor, *, farm_id: UUID, **fields: Any) -> Paddock:
    """A new paddock of a farm."""
    with unit_of_work():
        return writes.insert(actor, Paddock(farm=access_farm(actor, farm_id), **fields))


def update_paddock(actor: Actor, paddock_id: UUID, changes: Mapping[str, Any], seen: Seen) -> Paddock:
    """Change a paddock; it stays with its farm. Raises `StaleVersion`."""
    with unit_of_work():
        paddock = access_paddock(actor, paddock_id, lock=True)
        seen.require(paddock)
        return writes.update(actor, paddock, changes)


def delete_paddock(actor: Actor, paddock_id: UUID) -> None:
    """Remove a paddock that was never used."""
    with unit_of_work():
        writes.delete(actor, access_paddock(actor, paddock_id, lock=True))
