"""The sender of e-mails: claims a batch, hands each to the mail server, and says what became of it.

Any number of senders may run at once. A claim (`SELECT … FOR UPDATE SKIP LOCKED`) belongs to one batch and ends by
itself after `LEASE`; before each e-mail the sender renews it, and leaves what is no longer its own. No transaction is
open while a mail server is spoken to, so a planned change of the primary waits for none.

Exactly once, as far as SMTP lets: what a sender has marked is never sent again. One that dies between the server's
"250" and its own commit has sent an e-mail that nobody knows of; the next sender sends it once more, with the same
Message-ID, and mail servers and readers that look at it show one (RFC 5322, 3.6.4; RFC 1047 describes the gap).

Run it as the owner of the tables: it looks at the queue of every tenant.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from smtplib import SMTPDataError, SMTPException, SMTPRecipientsRefused
from typing import Any, Final
from uuid import UUID

from django.core.mail import get_connection
from django.db import transaction
from django.db.models import F

from ifarm.audit import writes
from ifarm.core.context import unit_of_work
from ifarm.core.events import record_event
from ifarm.core.ids import uuid7
from ifarm.notifications.models import Notification
from ifarm.notifications.services import NotificationService, is_member
from ifarm.notifications.words import Channel, State
from ifarm.permissions.services import job_actor

BATCH: Final = 100
TRIES: Final = 3
PAUSES: Final = (timedelta(minutes=5), timedelta(minutes=30))
"""After the first and after the second try."""
LEASE: Final = timedelta(minutes=5)
"""A claim that was not renewed ends. Longer than one e-mail can take: `EMAIL_TIMEOUT` for each answer of a server."""
PATIENCE: Final = timedelta(days=4)
"""How long an e-mail waits for a mail server that nobody reaches (RFC 5321, 4.5.4.1: at least 4 to 5 days)."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of one batch. ``left``: another sender has them, or they are tried later."""

    sent: int = 0
    failed: int = 0
    left: int = 0


def send_pending_notifications(now: datetime, *, limit: int = BATCH) -> Delivered:
    """Send one batch of what is due. May run at any time, any number of times; all zeros: nothing is due.

    A message that is refused for good (SMTP 5xx), or three times for now, fails and is never tried again; those behind
    it are not held up. A server that cannot be reached costs nobody a try.
    """
    claim, rows = _claim(now, limit)
    ends: list[State] = []
    mail = get_connection()
    try:
        for number, (tenant_id, pk) in enumerate(rows):
            if not _connect(mail):
                ends += _put_back(rows[number:], claim, now)
                break
            ends.append(_send_one(mail, tenant_id, pk, claim, now))
    finally:
        _close(mail)
    return Delivered(ends.count(State.SENT), ends.count(State.FAILED), ends.count(State.PENDING))


def _claim(now: datetime, limit: int) -> tuple[UUID, list[tuple[UUID, UUID]]]:
    """(tenant, id) of the oldest that are due and that nobody else is claiming. The queue's own mark: not audited."""
    claim = uuid7()
    every = Notification.objects.unscoped()
    with transaction.atomic(durable=True):
        due = every.filter(status=State.PENDING.value, channel=Channel.EMAIL.value, next_attempt_at__lte=now)
        rows = list(
            due.select_for_update(skip_locked=True)
            .order_by("next_attempt_at", "id")
            .values_list("tenant_id", "id")[:limit]
        )
        every.filter(id__in=[pk for _, pk in rows]).update(claim=claim, next_attempt_at=now + LEASE)
    return claim, rows


def _connect(mail: Any) -> bool:
    try:
        mail.open()
    except (OSError, SMTPException):
        return False
    return True


def _close(mail: Any) -> None:
    with contextlib.suppress(OSError, SMTPException):
        mail.close()


def _send_one(mail: Any, tenant_id: UUID, pk: UUID, claim: UUID, now: datetime) -> State:
    row = _begin(tenant_id, pk, claim, now)
    if row is None:
        return State.PENDING
    if row.status == State.FAILED:
        return State.FAILED
    try:
        NotificationService.send(row, mail)
    except Exception as error:  # noqa: BLE001 - recorded; one bad message must not hold up the others
        _close(mail)  # whatever state it is in
        return _refused(row, claim, now, error)
    return _end(row, claim, State.SENT, now)


def _begin(tenant_id: UUID, pk: UUID, claim: UUID, now: datetime) -> Notification | None:
    """Count a try and renew the claim; None where it is not ours any more. What was tried enough fails here."""
    with unit_of_work(tenant_id):
        row = Notification.objects.select_related("user").filter(pk=pk, claim=claim).first()
        if row is None or row.status != State.PENDING:
            return None
        if row.retry_count >= TRIES:
            _end(row, claim, State.FAILED, now, "the sender ended while it was sending this")
            return row
        if not is_member(row.user_id):
            _end(row, claim, State.FAILED, now, "the person is no member any more")
            return row
        mine = Notification.objects.filter(pk=pk, claim=claim, status=State.PENDING.value)
        if not mine.update(retry_count=F("retry_count") + 1, next_attempt_at=now + LEASE):
            return None
        row.retry_count += 1
        return row


def _refused(row: Notification, claim: UUID, now: datetime, error: Exception) -> State:
    text = f"{type(error).__name__}: {error}"[:500]
    if _for_good(error) or row.retry_count >= TRIES:
        return _end(row, claim, State.FAILED, now, text)
    with unit_of_work(row.tenant_id):
        Notification.objects.filter(pk=row.pk, claim=claim).update(
            claim=None, next_attempt_at=now + PAUSES[row.retry_count - 1], error_message=text
        )
    return State.PENDING


def _for_good(error: Exception) -> bool:
    """Whether the server has said that the same message will be refused again (RFC 5321, 4.2.1: 5yz)."""
    if isinstance(error, SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in error.recipients.values())
    return isinstance(error, SMTPDataError) and error.smtp_code >= 500


def _end(row: Notification, claim: UUID, state: State, now: datetime, error: str = "") -> State:
    """The final state, audited. `PENDING` where the claim was lost meanwhile: then the other sender says it."""
    with unit_of_work(row.tenant_id) as tenant_id:
        mine = Notification.objects.filter(pk=row.pk, claim=claim, status=State.PENDING.value)
        locked = mine.select_for_update(of=("self",)).first()
        if locked is None:
            return State.PENDING
        sent_at = now if state is State.SENT else None
        changes = {"status": state.value, "sent_at": sent_at, "error_message": error, "claim": None}
        writes.update(job_actor(tenant_id), locked, changes)
        record_event(f"notification_{state}", locked, user_id=row.user_id, tries=row.retry_count)
        row.status = state.value
        return state


def _put_back(rows: Sequence[tuple[UUID, UUID]], claim: UUID, now: datetime) -> list[State]:
    """No mail server: nothing was tried. What has waited for days fails."""
    ends = []
    for tenant_id, pk in rows:
        with unit_of_work(tenant_id):
            row = Notification.objects.filter(pk=pk, claim=claim).first()
            if row is not None and row.created_at + PATIENCE < now:
                ends.append(_end(row, claim, State.FAILED, now, "no mail server was reached for 4 days"))
                continue
            Notification.objects.filter(pk=pk, claim=claim, status=State.PENDING.value).update(
                claim=None, next_attempt_at=now + PAUSES[0]
            )
            ends.append(State.PENDING)
    return ends
