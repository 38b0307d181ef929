"""Reads of devices and readings."""

from __future__ import annotations

from uuid import UUID

from django.db.models import F, QuerySet

from ifarm.core.actors import Actor
from ifarm.devices.models import Device, DeviceReading
from ifarm.devices.policies import DEVICES, READINGS, access_device


def list_devices(actor: Actor) -> QuerySet[Device]:
    """Devices, also those that are switched off."""
    return DEVICES.instances(actor)


def list_readings(actor: Actor) -> QuerySet[DeviceReading]:
    """Readings with the animals they were of, where that is known."""
    return READINGS.instances(actor).annotate(
        animal_id=F("matches__animal_id"),
        tag_number=F("matches__animal__tag_number"),
        record_id=F("matches__record_id"),
    )


def readings_of(actor: Actor, device_id: UUID) -> QuerySet[DeviceReading]:
    """Readings of one device. Raises `NotFound`."""
    return list_readings(actor).filter(device=access_device(actor, device_id))


def reading_of(actor: Actor, reading_id: UUID) -> DeviceReading:
    """One reading. Raises `NotFound`."""
    return list_readings(actor).get(id=READINGS.access(actor, reading_id).id)
