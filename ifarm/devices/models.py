"""Devices in the barn, what they read, and which animal each reading was of."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Lower

from ifarm.animals.models import Animal
from ifarm.core.choices import choices
from ifarm.core.models import TenantForeignKey, TenantModel, VersionedModel
from ifarm.devices.words import DeviceKind
from ifarm.farms.models import Farm
from ifarm.permissions.models import ApiToken
from ifarm.production.words import MilkUse, Session


class Device(VersionedModel):
    """A scale, a milk meter, a reader of electronic tags. It stands on one farm at a time.

    Source of its fields: icarDeviceResource and icarDeviceReferenceType (ICAR ADE 1.x).

    Args:
        token: the key with which it sends; this key can add readings of this device, and nothing else.
        last_seen_at: when it last sent, by our clock. No change of the device: it counts no version up.
    """

    farm = TenantForeignKey(Farm, related_name="+")
    kind = models.CharField(max_length=13, choices=choices(DeviceKind))
    name = models.CharField(max_length=80)
    manufacturer_name = models.CharField(max_length=80, blank=True, default="")
    model = models.CharField(max_length=80, blank=True, default="")
    serial = models.CharField(max_length=80, blank=True, default="")
    is_active = models.BooleanField(default=True)
    token = TenantForeignKey(ApiToken, null=True, blank=True, related_name="+")
    last_seen_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                "farm",
                Lower("name"),
                name="device_names_differ",
                violation_error_message="This farm has a device of this name already.",
            ),
            models.UniqueConstraint(
                fields=["tenant", "manufacturer_name", "serial"],
                condition=~models.Q(serial=""),
                name="one_device_per_serial",
                violation_error_message="There is a device of this manufacturer and serial number already.",
            ),
            models.UniqueConstraint(fields=["token"], name="one_device_per_token"),
        ]

    def __str__(self) -> str:
        return self.name


class DeviceReading(TenantModel):
    """What a device read once: kept as it was sent, never changed. Which animal it was of is in `ReadingMatch`.

    Args:
        farm: where the device stood when this was received.
        source_id: what the device calls it; sent again, it is known.
        eid: the electronic tag as sent; ``eid_normalised`` is empty where it has not the form of one.
        session: of milk, if the device says it; ``milk_use`` too.
        problem: why it was not matched when it was received; empty if it was.
    """

    append_only = True

    device = TenantForeignKey(Device, related_name="readings")
    farm = TenantForeignKey(Farm, related_name="+")
    source_id = models.CharField(max_length=120)
    measured_at = models.DateTimeField()
    eid = models.CharField(max_length=40, blank=True, default="")
    eid_normalised = models.CharField(max_length=40, blank=True, default="", editable=False)
    visual_tag = models.CharField(max_length=40, blank=True, default="")
    tag_normalised = models.CharField(max_length=40, blank=True, default="", editable=False)
    weight_kg = models.DecimalField(max_digits=7, decimal_places=2, null=True, blank=True)
    milk_kg = models.DecimalField(max_digits=5, decimal_places=2, null=True, blank=True)
    session = models.CharField(max_length=8, choices=choices(Session), blank=True, default="")
    milk_use = models.CharField(max_length=9, choices=choices(MilkUse), blank=True, default="")
    problem = models.CharField(max_length=300, blank=True, default="", editable=False)

    class Meta:
        verbose_name = "reading"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["device", "source_id"],
                name="one_reading_per_source_id",
                violation_error_message="This device has sent another reading of this source_id.",
            ),
            models.CheckConstraint(
                condition=models.Q(weight_kg=None) | models.Q(milk_kg=None),
                name="reading_of_one_measure",
                violation_error_message="A reading is of one thing: a weight or milk.",
            ),
        ]
        indexes: ClassVar = [
            models.Index("device", "measured_at", "id", name="readings_of_a_device"),
            models.Index("tenant", "measured_at", "id", name="readings_by_time"),
        ]


class ReadingMatch(TenantModel):
    """Which animal a reading was of, and what was recorded with it.

    Args:
        record_id: the weight or the production record; None for a reader of tags. No reference: a record can be taken
            back by itself, and the reading stays.
    """

    reading = TenantForeignKey(DeviceReading, related_name="matches")
    animal = TenantForeignKey(Animal, related_name="+")
    record_id = models.UUIDField(null=True, blank=True)

    class Meta:
        verbose_name = "match"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["reading"],
                name="one_match_per_reading",
                violation_error_message="This reading is matched already.",
            )
        ]
        indexes: ClassVar = [models.Index("animal", name="matches_of_an_animal")]
