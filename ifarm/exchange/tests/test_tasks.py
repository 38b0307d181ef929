"""Rows of imports go some time after the import ended; what was imported, and how it went, stays."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from ifarm.core import tasks
from ifarm.core.tests.factories import make_token
from ifarm.core.tests.roles import as_owner
from ifarm.core.tests.threads import in_thread
from ifarm.exchange.models import ImportJob, ImportRow
from ifarm.exchange.tasks import ROWS_KEPT, forget_rows
from ifarm.exchange.tests.examples import cow
from ifarm.exchange.tests.test_imports import Hill, waiting

SOON, LATE = ROWS_KEPT - timedelta(minutes=5), ROWS_KEPT + timedelta(minutes=5)


def test_rows_of_old_imports_go_and_the_rest_stays(
    committed: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    hills = [Hill(), Hill()]
    rows = [cow("AT 1", source_id="1"), cow("AT 2", source_id="2"), cow("AT 3", sex="?")]
    jobs = [hill.animals(*rows) for hill in hills]
    open_job = waiting(hills[0], 2, monkeypatch)
    now = timezone.now()
    with as_owner():
        assert forget_rows(now + SOON) == 0
        assert forget_rows(now + LATE) == 6
        assert forget_rows(now + LATE) == 0
    assert [hill.count(ImportJob) for hill in hills] == [2, 1]
    assert list(hills[0].states(open_job).values()) == ["waiting", "waiting"]
    url = f"/api/v1/tenants/{hills[0].owner.tenant_id}/imports/{jobs[0].id}/"
    headers = {"Authorization": make_token(hills[0].owner)}
    told = Client().get(url, headers=headers).json()
    assert (told["state"], told["rows_total"], told["rows_good"], told["rows_bad"]) == ("done", 3, 2, 1)
    assert Client().get(f"{url}rows/", headers=headers).json()["results"] == []
    assert Client().get(f"{url}errors/", headers=headers).status_code == 200
    monkeypatch.undo()
    assert list(hills[0].states(hills[0].animals(*rows)).values()) == ["known", "known", "bad"]


def test_two_at_once_remove_each_row_once(
    committed: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    hill = Hill()
    hill.animals(*(cow(f"AT {number}") for number in range(20)))
    monkeypatch.setattr(tasks, "AT_ONCE", 3)
    late = timezone.now() + LATE
    with as_owner():
        waits = [in_thread(lambda: forget_rows(late)) for _ in range(2)]
        found = sum(wait() for wait in waits)
        assert found + forget_rows(late) == 20  # one that met the other's rows may have ended early
        assert not ImportRow.objects.unscoped().exists()
        connection.close()
