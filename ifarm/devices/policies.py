"""Rights on devices and their readings."""

from __future__ import annotations

from uuid import UUID

from ifarm.core.actors import LEADERS, STOCKKEEPERS, Actor
from ifarm.core.policies import Policy
from ifarm.devices.models import Device, DeviceReading

DEVICES = Policy(Device, farm="farm_id", add=LEADERS, change=LEADERS)
READINGS = Policy(DeviceReading, farm="farm_id", add=STOCKKEEPERS, match=STOCKKEEPERS, release=LEADERS)


def access_device(actor: Actor, device_id: UUID, *, lock: bool = False) -> Device:
    """One device; with a device's own key only itself. Raises `NotFound`."""
    return DEVICES.access(actor, device_id, lock=lock)
