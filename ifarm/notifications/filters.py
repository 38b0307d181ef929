"""What the list of notifications can be narrowed by."""

from django_filters import CharFilter, FilterSet

from ifarm.api.filters import YesNoFilter


class NotificationFilters(FilterSet):
    """`?unread=&notification_type=`."""

    unread = YesNoFilter(field_name="read_at", lookup_expr="isnull")
    notification_type = CharFilter()
