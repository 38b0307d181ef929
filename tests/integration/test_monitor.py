"""The monitor on real servers, with real deliveries: what it sees, what it tells, and that it disturbs nobody."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import queue
import signal
import socketserver
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.faults.agent_world import world_of
from tests.integration.conftest import Pair, make_pair

from understudy.agent.agent import ClusterAgent
from understudy.agent.service import Running
from understudy.cli.app import main
from understudy.config import Config
from understudy.config_alerts import Alerting, Disk, Monitor, Route, Severity
from understudy.demo.lab import Lab
from understudy.embedded.postgresql import EmbeddedPostgreSQL
from understudy.engines.postgresql.engine import PostgreSQLEngine
from understudy.errors import Unreachable
from understudy.lease import LeaseFile, boot_now
from understudy.model import Rpo
from understudy.monitor.delivery import send
from understudy.monitor.disks import scrape
from understudy.monitor.edges import Kind, Notice
from understudy.monitor.looking import Looker
from understudy.monitor.part import watch
from understudy.monitor.readings import Look

SECRET = "T0kenS3cret"
PATIENCE = 60.0
NOTICE = Notice(
    kind=Kind.RAISED, severity=Severity.CRITICAL, key="down:a", title="a is down", text="since now"
)


# --- receivers: what stands at the other end of an alert ----------------------------------------------------


class Hook:
    """A webhook on loopback: what it was sent, in order. Answers 500 while ``broken``."""

    def __init__(self) -> None:
        self.received: queue.Queue[dict[str, Any]] = queue.Queue()
        self.broken = False
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if not hook.broken:
                    hook.received.put(json.loads(body))
                self.send_response(500 if hook.broken else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://u:{SECRET}@127.0.0.1:{self.server.server_port}/{SECRET}"

    def until(self, *titles: str) -> list[dict[str, Any]]:
        """Everything that arrives until each of these has been (a part of) a title."""
        found: list[dict[str, Any]] = []
        missing = set(titles)
        while missing:
            try:
                found.append(self.received.get(timeout=PATIENCE))
            except queue.Empty:
                raise AssertionError(f"never arrived: {missing}; arrived: {found}") from None
            missing -= {title for title in missing if title in found[-1]["title"]}
        return found


class Mail:
    """A mail server on loopback that takes every message."""

    def __init__(self) -> None:
        self.received: queue.Queue[str] = queue.Queue()
        mail = self

        class Handler(socketserver.StreamRequestHandler):
            def say(self, text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode())

            def handle(self) -> None:
                self.say("220 test")
                while line := self.rfile.readline().decode().strip().upper():
                    if line == "DATA":
                        self.say("354 go on")
                        message = iter(lambda: self.rfile.readline().decode(), ".\r\n")
                        mail.received.put("".join(message))
                        self.say("250 taken")
                    elif line == "QUIT":
                        self.say("221 bye")
                        return
                    else:
                        self.say("250 fine")

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = (
            f"mailto://127.0.0.1:{self.server.server_address[1]}?from=barn@example.org&to=me@example.org"
        )


@dataclass
class Receiver:
    """Any server on loopback."""

    server: socketserver.BaseServer


@contextmanager
def serving(receiver: Hook | Mail | Receiver) -> Iterator[Any]:
    thread = threading.Thread(target=receiver.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join()


@pytest.fixture
def hook() -> Iterator[Hook]:
    with serving(Hook()) as hook:
        yield hook


def test_a_webhook_gets_it(hook: Hook) -> None:
    assert send(hook.url, NOTICE, "farm") == ""
    (got,) = hook.until("a is down")
    assert got["title"] == "[critical] farm: a is down"
    assert got["message"] == "since now"
    assert got["type"] == "failure"


def test_a_mail_server_gets_it() -> None:
    with serving(Mail()) as mail:
        assert send(mail.url, NOTICE, "farm") == ""
        message = mail.received.get(timeout=PATIENCE)
    assert "Subject: [critical] farm: a is down" in message
    assert "since now" in message


def test_a_receiver_that_refuses_says_why_without_secrets(hook: Hook) -> None:
    hook.broken = True
    error = send(hook.url, NOTICE, "farm")
    assert "500" in error
    assert SECRET not in error


def test_why_it_failed_is_known_however_little_is_logged(hook: Hook) -> None:
    hook.broken = True
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)  # `understudy run --log-level error`
    try:
        assert "500" in send(hook.url, NOTICE, "farm")
    finally:
        root.setLevel(before)


def test_a_receiver_that_is_not_there(hook: Hook) -> None:
    port = hook.server.server_port
    gone = f"json://u:{SECRET}@127.0.0.1:{port}/{SECRET}"
    hook.server.socket.close()
    error = send(gone, NOTICE, "farm")
    assert error
    assert SECRET not in error


# --- looking at a real server -------------------------------------------------------------------------------


@pytest.fixture
def looked(pair: Pair) -> Iterator[Callable[..., Looker]]:
    """Makes lookers on the pair."""

    def make(**settings: object) -> Looker:
        return Looker(pair.cluster, Monitor(**settings), boot_now)  # type: ignore[arg-type]

    return make


@asynccontextmanager
async def closed(looker: Looker) -> AsyncIterator[None]:
    """The looker's connections are closed at the end."""
    try:
        yield
    finally:
        await looker.close()


@contextmanager
def sleeping(pair: Pair, node: str, statement: str) -> Iterator[None]:
    """A statement of the application that runs until it is ended."""
    with pair.connect(node) as busy, pair.connect(node, "postgres") as admin:
        pid = busy.info.backend_pid
        thread = threading.Thread(target=lambda: _ignoring(busy, statement), daemon=True)
        thread.start()
        try:
            yield
        finally:
            admin.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
            thread.join()


def _ignoring(connection: psycopg.Connection, statement: str) -> None:
    with pytest.raises(psycopg.OperationalError):
        connection.execute(statement)


async def test_a_slow_statement_is_seen_without_its_values(pair: Pair, looked: Callable[..., Looker]) -> None:
    looker = looked(slow_query=0.05)
    found: list[Look] = []
    with sleeping(pair, "a", f"SELECT '{SECRET}', pg_sleep(600) /* {SECRET} */"):
        async with closed(looker):
            while not found or not found[-1].slow:
                found.append(await looker.look("a"))
    assert [s.text for s in found[-1].slow] == ["SELECT ?, pg_sleep(?)"]
    assert found[-1].slow[0].seconds > 0.05
    assert found[-1].hidden == 0
    assert SECRET not in repr(found)


async def test_connections_slots_and_disks(pair: Pair, looked: Callable[..., Looker]) -> None:
    with pair.connect("a", "postgres") as admin:
        admin.execute(f"SELECT pg_create_logical_replication_slot('held_{pair.database}', 'pgoutput')")
    disks = (Disk(node="a", path="/"), Disk(node="b", size=2**40))
    looker = looked(disks=disks)
    async with closed(looker):
        while (await looker.look("a")).disk is None:  # asked in a thread of its own
            pass
        before = (await looker.look("a")).slots[f"held_{pair.database}"]
        pair.sql("a", "INSERT INTO item (name) SELECT repeat('x', 1000) FROM generate_series(1, 2000)")
        a, b = await looker.look("a"), await looker.look("b")
    after = a.slots[f"held_{pair.database}"]
    assert after.retained - before.retained > 2_000_000
    assert after.status == "reserved"
    assert 0 < a.connections < a.connections_limit
    assert a.disk is not None
    assert 0 < a.disk <= 1
    assert b.disk is not None
    assert 0 < b.disk < 0.01  # a small server on a terabyte


async def test_finished_statements_come_from_pg_stat_statements(
    pair: Pair, looked: Callable[..., Looker]
) -> None:
    """Where there is no real one (`test_statements.py`): a view of the same columns, under the extension's name."""
    with pair.connect("a", "postgres") as admin:
        admin.execute("SET allow_system_table_mods = on")
        admin.execute("CREATE SCHEMA elsewhere; GRANT USAGE ON SCHEMA elsewhere TO understudy")
        admin.execute(
            "INSERT INTO pg_extension SELECT 99999, 'pg_stat_statements', 10, oid, false, '1.10', NULL, NULL"
            " FROM pg_namespace WHERE nspname = 'elsewhere'"
        )
        admin.execute(
            "CREATE TABLE elsewhere.pg_stat_statements AS SELECT 10::oid AS userid, oid AS dbid, true AS toplevel,"
            " 7::bigint AS queryid, $$CREATE ROLE x PASSWORD 'hunter2'$$ AS query, 3::bigint AS calls,"
            " 9000::float8 AS total_exec_time, 4000::float8 AS max_exec_time FROM pg_database"
            " WHERE datname = current_database(); GRANT SELECT ON elsewhere.pg_stat_statements TO understudy"
        )
        looker = looked()
        async with closed(looker):
            assert (await looker.look("a")).slow == ()  # what was before says nothing about now
            assert (await looker.look("a")).slow == ()
            admin.execute("UPDATE elsewhere.pg_stat_statements SET calls = 4, total_exec_time = 11500")
            (slow,) = (await looker.look("a")).slow
            assert (slow.text, slow.seconds) == ("CREATE ROLE x PASSWORD ?", 2.5)
            assert (await looker.look("a")).slow == ()
            admin.execute("REVOKE SELECT ON elsewhere.pg_stat_statements FROM understudy")
            assert (await looker.look("a")).slow == ()  # a view that may not be read is no trouble
        admin.execute("DELETE FROM pg_extension WHERE extname = 'pg_stat_statements'")


async def test_a_role_that_may_see_nothing_says_so(pair: Pair) -> None:
    nodes = tuple(replace(n, admin_dsn=n.dsn) for n in pair.cluster.nodes)
    looker = Looker(
        replace(pair.cluster, nodes=nodes), Monitor(disks=(Disk(node="a", size=2**40),)), boot_now
    )
    async with closed(looker):
        with pair.connect("a", "understudy"), sleeping(pair, "a", "SELECT pg_sleep(600)"):
            look = await looker.look("a")
    assert look.hidden > 0
    assert (
        look.connections >= 4
    )  # the looker's, the two above, and that of the administrator who ends one of them
    assert look.disk is None
    assert "GRANT pg_monitor" in look.disk_error


@contextmanager
def publishing(status: int, text: str = "", **headers: str) -> Iterator[tuple[str, list[str | None]]]:
    """Metrics on loopback; gives their address without a scheme, and the keys that were shown."""
    keys: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.append(self.headers["Authorization"])
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with serving(Receiver(ThreadingHTTPServer(("127.0.0.1", 0), Handler))) as receiver:
        yield f"127.0.0.1:{receiver.server.server_address[1]}/metrics", keys


def test_the_metrics_of_a_provider_tell_how_full_its_disk_is() -> None:
    sample = 'node_filesystem_{}_bytes{{mountpoint="/data"}} {}\n'
    text = sample.format("size", 100) + sample.format("avail", 10)
    with publishing(200, text) as (address, keys):
        assert scrape(f"http://service_role:{SECRET}%40@{address}") == (0.9, "")
    assert keys == ["Basic " + base64.b64encode(f"service_role:{SECRET}@".encode()).decode()]


def test_metrics_that_cannot_be_had_say_why_without_their_key() -> None:
    with publishing(200) as (elsewhere, other_keys):
        with publishing(302, Location=f"http://{elsewhere}") as (address, _):
            errors = [scrape(f"http://u:{SECRET}@{address}")[1]]
        with publishing(401) as (address, _):
            errors.append(scrape(f"http://u:{SECRET}@{address}")[1])
        errors.append(scrape(f"http://u:{SECRET}@{address}")[1])  # nobody listens any more
        errors.append(scrape(f"http://u:{SECRET}@{elsewhere}")[1])
    assert other_keys != []
    assert [
        ("302" in errors[0]),
        ("401" in errors[1]),
        ("URLError" in errors[2] or "Refused" in errors[2]),
    ] == [True] * 3
    assert "no node_filesystem" in errors[3]
    assert len(other_keys) == 1  # the key did not follow the redirection
    assert SECRET not in str(errors)


async def test_a_frozen_server_is_left_in_time(pair: Pair, looked: Callable[..., Looker]) -> None:
    looker = looked(every=3.0)
    async with closed(looker):
        await looker.look("a")
        pair.servers["a"].freeze()
        with pytest.raises(Unreachable, match="within 3 s"):
            await looker.look("a")
        pair.servers["a"].thaw()
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(Unreachable):
                    await looker.look("a")
                    break


# --- the whole: an agent process that watches, and people who are told --------------------------------------

ALERTING = """
[monitor]
every = "1s"
slow_query = "300ms"

[alerts]
clear_after = "1s"
quiet_start = 0

[[alerts.routes]]
name = "team"
urls = ["{url}"]
severity = "info"
"""


PAIR = """
directory = "{directory}"
[[clusters.farm.nodes]]
name = "a"
dsn = "postgresql://app@localhost/farm"
[[clusters.farm.nodes]]
name = "b"
dsn = "postgresql://app@localhost/other"
"""


async def test_a_slow_statement_is_told_and_its_end(
    server_pair: dict[str, EmbeddedPostgreSQL], tmp_path: Path, hook: Hook
) -> None:
    """An agent in this process, and the monitor beside it."""
    pair = make_pair(server_pair)
    alerting = Alerting(
        monitor=Monitor(every=1.0, slow_query=0.3),
        routes=(Route(name="team", urls=(hook.url,), severity=Severity.INFO),),
        clear_after=1.0,
        quiet_start=0.0,
    )
    config = Config((pair.cluster,), tmp_path, "test", (), alerting=alerting)
    async with world_of(pair, tmp_path) as world:
        engine, leave = PostgreSQLEngine(pair.cluster, clock=boot_now), asyncio.Event()
        agent = ClusterAgent(pair.cluster, engine, world.witness, tmp_path)
        running = Running(config=config, witness=world.witness, agents={pair.cluster.name: agent})
        tasks = [asyncio.create_task(agent.run(leave)), asyncio.create_task(watch(running, leave))]
        try:
            with sleeping(pair, "a", f"SELECT pg_sleep(600), '{SECRET}'"):
                told = await asyncio.to_thread(hook.until, "slow statements on a")
            told += await asyncio.to_thread(hook.until, "over: slow statements on a")
        finally:
            leave.set()
            await asyncio.gather(*tasks)
            await engine.close()
    name = pair.cluster.name
    slow = [t for t in told if "slow" in t["title"]]
    assert [t["title"] for t in slow] == [
        f"[warning] {name}: slow statements on a",
        f"[warning] {name}: over: slow statements on a",
    ]
    assert "SELECT pg_sleep(?), ?" in slow[0]["message"]
    assert SECRET not in str(slow)


def test_the_commands(hook: Hook, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "understudy.toml"
    file.write_text(PAIR.format(directory=tmp_path) + ALERTING.format(url=hook.url))
    file.chmod(0o600)
    config = ["--config", str(file)]
    assert main([*config, "alerts", "test"]) == 0
    hook.until("this is a test")
    hook.broken = True
    try:
        assert main([*config, "alerts", "test", "--json"]) == 1
    finally:
        hook.broken = False
    assert main([*config, "alerts", "list"]) == 0
    assert main([*config, "alerts", "list", "--json"]) == 0
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err
    assert "json://127.0.0.1/****" in said.out
    (one,) = json.loads(said.out[said.out.index("[{") :].partition("\n")[0])
    assert (one["route"], one["sent"]) == ("team", False)
    assert "500" in one["error"]


@pytest.fixture(scope="module")
def watched() -> Iterator[tuple[Lab, Hook]]:
    """A pair with an agent process that tells a webhook. The tables are added while it runs."""
    with serving(Hook()) as hook, Lab(mode=Rpo.BOUNDED, scale=1) as lab:
        with lab.config_file.open("a") as file:
            file.write(ALERTING.format(url=hook.url))
        before = lab.last_event
        assert lab.agent.pid is not None
        os.kill(lab.agent.pid, signal.SIGHUP)
        lab.await_event("agent_started", PATIENCE, after=before)
        lab.await_settled()
        # A failover needs a lag that is known, and an agent that has just begun knows none.
        began = boot_now()
        with closing(LeaseFile(lab.directory / "demo.lease")) as file:

            def known() -> bool:
                lease = file.read()
                return lease is not None and lease.renewed > began and lease.standby_lag >= 0

            lab.await_true(known, PATIENCE, "a lag that is known")
        yield lab, hook


@pytest.mark.slow
def test_a_killed_primary_its_failover_and_its_return(watched: tuple[Lab, Hook]) -> None:
    """kill -9 of the primary, kill -9 of the agent in the middle: each thing is told once, and its end."""
    lab, hook = watched
    lab.servers["a"].kill()
    told = hook.until("a is down", "failover: b is primary at epoch 2")
    failover = next(t for t in told if "failover" in t["title"])
    assert failover["title"].startswith("[critical] demo: ")
    assert failover["type"] == "failure"
    before = lab.last_event
    lab.agent.kill()
    lab.agent.start()
    lab.await_event("agent_started", PATIENCE, after=before)
    lab.servers["a"].start()
    told += hook.until("over: a is down")
    lab.await_settled()
    titles = [t["title"].partition("demo: ")[2] for t in told]
    assert titles.count("a is down") == 1
    assert titles.count("failover: b is primary at epoch 2") == 1
    assert len(titles) == len(set(titles))
    lab.standby_agent.start()
    lab.await_true_event(
        lambda e: "waiting in standby" in e.message, PATIENCE, after=before, what="a second agent"
    )
    lab.agent.kill()
    told = hook.until("another agent acts now")
    assert not any("is down" in t["title"] or "failover" in t["title"] for t in told)
    log = lab.agent_log(100_000)
    assert "alert_sent" in log
    assert "monitor_failed" not in log
    assert SECRET not in log
