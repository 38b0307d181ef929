"""Rights on notifications: everybody, on their own."""

from __future__ import annotations

from django.db.models import QuerySet

from ifarm.core.actors import EVERYONE, Actor
from ifarm.core.policies import Policy
from ifarm.notifications.models import Notification
from ifarm.notifications.words import Channel


class OwnNotifications(Policy[Notification]):
    """What the actor is told in the app; others' are not found, whatever the role."""

    def instances(self, actor: Actor) -> QuerySet[Notification]:
        """The actor's own."""
        return super().instances(actor).filter(user_id=actor.id, channel=Channel.IN_APP.value)


NOTIFICATIONS = OwnNotifications(Notification, farm=None, change=EVERYONE)
