"""What imports and exports can be narrowed by."""

from __future__ import annotations

from typing import Any

from django_filters import ChoiceFilter, DateFilter, FilterSet, UUIDFilter

from ifarm.core.choices import choices
from ifarm.exchange.words import FileType, JobState, Kind, RowState


class ImportFilters(FilterSet):
    """`?kind=&state=`."""

    kind = ChoiceFilter(choices=choices(Kind))
    state = ChoiceFilter(choices=choices(JobState))


class RowFilters(FilterSet):
    """`?state=`."""

    state = ChoiceFilter(choices=choices(RowState))


class FileFilters(FilterSet):
    """`?type=`: csv, unless xlsx is named."""

    type = ChoiceFilter(choices=choices(FileType), method="any_row")

    def any_row(self, rows: Any, name: str, value: str) -> Any:
        """It narrows nothing."""
        return rows

    @property
    def file_type(self) -> FileType:
        """Of valid filters."""
        return FileType(self.form.cleaned_data["type"] or FileType.CSV)


class AnimalExportFilters(FileFilters):
    """`?type=&farm_id=`."""

    farm_id = UUIDFilter(field_name="farm_id")


class WeightExportFilters(FileFilters):
    """`?type=&farm_id=&since=&until=`: days, both counted in."""

    farm_id = UUIDFilter(field_name="animal__farm_id")
    since = DateFilter(field_name="weighed_on", lookup_expr="gte")
    until = DateFilter(field_name="weighed_on", lookup_expr="lte")


class MilkExportFilters(FileFilters):
    """`?type=&farm_id=&since=&until=`: days, both counted in."""

    farm_id = UUIDFilter(field_name="farm_id")
    since = DateFilter(field_name="production_date", lookup_expr="gte")
    until = DateFilter(field_name="production_date", lookup_expr="lte")
