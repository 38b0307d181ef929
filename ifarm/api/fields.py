"""Pieces of inputs that several apps need."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from rest_framework import serializers


class PartInput(serializers.Serializer):
    """A part of something: whole, also in a PATCH, where DRF would let fields of it be missing."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Every required field is there."""
        missing = [name for name, field in self.fields.items() if field.required and name not in attrs]
        if missing:
            raise serializers.ValidationError(dict.fromkeys(missing, "This field is required."))
        return attrs


class ZoneField(serializers.CharField):
    """A time zone by its name in the IANA database, e.g. ``Europe/Vienna``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=40, **options)

    def to_internal_value(self, data: Any) -> str:
        """The name. Raises ValidationError for one that is not known."""
        name = super().to_internal_value(data)
        if name not in available_timezones():
            raise serializers.ValidationError("expected a time zone such as Europe/Vienna")
        return str(name)
