"""The real HAProxy in front of a real pair with a real agent: sessions are cut and come back, rows are not lost."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from tests.integration.node_application import NodeApplication, install

from understudy.demo import gates
from understudy.demo.lab import MANUAL, Lab
from understudy.embedded import EmbeddedError
from understudy.embedded.daemon import find
from understudy.embedded.haproxy import EmbeddedHaproxy
from understudy.model import Rpo

try:
    find("haproxy")
except EmbeddedError as absent:
    pytestmark = pytest.mark.skip(reason=str(absent))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(mode=Rpo.ZERO, scale=1, policy=MANUAL) as lab:
        yield lab


@pytest.fixture(scope="module")
def gate(lab: Lab) -> Iterator[EmbeddedHaproxy]:
    with gates.haproxy(lab) as gate:
        yield gate


def insert(lab: Lab, gate: EmbeddedHaproxy, writer: int) -> None:
    """One row through HAProxy; it is the primary that takes it."""
    with psycopg.connect(gates.at_port(lab, gate.port)) as connection:
        connection.execute("INSERT INTO pgbench_history (delta, writer, seq) VALUES (0, %s, 1)", (writer,))
    with lab.connect(lab.state.primary) as connection:
        assert connection.execute("SELECT FROM pgbench_history WHERE writer = %s", (writer,)).rowcount == 1


def test_a_planned_change_moves_every_session(lab: Lab, gate: EmbeddedHaproxy) -> None:
    """The fence ends the session on the old primary with a clean error; the next one is on the new primary."""
    with psycopg.connect(gates.at_port(lab, gate.port), autocommit=True) as before:
        before.execute("SELECT 1")
        lab.switchover(lab.state.other)
        with pytest.raises(psycopg.OperationalError):
            before.execute("SELECT 1")
    lab.await_true(lambda: gates.answers(gates.at_port(lab, gate.port)), 60, "an answer through HAProxy")
    insert(lab, gate, 80)
    lab.await_settled()


def test_a_haproxy_that_was_restarted_is_told_again(lab: Lab, gate: EmbeddedHaproxy) -> None:
    """It comes back with what its file says: all servers in maintenance, so that nothing passes meanwhile."""
    gate.kill()
    gate.start()
    lab.await_true(lambda: gates.answers(gates.at_port(lab, gate.port)), 60, "an answer through HAProxy")
    insert(lab, gate, 81)


@pytest.mark.slow
def test_a_node_application_loses_no_acknowledged_row(lab: Lab, gate: EmbeddedHaproxy) -> None:
    install()
    with NodeApplication(gates.at_port(lab, gate.port), writer=82) as application:
        application.await_acked(100)
        lab.switchover(lab.state.other)
        application.await_acked(100)
        lab.await_settled()
        lost, target = lab.state.primary, lab.state.other
        lab.servers[lost].kill()
        lab.await_state(lambda s: s.primary == target and s.plan is None, 60, "a failover")
        application.await_acked(100)
    with lab.connect(target) as connection:
        rows = connection.execute("SELECT seq FROM pgbench_history WHERE writer = 82").fetchall()
    present = [row[0] for row in rows]
    assert set(application.acked) <= set(present), "an acknowledged row is lost"
    assert len(present) == len(set(present)), "a row was written twice"
