"""What the agent remembers between two looks."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.decide_cases import PRIMARY, STANDBY, STATE, down

from understudy.agent.probing import DRIFT_AFTER, Watch
from understudy.model import NodeView

SAME = {"oak": NodeView(name="oak", probe=PRIMARY), "elm": NodeView(name="elm", probe=STANDBY)}
DIFFERENT = {**SAME, "elm": NodeView(name="elm", probe=replace(STANDBY, schema="t"))}
OAK_DEAD = {**DIFFERENT, "oak": down("oak")}


def drifted(watch: Watch, nodes: dict[str, NodeView], now: float) -> bool:
    return watch.look(STATE, nodes, now=now, wall=0.0, changed_at=0.0).drifted


def test_schemas_that_differ_for_a_moment_are_no_drift() -> None:
    watch = Watch()
    assert not drifted(watch, DIFFERENT, 0.0)
    assert not drifted(watch, DIFFERENT, DRIFT_AFTER)
    assert not drifted(watch, SAME, DRIFT_AFTER + 1)
    assert not drifted(watch, DIFFERENT, DRIFT_AFTER + 2)


def test_what_a_dead_node_said_last_does_not_become_drift() -> None:
    watch = Watch()
    assert not drifted(watch, DIFFERENT, 0.0)
    for second in range(100):
        assert not drifted(watch, OAK_DEAD, float(second))


def test_drift_is_remembered_until_the_schemas_are_seen_to_be_equal() -> None:
    watch = Watch()
    drifted(watch, DIFFERENT, 0.0)
    assert drifted(watch, DIFFERENT, DRIFT_AFTER + 0.1)
    assert drifted(watch, OAK_DEAD, DRIFT_AFTER + 5)
    assert not drifted(watch, SAME, DRIFT_AFTER + 6)


# --- the lag that is shown ----------------------------------------------------------------------------------


def shown(watch: Watch, had: int, *, asked: float, misses: int = 0) -> float | None:
    """With a standby that was asked at that second and had that heartbeat."""
    probe = replace(STANDBY, heartbeat=had, at=asked, answered=asked + 0.001)
    return watch.lag_shown(STATE, {**SAME, "elm": NodeView(name="elm", probe=probe, misses=misses)})


def written(*seconds: float) -> Watch:
    """Heartbeats at these seconds, each taken after 2 ms."""
    watch = Watch()
    for second in seconds:
        watch.wrote_heartbeat(int(second * 1000), second + 0.002)
    return watch


def test_a_heartbeat_written_after_the_standby_was_asked_is_no_lag() -> None:
    watch = written(10.0, 11.0)
    assert shown(watch, 10_000, asked=10.9) == 0.0
    assert (
        watch.lag(STATE, {**SAME, "elm": NodeView(name="elm", probe=replace(STANDBY, heartbeat=10_000))})
        == 1.0
    )
    assert shown(watch, 10_000, asked=11.001) == 0.0  # it was asked while the primary was still writing it
    assert shown(watch, 11_000, asked=11.5) == 0.0


def test_the_lag_shown_is_the_age_of_the_oldest_heartbeat_that_it_lacks() -> None:
    watch = written(10.0, 11.0, 12.0, 13.0)
    assert shown(watch, 10_000, asked=13.5) == 2.5
    assert shown(watch, 12_000, asked=13.5) == 0.5


def test_what_the_standby_lacks_from_before_this_watch_counts() -> None:
    """An agent that has just begun does not know the heartbeats of the one before."""
    assert shown(written(3600.0, 3601.0), 1_000, asked=3601.5) == 3600.0
    many = written(*(float(second) for second in range(1, 9000)))
    assert shown(many, 1_000, asked=8999.5) == 8998.0  # the oldest are not remembered


def test_a_standby_that_does_not_answer_is_shown_as_far_behind_as_it_may_be() -> None:
    assert shown(written(10.0, 11.0, 12.0), 10_000, asked=10.5, misses=1) == 2.0


def test_time_that_is_only_assumed_counts_for_decisions_alone() -> None:
    watch = written(10.0, 11.0)
    watch.assume_commits_until(15_000)
    assert shown(watch, 11_000, asked=15.5) == 0.0
    assert (
        watch.lag(STATE, {**SAME, "elm": NodeView(name="elm", probe=replace(STANDBY, heartbeat=11_000))})
        == 4.0
    )


def test_without_heartbeats_nobody_knows() -> None:
    assert shown(Watch(), 10_000, asked=10.5) is None
    assert shown(written(10.0), 0, asked=10.5) is None
