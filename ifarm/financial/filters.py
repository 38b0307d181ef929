"""What lists of money can be narrowed by."""

from django_filters import CharFilter, ChoiceFilter, DateFilter, FilterSet, UUIDFilter

from ifarm.api.filters import MomentFilter
from ifarm.core.choices import choices
from ifarm.financial.words import ContactKind, ExpenseStatus, InvoiceStatus


class ContactFilters(FilterSet):
    """`?kind=&updated_since=`."""

    kind = ChoiceFilter(choices=choices(ContactKind))
    updated_since = MomentFilter(field_name="modified_at", lookup_expr="gte")


class ExpenseFilters(FilterSet):
    """`?farm_id=&status=&first=&last=&currency=&updated_since=`."""

    farm_id = UUIDFilter(field_name="farm_id")
    status = ChoiceFilter(choices=choices(ExpenseStatus))
    first = DateFilter(field_name="expense_date", lookup_expr="gte")
    last = DateFilter(field_name="expense_date", lookup_expr="lte")
    currency = CharFilter()
    updated_since = MomentFilter(field_name="modified_at", lookup_expr="gte")


class SaleFilters(FilterSet):
    """`?farm_id=&first=&last=`."""

    farm_id = UUIDFilter(field_name="farm_id")
    first = DateFilter(field_name="sale_date", lookup_expr="gte")
    last = DateFilter(field_name="sale_date", lookup_expr="lte")


class PurchaseFilters(FilterSet):
    """`?farm_id=&first=&last=`."""

    farm_id = UUIDFilter(field_name="farm_id")
    first = DateFilter(field_name="purchase_date", lookup_expr="gte")
    last = DateFilter(field_name="purchase_date", lookup_expr="lte")


class InvoiceFilters(FilterSet):
    """`?farm_id=&buyer_id=&status=`."""

    farm_id = UUIDFilter(field_name="farm_id")
    buyer_id = UUIDFilter(field_name="buyer_id")
    status = ChoiceFilter(choices=choices(InvoiceStatus))
