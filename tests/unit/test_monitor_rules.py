"""What counts as wrong: each kind of condition, at its threshold, and what is not known when nobody can see."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.unit.test_kept import told as kept_told

from understudy.config_alerts import Monitor, Severity
from understudy.model import Cluster, ClusterState, Link, Node, NodeRecord, NodeView, Policy, Probe, Role, Rpo
from understudy.monitor.disks import share_of
from understudy.monitor.edges import Condition, Kind
from understudy.monitor.looking import new_slowest, slowest
from understudy.monitor.readings import Look, Reading, SlotReading, SlowStatement
from understudy.monitor.rules import Rules
from understudy.monitor.story import told
from understudy.readiness.kept import STALE, Archive, Told
from understudy.readiness.light import NAMES, Item, Light, Readiness
from understudy.witness import Event

CLUSTER = Cluster(
    name="farm",
    engine="postgresql",
    nodes=tuple(
        Node(name=n, dsn="", admin_dsn="", replication_dsn="", priority=i) for i, n in enumerate("ab", 1)
    ),
    policy=Policy(),
)
STATE = ClusterState(
    cluster="farm",
    version=1,
    epoch=1,
    primary="a",
    nodes=(NodeRecord(name="a", role=Role.PRIMARY), NodeRecord(name="b", role=Role.STANDBY)),
    link=Link(name="l", publisher="a", subscriber="b"),
)
LOOK = Look(connections=10, connections_limit=100, disk=0.5)


def view(name: str, *, took: float = 0.01, schema: str = "same", **more: object) -> NodeView:
    probe = Probe(at=10.0, answered=10.0 + took, epoch=1, schema=schema)
    return replace(NodeView(name=name, probe=probe), **more)  # type: ignore[arg-type]


HEALTHY = Reading(
    state=STATE,
    nodes={"a": view("a"), "b": view("b")},
    lag_seconds=0.1,
    rule="steady",
    reason="",
    looks={"a": LOOK, "b": LOOK},
)


def judged(reading: Reading, cluster: Cluster = CLUSTER) -> dict[str, Condition]:
    conditions = Rules(cluster, Monitor()).verdict(reading).conditions
    assert len({c.key for c in conditions}) == len(conditions)
    return {c.key: c for c in conditions}


def test_nothing_is_wrong_with_a_healthy_pair() -> None:
    verdict = Rules(CLUSTER, Monitor()).verdict(HEALTHY)
    assert verdict.conditions == ()
    assert verdict.unseen == frozenset()


def with_node(name: str, found: NodeView) -> Reading:
    return replace(HEALTHY, nodes=HEALTHY.nodes | {name: found})


def with_look(**changes: object) -> Reading:
    return replace(HEALTHY, looks={"a": replace(LOOK, **changes), "b": LOOK})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reading", "key", "severity", "words"),
    [
        (
            with_node("a", view("a", misses=3, error="gone")),
            "down:a",
            "critical",
            "a is down the primary gone",
        ),
        (with_node("b", view("b", misses=3, error="gone")), "down:b", "warning", "b is down not the primary"),
        (with_node("a", view("a", error="bad password")), "refuses:a", "critical", "bad password"),
        (
            with_node(
                "a", replace(view("a"), probe=Probe(at=1, answered=1, epoch=1, unwritable="disk full"))
            ),
            "unwritable:a",
            "critical",
            "disk full",
        ),
        (with_node("a", view("a", took=0.6)), "latency:a", "warning", "0.600 s"),
        (replace(HEALTHY, lag_seconds=6.0), "lag", "warning", "6.0 s behind"),
        (replace(HEALTHY, lag_seconds=11.0), "lag", "critical", "failover is refused"),
        (with_node("b", view("b", schema="other")), "drift", "warning", "schemas of both nodes differ"),
        (replace(HEALTHY, lag_seconds=None), "unprotected", "warning", "how far the standby b is behind"),
        (
            replace(HEALTHY, state=STATE.with_record("b", role=Role.DETACHED)),
            "unprotected",
            "warning",
            "detached",
        ),
        (with_node("b", view("b", misses=3)), "unprotected", "warning", "b does not answer"),
        (
            replace(HEALTHY, rule="failover_refused", reason="too far"),
            "stuck:failover_refused",
            "critical",
            "too far",
        ),
        (
            replace(HEALTHY, rule="primary_fenced", reason="paused"),
            "stuck:primary_fenced",
            "critical",
            "paused",
        ),
        (replace(HEALTHY, rule="witness_down", reason="disk"), "stuck:witness_down", "critical", "disk"),
        (replace(HEALTHY, troubles={"a": "no slot"}), "look:a", "warning", "no slot"),
        (
            with_look(slow=(SlowStatement(text="SELECT ?", seconds=2.5),)),
            "slow:a",
            "warning",
            "2.5 s: SELECT ?",
        ),
        (with_look(hidden=2), "hidden:a", "info", "pg_read_all_stats"),
        (with_look(connections=90), "connections:a", "warning", "90 of 100"),
        (with_look(disk=0.81), "disk:a", "warning", "81%"),
        (with_look(disk=None, disk_error="status 401"), "unseen:a", "warning", "cannot be seen status 401"),
        (with_look(disk=0.96), "disk:a", "critical", "96%"),
        (
            with_look(slots={"s": SlotReading(retained=2**31, status="extended")}),
            "slots:a",
            "warning",
            "2,048 MiB",
        ),
        (
            with_look(slots={"s": SlotReading(retained=0, status="lost")}),
            "slots:a",
            "critical",
            "s: 0 MiB, lost",
        ),
    ],
)
def test_what_is_wrong(reading: Reading, key: str, severity: str, words: str) -> None:
    found = judged(reading)[key]
    assert found.severity == severity
    said = f"{found.title} {found.text}"
    assert all(word in said for word in words.split())


def test_in_zero_a_standby_that_is_not_in_sync_protects_nobody() -> None:
    zero = replace(CLUSTER, policy=Policy(rpo=Rpo.ZERO))
    assert "not in sync" in judged(HEALTHY, zero)["unprotected"].text
    assert judged(replace(HEALTHY, state=replace(STATE, in_sync=True)), zero) == {}
    assert judged(replace(HEALTHY, state=replace(STATE, in_sync=True), lag_seconds=99.0), zero)[
        "lag"
    ].severity == (
        Severity.WARNING  # no failover is refused for it
    )


def test_thresholds_are_not_passed_by_reaching_them() -> None:
    assert judged(replace(HEALTHY, lag_seconds=5.0)) == {}
    assert judged(with_look(disk=0.8)) == {}
    assert judged(with_look(connections=89)) == {}
    assert judged(with_node("a", view("a", misses=2))) == {}


def test_of_a_node_that_is_down_nothing_else_is_known() -> None:
    reading = replace(with_node("a", view("a", misses=3, error="gone")), looks={"b": LOOK})
    verdict = Rules(CLUSTER, Monitor()).verdict(reading)
    assert {"slow:a", "slots:a", "disk:a", "connections:a", "latency:a", "lag", "drift"} <= verdict.unseen
    assert not {"down:a", "slow:b", "down:b"} & verdict.unseen


def test_a_node_that_went_down_can_write_no_better_than_before() -> None:
    """Its end would be told: "over: primary a cannot write"."""
    unseen = Rules(CLUSTER, Monitor()).verdict(with_node("a", view("a", misses=1, error="gone"))).unseen
    assert {"unwritable:a", "refuses:a"} <= unseen
    refused = Rules(CLUSTER, Monitor()).verdict(with_node("a", view("a", error="bad password"))).unseen
    assert "unwritable:a" in refused
    assert not {"refuses:a", "down:a"} & refused


def test_a_disk_that_cannot_be_seen_is_not_empty() -> None:
    assert Rules(CLUSTER, Monitor()).verdict(with_look(disk=None)).unseen == {"disk:a"}


def test_before_the_first_state_nothing_is_known() -> None:
    empty = Reading(state=None, nodes={}, lag_seconds=None, rule="", reason="")
    verdict = Rules(CLUSTER, Monitor()).verdict(empty)
    assert verdict.conditions == ()
    assert {"down:a", "unprotected", "lag", "slow:b"} <= verdict.unseen


def test_a_notice_names_only_the_worst() -> None:
    statements = tuple(SlowStatement(text=f"SELECT {n}", seconds=n) for n in range(9, 0, -1))
    text = judged(with_look(slow=statements))["slow:a"].text
    assert "SELECT 9" in text
    assert "SELECT 4" not in text
    assert "and 4 more" in text


# --- what a look makes of its numbers -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "now", "milliseconds"),
    [
        (None, (1, 1500.0, 1500.0), 1500.0),  # not seen before: all of it is new
        ((5, 9000.0, 3000.0), (5, 9000.0, 3000.0), 0.0),  # no new call
        ((5, 9000.0, 3000.0), (6, 13000.0, 4000.0), 4000.0),  # a new record
        ((5, 9000.0, 3000.0), (7, 9020.0, 3000.0), 10.0),  # two quick calls
        ((5, 9000.0, 3000.0), (6, 11000.0, 3000.0), 2000.0),  # one slow call, no record
        ((5, 9000.0, 3000.0), (1, 1200.0, 1200.0), 1200.0),  # the statistics were reset
    ],
)
def test_the_slowest_new_call(before: object, now: tuple, milliseconds: float) -> None:
    assert new_slowest(before, now) == milliseconds  # type: ignore[arg-type]


def test_each_statement_once() -> None:
    found = slowest([SlowStatement(text=t, seconds=s) for t, s in (("x", 1.0), ("y", 3.0), ("x", 2.0))])
    assert found == (SlowStatement(text="y", seconds=3.0), SlowStatement(text="x", seconds=2.0))


METRICS = """
# TYPE node_filesystem_avail_bytes gauge
node_filesystem_avail_bytes{device="/dev/root",fstype="ext4",mountpoint="/"} 5e+09
node_filesystem_size_bytes{device="/dev/root",fstype="ext4",mountpoint="/"} 1e+10
node_filesystem_avail_bytes{device="/dev/nvme1n1",fstype="ext4",mountpoint="/data"} 1.5e+09
node_filesystem_free_bytes{device="/dev/nvme1n1",fstype="ext4",mountpoint="/data"} 2e+09
node_filesystem_size_bytes{device="/dev/nvme1n1",fstype="ext4",mountpoint="/data"} 8e+09
"""


def test_the_disk_with_the_data_counts() -> None:
    assert share_of(METRICS) == 6 / 7.5
    assert share_of(METRICS.replace("/data", "/boot")) == 0.5
    assert share_of("up 1") is None
    assert share_of(METRICS.replace("8e+09", "8.0.0")) == 0.5  # no number: as if it were not there


# --- history ------------------------------------------------------------------------------------------------


def line(number: int, kind: str, message: str = "") -> Event:
    return Event(
        id=number,
        wall=float(number),
        cluster="farm",
        agent="x:1",
        epoch=1,
        kind=kind,
        message=message,
        took=None,
    )


FAILOVER = [
    line(1, "node_down", "a missed 3 probes"),
    line(2, "primary_down", "a is down"),
    line(3, "step:promote", "b accepts writes"),
    line(4, "step:publish", "b is primary at epoch 2"),
]


def test_a_failover_is_told_with_its_cause() -> None:
    (notice,) = told(FAILOVER, after=3)
    assert (notice.kind, notice.severity) == (Kind.EVENT, Severity.CRITICAL)
    assert notice.title == "failover: b is primary at epoch 2"
    assert "a is down" in notice.text
    assert told(FAILOVER, after=4) == []


@pytest.mark.parametrize(
    ("events", "severity", "words"),
    [
        (
            [line(1, "failback", "home"), line(2, "step:publish", "a is primary")],
            "info",
            "failback: a is primary",
        ),
        ([line(1, "request", "x"), line(2, "step:publish", "a is primary")], "info", "on request"),
        (
            [line(1, "request"), line(2, "step_failed"), line(3, "step:publish", "a is primary")],
            "warning",
            "rolled",
        ),
        ([line(2, "step:publish", "a is primary")], "warning", "change of primary: a is primary"),
        (
            [line(1, "step:rescue", "rescued 3 transactions, 7 changes, kept in /x")],
            "warning",
            "only the old",
        ),
        (
            [line(1, "step:rescue", "the slot is gone; all 7 rows of a are kept in /x")],
            "warning",
            "only the old",
        ),
        ([line(1, "gate_failed", "haproxy: refused")], "warning", "a gate does not do as it is told"),
        (
            [line(1, "gate_well", "haproxy does as it is told again")],
            "info",
            "a gate does as it is told again",
        ),
        ([line(1, "agent_took_over", "silent")], "warning", "another agent"),
        ([line(1, "sync_lost", "going on without it")], "warning", "no longer waits"),
    ],
)
def test_what_else_is_told(events: list[Event], severity: str, words: str) -> None:
    (notice,) = told(events, after=0)
    assert notice.severity == severity
    assert words in notice.title


def test_what_is_not_worth_a_message() -> None:
    quiet = [
        line(1, "agent_started"),
        line(2, "step:verify"),
        line(3, "step:rescue", "a had nothing that others lack"),
        line(4, "step:rescue", "no slot holds what a had"),  # the full copy that follows is told
    ]
    assert told(quiet, after=0) == []


def test_a_gate_that_fails_in_ever_new_ways_is_told_once() -> None:
    story = [
        line(n, "gate_failed", f"haproxy: {why}") for n, why in enumerate(("refused", "no answer", "x"), 1)
    ]
    story += [
        line(4, "gate_failed", "pgbouncer: refused"),
        line(5, "gate_well", "haproxy does as it is told again"),
    ]
    story += [line(6, "gate_failed", "haproxy: refused")]
    assert [notice.text for notice in told(story, after=0)] == [
        "haproxy: refused",
        "pgbouncer: refused",
        "haproxy does as it is told again",
        "haproxy: refused",
    ]


def test_a_change_has_no_cause_but_its_own() -> None:
    """The cause of an earlier change explains nothing about a later one."""
    (notice,) = told([*FAILOVER, line(5, "step:publish", "a is primary at epoch 3")], after=4)
    assert notice.title == "change of primary: a is primary at epoch 3"


# --- readiness ----------------------------------------------------------------------------------------------


NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def kept_with(light: Light, item: str = "backup", **changes: object) -> Told:
    light_of = Readiness(
        cluster="farm", light=light, items=(Item(name=item, light=light, detail="2.0 d old"),)
    )
    return kept_told(NOON, readiness=light_of, **changes)


def ready_conditions(kept: Told, age: float = 30.0) -> dict[str, Condition]:
    return judged(replace(HEALTHY, kept=(kept, age)))


@pytest.mark.parametrize("item", sorted(set(NAMES) - {"standby"}))
def test_each_reason_of_the_light_is_a_condition(item: str) -> None:
    (red,) = ready_conditions(kept_with(Light.RED, item)).values()
    (amber,) = ready_conditions(kept_with(Light.AMBER, item)).values()
    assert red.key == amber.key == f"ready:{item}"
    assert (red.severity, amber.severity) == (Severity.CRITICAL, Severity.WARNING)
    assert red.text == "2.0 d old"
    assert not ready_conditions(kept_with(Light.GREEN, item))
    assert not ready_conditions(kept_with(Light.OFF, item))


def test_a_standby_that_could_not_take_over_is_told_by_the_rules_that_see_it_at_once() -> None:
    assert not ready_conditions(kept_with(Light.RED, "standby"))


def test_an_archiver_in_trouble_or_silent() -> None:
    trouble = Archive(receiving=True, until=None, retained=None, spool=0, trouble="nas: no space")
    assert ready_conditions(kept_with(Light.GREEN, archive=trouble))["archiver"].text == "nas: no space"
    assert "says nothing" in ready_conditions(kept_with(Light.GREEN, archive=None))["archiver"].text
    assert not ready_conditions(kept_with(Light.GREEN, archive=None, archiving=False))
    ended = replace(trouble, receiving=False, trouble="")
    assert ready_conditions(kept_with(Light.GREEN, archive=ended))["archiver"].text


def test_what_nobody_looks_at_has_neither_begun_nor_ended() -> None:
    kept = kept_with(Light.RED)
    assert list(ready_conditions(kept, STALE + 60.0)) == ["ready:unseen"]
    verdict = Rules(CLUSTER, Monitor()).verdict(replace(HEALTHY, kept=(kept, STALE + 60.0)))
    assert {"ready:backup", "ready:storage", "archiver"} <= verdict.unseen


def test_a_job_that_fails_again_and_again_is_told_once_until_it_was_done() -> None:
    kinds = ["logical_backup_failed", "logical_backup_failed", "verification_failed", "logical_backup_done"]
    events = [
        Event(
            id=n,
            wall=float(n),
            cluster="farm",
            epoch=1,
            agent="schedule",
            kind=kind,
            message="exit code 8",
            took=0.0,
        )
        for n, kind in enumerate([*kinds, "logical_backup_failed"], 1)
    ]
    assert [notice.title for notice in told(events, 0)] == [
        "logical backup failed",
        "verification failed",
        "logical backup failed",
    ]
    assert [notice.title for notice in told(events, 1)] == ["verification failed", "logical backup failed"]
