"""What people are told, in the app or by e-mail; the table is also the queue of e-mails."""

from __future__ import annotations

import re
from typing import ClassVar, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone

from ifarm.core.choices import choices
from ifarm.core.models import TenantModel
from ifarm.notifications.words import Channel, Severity, State

_PATH: Final = re.compile(r"/(?![/\\])[^\s\\]*")
"""An address on this site: one slash, not two (which would name another server)."""


class Notification(TenantModel):
    """One message to one person by one channel.

    Args:
        key: what it is about, where nobody shall be told twice ("trial/…/3"); empty: no such limit.
        retry_count: tries to hand it to the mail server.
        next_attempt_at: not before this time. A claim moves it ahead, so a sender that died is followed by another.
        claim: the batch that may send it; None between batches.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    notification_type = models.CharField(max_length=60)
    title = models.CharField(max_length=200)
    message = models.TextField(max_length=10_000)
    link = models.CharField(max_length=500, blank=True, default="")
    channel = models.CharField(max_length=6, choices=choices(Channel))
    severity = models.CharField(max_length=7, choices=choices(Severity), default=Severity.INFO.value)
    key = models.CharField(max_length=120, blank=True, default="")
    status = models.CharField(max_length=7, choices=choices(State), default=State.PENDING.value)
    retry_count = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=timezone.now)
    claim = models.UUIDField(null=True, blank=True)
    error_message = models.CharField(max_length=500, blank=True, default="")
    sent_at = models.DateTimeField(null=True, blank=True)
    read_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "user", "channel", "key"],
                condition=~Q(key=""),
                name="told_once_per_key",
            ),
            models.CheckConstraint(
                condition=Q(status=State.SENT.value, sent_at__isnull=False)
                | Q(~Q(status=State.SENT.value), sent_at=None),
                name="sent_notifications_have_a_time",
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                "next_attempt_at", "id", name="notifications_due", condition=Q(status=State.PENDING.value)
            ),
            models.Index(
                "tenant",
                "user",
                "created_at",
                "id",
                name="notifications_of_a_person",
                condition=Q(channel=Channel.IN_APP.value),
            ),
        ]

    def clean(self) -> None:
        """A title is one line (it becomes a header), a link leads to a page of ours or of the web."""
        super().clean()
        if not self.title.isprintable():
            raise ValidationError({"title": "Expected one printable line."})
        if self.link and not (_PATH.fullmatch(self.link) or _is_web(self.link)):
            raise ValidationError(
                {"link": "Expected a path that begins with one /, or an address with https."}
            )


def _is_web(link: str) -> bool:
    try:
        parts = urlsplit(link)
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname) and link.isprintable() and " " not in link
