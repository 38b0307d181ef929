"""Answers that are kept for `Idempotency-Key` go after a week, of every tenant, also by two jobs at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Barrier
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.utils import timezone

from ifarm.api.tests.test_requests import Api
from ifarm.core import tasks
from ifarm.core.context import unit_of_work
from ifarm.core.ids import first_uuid7
from ifarm.core.models import IdempotencyRecord
from ifarm.core.tasks import ANSWERS_KEPT, forget_answers
from ifarm.core.tests.factories import make_owner
from ifarm.core.tests.roles import as_owner
from ifarm.core.tests.threads import in_thread

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def answer(tenant_id: UUID, made: datetime, number: int) -> None:
    with unit_of_work(tenant_id):
        IdempotencyRecord(
            id=UUID(int=first_uuid7(made).int + number),
            actor_id=tenant_id,
            key=str(number),
            fingerprint="f",
            status=201,
        ).save(force_insert=True)


def kept(committed: psycopg.Connection[Any]) -> list[int]:
    rows = committed.execute("SELECT key FROM core_idempotencyrecord").fetchall()
    return sorted(int(key) for (key,) in rows)


def test_answers_older_than_a_week_go_whosever_they_are(committed: psycopg.Connection[Any]) -> None:
    one, two = (make_owner().tenant_id for _ in range(2))
    ages = [ANSWERS_KEPT + timedelta(days=30), ANSWERS_KEPT + timedelta(seconds=1), ANSWERS_KEPT, timedelta()]
    for number, age in enumerate(ages):
        answer(one, NOW - age, number)
        answer(two, NOW - age, 10 + number)
    with as_owner():
        assert forget_answers(NOW) == 4
        assert forget_answers(NOW) == 0
    assert kept(committed) == [2, 3, 12, 13]


def test_a_request_sent_again_within_the_week_is_still_known(committed: psycopg.Connection[Any]) -> None:
    api = Api(make_owner())
    first = api("POST", "farms/", {"name": "Hill"}, Idempotency_Key="a")
    with as_owner():
        assert forget_answers(timezone.now() + ANSWERS_KEPT - timedelta(minutes=5)) == 0
    assert api("POST", "farms/", {"name": "Hill"}, Idempotency_Key="a").json() == first.json()
    with as_owner():
        assert forget_answers(timezone.now() + ANSWERS_KEPT + timedelta(minutes=5)) == 1
    assert api("POST", "farms/", {"name": "Hill"}, Idempotency_Key="a").status_code == 409  # a new request


def test_two_at_once_remove_each_once_in_batches(
    committed: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "AT_ONCE", 3)
    tenant = make_owner().tenant_id
    for number in range(20):
        answer(tenant, NOW - ANSWERS_KEPT - timedelta(days=1), number)
    start = Barrier(2, timeout=60)

    def remove(_: int) -> int:
        start.wait()
        return forget_answers(NOW)

    with as_owner():
        waits = [in_thread(partial(remove, number)) for number in range(2)]
        found = sum(wait() for wait in waits)
        assert found + forget_answers(NOW) == 20  # one that met the other's rows may have ended early
    assert kept(committed) == []
