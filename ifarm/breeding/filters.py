"""What the list of what is due can be narrowed by."""

from django_filters import ChoiceFilter, DateFilter, FilterSet, UUIDFilter

from ifarm.breeding.words import DueKind
from ifarm.core.choices import choices


class DueFilters(FilterSet):
    """`?farm_id=&kind=&on_or_before=&not_over_by=`: begun by that day; not over before that day."""

    farm_id = UUIDFilter(field_name="animal__farm_id")
    kind = ChoiceFilter(choices=choices(DueKind))
    on_or_before = DateFilter(field_name="due_from", lookup_expr="lte")
    not_over_by = DateFilter(field_name="due_until", lookup_expr="gte")
