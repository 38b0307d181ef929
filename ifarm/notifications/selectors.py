"""Reads of notifications."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import QuerySet

from ifarm.core.actors import Actor
from ifarm.notifications.models import Notification
from ifarm.notifications.policies import NOTIFICATIONS

MOST: int = 1000


@dataclass(frozen=True, slots=True)
class Unread:
    """How many are unread; counted up to a thousand."""

    unread: int


def list_notifications(actor: Actor) -> QuerySet[Notification]:
    """What the actor was told in the app."""
    return NOTIFICATIONS.instances(actor)


def count_unread(actor: Actor) -> Unread:
    """How many of them are unread."""
    return Unread(NOTIFICATIONS.instances(actor).filter(read_at=None)[:MOST].count())
