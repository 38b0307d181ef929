"""The names that projects written against the two-alias design use: router, middleware, health, tasks."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import psycopg
import pytest
from tests.integration.django.conftest import change
from tests.unit.test_fence_row import Hangs

from understudy.demo.lab import Lab
from understudy.lease import Phase
from understudy.model import Node


def handled(view: Callable[[object], object], method: str = "GET", **headers: str) -> object:
    """The response of the middleware around Django's own handler with that view: errors become 500 as they do there."""
    from django.core.handlers.base import BaseHandler
    from django.test import RequestFactory
    from django.urls import path

    urls = type("Urls", (), {"urlpatterns": [path("", view)]})
    request = RequestFactory().generic(method, "/", headers=headers)
    request.urlconf = urls
    handler = BaseHandler()
    handler.load_middleware()
    return handler.get_response(request)


@pytest.fixture
def logs_off() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Failing:
    """A view that fails so many times in a way, then answers."""

    def __init__(self, error: Callable[[], Exception], times: int) -> None:
        self.error, self.left, self.calls = error, times, 0

    def __call__(self, request: object) -> object:
        from django.http import HttpResponse

        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error()
        return HttpResponse("done")


def connection_lost() -> Exception:
    from django.db import OperationalError

    error = OperationalError("server closed the connection unexpectedly")
    error.__cause__ = psycopg.OperationalError("server closed the connection unexpectedly")
    return error


def in_doubt() -> Exception:
    from understudy.integrations.django.errors import CommitInDoubt

    return CommitInDoubt("lost during a commit")


def duplicate_key() -> Exception:
    from django.db import IntegrityError

    error = IntegrityError("duplicate key")
    error.__cause__ = psycopg.errors.UniqueViolation("duplicate key")
    return error


def deadlock() -> Exception:
    from django.db import OperationalError

    error = OperationalError("deadlock detected")
    error.__cause__ = psycopg.errors.DeadlockDetected("deadlock detected")
    return error


@pytest.mark.parametrize(
    ("method", "error", "times", "status", "calls"),
    [
        ("GET", connection_lost, 1, 200, 2),
        ("GET", in_doubt, 2, 200, 3),
        ("GET", connection_lost, 9, 503, 3),
        ("POST", connection_lost, 1, 503, 1),
        ("POST", in_doubt, 1, 503, 1),
        ("GET", duplicate_key, 1, 500, 1),
        ("POST", deadlock, 1, 500, 1),
    ],
)
def test_requests_are_repeated_only_where_that_is_safe(
    farm: Lab, logs_off: None, method: str, error: object, times: int, status: int, calls: int
) -> None:
    view = Failing(error, times)  # type: ignore[arg-type]
    response = handled(view, method)
    assert (response.status_code, view.calls) == (status, calls)
    if status == 503:
        assert int(response["Retry-After"]) > 0
        assert ("unknown" in response.content.decode()) is (error is in_doubt)


@pytest.mark.parametrize(
    ("accept", "shape"),
    [
        ("*/*", "text/plain"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/plain"),
        ("application/json", "application/problem+json"),
        ("application/json, text/plain, */*", "application/problem+json"),
        ("application/problem+json", "application/problem+json"),
        ("image/png", "text/plain"),
    ],
)
def test_the_answer_has_the_shape_that_the_request_accepts(
    farm: Lab, logs_off: None, accept: str, shape: str
) -> None:
    for error, kind in ((connection_lost, "connection-lost"), (in_doubt, "commit-in-doubt")):
        response = handled(Failing(error, 9), Accept=accept)
        assert (response.status_code, response["Content-Type"].partition(";")[0]) == (503, shape)
        assert response["Retry-After"]
        if shape == "application/problem+json":
            body = json.loads(response.content)
            assert (body["type"], body["status"]) == (f"urn:understudy:{kind}", 503)
            assert body.keys() == {"type", "title", "status", "detail", "outcome"}


@pytest.mark.parametrize(("method", "status", "times"), [("GET", 200, 2), ("POST", 503, 1)])
def test_what_is_lost_while_the_session_is_saved(
    farm: Lab, logs_off: None, monkeypatch: pytest.MonkeyPatch, method: str, status: int, times: int
) -> None:
    """In a middleware further in, where Django makes a 500 of it without asking anybody."""
    from django.contrib.sessions.middleware import SessionMiddleware

    saving = Failing(connection_lost, 1)
    monkeypatch.setattr(SessionMiddleware, "process_response", lambda _, request, response: saving(request))
    response = handled(Failing(connection_lost, 0), method)
    assert (response.status_code, saving.calls) == (status, times)
    assert ("Retry-After" in response) is (status == 503)


async def test_middleware_of_asynchronous_requests(farm: Lab) -> None:
    from django.db import OperationalError
    from django.http import HttpRequest, HttpResponse

    from understudy.integrations.django.middleware import DatabaseFailoverMiddleware

    async def inner(request: HttpRequest) -> HttpResponse:
        try:
            return view(request)  # type: ignore[return-value]
        except OperationalError as error:
            response = middleware.process_exception(request, error)
            assert response is not None
            return response

    view, middleware = Failing(connection_lost, 1), DatabaseFailoverMiddleware(inner)
    request = HttpRequest()
    request.method = "GET"
    assert (await middleware(request)).content == b"done"  # type: ignore[misc]
    assert view.calls == 2


async def test_views_through_asgi_across_a_change(farm: Lab) -> None:
    from asgiref.sync import sync_to_async
    from django.test import AsyncClient

    client = AsyncClient()
    assert (await client.get("/herds-async")).status_code == 200
    await sync_to_async(change)(farm)
    found = (await client.get("/herds-async")).json()
    assert found["count"] == found["again"]
    assert (await client.post("/herds", {"name": "by asgi"})).status_code == 200


def test_router(clean: Lab) -> None:
    from django.db import router, transaction
    from tests.integration.django.farm.models import Animal, Herd

    from understudy.integrations.django.router import DatabaseRouter

    ours = DatabaseRouter()
    with transaction.atomic():  # the transaction and the rows are on one alias
        herd = Herd.objects.create(name="x")
        assert herd._state.db == "default"
        assert list(Herd.objects.select_for_update()) == [herd]
        transaction.set_rollback(True)
    assert not Herd.objects.exists()
    herd = Herd.objects.create(name="y")
    clean.await_true(lambda: Herd.objects.using("backup").exists(), 60, "the row on the standby")
    on_backup = Herd.objects.using("backup").get()
    assert Animal.objects.create(herd=on_backup, name="z").herd.pk == herd.pk  # relations across aliases
    assert on_backup.animals.db == "default"
    assert [router.db_for_read(Herd), router.db_for_write(Herd)] == ["default", "default"]
    assert [ours.allow_migrate(a, "farm") for a in ("default", "backup", "other")] == [True, False, None]
    assert ours._is_primary_available()


def test_reads_go_to_the_standby_while_nothing_can_be_written(farm: Lab, monkeypatch) -> None:
    from django.db import connections, router
    from tests.integration.django.farm.models import Herd

    host = connections["default"].host
    farm.await_settled()
    farm.await_true(lambda: host.file.read().standby_lag >= 0, 60, "a known lag")
    assert router.db_for_read(Herd) == "default"
    monkeypatch.setattr(host, "usable", lambda lease: False)  # as when two of three registers are away
    farm.await_true(
        lambda: router.db_for_read(Herd) == "backup", 60, "reads of the standby while its lag is known"
    )
    assert router.db_for_write(Herd) == "default"
    assert Herd.objects.count() == Herd.objects.using("backup").count()


@pytest.mark.parametrize("phase", [Phase.HOLDING, Phase.CHANGING])
def test_reads_stay_on_default_while_the_primary_changes(farm: Lab, monkeypatch, phase: Phase) -> None:
    """Nobody knows the lag then: `backup` would wait as long, on connections that have to be opened first."""
    from django.db import connections, router
    from tests.integration.django.farm.models import Herd

    host = connections["default"].host
    during = replace(host.file.read(), phase=phase, standby_lag=-1.0)  # what the agent's `hold` writes
    monkeypatch.setattr(host, "lease", lambda: during)
    assert router.db_for_read(Herd) == "default"


def test_force_failover_is_an_order_to_the_agent(clean: Lab) -> None:
    from tests.integration.django.farm.models import Herd

    from understudy.integrations.django.router import DatabaseRouter

    change(clean)
    clean.await_settled()
    target = DatabaseRouter.force_failover()
    clean.await_state(lambda s: s.primary == target and s.plan is None, 60, "the change")
    Herd.objects.create(name="on the other node")
    with clean.connect(target) as there:
        assert there.execute("SELECT name FROM farm_herd").fetchall() == [("on the other node",)]
    assert any("asked for by the application" in event.message for event in clean.events())


def test_health_has_the_keys_of_the_design_and_connections_of_its_own(farm: Lab) -> None:
    from django.db import connection, transaction

    from understudy.integrations.django.health import DatabaseHealthService

    with contextlib.suppress(Exception), transaction.atomic(), connection.cursor() as cursor:
        with contextlib.suppress(Exception):
            cursor.execute("SELECT 1/0")
        status = DatabaseHealthService.get_health_status()  # inside a broken block
    assert status.keys() == {"primary", "backup", "failover_active"}
    for name in ("primary", "backup"):
        assert status[name].keys() == {"healthy", "response_time_ms", "error"}  # type: ignore[literal-required]
        assert status[name]["healthy"] is True  # type: ignore[literal-required]
    assert status["failover_active"] is (farm.state.primary == "b")
    healthy, milliseconds, error = DatabaseHealthService.check_backup_health()
    assert (healthy, error) == (True, None)
    assert milliseconds is not None
    assert milliseconds > 0


def test_a_node_that_is_down_is_named_without_its_password(farm: Lab, caplog) -> None:
    from dataclasses import replace

    from understudy.integrations.django.health import _ask

    node = farm.cluster.nodes[1]
    dsn = node.dsn.replace(str(farm.servers["b"].port), "1")
    healthy, milliseconds, error = _ask(replace(node, dsn=dsn))
    assert (healthy, milliseconds) == (False, None)
    assert error
    password = dsn.split("://")[1].split("@")[0].split(":")[1]
    assert password not in error + caplog.text


def test_a_node_that_takes_the_login_and_hangs_is_ill_in_time(farm: Lab, settings_limit: None) -> None:
    """Else one look of the periodic task would never end, and with it a worker."""
    from understudy.integrations.django.health import _ask

    server, found = Hangs(), []
    dsn = f"host=127.0.0.1 port={server.port} user=u dbname=d sslmode=disable gssencmode=disable"
    node = Node(name="a", dsn=dsn, admin_dsn=dsn, replication_dsn=dsn, priority=1)
    asking = threading.Thread(target=lambda: found.append(_ask(node)), daemon=True)
    asking.start()
    asking.join(60)
    server.close()
    ((healthy, took, error),) = found
    assert (healthy, took) == (False, None)
    assert "no answer within" in error


@pytest.fixture
def settings_limit() -> Iterator[None]:
    from django.test import override_settings

    with override_settings(DATABASE_FAILOVER_TIMEOUT=2):
        yield


def test_the_celery_task_has_its_name_and_logs_changes_only(farm: Lab, caplog) -> None:
    from celery import Celery

    from understudy.integrations.django import tasks

    app = Celery("farm", broker="memory://")
    app.conf.beat_schedule = {"another": {"task": "x", "schedule": 60}}
    app.conf.beat_schedule.update(tasks.BEAT_SCHEDULE)
    entry = app.conf.beat_schedule["check-database-health"]
    assert entry["task"] in app.tasks
    assert "another" in app.conf.beat_schedule
    tasks._before.clear()
    with caplog.at_level(logging.WARNING, logger=tasks.__name__):
        first = app.tasks[entry["task"]].apply().get()
        lines = len(caplog.records)
        app.tasks[entry["task"]].apply()
    assert first.keys() == {"primary", "backup", "failover_active"}
    assert len(caplog.records) == lines


def test_replicating_by_hand_does_nothing(clean: Lab) -> None:
    from django.db.models.signals import post_save
    from tests.integration.django.farm.models import Herd

    from understudy.integrations.django.replication import DatabaseReplicationService

    def replicate(sender: object, instance: Herd, **kwargs: object) -> None:
        DatabaseReplicationService.replicate_to_backup(instance)

    post_save.connect(replicate)
    try:
        herd = Herd.objects.create(name="saved once")
    finally:
        post_save.disconnect(replicate)
    assert herd._state.db == "default"
    clean.await_true(lambda: Herd.objects.using("backup").exists(), 60, "the row on the standby")
    assert Herd.objects.using("backup").get().name == "saved once"
