"""What the lists of health can be narrowed by."""

from datetime import date
from typing import Any

from django.db.models import QuerySet
from django_filters import ChoiceFilter, DateFilter, FilterSet, UUIDFilter

from ifarm.api.filters import MomentFilter
from ifarm.core.choices import choices
from ifarm.health.words import Product, TreatmentKind


class BatchFilters(FilterSet):
    """`?farm_id=&medicine_id=&usable_on=`; with the last one, only what is left and good on that day."""

    farm_id = UUIDFilter(field_name="farm_id")
    medicine_id = UUIDFilter(field_name="medicine_id")
    usable_on = DateFilter(method="usable")

    def usable(self, rows: QuerySet[Any], name: str, day: date) -> QuerySet[Any]:
        """Something is left, and it has not expired."""
        return rows.filter(on_hand__gt=0, expires_on__gte=day)


class PurchaseFilters(FilterSet):
    """`?farm_id=&medicine_id=`."""

    farm_id = UUIDFilter(field_name="batch__farm_id")
    medicine_id = UUIDFilter(field_name="batch__medicine_id")


class TreatmentFilters(FilterSet):
    """`?farm_id=&medicine_id=&kind=&due_before=&since=&updated_since=`; due before a day includes it."""

    farm_id = UUIDFilter(field_name="animal__farm_id")
    medicine_id = UUIDFilter(field_name="medicine_id")
    kind = ChoiceFilter(choices=choices(TreatmentKind))
    due_before = DateFilter(field_name="due_again_on", lookup_expr="lte")
    since = MomentFilter(field_name="treated_at", lookup_expr="gte")
    updated_since = MomentFilter(field_name="modified_at", lookup_expr="gte")


class WithdrawalFilters(FilterSet):
    """`?farm_id=&animal_id=&product=`."""

    farm_id = UUIDFilter(field_name="animal__farm_id")
    animal_id = UUIDFilter(field_name="animal_id")
    product = ChoiceFilter(choices=choices(Product))
