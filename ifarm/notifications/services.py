"""Tell people something, and what they have read. E-mails are sent by `delivery`."""

from __future__ import annotations

from datetime import datetime
from email.utils import parseaddr
from typing import Any, Final
from urllib.parse import urljoin
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import IntegrityError, transaction
from django.utils import timezone

from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import current_tenant, unit_of_work
from ifarm.core.errors import RuleBroken
from ifarm.core.events import record_event
from ifarm.notifications.models import Notification
from ifarm.notifications.policies import NOTIFICATIONS
from ifarm.notifications.words import Channel, Severity, State
from ifarm.permissions.models import Membership
from ifarm.permissions.services import job_actor
from ifarm.users.models import User

MOST_READ_AT_ONCE: Final = 500


class NotificationService:
    """The one way to tell somebody something."""

    @staticmethod
    def send_notification(  # noqa: PLR0917 - the documents' order
        user: User,
        notification_type: str,
        title: str,
        message: str,
        channel: str = Channel.IN_APP,
        link: str = "",
        *,
        severity: str = Severity.INFO,
        key: str = "",
        actor: Actor | None = None,
    ) -> Notification:
        """Tell a member of the present tenant something, in the transaction of what it is about.

        In the app it is there at the commit. An e-mail is sent after it, by `delivery`; so there is none about
        something that was taken back. With a ``key`` a person is told once by each channel: a second call gives the
        first one's row. ``actor``: None is a job. Alerts about the database itself go by `understudy run`'s alerts:
        what tells that a database is gone must not need it.

        Raises `RuleBroken` for somebody who is no member, ValidationError, and `NoTenant` outside a unit of work.
        """
        with unit_of_work() as tenant_id:
            _require_member(user)
            acting = actor or job_actor(tenant_id)
            now = timezone.now()
            in_app = Channel(channel) is Channel.IN_APP
            row = Notification(
                user=user,
                notification_type=notification_type,
                title=title,
                message=message,
                channel=Channel(channel).value,
                link=link,
                severity=Severity(severity).value,
                key=key,
                status=(State.SENT if in_app else State.PENDING).value,
                sent_at=now if in_app else None,
                next_attempt_at=now,
            )
            return _insert_once(acting, row) if key else _insert(acting, row)

    @staticmethod
    def send(notification: Notification, connection: Any = None) -> None:
        """Hand one e-mail to Django's mail backend; raises what that raises. `delivery` decides when, and how often.

        The Message-ID is the notification's own, the same with every try: a mail server that was told twice can know.
        """
        _, address = parseaddr(settings.DEFAULT_FROM_EMAIL)
        text = notification.message
        if notification.link:
            text += f"\n\n{urljoin(settings.IFARM_URL, notification.link)}"
        EmailMessage(
            subject=notification.title,
            body=text,
            from_email=settings.DEFAULT_FROM_EMAIL,
            to=[notification.user.email],
            connection=connection,
            headers={
                "Message-ID": f"<{notification.id}@{address.rpartition('@')[2]}>",
                "Auto-Submitted": "auto-generated",  # RFC 3834: no holiday answers
            },
        ).send()


def _require_member(user: User) -> None:
    if not is_member(user.id):
        raise RuleBroken(f"expected a member of tenant {current_tenant()}, found somebody else.")


def is_member(user_id: UUID) -> bool:
    """Whether somebody may be told what happens in the present tenant."""
    found: bool = Membership.objects.filter(user_id=user_id, is_active=True, user__is_active=True).exists()
    return found


def _insert(actor: Actor, row: Notification) -> Notification:
    writes.insert(actor, row)
    record_event(
        "notification_created",
        row,
        user_id=row.user_id,
        notification_type=row.notification_type,
        channel=row.channel,
    )
    return row


def _insert_once(actor: Actor, row: Notification) -> Notification:
    same = Notification.objects.filter(user=row.user, channel=row.channel, key=row.key)
    if before := same.first():
        return before
    try:
        with transaction.atomic():
            return _insert(actor, row)
    except IntegrityError:
        if before := same.first():  # somebody else at the same time
            return before
        raise


def mark_read(actor: Actor, notification_id: UUID, *, at: datetime) -> Notification:
    """The actor has read it; the first time counts. Raises `NotFound`."""
    with unit_of_work():
        row = NOTIFICATIONS.access(actor, notification_id, lock=True)
        return row if row.read_at else writes.update(actor, row, {"read_at": at})


def mark_unread(actor: Actor, notification_id: UUID) -> Notification:
    """As if the actor had not read it. Raises `NotFound`."""
    with unit_of_work():
        return writes.update(
            actor, NOTIFICATIONS.access(actor, notification_id, lock=True), {"read_at": None}
        )


def mark_all_read(actor: Actor, *, until: datetime, at: datetime) -> None:
    """The actor has read what came until then (what came since has not been seen); the oldest 500 of them."""
    with unit_of_work():
        rows = NOTIFICATIONS.instances(actor).filter(read_at=None, created_at__lte=until)
        for row in rows.select_for_update(of=("self",)).order_by("created_at", "id")[:MOST_READ_AT_ONCE]:
            writes.update(actor, row, {"read_at": at})
