"""Changes of devices, and their keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.events import record_event
from ifarm.core.secrets import Secret
from ifarm.core.versions import Seen
from ifarm.devices.models import Device
from ifarm.devices.policies import READINGS, access_device
from ifarm.farms.policies import access_farm
from ifarm.permissions.services import create_token, membership_of, revoke_token


def create_device(actor: Actor, *, farm_id: UUID, **fields: Any) -> Device:
    """A new device on a farm. Raises `NotFound` for a strange farm, IntegrityError for a name that is taken."""
    with unit_of_work():
        device = writes.insert(actor, Device(farm=access_farm(actor, farm_id), **fields))
        record_event("device_created", device, farm_id=farm_id, kind=device.kind)
        return device


def update_device(actor: Actor, device_id: UUID, changes: Mapping[str, Any], seen: Seen) -> Device:
    """Rename, move or switch off a device; what it read stays with the farm it stood on. Raises `StaleVersion`."""
    with unit_of_work():
        device = access_device(actor, device_id, lock=True)
        seen.require(device)
        changes = dict(changes)
        if "farm_id" in changes:
            changes["farm"] = access_farm(actor, changes.pop("farm_id"))
        device = writes.update(actor, device, changes)
        record_event("device_updated", device, farm_id=device.farm_id, fields=sorted(changes))
        return device


def renew_key(actor: Actor, device_id: UUID) -> tuple[Device, Secret]:
    """A new key for a device; the one before is refused from now on. The secret is told once.

    The key can add readings of this device and nothing else, and only as long as the actor is a member who may.
    """
    with unit_of_work():
        device = access_device(actor, device_id, lock=True)
        if device.token is not None and device.token.revoked_at is None:
            revoke_token(actor, device.token_id)
        token, secret = create_token(
            actor,
            membership_id=membership_of(actor).id,
            name=device.name,
            rights=[READINGS.right("add")],
        )
        return writes.update(actor, device, {"token": token}), secret
