"""The real PgBouncer in front of a real pair with a real agent: what its clients see of changes of primary."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.integration.node_application import NodeApplication, install

from understudy.demo import gates
from understudy.demo.lab import DATABASE, Lab
from understudy.demo.pgbench import Pgbench
from understudy.embedded import EmbeddedError
from understudy.embedded.daemon import find
from understudy.embedded.pgbouncer import EmbeddedPgBouncer
from understudy.model import Request, RequestKind, Rpo

try:
    find("pgbouncer")
except EmbeddedError as absent:
    pytestmark = pytest.mark.skip(reason=str(absent))


PATIENCE = 60.0  # seconds


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(mode=Rpo.ZERO, scale=1) as lab:
        yield lab


@pytest.fixture(scope="module")
def running(lab: Lab) -> Iterator[EmbeddedPgBouncer]:
    with gates.pgbouncer(lab) as gate:
        yield gate


@pytest.fixture
def gate(lab: Lab, running: EmbeddedPgBouncer) -> Iterator[EmbeddedPgBouncer]:
    """PgBouncer in front of a healthy pair; whatever the test breaks is whole for the next one."""
    lab.await_settled()
    yield running
    running.thaw()
    running.start()
    for server in lab.servers.values():
        server.thaw()
        server.start()
    lab.await_settled()


def ports_named(gate: EmbeddedPgBouncer) -> set[int]:
    """The ports that the entries of its file lead to."""
    return {int(port) for port in re.findall(r"port=(\d+)", gate.entries.read_text())}


def other(lab: Lab) -> str:
    return lab.state.other


def rows_of(lab: Lab, writer: int) -> list[int]:
    with lab.connect(lab.state.primary) as connection:
        return [
            row[0]
            for row in connection.execute("SELECT seq FROM pgbench_history WHERE writer = %s", (writer,))
        ]


def test_a_planned_change_costs_pgbench_nothing(lab: Lab, gate: EmbeddedPgBouncer, tmp_path: Path) -> None:
    run = Pgbench(lab, gates.at_port(lab, gate.port), tmp_path, seconds=600)

    def at_work() -> None:
        before = len(rows_of(lab, run.writer))
        lab.await_true(lambda: len(rows_of(lab, run.writer)) > before + 50, PATIENCE, "pgbench to be at work")

    try:
        at_work()
        target = other(lab)
        lab.switchover(target)
        at_work()
        run.finish()
        report = run.report()
    finally:
        run.kill()
    assert report.errors == ()
    assert len(rows_of(lab, run.writer)) == report.acked
    assert ports_named(gate) == {lab.servers[target].port}


def test_a_node_application_sees_no_error_of_a_planned_change_and_reconnects_after_a_lost_primary(
    lab: Lab, gate: EmbeddedPgBouncer
) -> None:
    install()
    with NodeApplication(gates.at_port(lab, gate.port), writer=77) as application:
        application.await_acked(100)
        lab.switchover(other(lab))
        application.await_acked(100)
        assert application.errors == []

        lab.await_settled()
        lost, target = lab.state.primary, other(lab)
        lab.servers[lost].kill()
        lab.await_state(lambda s: s.primary == target and s.plan is None, PATIENCE, "a failover")
        application.await_acked(200)
    present = rows_of(lab, 77)
    assert set(application.acked) <= set(present), "an acknowledged row is lost"
    assert len(present) == len(set(present)), "a row was written twice"


def test_a_transaction_that_does_not_end_rolls_the_change_back_and_goes_on(
    lab: Lab, gate: EmbeddedPgBouncer
) -> None:
    state = lab.state
    with psycopg.connect(gates.at_port(lab, gate.port), prepare_threshold=None) as connection:
        connection.execute("INSERT INTO pgbench_history (delta, writer, seq) VALUES (0, 78, 1)")
        event = lab.last_event
        lab.order(Request(id="stuck", kind=RequestKind.SWITCHOVER, target=state.other))
        lab.await_event("step_failed", PATIENCE, after=event)
        lab.await_state(lambda s: s.plan is None and s.primary == state.primary, PATIENCE, "the roll back")
        connection.commit()
    told = [e.message for e in lab.events(event) if e.kind == "step_failed"]
    assert len(told) == 1
    assert "quiet_timeout" in told[0]
    assert "PgBouncer" in told[0]
    with psycopg.connect(gates.at_port(lab, gate.port), prepare_threshold=None) as connection:
        connection.execute("INSERT INTO pgbench_history (delta, writer, seq) VALUES (0, 78, 2)")
    assert sorted(rows_of(lab, 78)) == [1, 2]


def test_a_pgbouncer_that_comes_back_with_an_old_file_is_corrected(lab: Lab, gate: EmbeddedPgBouncer) -> None:
    gate.kill()
    right = lab.servers[lab.state.primary].port
    wrong = lab.servers[other(lab)].port
    gate.entries.write_text(gate.entries.read_text().replace(str(right), str(wrong)))
    gate.start()

    def leads_home() -> bool:
        with psycopg.connect(gate.console, autocommit=True) as console:
            shown = {row[0]: row[2] for row in console.execute("SHOW DATABASES").fetchall()}
        return shown[DATABASE] == right

    lab.await_true(leads_home, PATIENCE, "PgBouncer to lead to the primary again")
    assert ports_named(gate) == {right}


@pytest.mark.slow
def test_a_transaction_on_a_frozen_primary_is_ended_and_others_go_on(
    lab: Lab, gate: EmbeddedPgBouncer
) -> None:
    """Nothing but KILL ends it: the server neither answers nor hangs up."""
    target = other(lab)
    stuck = psycopg.connect(gates.at_port(lab, gate.port), prepare_threshold=None)
    stuck.execute("SELECT 1")
    lab.servers[lab.state.primary].freeze()
    lab.await_state(lambda s: s.primary == target and s.plan is None, PATIENCE, "a failover")
    with pytest.raises(psycopg.OperationalError):
        stuck.execute("SELECT 1")
    with psycopg.connect(gates.at_port(lab, gate.port), prepare_threshold=None) as connection:
        connection.execute("INSERT INTO pgbench_history (delta, writer, seq) VALUES (0, 83, 1)")
    assert rows_of(lab, 83) == [1]
    lab.await_true(lambda: setting(gate, "server_login_retry") == "15", PATIENCE, "its own setting back")


def setting(gate: EmbeddedPgBouncer, name: str) -> str:
    with psycopg.connect(gate.console, autocommit=True) as console:
        return {row[0]: row[1] for row in console.execute("SHOW CONFIG").fetchall()}[name]


@pytest.mark.slow
def test_a_frozen_pgbouncer_holds_no_failover_up(lab: Lab, gate: EmbeddedPgBouncer) -> None:
    """It is passed over, told of, and leads to the new primary soon after it goes on."""
    lost, target = lab.state.primary, other(lab)
    event = lab.last_event
    gate.freeze()
    lab.servers[lost].kill()
    lab.await_state(lambda s: s.primary == target and s.plan is None, PATIENCE, "a failover")
    lab.await_true_event(
        lambda e: e.kind == "gate_failed" and "no answer" in e.message, PATIENCE, after=event
    )
    gate.thaw()
    lab.await_event("gate_well", PATIENCE, after=event)
    with psycopg.connect(gates.at_port(lab, gate.port), prepare_threshold=None) as connection:
        connection.execute("INSERT INTO pgbench_history (delta, writer, seq) VALUES (0, 79, 1)")
    assert rows_of(lab, 79) == [1]


@pytest.mark.slow
def test_a_pgbouncer_that_is_not_running_holds_no_planned_change_up(
    lab: Lab, gate: EmbeddedPgBouncer
) -> None:
    gate.kill()
    target = other(lab)
    lab.switchover(target)
    assert lab.state.primary == target
    lab.await_true(lambda: ports_named(gate) == {lab.servers[target].port}, PATIENCE, "its file to be right")
