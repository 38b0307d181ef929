"""Filters that several apps need."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django_filters import IsoDateTimeFilter
from django_filters.fields import IsoDateTimeField


class MomentField(IsoDateTimeField):
    """A time, in UTC: PostgreSQL takes no offset of 16 hours or more, which a time of ISO 8601 may have."""

    def clean(self, value: Any) -> datetime | None:
        """Raises ValidationError for what is no time, or is outside of the years 1 to 9999."""
        moment: datetime | None = super().clean(value)
        try:
            return None if moment is None else moment.astimezone(UTC)
        except OverflowError:
            raise ValidationError("Expected a time of the years 1 to 9999.") from None


class MomentFilter(IsoDateTimeFilter):
    """Rows from, or until, a moment."""

    field_class = MomentField
