"""Pieces of inputs that several apps need."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from django.utils import timezone
from drf_spectacular.drainage import set_override
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from ifarm.api.problems import as_problem, members
from ifarm.core.errors import Problem


class PartInput(serializers.Serializer):
    """A part of something, or a change of one kind: whole, also in a PATCH, where DRF would let fields be missing."""

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


class MomentField(serializers.DateTimeField):
    """A time with its offset to UTC: a device whose zone nobody knows would be hours wrong."""

    def enforce_timezone(self, value: Any) -> Any:
        """Raises ValidationError for a time without an offset."""
        if timezone.is_naive(value):
            raise serializers.ValidationError(
                "expected a time with its offset, as in 2024-05-01T06:30:00+02:00"
            )
        return super().enforce_timezone(value)


class RowsField(serializers.ListField):
    """Rows that are judged one by one: each becomes its data, or the `Invalid` that says what is wrong with it.

    The document names no shape for a row, since a row of another shape is no reason to refuse its neighbours.
    """

    def __init__(self, row: serializers.Serializer, *, most: int, **options: Any) -> None:
        self.most = most
        super().__init__(child=row, allow_empty=False, **options)
        set_override(self, "field", {"type": "array", "items": {}, "minItems": 1, "maxItems": most})

    def to_internal_value(self, data: Any) -> list[dict[str, Any] | Problem]:
        """One entry for each row. Raises ValidationError where there are too many, before the first is looked at."""
        if isinstance(data, list) and len(data) > self.most:
            raise serializers.ValidationError(f"expected {self.most} rows or fewer, found {len(data)}")
        found: list[dict[str, Any] | Problem] = super().to_internal_value(data)
        return found

    def run_child_validation(self, data: Any) -> list[dict[str, Any] | Problem]:
        """Each row by itself."""
        return [self._judged(row) for row in data]

    def _judged(self, row: Any) -> dict[str, Any] | Problem:
        assert self.child is not None
        try:
            checked: dict[str, Any] = self.child.run_validation(row)
        except serializers.ValidationError as error:
            problem = as_problem(error)
            assert problem is not None
            return problem
        return checked


@extend_schema_field(OpenApiTypes.OBJECT)
class ProblemField(serializers.Field):
    """A problem inside an answer, as the answer itself would be one (RFC 9457); null where there is none."""

    def to_representation(self, value: Problem) -> dict[str, Any]:
        """Its members."""
        return members(value)
