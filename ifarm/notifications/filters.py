"""What the list of notifications can be narrowed by."""

from django_filters import BooleanFilter, CharFilter, FilterSet


class NotificationFilters(FilterSet):
    """`?unread=&notification_type=`."""

    unread = BooleanFilter(field_name="read_at", lookup_expr="isnull")
    notification_type = CharFilter()
