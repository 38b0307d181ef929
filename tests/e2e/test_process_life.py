# ruff: noqa: F811 - fixtures are imported by name
"""The client in processes that others make: gunicorn, Celery, fork, spawn, and SIGTERM at a bad moment."""

from __future__ import annotations

import http.client
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_client_world import World, two_servers, world  # noqa: F401

from understudy.client import Pool
from understudy.lease import Phase

ROOT = Path(__file__).parents[2]
CHILDREN = 2
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'understudy-client/%'"


@pytest.fixture
def environment(world: World, tmp_path: Path) -> dict[str, str]:
    """What a process needs to find the world's cluster. It holds transactions for ten minutes."""
    lines = [f'directory = "{world.directory}"', f"[clusters.{world.cluster.name}]"]
    for node in world.cluster.nodes:
        lines += [f"[[clusters.{world.cluster.name}.nodes]]", f'name = "{node.name}"', f'dsn = "{node.dsn}"']
    lines += [f"[clusters.{world.cluster.name}.policy]", 'hold_timeout = "10min"']
    config = tmp_path / "understudy.toml"
    config.write_text("\n".join(lines) + "\n")
    config.chmod(0o600)
    for name in ("queue", "control", "results"):
        (tmp_path / "mail" / name).mkdir(parents=True)
    foreign = ("UNDERSTUDY_", "DATABASE_", "DB_", "PRIMARY_DB_", "SUPABASE_", "PG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    own = {"UNDERSTUDY_CONFIG": str(config), "MAIL_FOLDER": str(tmp_path / "mail"), "WARM_UP": "1"}
    return kept | own | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}


@contextmanager
def program(
    environment: dict[str, str], log: Path, *arguments: str, ready: Callable[[], object]
) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a process group of its own. At the end SIGTERM must end it and all its children, in order."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env=environment,
            cwd=environment["HOME"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while not ready():
            assert process.poll() is None, log.read_text()
        yield process
        process.terminate()
        assert process.wait() == 0, log.read_text()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def change_primary(world: World, epoch: int, target: str) -> None:
    """A planned change as the agent makes it: hold, wait until everybody is quiet, open elsewhere."""
    present = world.file.read()
    assert present is not None
    world.at(epoch, present.primary, Phase.HOLDING)
    while world.file.quiet(before_epoch=epoch + 1):
        pass
    world.at(epoch, target)


def assert_all_gone(world: World) -> None:
    """Neither slots of living processes nor sessions of clients are left, the present process's apart."""
    world.file.processes()
    assert {view.pid for view in world.file.processes()} <= {os.getpid()}
    for node in world.servers:
        while world.sql(node, SESSIONS) != [(0,)]:
            pass  # the server notices the end of a session a moment later


# --- gunicorn -----------------------------------------------------------------------------------------------


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def get(path: Path, name: str) -> tuple[str, str]:
    """Ask the application to insert a name; who did it, and on which node."""
    connection = UnixConnection(path)
    try:
        connection.request("GET", f"/?name={name}")
        response = connection.getresponse()
        text = response.read().decode()
        assert response.status == 200, text
    finally:
        connection.close()
    pid, node = text.split()
    return pid, node


def test_gunicorn_preload_with_threads_across_a_change(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    path, log = tmp_path / "web.sock", tmp_path / "log"
    options = f"--preload --worker-class gthread --workers 2 --threads 4 --bind unix:{path}"

    def answers() -> bool:
        return path.exists() and log.read_text().count("Booting worker") >= 2

    with (
        program(
            environment, log, "gunicorn", *options.split(), "tests.e2e.apps:wsgi", ready=answers
        ) as server,
        ThreadPoolExecutor(8) as clients,
    ):
        before = list(clients.map(lambda n: get(path, f"before-{n}"), range(60)))
        during = [clients.submit(get, path, f"during-{n}") for n in range(200)]
        change_primary(world, 2, "b")
        during_answers = [future.result() for future in during]
        os.kill(server.pid, signal.SIGHUP)  # new workers, forked from the same warm parent
        after = list(clients.map(lambda n: get(path, f"after-{n}"), range(60)))
    answers_of_all = [*before, *during_answers, *after]
    assert {node for _, node in before} == {"a"}
    assert {node for _, node in after} == {"b"}
    assert len({pid for pid, _ in answers_of_all}) >= 2
    assert str(server.pid) not in {pid for pid, _ in answers_of_all}
    assert len(world.names("a") + world.names("b")) == len(answers_of_all)
    assert len(world.names("a")) == sum(node == "a" for _, node in answers_of_all)
    assert_all_gone(world)


def test_gunicorn_ends_in_order_with_a_request_that_is_held(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    """SIGTERM lets a held request finish once the lease opens; the client gets its answer."""
    path, log = tmp_path / "web.sock", tmp_path / "log"
    options = f"--preload --worker-class gthread --workers 1 --threads 2 --bind unix:{path}"
    with (
        program(
            environment,
            log,
            "gunicorn",
            *options.split(),
            "tests.e2e.apps:wsgi",
            ready=lambda: path.exists() and "Booting worker" in log.read_text(),
        ) as server,
        ThreadPoolExecutor(1) as client,
    ):
        get(path, "first")
        world.at(1, "a", Phase.HOLDING)
        answer = client.submit(get, path, "held")
        while "asked for held" not in log.read_text():
            pass
        server.terminate()
        while "Handling signal: term" not in log.read_text():
            pass
        world.at(1, "a")
        assert answer.result()[1] == "a"
    assert world.names() == ["first", "held"]
    assert_all_gone(world)


# --- Celery -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_celery_prefork_across_a_change(
    world: World, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    options = "-A tests.e2e.apps:celery worker --pool prefork -c 2 --loglevel INFO --without-gossip"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WARM_UP")  # this process only sends
    sys.modules.pop("tests.e2e.apps", None)
    from tests.e2e import apps

    def send(kind: str) -> list[Any]:
        return [apps.insert_later.delay(f"{kind}-{n}") for n in range(15)]

    try:
        with program(
            environment, log, "celery", *options.split(), ready=lambda: " ready." in log.read_text()
        ) as worker:
            before = [result.get(timeout=60, interval=0.02) for result in send("before")]
            during = send("during")
            change_primary(world, 2, "b")
            later = [result.get(timeout=60, interval=0.02) for result in during + send("after")]
    finally:
        apps.pool.close()
        sys.modules.pop("tests.e2e.apps", None)
    answers = [answer.split() for answer in before + later]
    assert {node for _, node in answers[:15]} == {"a"}
    assert {node for _, node in answers[-15:]} == {"b"}
    assert len({pid for pid, _ in answers}) == 2
    assert str(worker.pid) not in {pid for pid, _ in answers}
    assert len(world.names("a") + world.names("b")) == len(answers)
    assert_all_gone(world)


# --- fork and spawn -----------------------------------------------------------------------------------------


def _work_across_a_change(cluster: Any, directory: Path, pool: Pool | None, pipe: Any, deeper: int) -> None:
    """Insert, tell, wait for the word, insert again; then the same in a child of the child."""
    pool = pool or Pool(cluster, directory, max_size=1)
    nodes = []
    for _ in range(2):
        with pool.connection() as conn:
            conn.execute("INSERT INTO item (name) VALUES (gen_random_uuid()::text)")
            nodes.append(conn.node)
        pipe.send(nodes)
        pipe.recv()
    if deeper:
        _fork_again(cluster, directory, pool, deeper - 1)
    with pool.connection() as conn:
        conn.execute("SELECT 1")


def _fork_again(cluster: Any, directory: Path, pool: Pool, deeper: int) -> None:
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_work_across_a_change, args=(cluster, directory, pool, there, deeper))
    child.start()
    for _ in range(2):
        here.recv()
        here.send(None)
    child.join()
    assert child.exitcode == 0


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_made_while_threads_use_the_pool(world: World, method: str) -> None:
    """Forked in the middle of everything: the locks that other threads held are not the child's problem."""
    context = multiprocessing.get_context(method)
    stop = threading.Event()

    def insert_until_stopped(pool: Pool) -> int:
        done = 0
        while not stop.is_set():
            with pool.connection() as conn:
                conn.execute("INSERT INTO item (name) VALUES (gen_random_uuid()::text)")
            done += 1
        return done

    with Pool(world.cluster, world.directory, max_size=3) as pool, ThreadPoolExecutor(4) as threads:
        busy = [threads.submit(insert_until_stopped, pool) for _ in range(4)]
        children = []
        for _ in range(CHILDREN):
            here, there = context.Pipe()
            given = (world.cluster, world.directory, pool if method == "fork" else None, there, 1)
            child = context.Process(target=_work_across_a_change, args=given)
            child.start()
            children.append((child, here))
        first = [here.recv() for _, here in children]
        change_primary(world, 2, "b")
        for _, here in children:
            here.send(None)
        second = [here.recv() for _, here in children]
        for child, here in children:
            here.send(None)
            child.join()
            assert child.exitcode == 0
        stop.set()
        done = sum(future.result() for future in busy)
    assert first == [["a"]] * CHILDREN
    assert second == [["a", "b"]] * CHILDREN
    assert len(world.names("a") + world.names("b")) == done + CHILDREN * 2 * 2
    assert_all_gone(world)


# --- signals ------------------------------------------------------------------------------------------------

_HELD = """
import signal, sys, threading, time
from understudy.lease import Phase
import understudy
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
pool = understudy.pool()
with pool.connection() as conn:
    conn.execute("SELECT 1")
def tell():
    while not pool._host._waiting:
        time.sleep(0.001)
    print("held", flush=True)
print("ready", flush=True)
sys.stdin.readline()
threading.Thread(target=tell, daemon=True).start()
try:
    with pool.connection() as conn:
        conn.execute("INSERT INTO item (name) VALUES ('never')")
finally:
    pool.close()
    print("in flight", pool._host.slot.in_flight, flush=True)
"""

_OPEN = """
import signal, sys
import understudy
if sys.argv[1] == "orderly":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
pool = understudy.pool()
with pool.connection() as conn:
    conn.execute("INSERT INTO item (name) VALUES ('never')")
    print("open", flush=True)
    conn.execute("SELECT pg_sleep(600)")
"""


def started(environment: dict[str, str], script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_sigterm_ends_a_transaction_that_is_held(world: World, environment: dict[str, str]) -> None:
    """It would be held for ten minutes; the signal's handler runs at once and the process ends in order."""
    with started(environment, _HELD) as process:
        assert process.stdout.readline() == "ready\n"
        world.at(1, "a", Phase.HOLDING)
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "held\n"
        process.terminate()
        assert process.stdout.readline() == "in flight 0\n"
        assert process.wait() == 7
    assert world.names() == []
    assert_all_gone(world)


@pytest.mark.parametrize(("how", "code"), [("orderly", 7), ("at once", -signal.SIGTERM)])
def test_sigterm_inside_a_transaction_leaves_nothing(
    world: World, environment: dict[str, str], how: str, code: int
) -> None:
    with started(environment, _OPEN, how) as process:
        assert process.stdout.readline() == "open\n"
        assert world.file.quiet(before_epoch=2) == [process.pid]
        asleep = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        while not (sessions := world.sql("a", asleep)):
            pass
        process.terminate()
        assert process.wait() == code
    assert world.file.quiet(before_epoch=2) == []
    for (pid,) in sessions:
        world.sql("a", "SELECT pg_terminate_backend(%s)", pid)  # it would notice after ten minutes
    assert world.names() == []
    assert_all_gone(world)
