"""The two configurations of docs/how-to/haproxy.md, word for word but for addresses, in the real HAProxy.

The application is psycopg: it knows nothing of us.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.equipment.certificates import certificate

from understudy.demo import gates
from understudy.demo.lab import MANUAL, Lab
from understudy.embedded import EmbeddedError
from understudy.embedded.daemon import find
from understudy.embedded.haproxy import Configuration, EmbeddedHaproxy
from understudy.embedded.postgresql import free_port
from understudy.model import Rpo

try:
    find("haproxy")
except EmbeddedError as absent:
    pytestmark = pytest.mark.skip(reason=str(absent))

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "haproxy.md"
TOKEN = "operator-of-the-test-0123456789abcdef"
SOON = 60.0  # seconds


def documented(section: str, **places: str) -> str:
    """The first configuration under that heading, with the places of this machine instead of the page's."""
    (block,) = re.findall(rf"^## {section}\n.*?^```\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    for there, here in places.items():
        assert block.count(there) == 1, f"{there} is not once in the configuration under {section}"
        block = block.replace(there, here)
    return str(block)


def nodes(lab: Lab) -> dict[str, str]:
    """The page's servers and the lab's."""
    return {
        "server home  10.0.0.1:5432": f"server a 127.0.0.1:{lab.servers['a'].port}",
        "server cloud 10.0.0.2:5432": f"server b 127.0.0.1:{lab.servers['b'].port}",
    }


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Configuration]]:
    """A pair whose agent answers over TLS, and the configuration by health checks."""
    files = certificate(tmp_path_factory.mktemp("tls"))
    api = free_port()
    with Lab(mode=Rpo.ZERO, scale=1, policy=MANUAL) as lab:
        for name, path in files.items():  # where HAProxy's unprivileged user can read them
            files[name] = lab.folder / path.name
            files[name].write_bytes(path.read_bytes())
        files["tls_cert"].chmod(0o644)
        lab.agent.stop()
        with lab.config_file.open("a") as file:
            file.write(f'[api]\nlisten = "127.0.0.1:{api}"\noperator_token = "{TOKEN}"\n')
            file.writelines(f'{key} = "{path}"\n' for key, path in files.items())
        lab.start_agent()

        def checked(port: int, _: Path) -> str:
            places = {
                "127.0.0.1:5000": f"127.0.0.1:{port}",
                "addr 10.0.0.9 port 8008": f"addr 127.0.0.1 port {api}",
                "/etc/haproxy/understudy.pem": str(files["tls_cert"]),
            }
            return documented("By health checks", **places, **nodes(lab))

        yield lab, checked


@pytest.fixture(scope="module")
def gate(lab: tuple[Lab, Configuration]) -> Iterator[EmbeddedHaproxy]:
    pair, checked = lab
    with EmbeddedHaproxy(checked) as gate:
        answers(pair, gate)
        yield gate


def answers(lab: Lab, gate: EmbeddedHaproxy) -> None:
    """Wait until a session through HAProxy can write."""
    lab.await_true(lambda: gates.answers(gates.at_port(lab, gate.port)), SOON, "an answer through HAProxy")


def written(lab: Lab, gate: EmbeddedHaproxy, writer: int) -> None:
    """A row through HAProxy is on the present primary."""
    answers(lab, gate)
    with psycopg.connect(gates.at_port(lab, gate.port)) as application:
        application.execute("INSERT INTO pgbench_history (delta, writer, seq) VALUES (0, %s, 1)", (writer,))
    with lab.connect(lab.state.primary) as connection:
        assert connection.execute("SELECT FROM pgbench_history WHERE writer = %s", (writer,)).rowcount == 1


@contextlib.contextmanager
def waiting(lab: Lab, gate: EmbeddedHaproxy) -> Iterator[threading.Thread]:
    """A session of the application that waits for an answer to a statement, until something ends it."""
    session = psycopg.connect(gates.at_port(lab, gate.port), autocommit=True)
    begun = threading.Event()

    def run() -> None:
        begun.set()
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT pg_sleep(600)")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    begun.wait()
    try:
        yield thread
    finally:
        thread.join(SOON)
        session.close()
        assert not thread.is_alive(), "the session still waits"


def test_checks_a_planned_change(lab: tuple[Lab, Configuration], gate: EmbeddedHaproxy) -> None:
    pair, _ = lab
    with waiting(pair, gate):
        pair.switchover(pair.state.other)
    written(pair, gate, 90)
    pair.await_settled()


@pytest.mark.slow
def test_checks_a_killed_primary(lab: tuple[Lab, Configuration], gate: EmbeddedHaproxy) -> None:
    pair, _ = lab
    lost, target = pair.state.primary, pair.state.other
    with waiting(pair, gate):
        pair.servers[lost].kill()
    pair.await_state(lambda s: s.primary == target and s.plan is None, SOON, "a failover")
    written(pair, gate, 91)
    pair.servers[lost].start()
    pair.await_settled()


@pytest.mark.slow
def test_checks_a_primary_that_hangs(lab: tuple[Lab, Configuration], gate: EmbeddedHaproxy) -> None:
    """Nothing ends a session on a server that is frozen but HAProxy: `on-marked-down shutdown-sessions`."""
    pair, _ = lab
    lost, target = pair.state.primary, pair.state.other
    with waiting(pair, gate):
        pair.servers[lost].freeze()
        pair.await_state(lambda s: s.primary == target and s.plan is None, SOON, "a failover")
    written(pair, gate, 92)
    pair.servers[lost].kill()
    pair.servers[lost].start()
    pair.await_settled()


@pytest.mark.slow
def test_checks_while_the_agent_reads_its_configuration_again(
    lab: tuple[Lab, Configuration], gate: EmbeddedHaproxy
) -> None:
    pair, _ = lab
    answers(pair, gate)
    with psycopg.connect(gates.at_port(pair, gate.port), autocommit=True) as session:
        for _ in range(3):
            before, pid = pair.last_event, pair.agent.pid
            assert pid is not None
            os.kill(pid, signal.SIGHUP)
            pair.await_event("agent_started", SOON, after=before)
            session.execute("SELECT 1")


@pytest.mark.slow
def test_checks_without_an_agent_nothing_passes(
    lab: tuple[Lab, Configuration], gate: EmbeddedHaproxy
) -> None:
    """As the page says: this way makes the agent part of the path."""
    pair, _ = lab
    with waiting(pair, gate):
        pair.agent.kill()
    assert not gates.answers(gates.at_port(pair, gate.port))
    pair.start_agent()
    written(pair, gate, 93)
    before = pair.last_event
    pair.standby_agent.start()
    pair.await_event("agent_started", SOON, after=before)
    with waiting(pair, gate):
        pair.agent.kill()
    written(pair, gate, 96)  # the one in standby has the address now
    pair.standby_agent.stop()
    pair.start_agent()


@pytest.mark.slow
def test_driven_a_planned_change_and_a_killed_primary(lab: tuple[Lab, Configuration]) -> None:
    pair, _ = lab

    def driven(port: int, socket: Path) -> str:
        places = {
            "127.0.0.1:5000": f"127.0.0.1:{port}",
            "/run/haproxy/admin.sock mode 660 group understudy": f"{socket} mode 600",
        }
        return documented("Driven by the agent", **places, **nodes(pair))

    with gates.haproxy(pair, driven, "farm") as gate:
        with waiting(pair, gate):
            pair.switchover(pair.state.other)
        written(pair, gate, 94)
        pair.await_settled()
        lost, target = pair.state.primary, pair.state.other
        with waiting(pair, gate):
            pair.servers[lost].kill()
        pair.await_state(lambda s: s.primary == target and s.plan is None, SOON, "a failover")
        written(pair, gate, 95)
        pair.servers[lost].start()
        pair.await_settled()
