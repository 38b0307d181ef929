"""`invariants` names what is broken, and is silent about what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.decide_cases import DETACHED, LINK, STATE

from understudy.decide import invariants
from understudy.decide.plans import begin
from understudy.model import ClusterState, Link, PlanKind, Role, Rpo, Step

FAILOVER = begin(STATE, PlanKind.FAILOVER, "elm", rule="r", reason="x")
assert FAILOVER.plan is not None


def done(*steps: Step) -> ClusterState:
    assert FAILOVER.plan is not None
    return replace(FAILOVER, plan=replace(FAILOVER.plan, done=steps))


@pytest.mark.parametrize("state", [STATE, DETACHED, FAILOVER])
def test_a_sound_state_is_silent(state: ClusterState) -> None:
    assert invariants.of_state(state, Rpo.ZERO) == []
    assert invariants.of_change(state, state, Rpo.ZERO) == []


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (STATE.with_record("elm", role=Role.PRIMARY), "one primary"),
        (STATE.with_record("oak", role=Role.STANDBY), "one primary"),
        (
            replace(STATE, link=Link(name="u1", publisher="elm", subscriber="oak")),
            "does not go from the primary",
        ),
        (replace(STATE, reverse=Link(name="x", publisher="oak", subscriber="elm")), "nobody is detached"),
        (replace(STATE, link=None), "in_sync although no node follows"),
        (replace(STATE.with_record("elm", role=Role.DETACHED)), "not a standby"),
        (replace(STATE, old_links=(LINK,)), "used twice"),
        (replace(STATE, spare_slot="u1"), "used twice"),
        (done(Step.HOLD), "no proper prefix"),
        (replace(FAILOVER, epoch=1), "has not claimed"),
        (replace(FAILOVER, epoch=9), "in a state at epoch 9"),
    ],
)
def test_a_broken_state_is_named(state: ClusterState, says: str) -> None:
    assert any(says in text for text in invariants.of_state(state, Rpo.ZERO))


@pytest.mark.parametrize(
    ("before", "after", "rpo", "says"),
    [
        (replace(STATE, epoch=5), STATE, Rpo.ZERO, "went back from 5 to 1"),
        (STATE, replace(STATE, epoch=4), Rpo.ZERO, "jumped from 1 to 4"),
        (replace(STATE, in_sync=False), STATE, Rpo.BOUNDED, "not in zero mode"),
    ],
)
def test_a_broken_change_is_named(before: ClusterState, after: ClusterState, rpo: Rpo, says: str) -> None:
    assert any(says in text for text in invariants.of_change(before, after, rpo))


def moved(**changes: object) -> ClusterState:
    """elm made primary, oak detached."""
    state = replace(FAILOVER, primary="elm", link=None, in_sync=False, plan=None)
    state = state.with_record("elm", role=Role.PRIMARY).with_record("oak", role=Role.DETACHED)
    return replace(state, **changes)  # type: ignore[arg-type]


READY = done(
    Step.ANNOUNCE,
    Step.HOLD,
    Step.FENCE_IF_REACHABLE,
    Step.STOP_APPLY,
    Step.RAISE_SEQUENCES,
    Step.OPEN_REVERSE_SLOT,
    Step.PROMOTE,
)


def test_a_change_of_primary_that_was_prepared_is_silent() -> None:
    assert invariants.of_change(READY, moved(), Rpo.ZERO) == []


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (STATE, moved(), "without a plan"),
        (done(Step.ANNOUNCE), moved(), "before it was announced and promoted"),
        (READY, moved().with_record("oak", role=Role.STANDBY), "not detached"),
        (READY, moved().with_record("oak", role=Role.PRIMARY), "still primary"),
    ],
)
def test_a_change_of_primary_that_was_not_is_named(
    before: ClusterState, after: ClusterState, says: str
) -> None:
    assert any(says in text for text in invariants.of_change(before, after, Rpo.ZERO))
