"""Routes of a person's notifications."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone

from ifarm.api.pages import Order
from ifarm.api.views import TenantView, operation
from ifarm.notifications import selectors, services
from ifarm.notifications.filters import NotificationFilters
from ifarm.notifications.models import Notification
from ifarm.notifications.policies import NOTIFICATIONS
from ifarm.notifications.serializers import NotificationOutput, ReadInput, UnreadOutput


class NotificationsApi(TenantView):
    """What I was told."""

    @operation(
        NOTIFICATIONS,
        "view",
        output=NotificationOutput,
        order=Order(Notification, "created_at"),
        filters=NotificationFilters,
    )
    def get(self) -> QuerySet[Notification]:
        """My notifications in the app."""
        return selectors.list_notifications(self.actor)


class UnreadApi(TenantView):
    """What I have not read."""

    @operation(NOTIFICATIONS, "view", output=UnreadOutput)
    def get(self) -> selectors.Unread:
        """How many."""
        return selectors.count_unread(self.actor)

    @operation(NOTIFICATIONS, "change", input=ReadInput, output=UnreadOutput)
    def put(self, data: Mapping[str, Any]) -> selectors.Unread:
        """I have read everything until a time; what is left is told."""
        services.mark_all_read(self.actor, until=data["until"], at=timezone.now())
        return selectors.count_unread(self.actor)


class ReadApi(TenantView):
    """Whether I have read one."""

    @operation(NOTIFICATIONS, "change", output=NotificationOutput)
    def put(self, notification_id: UUID) -> Notification:
        """I have."""
        return services.mark_read(self.actor, notification_id, at=timezone.now())

    @operation(NOTIFICATIONS, "change")
    def delete(self, notification_id: UUID) -> None:
        """I have not."""
        services.mark_unread(self.actor, notification_id)
