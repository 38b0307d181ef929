"""Every history of the smallest world: nothing is drawn, everything that can happen does (`small_search`)."""

from __future__ import annotations

import pytest
from tests.simulation.small_explore import Report, explore
from tests.simulation.small_search import Search

from understudy.agent import steps as agent_steps
from understudy.decide import StepOutcome, plans
from understudy.model import PlanKind, Rpo, Step

ZERO, BOUNDED = Rpo.ZERO, Rpo.BOUNDED
SWITCHOVER, FAILOVER = PlanKind.SWITCHOVER, PlanKind.FAILOVER


def sound(report: Report) -> None:
    if report.broken:
        pytest.fail(f"{report.broken}\n  " + "\n  ".join(report.way))
    assert report.settled > 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("rpo", list(Rpo))
def test_a_switchover_with_one_fault_anywhere(rpo: Rpo) -> None:
    """A node dies or freezes, a link is cut, a call or its answer is lost, an agent dies or falls behind, the
    witness goes: at every point. This includes every failover that a switchover becomes."""
    report = explore(Search(rpo, switchover=True, faults=1))
    sound(report)
    assert report.states > 100_000
    wanted = {"request", "step_failed", "target_lost", "escalate", "primary_down", "returned", "tidy"}
    assert wanted <= report.rules


@pytest.mark.parametrize("rpo", list(Rpo))
def test_a_failover_with_a_lost_message_anywhere(rpo: Rpo) -> None:
    """The primary dies, freezes or is cut off from the agent, at every point; then a message is lost or a node dies."""
    report = explore(Search(rpo, switchover=False, faults=1, kinds=("message", "down")))
    sound(report)
    assert {"primary_down", "returned"} <= report.rules


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["down", "frozen", "cut", "agent"])
@pytest.mark.parametrize("rpo", list(Rpo))
def test_a_failover_with_a_second_fault_anywhere(rpo: Rpo, kind: str) -> None:
    sound(explore(Search(rpo, switchover=False, faults=1, kinds=(kind,))))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["down", "frozen", "cut", "agent"])
@pytest.mark.parametrize("rpo", list(Rpo))
def test_agents_that_die_at_every_step_as_often_as_they_like(rpo: Rpo, kind: str) -> None:
    sound(explore(Search(rpo, switchover=True, faults=1, kinds=(kind,), deep=True)))


# --- a search that finds nothing proves nothing ----------------------------------------------------------------

# step left out of the table of a plan: what else may go wrong, and what must be seen to break
LEFT_OUT = [
    (FAILOVER, Step.HOLD, BOUNDED, 0, "one writer"),
    (FAILOVER, Step.ANNOUNCE, BOUNDED, 0, "before it was announced"),
    (FAILOVER, Step.STOP_APPLY, BOUNDED, 0, "pushed its tail"),
    (FAILOVER, Step.PROMOTE, BOUNDED, 0, "before it was announced and promoted"),
    (SWITCHOVER, Step.HOLD, BOUNDED, 0, "a planned change ends w"),
    (SWITCHOVER, Step.WAIT_REPLAY, BOUNDED, 0, "no way out"),
    (PlanKind.REINSTATE, Step.PROMOTE, BOUNDED, 1, "plan after plan"),
    (PlanKind.REJOIN, Step.RESCUE, BOUNDED, 0, "an acknowledged write is not on the primary"),
]


@pytest.mark.parametrize(("kind", "step", "rpo", "faults", "says"), LEFT_OUT)
def test_a_broken_step_table_is_found(
    kind: PlanKind, step: Step, rpo: Rpo, faults: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(plans._STEPS, kind, tuple(s for s in plans._STEPS[kind] if s is not step))
    switchover = kind in (SWITCHOVER, PlanKind.REINSTATE)
    report = explore(Search(rpo, switchover=switchover, faults=faults, kinds=("message",)))
    assert says in report.broken


# step that is recorded and does nothing
IDLE = [
    pytest.param(FAILOVER, Step.ANNOUNCE, BOUNDED, "one writer", marks=pytest.mark.slow),
    (FAILOVER, Step.HOLD, BOUNDED, "one writer"),
    (FAILOVER, Step.STOP_APPLY, BOUNDED, "pushed its tail"),
    (SWITCHOVER, Step.HOLD, BOUNDED, "a planned change ends w"),
    (SWITCHOVER, Step.WAIT_REPLAY, BOUNDED, "no way out"),
    (SWITCHOVER, Step.REQUIRE_SYNC, ZERO, "which the in-sync standby does not have"),
    (SWITCHOVER, Step.RESUME_APPLY, ZERO, "plan after plan"),
    (SWITCHOVER, Step.FENCE, BOUNDED, "plan after plan"),
]


@pytest.mark.parametrize(("kind", "step", "rpo", "says"), IDLE)
def test_a_step_that_does_nothing_is_found(
    kind: PlanKind, step: Step, rpo: Rpo, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> StepOutcome:
        return StepOutcome()

    monkeypatch.setitem(agent_steps._ACTIONS, step, nothing)
    faults = {Step.ANNOUNCE: ("cut",), Step.RESUME_APPLY: ("message",)}.get(step)
    search = Search(rpo, switchover=kind is SWITCHOVER, faults=int(faults is not None), kinds=faults)
    assert says in explore(search).broken


def test_a_lease_opened_before_the_change_is_published_is_found() -> None:
    """Fence rows are raised before the change is sure: alone they must not open a lease."""
    report = explore(Search(BOUNDED, switchover=True, faults=1, kinds=("down",), rows_open=True))
    assert report.broken
