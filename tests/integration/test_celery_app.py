# ruff: noqa: F811 - fixtures are imported by name
"""Celery with real workers on real servers: twice delivered, held, forked; and two beats."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from celery.schedules import BaseSchedule, crontab
from tests.integration.sqlalchemy_world import config_of
from tests.integration.test_client_pool import kill_backend_when
from tests.integration.test_client_world import World, two_servers, world  # noqa: F401
from tests.integration.test_sqlalchemy import dozing, in_flight, waits_for_lease  # noqa: F401

from understudy.client import Pool
from understudy.client.host import host_of
from understudy.integrations.celery import Scheduler, TransactionTask
from understudy.lease import Phase

ROOT = Path(__file__).parent.parent.parent


app = Celery("farm", broker="memory://")
app.conf.broker_transport_options = {"polling_interval": 0.01}  # seconds


@app.task(base=TransactionTask, pool=None, shared=False)
def add(conn: Any, name: str) -> str:
    conn.execute("INSERT INTO item (name) VALUES (%s)", (name,))
    return name


@pytest.fixture(scope="module")
def working() -> Iterator[None]:
    """A worker in threads of this process."""
    with start_worker(app, pool="threads", concurrency=4, perform_ping_check=False, shutdown_timeout=30):
        yield


@pytest.fixture
def worker(world: World, working: None) -> Iterator[None]:
    """The same, whose task writes in the world of this test."""
    with Pool(world.cluster, world.directory, max_size=4) as add.pool:
        yield


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Poll, with a deadline: another process does the work, and has no event for us."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
    return found


def ended() -> Callable[[int], None]:
    """Wait until that many tasks have ended from now on, well or not."""
    from celery.signals import task_postrun

    over = threading.Semaphore(0)
    receiver = lambda **_: over.release()  # noqa: E731 - Celery keeps weak references
    task_postrun.connect(receiver, weak=False)

    def wait(count: int) -> None:
        for _ in range(count):
            assert over.acquire(timeout=60)
        task_postrun.disconnect(receiver)

    return wait


def rows(world: World, node: str = "a") -> list[str]:
    return [name.split()[0] for name in world.names(node)]


def test_a_task_that_is_delivered_twice_is_done_once(world: World, worker: None) -> None:
    wait = ended()
    for _ in range(3):
        add.apply_async(("once",), task_id="the-same")
    add.delay("other")
    wait(4)
    assert rows(world) == ["once", "other"]
    assert not in_flight(world)


def test_a_commit_in_doubt_is_settled(world: World, worker: None) -> None:
    """The session is ended while the commit waits: it was not applied, and is done again, once."""
    world.sql("a", "CREATE TABLE IF NOT EXISTS slow (yes boolean PRIMARY KEY)")
    world.sql("a", "DELETE FROM slow; INSERT INTO slow VALUES (true)")
    world.sql(
        "a",
        "CREATE OR REPLACE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN "
        "IF EXISTS (SELECT FROM slow) THEN PERFORM pg_sleep(60); END IF; RETURN NULL; END'; "
        "CREATE CONSTRAINT TRIGGER doze AFTER INSERT ON item DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION doze()",
    )
    try:
        wait = ended()
        add.delay("x")
        until(lambda: world.sql("a", "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
        world.sql("a", "DELETE FROM slow")
        kill_backend_when(world, "wait_event = 'PgSleep'")
        wait(1)
    finally:
        world.sql("a", "DROP TRIGGER doze ON item")
    assert rows(world) == ["x"]


def test_without_a_primary_it_is_retried_and_done_when_there_is_one(
    world: World, worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TransactionTask, "retry", _at_once(TransactionTask.retry))
    policy = host_of(world.cluster, world.directory).cluster.policy
    object.__setattr__(policy, "hold_timeout", 0.1)
    world.at(2, "a", Phase.CHANGING)
    wait = ended()
    add.delay("x")
    wait(2)  # tried and put back, at least twice
    assert rows(world, "b") == []
    world.at(3, "b")
    until(lambda: rows(world, "b") == ["x"])


def _at_once(retry: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, **options: retry(self, **{**options, "countdown": 0})


def test_called_directly_it_is_a_function(world: World, worker: None) -> None:
    with add.pool.connection() as conn:
        assert add(conn, "mine") == "mine"
    assert rows(world) == ["mine"]


@pytest.mark.slow
def test_forked_workers_across_a_planned_change(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent's pool was in use before the fork; each child gets its own, and waits through the change."""
    broker = f"sqla+sqlite:///{tmp_path}/broker.db"
    monkeypatch.setenv("UNDERSTUDY_CONFIG", str(config_of(world)))
    monkeypatch.setenv("CELERY_BROKER", broker)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}/src:{ROOT}")
    sender = Celery(broker=broker)
    command = ["-A", "tests.integration.celery_app", "worker", "--pool", "prefork", "--concurrency", "2"]
    log = tmp_path / "worker.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", *command, "--loglevel", "info", "--without-mingle"],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        for number in range(4):
            sender.send_task("tests.integration.celery_app.add", (f"a{number}",))
        until(lambda: len(world.names("a")) == 4, 60)
        world.at(2, "a", Phase.HOLDING)
        for number in range(4):
            sender.send_task("tests.integration.celery_app.add", (f"b{number}",))
        until(lambda: not world.file.quiet(before_epoch=2))
        world.at(2, "b")
        until(lambda: rows(world, "b") == ["b0", "b1", "b2", "b3"])
    finally:
        process.terminate()
        process.wait(60)
    assert rows(world) == ["a0", "a1", "a2", "a3"]
    writers = {name.split()[2] for name in [*world.names("a"), *world.names("b")]}
    assert str(process.pid) not in writers
    assert "Traceback" not in log.read_text()


def test_two_beats_make_one_run(
    world: World, worker: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)
    monkeypatch.setattr(BaseSchedule, "now", lambda _: now)
    app.conf.beat_schedule = {
        "nightly": {"task": add.name, "schedule": crontab(), "args": ("nightly",)},
        "often": {"task": add.name, "schedule": 3600.0, "args": ("often",)},
    }
    wait = ended()
    for host in ("one", "two"):
        beat = Scheduler(app, schedule_filename=str(tmp_path / host), lazy=False)
        for name in ("nightly", "often"):
            beat.apply_async(beat.schedule[name], advance=False)
        beat.close()
    wait(4)
    assert rows(world) == ["nightly", "often"]
