"""What the list of animals can be narrowed by."""

from django_filters import BooleanFilter, CharFilter, ChoiceFilter, FilterSet, IsoDateTimeFilter, UUIDFilter

from ifarm.animals.words import Species, Status
from ifarm.core.choices import choices


class AnimalFilters(FilterSet):
    """`?farm_id=&status=&animal_type=&tag=&updated_since=&is_reference=`."""

    farm_id = UUIDFilter(field_name="farm_id")
    status = ChoiceFilter(choices=choices(Status))
    animal_type = ChoiceFilter(choices=choices(Species))
    tag = CharFilter(field_name="tag_number", lookup_expr="istartswith")
    is_reference = BooleanFilter()
    updated_since = IsoDateTimeFilter(field_name="modified_at", lookup_expr="gte")
