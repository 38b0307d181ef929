"""The project `farm` in processes that others make: what clients were told is there, whatever became of the primary."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest
from tests.e2e.test_process_life import UnixConnection, program
from tests.integration.django.conftest import ROOT, SETTINGS, change, manage

from understudy.demo.lab import Lab
from understudy.model import Rpo

CLIENTS = 6
WORKERS = 3


@dataclass
class Browser(threading.Thread):
    """One client: requests in turn, each of a name of its own, and every answer."""

    number: int
    path: Path
    stop: threading.Event
    answers: dict[str, int] = field(default_factory=dict)
    wrong: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        while not self.stop.is_set():
            name = f"{self.number}-{len(self.answers)}"
            status, text, retry_after = post(self.path, name)
            if (status, bool(retry_after)) not in {(200, False), (503, True)}:
                self.wrong.append((status, text))
            self.answers[name] = status

    @property
    def served(self) -> int:
        return sum(status == 200 for status in self.answers.copy().values())


def post(path: Path, name: str) -> tuple[int, str, str | None]:
    """Make a herd of that name."""
    connection = UnixConnection(path)
    try:
        body, kind = urlencode({"name": name}), {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/herds", body, kind)
        response = connection.getresponse()
        return response.status, response.read().decode(), response.headers["Retry-After"]
    finally:
        connection.close()


@dataclass
class Crowd:
    """All clients, and what they know."""

    browsers: list[Browser]
    lab: Lab

    def more(self, requests: int = 30) -> None:
        """Every client is served further."""
        goals = [browser.served + requests for browser in self.browsers]

        def further() -> bool:
            return all(browser.served >= goal for browser, goal in zip(self.browsers, goals, strict=True))

        self.lab.await_true(further, 90, f"{requests} more answers for each client")

    def refused(self) -> int:
        return sum(status == 503 for browser in self.browsers for status in browser.answers.copy().values())


@contextmanager
def crowd(lab: Lab, path: Path) -> Iterator[Crowd]:
    stop = threading.Event()
    browsers = [Browser(number, path, stop) for number in range(CLIENTS)]
    for browser in browsers:
        browser.start()
    try:
        yield Crowd(browsers, lab)
    finally:
        stop.set()
        for browser in browsers:
            browser.join(60)


def test_a_child_has_connections_of_its_own(clean: Lab) -> None:
    from django.db import connection
    from tests.integration.django.farm.models import Herd

    Herd.objects.create(name="before")
    session = connection.connection.pgconn.backend_pid
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        found = b"failed"
        with contextlib.suppress(Exception):
            Herd.objects.create(name="from the child")
            found = b"own" if connection.connection.pgconn.backend_pid != session else b"shared"
        os.write(writing, found)
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    assert os.read(reading, 10) == b"own"
    os.close(reading)
    assert Herd.objects.count() == 2
    assert connection.connection.pgconn.backend_pid == session


@pytest.fixture(scope="module")
def zero() -> Iterator[Lab]:
    """In `zero`: what was acknowledged survives the primary."""
    with Lab(mode=Rpo.ZERO, scale=1) as lab:
        manage(lab.config_file)("migrate")
        yield lab


def sessions(lab: Lab, node: str) -> int:
    """Those of the application on that node."""
    ours = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND query LIKE '%farm_herd%'"
    with lab.connect(node, "postgres") as connection:
        return int(connection.execute(ours).fetchall()[0][0])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "workers",
    [f"sync --workers {WORKERS}", f"gthread --workers {WORKERS} --threads 3"],
    ids=["sync", "gthread"],
)
def test_a_planned_change_and_a_kill_9(zero: Lab, tmp_path: Path, workers: str) -> None:
    path, log = tmp_path / "web.sock", tmp_path / "log"
    lab = zero
    environment = os.environ | {
        "UNDERSTUDY_CONFIG": str(lab.config_file),
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
    }
    words = (
        f"gunicorn --preload --worker-class {workers} --bind unix:{path} tests.integration.django.farm.wsgi"
    )
    lab.await_settled()

    def ready() -> bool:
        return path.exists() and log.read_text().count("Booting worker") >= WORKERS

    with program(environment, log, *words.split(), ready=ready):
        with crowd(lab, path) as clients:
            clients.more()
            before = lab.state.primary
            change(lab)
            clients.more()
            assert clients.refused() == 0
            lab.await_true(
                lambda: sessions(lab, before) == 0, 60, "the connections of the old epoch to be gone"
            )
            lab.await_settled()
            before = lab.state.primary
            lab.servers[before].kill()
            clients.more()
            assert lab.state.primary != before
        lab.servers[before].start()
        lab.await_settled(120)
        assert post(path, "last")[0] == 200
        assert sessions(lab, before) == 0
    answers = {"last": 200} | {
        name: status for browser in clients.browsers for name, status in browser.answers.items()
    }
    assert [wrong for browser in clients.browsers for wrong in browser.wrong] == []
    with lab.connect(lab.state.primary) as connection:
        connection.execute("SET default_transaction_read_only = off")
        there = Counter(name for (name,) in connection.execute("DELETE FROM farm_herd RETURNING name"))
    acknowledged = {name for name, status in answers.items() if status == 200}
    assert acknowledged - there.keys() == set()
    assert there.keys() <= answers.keys()
    assert max(there.values()) == 1
