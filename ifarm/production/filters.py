"""What the lists of production can be narrowed by."""

from django_filters import ChoiceFilter, DateFilter, FilterSet, UUIDFilter

from ifarm.api.filters import MomentFilter
from ifarm.core.choices import choices
from ifarm.production.words import ProductionType


class ProductionFilters(FilterSet):
    """`?farm_id=&animal_id=&group_id=&production_type=&since=&until=&updated_since=`; both days are included."""

    farm_id = UUIDFilter(field_name="farm_id")
    animal_id = UUIDFilter(field_name="animal_id")
    group_id = UUIDFilter(field_name="group_id")
    production_type = ChoiceFilter(choices=choices(ProductionType))
    since = DateFilter(field_name="production_date", lookup_expr="gte")
    until = DateFilter(field_name="production_date", lookup_expr="lte")
    updated_since = MomentFilter(field_name="modified_at", lookup_expr="gte")


class SummaryFilters(FilterSet):
    """`?farm_id=&production_type=&since=&until=`; both days are included."""

    farm_id = UUIDFilter(field_name="farm_id")
    production_type = ChoiceFilter(choices=choices(ProductionType))
    since = DateFilter(field_name="day", lookup_expr="gte")
    until = DateFilter(field_name="day", lookup_expr="lte")
