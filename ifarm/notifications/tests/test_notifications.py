from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from ifarm.api.tests.test_requests import Api
from ifarm.audit.models import AuditEntry
from ifarm.core.actors import Actor, Role
from ifarm.core.context import NoTenant, unit_of_work
from ifarm.core.errors import RuleBroken
from ifarm.core.tests.factories import make_member, make_owner, make_user
from ifarm.notifications.models import Notification
from ifarm.notifications.services import NotificationService, mark_all_read
from ifarm.permissions.models import Membership
from ifarm.permissions.services import remove_member
from ifarm.users.models import User

pytestmark = pytest.mark.django_db


def tell(actor: Actor, title: str = "Frost", **rest: Any) -> Notification:
    with unit_of_work(actor.tenant_id):
        user = User.objects.get(pk=actor.id)
        return NotificationService.send_notification(user, "weather", title, "Tonight.", **rest)


def test_what_is_in_the_app_is_sent_at_once_and_an_email_waits() -> None:
    owner = make_owner()
    assert (tell(owner).status, tell(owner, channel="email").status) == ("sent", "pending")
    with unit_of_work(owner.tenant_id):
        told = AuditEntry.objects.filter(model="notifications.notification")
        assert [entry.action for entry in told] == ["created", "created"]


def test_only_members_are_told() -> None:
    owner = make_owner()
    vet = make_member(owner, Role.VET)
    with unit_of_work(owner.tenant_id):
        with pytest.raises(RuleBroken, match="member"):
            NotificationService.send_notification(make_user(), "weather", "Frost", "Tonight.")
        remove_member(owner, Membership.objects.get(user_id=vet.id).id)
    with pytest.raises(RuleBroken, match="member"):
        tell(vet)


def test_without_a_tenant_nobody_is_told() -> None:
    with pytest.raises(NoTenant):
        NotificationService.send_notification(make_user(), "weather", "Frost", "Tonight.")


def test_a_key_tells_once_by_each_channel() -> None:
    owner = make_owner()
    first = tell(owner, key="trial/3")
    assert tell(owner, "Other words", key="trial/3") == first
    assert tell(owner, key="trial/3", channel="email") != first
    assert tell(owner, key="trial/2") != first
    with unit_of_work(owner.tenant_id):
        assert Notification.objects.count() == 3


@pytest.mark.parametrize("title", ["two\nlines", "Bcc: \r\nx", ""])
def test_a_title_is_one_line(title: str) -> None:
    with pytest.raises(ValidationError):
        tell(make_owner(), title)


@pytest.mark.parametrize(
    "link",
    ["javascript:alert(1)", "//elsewhere.example", "/\\elsewhere.example", "http://x", "https://[", "a b"],
)
def test_a_link_leads_nowhere_strange(link: str) -> None:
    with pytest.raises(ValidationError):
        tell(make_owner(), link=link)


@pytest.mark.parametrize("link", ["", "/animals/1?x=2", "https://example.org/a"])
def test_a_link_may_be(link: str) -> None:
    assert tell(make_owner(), link=link).link == link


def test_people_see_their_own_and_mark_it_read() -> None:
    owner = make_owner()
    boss, vet = Api(owner), Api(make_member(owner, Role.VET))
    mine = tell(owner)
    tell(vet.actor, "For the vet")
    tell(owner, "By e-mail", channel="email")
    assert [one["title"] for one in boss("GET", "notifications/").json()["results"]] == ["Frost"]
    assert vet("PUT", f"notifications/{mine.id}/read/").status_code == 404
    assert boss("GET", "notifications/unread/").json() == {"unread": 1}
    first = boss("PUT", f"notifications/{mine.id}/read/").json()["read_at"]
    assert first
    assert boss("PUT", f"notifications/{mine.id}/read/").json()["read_at"] == first
    assert boss("GET", "notifications/unread/").json() == {"unread": 0}
    assert boss("GET", "notifications/?unread=true").json()["results"] == []
    assert boss("DELETE", f"notifications/{mine.id}/read/").status_code == 204
    assert len(boss("GET", "notifications/?unread=true").json()["results"]) == 1
    assert vet("GET", "notifications/unread/").json() == {"unread": 1}


def test_what_came_after_the_look_stays_unread() -> None:
    owner = make_owner()
    seen, late = tell(owner), tell(owner, "Late")
    with unit_of_work(owner.tenant_id):
        mark_all_read(owner, until=seen.created_at, at=timezone.now() + timedelta(seconds=1))
        assert Notification.objects.get(read_at=None) == late
