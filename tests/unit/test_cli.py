"""The command line without databases: usage and configuration errors, `init`, texts, the adoption of a lost witness."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
import typer
from typer.testing import CliRunner

from understudy import config as configuration
from understudy.agent.history import last_change
from understudy.cli import adopt, app, main
from understudy.cli.app import hoist
from understudy.cli.backup import _target as restore_target
from understudy.cli.common import CliError, Exit
from understudy.cli.setup import another_chance, mending
from understudy.cli.status import promise
from understudy.decide.closed import closed_gates
from understudy.decide.invariants import of_state
from understudy.engines.base import Finding, Severity
from understudy.lease import boot_now
from understudy.model import (
    Cluster,
    ClusterState,
    Link,
    Node,
    NodeRecord,
    NodeView,
    Plan,
    PlanKind,
    Policy,
    Probe,
    Role,
    Rpo,
    SlotView,
    SubscriptionView,
    View,
)
from understudy.plain import plain
from understudy.witness import Event, SqliteWitness

SECRET = "sw0rdf1sh"
FILE = f"""
directory = "state"
[[clusters.main.nodes]]
name = "a"
dsn = "postgresql://app:{SECRET}@127.0.0.1:1/one"
[[clusters.main.nodes]]
name = "b"
dsn = "postgresql://app:{SECRET}@127.0.0.1:2/two"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and an environment that names no database."""
    for name in list(os.environ):
        if name.startswith(("UNDERSTUDY", "DATABASE", "PRIMARY_DB", "SUPABASE", "DB_", "PG")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def configured(folder: Path) -> Path:
    """The same with an understudy.toml whose databases do not exist."""
    (folder / "understudy.toml").write_text(FILE)
    (folder / "understudy.toml").chmod(0o600)
    return folder


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What went to stderr: exactly one line that begins with `error: `, and nothing on stdout."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1, captured.err
    assert "Traceback" not in captured.err and SECRET not in captured.err
    return captured.err


# --- usage and configuration -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["status", "--nonsense"],
        ["switchover", "--timeout", "soon"],
        ["switchover", "a", "b"],
        ["events", "--limit", "0"],
        ["run", "--log-format", "xml"],
        ["rescue"],
        ["rescue", "show"],
        ["status", "--config"],
    ],
)
def test_usage_errors_are_one_line(
    configured: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(arguments) == Exit.USAGE
    one_line(capsys)


@pytest.mark.parametrize(
    "command", ["check", "setup", "run", "status", "switchover", "events", "explain", "verify"]
)
def test_no_configuration(folder: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command]) == Exit.USAGE
    assert "understudy init" in one_line(capsys)


def test_a_mistake_in_the_file_never_shows_the_secret(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = FILE.replace("@127.0.0.1:1/one", "@127.0.0.1:one/one")
    (folder / "understudy.toml").write_text(broken)
    assert main(["status"]) == Exit.USAGE
    one_line(capsys)


def test_unknown_cluster(configured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--cluster", "other"]) == Exit.USAGE
    assert "one of: main" in one_line(capsys)


def test_before_setup(configured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("status", "switchover", "pause", "events", "explain", "verify"):
        assert main([command]) == Exit.UNREACHABLE, command
        assert "understudy setup" in one_line(capsys)
    assert not (configured / "state").exists(), "reading commands must not create anything"


def test_unreachable_database(configured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["check"])
    captured = capsys.readouterr()
    assert code in (Exit.PROBLEM, Exit.UNREACHABLE)
    assert SECRET not in captured.out + captured.err and "Traceback" not in captured.err


@pytest.mark.parametrize("command", [["check"], ["run", "--log-format", "json"]])
def test_a_file_with_secrets_that_every_user_may_read_is_told(
    configured: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    before = structlog.get_config()
    (configured / "understudy.toml").chmod(0o644)
    try:
        main(command)
    finally:
        structlog.configure(**before)
    captured = capsys.readouterr()
    said = " ".join((captured.out + captured.err).split())
    assert "clusters.main.nodes[0].dsn" in said
    assert "chmod 600" in said
    assert SECRET not in said


def test_rescue_names_stay_inside_their_folder(configured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("../..", "/etc", ".", "none"):
        assert main(["rescue", "show", name]) == Exit.USAGE
        one_line(capsys)
    assert main(["rescue", "list", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out) == []


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == Exit.OK
    assert "switchover" in capsys.readouterr().out
    assert main(["--version"]) == Exit.OK
    assert capsys.readouterr().out.startswith("understudy ")
    assert CliRunner().invoke(app, ["status", "--help"]).exit_code == 0


def test_interrupt_is_130(
    configured: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(configuration, "load", interrupted)
    assert main(["events"]) == Exit.INTERRUPTED
    assert "Traceback" not in capsys.readouterr().err


def test_global_options_may_stand_anywhere() -> None:
    assert hoist(["status", "--json"]) == ["--json", "status"]
    assert hoist(["events", "--config", "x", "--limit", "3"]) == ["--config", "x", "events", "--limit", "3"]
    assert hoist(["rescue", "show", "--", "--json"]) == ["rescue", "show", "--", "--json"]
    assert hoist(["status", "--cluster=main"]) == ["--cluster=main", "status"]


# --- init ---------------------------------------------------------------------------------------------------------


def test_init_refers_to_the_environment(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://app:{SECRET}@127.0.0.1:1/one")
    monkeypatch.setenv("SUPABASE_DB_URL", f"postgresql://app:{SECRET}@127.0.0.1:2/two")
    assert main(["init"]) == Exit.OK
    file = folder / "understudy.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert SECRET not in file.read_text() and "${DATABASE_URL}" in file.read_text()
    assert "understudy check" in capsys.readouterr().out
    loaded = configuration.load()
    assert [n.name for n in loaded.cluster(None).nodes] == ["home", "cloud"]
    assert SECRET in loaded.cluster(None).preferred.dsn


def test_init_without_environment_is_a_valid_example(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["file"] == str(folder / "understudy.toml")
    env = {"HOME_PASSWORD": SECRET, "CLOUD_PASSWORD": SECRET, "HOME": str(folder)}
    assert configuration.load(folder / "understudy.toml", env).cluster("main").policy.rpo is Rpo.BOUNDED


def test_init_never_overwrites(configured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == Exit.REFUSED
    one_line(capsys)
    assert (configured / "understudy.toml").read_text() == FILE
    assert main(["init", "--force"]) == Exit.OK
    assert (configured / "understudy.toml").read_text() != FILE
    assert sorted(p.name for p in configured.iterdir()) == ["understudy.toml"]


# --- orders without an agent -----------------------------------------------------------------------------------------


def cluster(**policy: object) -> Cluster:
    nodes = tuple(
        Node(name=n, dsn=f"x{n}", admin_dsn=f"x{n}", replication_dsn=f"x{n}", priority=i)
        for i, n in enumerate("ab", 1)
    )
    return Cluster(name="main", engine="postgresql", nodes=nodes, policy=Policy(**policy))  # type: ignore[arg-type]


def state(**changes: object) -> ClusterState:
    nodes = (
        NodeRecord(name="a", role=Role.PRIMARY, verified=True),
        NodeRecord(name="b", role=Role.STANDBY, verified=True),
    )
    link = Link(name="understudy_main_1", publisher="a", subscriber="b")
    given: dict[str, object] = {
        "cluster": "main", "version": 0, "epoch": 1, "primary": "a", "nodes": nodes, "link": link,
        "spare_slot": "understudy_main_2",
    }  # fmt: skip
    return ClusterState(**(given | changes))  # type: ignore[arg-type]


@pytest.fixture
def known(configured: Path) -> SqliteWitness:
    """The witness of a cluster that is set up, while no agent acts."""
    witness = SqliteWitness(configured / "state" / "witness.db")
    witness.write(state(), expected=0)
    return witness


def test_orders_need_an_agent(known: SqliteWitness, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["switchover", "--yes"], ["failover", "b", "-y"], ["failover", "--accept-loss", "-y"]):
        assert main(arguments) == Exit.NO_AGENT
        assert "understudy run" in one_line(capsys)
    found = known.read("main")
    assert found is not None and found.version == 1, "nothing was written"


def test_home_already(known: SqliteWitness, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["failback", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["primary"] == "a"
    assert main(["switchover", "c"]) == Exit.USAGE
    assert "one of a, b" in one_line(capsys)


def test_orders_are_withdrawn_when_nobody_answers(
    known: SqliteWitness, capsys: pytest.CaptureFixture[str]
) -> None:
    known.take_agent("main", "deaf", boot_now() + 0.0, 3.0)
    assert main(["switchover", "--yes", "--timeout", "0.3"]) == Exit.NO_AGENT
    assert "withdrawn" in capsys.readouterr().err
    found = known.read("main")
    assert found is not None and found.request is None and found.answer.endswith(": withdrawn")


def test_questions(known: SqliteWitness, configured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known.take_agent("main", "deaf", boot_now(), 3.0)
    monkeypatch.chdir(configured)
    runner = CliRunner()
    refused = runner.invoke(app, ["switchover"], input="n\n")
    assert isinstance(refused.exception, CliError) and refused.exception.code is Exit.REFUSED
    nobody = runner.invoke(app, ["switchover"], input="")
    assert isinstance(nobody.exception, CliError) and nobody.exception.code is Exit.USAGE


def test_pause_and_resume(known: SqliteWitness, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pause"]) == Exit.OK
    assert known.read("main").paused  # type: ignore[union-attr]
    assert main(["pause", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["changed"] is False
    assert main(["resume"]) == Exit.OK
    assert not known.read("main").paused  # type: ignore[union-attr]
    assert main(["events", "--json"]) == Exit.OK
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [e["kind"] for e in told] == ["paused", "resumed"]


def test_status_of_dead_nodes(known: SqliteWitness, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json"]) == Exit.UNREACHABLE
    told = json.loads(capsys.readouterr().out)
    assert told["primary"] == "a" and told["promise"]["holds"] is False
    assert [n["up"] for n in told["nodes"]] == [False, False]
    assert any("no agent is acting" in w for w in told["warnings"])
    assert main(["status"]) == Exit.UNREACHABLE
    screen = capsys.readouterr().out
    assert max(map(len, screen.splitlines())) <= 80 and "DOES NOT HOLD" in screen
    assert SECRET not in screen


def test_explain_of_dead_nodes(known: SqliteWitness, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--json"]) == Exit.OK
    told = json.loads(capsys.readouterr().out)
    assert told["rule"] == "failover_refused" and "b does not answer" in told["gates"]["failover"]
    assert main(["explain"]) == Exit.OK
    assert "gates:" in capsys.readouterr().out


# --- pure parts -----------------------------------------------------------------------------------------------------


def probe(**changes: object) -> Probe:
    given: dict[str, object] = {"at": 1.0, "answered": 1.1, "epoch": 1, "epoch_primary": "a", "wal": 1000}
    return Probe(**(given | changes))  # type: ignore[arg-type]


def followed() -> dict[str, NodeView]:
    """a is primary, b follows it."""
    link = "understudy_main_1"
    a = probe(
        slots={link: SlotView(active=True, usable=True, confirmed=900)},
        streaming={link: False},
        heartbeat=5000,
    )
    b = probe(
        fenced=True,
        heartbeat=4500,
        subscriptions={link: SubscriptionView(enabled=True, running=True, ready=True, origin=900)},
        slots={"understudy_main_2": SlotView(active=False, usable=True, confirmed=1)},
    )
    return {"a": NodeView(name="a", probe=a), "b": NodeView(name="b", probe=b)}


def test_promise() -> None:
    assert promise(cluster(), state(), followed(), 0.5) == (
        True,
        "b is 500 ms behind, 100 bytes (bounds: 10 s, 16.0 MiB)",
    )
    holds, why = promise(cluster(max_lag_seconds=0.1), state(), followed(), 0.5)
    assert not holds and "refused" in why
    assert promise(cluster(rpo=Rpo.ZERO), state(in_sync=True), followed(), 0.5)[0]
    assert "NOT in sync" in promise(cluster(rpo=Rpo.ZERO), state(), followed(), 0.5)[1]
    gone = followed() | {"b": NodeView(name="b", misses=1, error="x")}
    assert not promise(cluster(), state(), gone, None)[0]


def test_gates_are_those_of_the_decision_core() -> None:
    view = View(now=2.0, wall=0.0, nodes=followed(), lag_seconds=0.5)
    open_gates = closed_gates(state(), view, cluster())
    assert open_gates["switchover"] == open_gates["failover"] == open_gates["automatic failover"] == ""
    assert "primary already" in open_gates["automatic failback"]
    closed = closed_gates(state(paused=True), view, cluster(max_lag_seconds=0.1))
    assert "max_lag_seconds" in closed["failover"] and closed["automatic failover"] == "paused"


def test_mending_is_sql_only() -> None:
    findings = [
        Finding(node="a", subject="s", severity=Severity.OK, message="fine", mend="never shown"),
        Finding(node="a", subject="s", severity=Severity.ERROR, message="no grant", mend="GRANT x TO y"),
        Finding(node="b", subject="s", severity=Severity.WARNING, message="meh", mend="ALTER z; -- why"),
    ]
    assert mending(findings) == "-- node a\n-- no grant\nGRANT x TO y;\n-- node b\n-- meh\nALTER z; -- why\n"


@pytest.mark.parametrize(
    ("time", "lsn", "said"),
    [
        ("yesterday", "", "--to-time: expected a time such as 2026-11-21T08:14:59+00:00, found 'yesterday'"),
        ("2026-11-21T08:14", "", "expected a time with its zone"),
        ("", "xyz", "--to-lsn: expected a position like 0/1A2B3C8, found 'xyz'"),
    ],
)
def test_a_target_that_cannot_be_read_is_named(time: str, lsn: str, said: str) -> None:
    with pytest.raises(CliError, match=re.escape(said)):
        restore_target(time, lsn, "")


def under_way(kind: PlanKind) -> Plan:
    return Plan(kind=kind, epoch=1, source="a", target="b", number=7, slot="s", rule="r", reason="")


@pytest.mark.parametrize("role", [Role.STANDBY, Role.DETACHED])
@pytest.mark.parametrize("plan", [None, PlanKind.TIDY])
def test_a_server_in_the_place_of_a_lost_one_is_copied_whatever_that_was(
    role: Role, plan: PlanKind | None
) -> None:
    """The agent's word for it is to run `setup`; a standby that was lost had no way back by it."""
    before = state(in_sync=role is Role.STANDBY).with_record("b", role=role, identity="1/5", copies=2)
    if plan is not None:
        before = replace(before, plan=under_way(plan))
    after = another_chance(before, "b", "2/5")
    assert after is not None and of_state(after, Rpo.ZERO) == []
    record = after.record("b")
    assert (record.role, record.identity, record.copies) == (Role.DETACHED, "2/5", 0)
    assert record.needs_copy and not record.verified
    assert after.plan is None
    assert another_chance(before, "a", "2/5") is None  # the primary is nobody's copy
    changing = replace(before, plan=under_way(PlanKind.FAILOVER))
    assert another_chance(changing, "b", "2/5") is None or role is Role.DETACHED


@pytest.mark.parametrize(
    ("message", "mend", "shown"),
    [
        (
            "no key",
            "ALTER TABLE t ADD PRIMARY KEY (...);",
            "-- no key\n-- by hand: ALTER TABLE t ADD PRIMARY KEY (...);\n",
        ),
        ("refused", "pg_hba.conf: a line", "-- refused\n-- by hand: pg_hba.conf: a line\n"),
        ("differ:\n+ table x", "run the DDL", "-- differ:\n-- + table x\n-- by hand: run the DDL\n"),
    ],
)
def test_what_is_no_statement_is_a_comment_for_psql(message: str, mend: str, shown: str) -> None:
    finding = Finding(node="a", subject="s", severity=Severity.ERROR, message=message, mend=mend)
    assert mending([finding]) == "-- node a\n" + shown


def event(number: int, kind: str, epoch: int, wall: float, took: float | None = None) -> Event:
    return Event(
        id=number,
        wall=wall,
        cluster="main",
        agent="x",
        epoch=epoch,
        kind=kind,
        message=kind,
        took=took,
    )


def test_last_change() -> None:
    told = [
        event(1, "step:publish", 2, 5.0, 0.1),
        event(2, "step:open_spare_slot", 2, 6.0, 0.1),
        event(3, "primary_down", 3, 10.0),
        event(4, "node_down", 3, 10.1),
        event(5, "step:announce", 3, 11.0, 0.5),
        event(6, "step:publish", 3, 12.0, 0.1),
        event(7, "step:fence", 3, 13.0, 0.1),
    ]
    change = last_change(told)
    assert change is not None and change.cause is not None and change.cause.kind == "primary_down"
    assert [s.kind for s in change.steps] == ["step:announce", "step:publish"]
    assert change.seconds == pytest.approx(1.5)
    assert last_change(told[1:3]) is None


def test_a_clock_that_is_set_changes_no_duration() -> None:
    """Durations come from the boot clock; events of an earlier version, or of two boots, are never negative."""
    asked = replace(event(1, "asked", 2, 1000.0), boot=50.0)
    first = replace(event(2, "step:announce", 3, 1000.4, 0.5), boot=50.4)
    for jump in (-3600.0, 86400.0):
        last = replace(event(3, "step:publish", 3, 1001.5 + jump, 0.1), boot=51.5)
        assert last.seconds_since(asked) == pytest.approx(1.5)
        change = last_change([asked, first, last])
        assert change is not None
        assert change.seconds == pytest.approx(1.6)
    assert event(4, "x", 3, 10.0).seconds_since(event(3, "x", 3, 90.0)) == 0.0
    assert replace(event(4, "x", 3, 95.0), boot=2.0).seconds_since(
        replace(event(3, "x", 3, 90.0), boot=900.0)
    ) == pytest.approx(5.0)


def test_json_is_masked() -> None:
    assert plain({"x": [Path("/a"), f"postgresql://u:{SECRET}@h/d", Role.PRIMARY, 1.5, None]}) == {
        "x": ["/a", "postgresql://u:****@h/d", "primary", 1.5, None]
    }


# --- adoption --------------------------------------------------------------------------------------------------------


def after_failover() -> dict[str, NodeView]:
    """b was promoted at epoch 2; a came back unfenced with its old slot."""
    slot = SlotView(active=False, usable=True, confirmed=900)
    a = probe(slots={"understudy_main_1": slot}, identity="1/1")
    b = probe(
        epoch=2,
        epoch_primary="b",
        identity="2/1",
        subscriptions={
            "understudy_main_1": SubscriptionView(enabled=False, running=False, ready=True, origin=777)
        },
        slots={"understudy_main_2": slot},
    )
    return {"a": NodeView(name="a", probe=a), "b": NodeView(name="b", probe=b)}


def test_the_witness_is_believed_where_nodes_do_not_contradict() -> None:
    assert adopt.why_lost("main", state(), followed()) == ""
    assert adopt.why_lost("main", None, followed()) == "", "an interrupted first setup goes on"
    assert "epoch 2" in adopt.why_lost("main", state(), after_failover())
    assert "epoch 2" in adopt.why_lost("main", None, after_failover())


def test_adopting_keeps_what_only_the_old_primary_has() -> None:
    adopted = adopt.rebuild(cluster(), None, after_failover(), None)
    found = adopted.state
    assert (found.primary, found.epoch) == ("b", 3) and found.link is None
    assert found.plan is not None and found.plan.kind is PlanKind.REINSTATE and found.plan.target == "b"
    old = found.record("a")
    assert (old.role, old.rescue_point) == (Role.DETACHED, 777) and old.needs_copy
    assert found.old_links[-1] == Link(name="understudy_main_1", publisher="a", subscriber="b")
    assert "rescued first" in adopted.story
    assert found.version > 100, "no name of a slot may come twice"


def test_adopting_a_pair_that_is_well() -> None:
    nodes = followed()
    adopted = adopt.rebuild(cluster(), None, nodes, None).state
    assert (adopted.primary, adopted.link) == ("a", state().link)
    assert adopted.record("b").role is Role.STANDBY and not adopted.record("b").verified
    assert adopted.old_links == (Link(name="understudy_main_2", publisher="b", subscriber="a"),)


def test_adopting_asks_where_it_is_not_certain() -> None:
    nodes = followed()
    both = {n: NodeView(name=n, probe=probe(fenced=True, epoch=2, epoch_primary="b")) for n in nodes}
    with pytest.raises(CliError, match="--primary"):
        adopt.rebuild(cluster(), None, both, None)
    assert adopt.rebuild(cluster(), None, both, "a").state.primary == "a"
    halfway = {
        "a": NodeView(name="a", probe=probe(epoch=2, epoch_primary="b")),
        "b": NodeView(name="b", probe=probe(epoch=2, epoch_primary="b", fenced=True)),
    }
    assert adopt.rebuild(cluster(), None, halfway, None).state.primary == "a", (
        "b was announced, never promoted"
    )
    with pytest.raises(CliError, match="both nodes must answer"):
        adopt.rebuild(cluster(), None, nodes | {"b": NodeView(name="b", misses=1, error="gone")}, None)


def test_no_command_line_text_is_too_long_for_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("check", "setup", "run", "status", "failover", "explain"):
        assert main([command, "--help"]) == Exit.OK
        assert not re.search(r".{101,}", capsys.readouterr().out)


def commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command as it is typed, groups taken apart."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name))


def test_every_command_is_in_the_reference_and_no_other() -> None:
    reference = (Path(__file__).parents[2] / "docs/reference/cli.md").read_text()
    headings = "\n".join(line for line in reference.splitlines() if line.startswith("### "))
    documented = set(re.findall(r"`([a-z]+(?: [a-z]+)*)[^`]*`", headings))
    assert set(commands(typer.main.get_command(app))) == documented
