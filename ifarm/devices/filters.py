"""What the lists of devices can be narrowed by."""

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django_filters import ChoiceFilter, FilterSet, UUIDFilter

from ifarm.api.filters import MomentFilter, YesNoFilter
from ifarm.core.choices import choices
from ifarm.devices.words import DeviceKind


class DeviceFilters(FilterSet):
    """`?farm_id=&kind=&is_active=&unseen_since=`; the last: devices that have sent nothing since then."""

    farm_id = UUIDFilter(field_name="farm_id")
    kind = ChoiceFilter(choices=choices(DeviceKind))
    is_active = YesNoFilter()
    unseen_since = MomentFilter(field_name="last_seen_at", method="unseen")

    def unseen(self, rows: QuerySet[Any], name: str, moment: datetime) -> QuerySet[Any]:
        """Also those that never sent."""
        return rows.exclude(last_seen_at__gte=moment)


class ReadingFilters(FilterSet):
    """`?farm_id=&animal_id=&matched=&since=&until=`; since a time, before another."""

    farm_id = UUIDFilter(field_name="farm_id")
    animal_id = UUIDFilter(field_name="matches__animal_id")
    matched = YesNoFilter(method="is_matched")
    since = MomentFilter(field_name="measured_at", lookup_expr="gte")
    until = MomentFilter(field_name="measured_at", lookup_expr="lt")

    def is_matched(self, rows: QuerySet[Any], name: str, wanted: bool) -> QuerySet[Any]:
        """Those of somebody, or those of nobody yet."""
        return rows.filter(matches__isnull=not wanted)
