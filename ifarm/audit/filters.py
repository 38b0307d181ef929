"""What the audit can be searched by."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django_filters import CharFilter, FilterSet, UUIDFilter

from ifarm.api.filters import MomentFilter
from ifarm.core.ids import first_uuid7


class EntryFilters(FilterSet):
    """Who, what, which row, when: `?actor_id=&action=&model=&object_id=&since=&until=`.

    Times are those in the keys, to the millisecond: they lead to the partitions of those months alone.
    """

    actor_id = UUIDFilter()
    action = CharFilter()
    model = CharFilter()
    object_id = UUIDFilter()
    since = MomentFilter(method="from_time")
    until = MomentFilter(method="to_time")

    def from_time(self, rows: Any, name: str, value: datetime) -> Any:
        """Not before."""
        return rows.filter(id__gte=first_uuid7(value))

    def to_time(self, rows: Any, name: str, value: datetime) -> Any:
        """Before."""
        return rows.filter(id__lt=first_uuid7(value))
