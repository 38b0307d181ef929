"""Sessions that let nobody in any more go; the others stay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.sessions.models import Session

from ifarm.core import tasks
from ifarm.users.tasks import clean_expired_sessions

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.django_db
def test_expired_sessions_go_and_the_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "AT_ONCE", 2)
    for number in range(7):
        Session(
            session_key=f"s{number}", session_data="", expire_date=NOW + timedelta(seconds=number - 5)
        ).save()
    assert clean_expired_sessions(NOW) == 5
    assert sorted(Session.objects.values_list("session_key", flat=True)) == ["s5", "s6"]
    assert clean_expired_sessions(NOW) == 0
