"""Routes of devices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from ifarm.api.pages import Order
from ifarm.api.views import TenantView, operation
from ifarm.core.versions import Seen
from ifarm.devices import readings, selectors, services
from ifarm.devices.filters import DeviceFilters, ReadingFilters
from ifarm.devices.models import Device, DeviceReading
from ifarm.devices.policies import DEVICES, READINGS, access_device
from ifarm.devices.serializers import (
    DeviceChange,
    DeviceInput,
    DeviceKeyOutput,
    DeviceOutput,
    MatchAgainInput,
    MatchInput,
    ReadingOutput,
    ReadingsInput,
    ReadingsOutput,
)
from ifarm.devices.words import Outcome

_listed = operation(
    READINGS,
    "view",
    output=ReadingOutput,
    order=Order(DeviceReading, "measured_at", "created_at"),
    filters=ReadingFilters,
)
"""A list of readings."""


class DevicesApi(TenantView):
    """All devices."""

    @operation(
        DEVICES,
        "view",
        output=DeviceOutput,
        order=Order(Device, "name", "created_at"),
        filters=DeviceFilters,
    )
    def get(self) -> QuerySet[Device]:
        """Devices of the actor's farms."""
        return selectors.list_devices(self.actor)

    @operation(DEVICES, "add", input=DeviceInput, output=DeviceOutput, status=201)
    def post(self, data: Mapping[str, Any]) -> Device:
        """A new device."""
        return services.create_device(self.actor, **data)


class DeviceApi(TenantView):
    """One device."""

    @operation(DEVICES, "view", output=DeviceOutput)
    def get(self, device_id: UUID) -> Device:
        """Look at it."""
        return access_device(self.actor, device_id)

    @operation(DEVICES, "change", input=DeviceChange, output=DeviceOutput, versioned=True)
    def patch(self, device_id: UUID, data: Mapping[str, Any], seen: Seen) -> Device:
        """Rename it, move it to another farm, switch it off."""
        return services.update_device(self.actor, device_id, data, seen)


class DeviceKeyApi(TenantView):
    """The key of a device."""

    @operation(DEVICES, "change", output=DeviceKeyOutput, status=201)
    def post(self, device_id: UUID) -> Device:
        """A new one; the answer has the secret, once. The one before is refused from now on."""
        device, secret = services.renew_key(self.actor, device_id)
        device.told_secret = secret.text
        return device


class DeviceReadingsApi(TenantView):
    """What one device read."""

    @_listed
    def get(self, device_id: UUID) -> QuerySet[DeviceReading]:
        """Its readings, matched or not."""
        return selectors.readings_of(self.actor, device_id)

    @operation(READINGS, "add", input=ReadingsInput, output=ReadingsOutput)
    def post(self, device_id: UUID, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """A batch of readings; the answer has a line for each. Sent again, it changes nothing."""
        return _told(readings.record_readings(self.actor, device_id, data["rows"]))


class MatchAgainApi(TenantView):
    """Readings of one device that are of nobody yet."""

    @operation(READINGS, "match", input=MatchAgainInput, output=ReadingsOutput)
    def post(self, device_id: UUID, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Match the newest 1,000 of them again, by the tags that are known by now."""
        return _told(readings.match_again(self.actor, device_id, **data))


class ReadingsApi(TenantView):
    """What all devices read."""

    @_listed
    def get(self) -> QuerySet[DeviceReading]:
        """Readings of the actor's farms; `?matched=false` is what somebody should look at."""
        return selectors.list_readings(self.actor)


class ReadingApi(TenantView):
    """One reading."""

    @operation(READINGS, "view", output=ReadingOutput)
    def get(self, reading_id: UUID) -> DeviceReading:
        """Look at it."""
        return selectors.reading_of(self.actor, reading_id)


class MatchApi(TenantView):
    """Whose a reading was."""

    @operation(READINGS, "match", input=MatchInput, output=ReadingOutput, status=201)
    def post(self, reading_id: UUID, data: Mapping[str, Any]) -> DeviceReading:
        """Match it; what was measured becomes a record of the animal."""
        readings.match_reading(self.actor, reading_id, **data)
        return selectors.reading_of(self.actor, reading_id)

    @operation(READINGS, "release")
    def delete(self, reading_id: UUID) -> None:
        """It was of another: take back the match and its record."""
        readings.release_reading(self.actor, reading_id)


def _told(lines: Sequence[readings.Line]) -> Mapping[str, Any]:
    counts = Counter(line.outcome for line in lines)
    return {**{word.value: counts[word] for word in Outcome}, "rows": lines}
