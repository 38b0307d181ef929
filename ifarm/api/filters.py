"""Filters that several apps need."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.forms import Field
from django_filters import Filter, IsoDateTimeFilter
from django_filters.fields import IsoDateTimeField

_WORDS: Final = {"true": True, "false": False}


class YesNoField(Field):
    """`true` or `false`. Django's own takes every other word for a question that was not asked."""

    def to_python(self, value: str | None) -> bool | None:
        """Raises ValidationError for another word."""
        if value not in (None, *_WORDS):
            raise ValidationError(f"Expected true or false, found {value!r}.")
        return None if value is None else _WORDS[value]


class YesNoFilter(Filter):
    """Rows where something is so, or where it is not."""

    field_class = YesNoField


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
