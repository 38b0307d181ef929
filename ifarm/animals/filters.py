"""What the list of animals can be narrowed by."""

from typing import Any

from django.db.models import QuerySet
from django_filters import CharFilter, ChoiceFilter, FilterSet, UUIDFilter

from ifarm.animals.words import Species, Status
from ifarm.api.filters import MomentFilter, YesNoFilter
from ifarm.core.choices import choices
from ifarm.health.models import Withdrawal
from ifarm.health.selectors import running_today
from ifarm.health.words import Product


class AnimalFilters(FilterSet):
    """`?farm_id=&status=&animal_type=&tag=&updated_since=&is_reference=&in_withdrawal=`.

    The last one names a product that is withheld today.
    """

    farm_id = UUIDFilter(field_name="farm_id")
    status = ChoiceFilter(choices=choices(Status))
    animal_type = ChoiceFilter(choices=choices(Species))
    tag = CharFilter(field_name="tag_number", lookup_expr="istartswith")
    is_reference = YesNoFilter()
    in_withdrawal = ChoiceFilter(choices=choices(Product), method="withheld")
    updated_since = MomentFilter(field_name="modified_at", lookup_expr="gte")

    def withheld(self, rows: QuerySet[Any], name: str, product: str) -> QuerySet[Any]:
        """Those whose product must not be used today."""
        clocks = running_today(Withdrawal.objects.filter(product=product), "animal__farm__timezone")
        return rows.filter(id__in=clocks.values("animal_id"))
