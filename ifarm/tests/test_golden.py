"""Golden answers: what each documented route says, kept in `golden/`, so that a change of an answer is seen and meant.

To write them anew: `IFARM_WRITE_GOLDEN=1 .venv/bin/pytest -c ifarm/pyproject.toml ifarm/tests/test_golden.py`; read the
difference before committing it. Ids are told by their names, times of recording and cursors as `<time>`, `<cursor>`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from django.db import connection
from django.test import Client
from django.urls import Resolver404, resolve
from django.utils import timezone

from ifarm.config.django.test import OWNER, PASSWORD
from ifarm.conftest import empty
from ifarm.tenants.services import create_tenant
from ifarm.tests.golden_cases import ANSWERS, DOCUMENTED, ERRORS, STATUSES, Case
from ifarm.tests.golden_world import NOW, World
from ifarm.users.models import User
from understudy.embedded import EmbeddedPostgreSQL

FOLDER: Final = Path(__file__).parent / "golden"
WRITE: Final = os.environ.get("IFARM_WRITE_GOLDEN") == "1"
CASES: Final = [*ANSWERS, *ERRORS]
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SECRET: Final = re.compile(r"\b(ifarm|invite)_[\w-]+\.?[\w-]*")
_CURSOR: Final = re.compile(r"cursor=[^&\"]+")
_CLOCK: Final = frozenset({"created_at", "modified_at", "recorded_at"})
"""Written by the clock of the machine, whatever day it is in the test."""
_HEADERS: Final = ("Allow", "Cache-Control", "Content-Type", "ETag", "Location", "WWW-Authenticate")

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any, server: EmbeddedPostgreSQL) -> Iterator[World]:
    """One for all tests, on its own day: each rolls back what it does."""
    with pytest.MonkeyPatch.context() as patch, django_db_blocker.unblock():
        patch.setattr(timezone, "now", lambda: NOW)
        yield World()
        connection.close()
    with psycopg.connect(server.dsn(OWNER, "test_ifarm", PASSWORD), autocommit=True) as owner:
        empty(owner)


def ask(world: World, case: Case) -> Any:
    client, headers = Client(), dict(case.headers)
    if case.who == "of two tenants":
        user = User.objects.create_user("both@example.org")
        for name in ("One", "Two"):
            create_tenant(user, name=name)
        client.force_login(user)
    elif case.who != "nobody":
        headers["Authorization"] = world.tokens[case.who]
    content_type = headers.pop("Content-Type", "application/json")
    body = b"" if case.body is None else _filled(world, json.dumps(case.body))
    return client.generic(case.method, _filled(world, case.path), body, content_type, headers=headers)


def _filled(world: World, text: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: str(world.ids[found[1]]), text)


def told(world: World, case: Case, answer: Any) -> dict[str, Any]:
    """The file's content."""
    request = {"method": case.method, "path": case.path, "as": case.who, "headers": dict(case.headers)}
    if case.body is not None:
        request["body"] = case.body
    body = json.loads(answer.content) if answer.content else None
    response = {
        "status": answer.status_code,
        "headers": {name: answer[name] for name in _HEADERS if name in answer},
        "body": normalised(world, body),
    }
    return {"request": request, "response": response}


def normalised(world: World, body: Any) -> Any:
    """The same on every day and in every run."""
    names = {str(key): f"<{name}>" for name, key in world.ids.items()}
    text = _CURSOR.sub("cursor=<cursor>", _SECRET.sub("<secret>", json.dumps(_without_clock(body))))
    seen: dict[str, str] = {}

    def named(found: re.Match[str]) -> str:
        return names.get(found[0]) or seen.setdefault(found[0], f"<id {len(seen) + 1}>")

    return json.loads(_UUID.sub(named, text))


def _without_clock(body: Any) -> Any:
    if isinstance(body, list):
        return [_without_clock(one) for one in body]
    if not isinstance(body, dict):
        return body
    return {key: "<time>" if key in _CLOCK else _without_clock(value) for key, value in body.items()}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_answer_is_the_golden_one(world: World, case: Case) -> None:
    found = told(world, case, ask(world, case))
    file = FOLDER / f"{case.name}.json"
    if WRITE:
        file.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    assert file.exists(), f"{file.name}: expected a golden answer, found none. See the head of this file."
    assert found == json.loads(file.read_text())


def _documented(case: Case) -> tuple[str, str]:
    path, _, parameters = re.sub(r"\{\w+\}", "{}", case.path).partition("?")
    names = "&".join(part.partition("=")[0] for part in parameters.split("&"))
    return case.method, f"{path}?{names}" if names else path


def test_every_documented_route_has_a_golden_answer() -> None:
    assert len(DOCUMENTED) == 35
    missing = set(DOCUMENTED) - {_documented(case) for case in ANSWERS}
    assert not missing, f"give each a case in golden_cases.py: {sorted(missing)}"
    for case in ANSWERS:
        assert json.loads((FOLDER / f"{case.name}.json").read_text())["response"]["status"] in (200, 201, 204)


def test_every_error_has_a_golden_answer() -> None:
    told = {case.name: json.loads((FOLDER / f"{case.name}.json").read_text())["response"] for case in ERRORS}
    assert {one["status"] for one in told.values()} == STATUSES
    for name, one in told.items():
        assert name.startswith(f"error_{one['status']}_")
        assert one["headers"]["Content-Type"] == "application/problem+json"
        assert one["body"]["status"] == one["status"]


def test_no_golden_answer_is_left_over() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == {case.name for case in CASES}


def test_the_dashboard_is_the_same_under_its_tenant(world: World) -> None:
    headers = {"Authorization": world.tokens["owner"]}
    base = f"/api/v1/tenants/{world.ids['tenant_id']}/dashboard"
    for name in ("stats", "analytics", "activities", "recent-sales", "financial-summary"):
        short = Client().get(f"/api/dashboard/{name}", headers=headers)
        assert short.status_code == 200
        assert short.json() == Client().get(f"{base}/{name}/", headers=headers).json()
        with pytest.raises(Resolver404):
            resolve(f"/api/dashboard/{name}/")
