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
