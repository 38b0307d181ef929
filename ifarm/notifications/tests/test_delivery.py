"""E-mails: one each, under any number of senders, and nothing that is wrong holds up what is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.core import mail
from django.utils import timezone

from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.tests.factories import make_member, make_owner
from ifarm.core.tests.roles import as_owner
from ifarm.core.tests.threads import in_thread
from ifarm.notifications import delivery
from ifarm.notifications.delivery import LEASE, PATIENCE, PAUSES, Delivered, send_pending_notifications
from ifarm.notifications.models import Notification
from ifarm.notifications.services import NotificationService
from ifarm.notifications.tests.smtp import Receiver, receiving
from ifarm.permissions.models import Membership
from ifarm.permissions.services import remove_member
from ifarm.users.models import User
from understudy.embedded.postgresql import HOST, free_port


@pytest.fixture
def jobs(committed: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    with as_owner():
        yield committed


@pytest.fixture
def smtp(settings: Any) -> Iterator[Receiver]:
    with receiving() as receiver:
        lead_to(settings, receiver.port)
        yield receiver


def lead_to(settings: Any, port: int) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = HOST, port, 60


def mail_to(actor: Actor, title: str = "Frost", **rest: Any) -> UUID:
    with unit_of_work(actor.tenant_id):
        user = User.objects.get(pk=actor.id)
        rest = {"channel": "email", **rest}
        return NotificationService.send_notification(user, "weather", title, "Tonight.", **rest).id


def state(owner: psycopg.Connection[Any], pk: UUID) -> tuple[str, int, str]:
    query = "SELECT status, retry_count, error_message FROM notifications_notification WHERE id = %s"
    (found,) = owner.execute(query, (pk,)).fetchall()
    return found


def address(actor: Actor) -> str:
    return User.objects.get(pk=actor.id).email


def test_an_email_goes_by_djangos_backend_and_says_where_to_look(
    jobs: psycopg.Connection[Any], settings: Any
) -> None:
    settings.IFARM_URL = "https://farm.example"
    owner = make_owner()
    pk = mail_to(owner, link="/animals/")
    mail_to(owner, channel="in_app")
    assert send_pending_notifications(timezone.now()) == Delivered(sent=1)
    (message,) = mail.outbox
    assert (message.subject, message.to) == ("Frost", [address(owner)])
    assert message.body == "Tonight.\n\nhttps://farm.example/animals/"
    assert message.extra_headers["Message-ID"].startswith(f"<{pk}@")
    assert state(jobs, pk) == ("sent", 1, "")
    assert send_pending_notifications(timezone.now()) == Delivered()
    query = "SELECT action FROM audit_auditentry WHERE object_id = %s ORDER BY id"
    assert jobs.execute(query, (pk,)).fetchall() == [("created",), ("changed",)]


def test_nothing_is_sent_of_what_was_taken_back(jobs: psycopg.Connection[Any]) -> None:
    owner = make_owner()
    with pytest.raises(RuntimeError), unit_of_work(owner.tenant_id):
        mail_to(owner)
        raise RuntimeError
    assert send_pending_notifications(timezone.now()) == Delivered()


def test_two_senders_at_once_send_each_one_once(jobs: psycopg.Connection[Any], settings: Any) -> None:
    made = [mail_to(owner, f"Number {n}") for owner in (make_owner(), make_owner()) for n in range(20)]
    with receiving(together=2) as receiver:
        lead_to(settings, receiver.port)
        now = timezone.now()
        waits = [in_thread(partial(send_pending_notifications, now, limit=25)) for _ in range(2)]
        done = [wait() for wait in waits]
        assert Counter(receiver.ids()) == Counter(str(pk) for pk in made)
        # Each took up to 25 of those that the other had not locked.
        assert sum(one.sent for one in done) == 40
        assert {(one.failed, one.left) for one in done} == {(0, 0)}
    assert {state(jobs, pk) for pk in made} == {("sent", 1, "")}


def test_poison_fails_after_three_tries_and_holds_nobody_up(
    jobs: psycopg.Connection[Any], smtp: Receiver
) -> None:
    owner = make_owner()
    hang, busy = make_member(owner, Role.VET), make_member(owner, Role.WORKER)
    smtp.answers = {address(hang): None, address(busy): "450 later"}
    bad = [mail_to(hang), mail_to(busy)]
    good = mail_to(owner)
    now = timezone.now()
    assert send_pending_notifications(now) == Delivered(sent=1, left=2)
    assert smtp.ids() == [str(good)]
    assert send_pending_notifications(now + timedelta(seconds=1)) == Delivered()
    for pause, ends in zip(PAUSES, (Delivered(left=2), Delivered(failed=2)), strict=True):
        now += pause
        assert send_pending_notifications(now - timedelta(seconds=1)) == Delivered()
        assert send_pending_notifications(now) == ends
    assert {state(jobs, pk)[:2] for pk in bad} == {("failed", 3)}
    assert "450" in state(jobs, bad[1])[2]
    assert send_pending_notifications(now + timedelta(days=1)) == Delivered()
    assert len(smtp.messages) == 1


def test_what_is_refused_for_good_is_tried_once(jobs: psycopg.Connection[Any], smtp: Receiver) -> None:
    owner = make_owner()
    smtp.answers = {address(owner): "550 nobody of this name"}
    pk = mail_to(owner)
    assert send_pending_notifications(timezone.now()) == Delivered(failed=1)
    assert state(jobs, pk)[:2] == ("failed", 1)


def test_a_server_that_nobody_reaches_costs_no_try_until_days_have_passed(
    jobs: psycopg.Connection[Any], settings: Any
) -> None:
    lead_to(settings, free_port())
    made = [mail_to(make_owner()) for _ in range(3)]
    now = timezone.now()
    assert send_pending_notifications(now) == Delivered(left=3)
    assert {state(jobs, pk) for pk in made} == {("pending", 0, "")}
    assert send_pending_notifications(now + PATIENCE + PAUSES[0]) == Delivered(failed=3)


def test_a_sender_that_died_is_followed_by_another(
    jobs: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Died

    owner = make_owner()
    first, second = mail_to(owner), mail_to(owner)
    now = timezone.now()
    with monkeypatch.context() as patched:
        patched.setattr(NotificationService, "send", die)
        for _ in range(delivery.TRIES):
            with pytest.raises(Died):
                send_pending_notifications(now)
            assert send_pending_notifications(now + LEASE - timedelta(seconds=1)) == Delivered()
            now += LEASE
    assert (state(jobs, first)[1], state(jobs, second)[1]) == (3, 0)
    assert send_pending_notifications(now) == Delivered(sent=1, failed=1)
    assert "ended while" in state(jobs, first)[2]
    assert state(jobs, second)[0] == "sent"


def test_a_sender_that_was_too_slow_leaves_what_another_has(
    jobs: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [mail_to(make_owner()) for _ in range(3)]
    now = timezone.now()
    real = NotificationService.send

    def slowly(*args: Any) -> None:
        monkeypatch.setattr(NotificationService, "send", real)
        # Meanwhile its lease runs out, and another sender takes everything.
        assert send_pending_notifications(now + LEASE) == Delivered(sent=3)
        raise ConnectionResetError

    monkeypatch.setattr(NotificationService, "send", slowly)
    assert send_pending_notifications(now) == Delivered(left=3)
    assert len(mail.outbox) == 3
    assert {state(jobs, pk)[0] for pk in made} == {"sent"}


def test_somebody_who_has_left_is_told_nothing(jobs: psycopg.Connection[Any]) -> None:
    owner = make_owner()
    vet = make_member(owner, Role.VET)
    pk = mail_to(vet)
    with unit_of_work(owner.tenant_id):
        remove_member(owner, Membership.objects.get(user_id=vet.id).id)
    assert send_pending_notifications(timezone.now()) == Delivered(failed=1)
    assert state(jobs, pk)[0] == "failed"
    assert mail.outbox == []


def test_the_same_key_at_the_same_time_tells_once(committed: psycopg.Connection[Any]) -> None:
    owner = make_owner()
    waits = [in_thread(partial(mail_to, owner, key="trial/3")) for _ in range(4)]
    assert len({wait() for wait in waits}) == 1
    assert committed.execute("SELECT count(*) FROM notifications_notification").fetchall() == [(1,)]


def test_the_application_itself_cannot_claim(committed: psycopg.Connection[Any]) -> None:
    from django.db.utils import DatabaseError

    mail_to(make_owner())
    with pytest.raises(DatabaseError):
        list(Notification.objects.unscoped())
