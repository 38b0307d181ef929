"""Plans as data: how each begins, what each step leaves, how it is rolled back and given up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.decide_cases import DETACHED, STATE

from understudy.decide import StepOutcome, abandon, complete, invariants, next_step, steps
from understudy.decide.plans import CHANGES, begin, roll_back, spare_name
from understudy.model import ClusterState, Link, PlanKind, Role, Rpo, Step

ALL = [(kind, rpo) for kind in PlanKind for rpo in Rpo]


def start(kind: PlanKind) -> ClusterState:
    state = DETACHED if kind in (PlanKind.REJOIN, PlanKind.RECOPY) else STATE
    target = (
        state.primary if kind in (PlanKind.REINSTATE, PlanKind.SYNC_ON, PlanKind.SYNC_OFF) else state.other
    )
    return begin(state, kind, target, rule="r", reason="x")


def finish(state: ClusterState, rpo: Rpo, until: Step | None = None) -> ClusterState:
    """Complete step after step, checking every change, up to (not with) ``until``."""
    while (step := next_step(state, rpo)) is not None and step is not until:
        outcome = StepOutcome(rescue_point=42) if step is Step.STOP_APPLY else StepOutcome()
        following = complete(state, step, outcome, rpo)
        assert not invariants.of_change(state, following, rpo), step
        state = following
    return state


@pytest.mark.parametrize(("kind", "rpo"), ALL)
def test_every_plan_runs_to_its_end_in_order(kind: PlanKind, rpo: Rpo) -> None:
    ended = finish(start(kind), rpo)
    assert ended.plan is None
    assert next_step(ended, rpo) is None
    assert not invariants.of_state(ended, rpo)


@pytest.mark.parametrize(("kind", "rpo"), ALL)
def test_a_step_out_of_order_is_refused(kind: PlanKind, rpo: Rpo) -> None:
    begun, expected = start(kind), steps(kind, rpo)
    for step in Step:
        if step is not expected[0]:
            with pytest.raises(ValueError, match="expected step"):
                complete(begun, step, StepOutcome(), rpo)


@pytest.mark.parametrize("kind", PlanKind)
def test_repairs_keep_the_epoch_and_changes_take_the_next(kind: PlanKind) -> None:
    begun = start(kind)
    assert begun.plan is not None
    assert begun.plan.epoch == STATE.epoch + (kind in CHANGES)
    assert begun.epoch == (STATE.epoch if kind is PlanKind.SWITCHOVER else begun.plan.epoch)
    assert begun.plan.slot.endswith(str(STATE.version + 1)), "names are never used twice"


def test_a_switchover_claims_its_epoch_once_it_is_prepared() -> None:
    prepared = complete(start(PlanKind.SWITCHOVER), Step.PREPARE_REVERSE, StepOutcome(), Rpo.ZERO)
    assert prepared.epoch == STATE.epoch + 1


def test_only_zero_requires_sync_before_a_switchover_promotes() -> None:
    zero, bounded = (steps(PlanKind.SWITCHOVER, rpo) for rpo in Rpo)
    assert zero.index(Step.REQUIRE_SYNC) < zero.index(Step.PROMOTE)
    assert Step.REQUIRE_SYNC not in bounded


@pytest.mark.parametrize(
    ("kind", "earlier", "later"),
    [
        (PlanKind.FAILOVER, Step.ANNOUNCE, Step.HOLD),
        (PlanKind.FAILOVER, Step.HOLD, Step.PROMOTE),
        (PlanKind.FAILOVER, Step.STOP_APPLY, Step.PROMOTE),
        (PlanKind.FAILOVER, Step.OPEN_REVERSE_SLOT, Step.PROMOTE),
        (PlanKind.FAILOVER, Step.RAISE_SEQUENCES, Step.PROMOTE),
        (PlanKind.SWITCHOVER, Step.FENCE, Step.WAIT_REPLAY),
        (PlanKind.SWITCHOVER, Step.WAIT_REPLAY, Step.STOP_APPLY),
        (PlanKind.SWITCHOVER, Step.FENCE, Step.COPY_SEQUENCES),
        (PlanKind.REJOIN, Step.FENCE, Step.RESCUE),
        (PlanKind.REJOIN, Step.RESCUE, Step.REWIND),
        (PlanKind.REJOIN, Step.REWIND, Step.FOLLOW),
        (PlanKind.RECOPY, Step.RESCUE, Step.FULL_COPY),
        (PlanKind.RECOPY, Step.CATCH_UP, Step.VERIFY),
    ],
)
def test_the_order_that_safety_rests_on(kind: PlanKind, earlier: Step, later: Step) -> None:
    found = steps(kind, Rpo.ZERO)
    assert found.index(earlier) < found.index(later)


def test_a_failover_detaches_the_old_primary_and_keeps_its_link_for_the_rescue() -> None:
    ended = finish(start(PlanKind.FAILOVER), Rpo.ZERO)
    record = ended.record("oak")
    assert (ended.primary, record.role, record.rescue_point, record.verified) == (
        "elm",
        Role.DETACHED,
        42,
        False,
    )
    assert ended.link is None
    assert STATE.link in ended.old_links
    assert ended.reverse is not None
    assert (ended.reverse.publisher, ended.reverse.subscriber) == ("elm", "oak")
    assert not ended.in_sync


@pytest.mark.parametrize("rpo", Rpo)
def test_a_switchover_turns_the_link_round(rpo: Rpo) -> None:
    ended = finish(start(PlanKind.SWITCHOVER), rpo)
    assert ended.primary == "elm"
    assert ended.record("oak").role is Role.STANDBY
    assert ended.link is not None
    assert (ended.link.name, ended.link.publisher) == (STATE.spare_slot, "elm")
    assert ended.in_sync == (rpo is Rpo.ZERO)
    assert ended.old_links == (STATE.link,)


def test_failbacks_of_one_day_are_counted() -> None:
    begun = begin(
        replace(STATE, failbacks=(10.0, 90_000.0)), PlanKind.SWITCHOVER, "elm", rule="failback", reason="x"
    )
    before = finish(begun, Rpo.BOUNDED, until=Step.PUBLISH)
    ended = complete(before, Step.PUBLISH, StepOutcome(wall=100_000.0), Rpo.BOUNDED)
    assert ended.failbacks == (90_000.0, 100_000.0)


def test_a_rewind_that_is_impossible_ends_the_rejoin() -> None:
    begun = finish(start(PlanKind.REJOIN), Rpo.ZERO, until=Step.REWIND)
    ended = complete(begun, Step.REWIND, StepOutcome(needs_copy="TRUNCATE"), Rpo.ZERO)
    assert ended.plan is None
    assert ended.record("elm").needs_copy == "TRUNCATE"
    assert ended.record("elm").role is Role.DETACHED


def test_contents_that_differ_ask_for_a_copy() -> None:
    begun = finish(start(PlanKind.REJOIN), Rpo.ZERO, until=Step.VERIFY)
    ended = complete(begun, Step.VERIFY, StepOutcome(different=("public.t",)), Rpo.ZERO)
    assert ended.plan is None
    assert "public.t" in ended.record("elm").needs_copy
    assert not ended.record("elm").verified


def test_links_that_could_not_be_dropped_are_remembered() -> None:
    old = Link(name="u0", publisher="elm", subscriber="oak")
    begun = finish(replace(start(PlanKind.TIDY), old_links=(old,)), Rpo.ZERO, until=Step.DROP_OLD_LINKS)
    assert complete(begun, Step.DROP_OLD_LINKS, StepOutcome(undone=("u0",)), Rpo.ZERO).old_links == (old,)
    assert complete(begun, Step.DROP_OLD_LINKS, StepOutcome(), Rpo.ZERO).old_links == ()


@pytest.mark.parametrize("kind", [PlanKind.FAILOVER, PlanKind.SWITCHOVER])
@given(count=st.integers(0, 8))
def test_a_roll_back_names_a_higher_epoch_or_leaves_all_as_it_was(kind: PlanKind, count: int) -> None:
    state = start(kind)
    for _ in range(min(count, steps(kind, Rpo.ZERO).index(Step.PROMOTE))):
        step = next_step(state, Rpo.ZERO)
        assert step is not None
        state = complete(state, step, StepOutcome(rescue_point=1), Rpo.ZERO)
    back = roll_back(state, rule="r", reason="x")
    assert back.primary == "oak"
    if kind is PlanKind.SWITCHOVER and state.epoch == STATE.epoch:
        assert back.plan is None
        assert back.epoch == STATE.epoch
        return
    assert back.plan is not None
    assert back.plan.kind is PlanKind.REINSTATE
    assert back.epoch == state.epoch + 1
    assert not back.in_sync, "the source may have been told to stop waiting"
    assert not invariants.of_change(state, back, Rpo.ZERO)


def test_a_half_made_reverse_link_is_left_to_be_dropped() -> None:
    prepared = complete(start(PlanKind.SWITCHOVER), Step.PREPARE_REVERSE, StepOutcome(), Rpo.ZERO)
    back = roll_back(prepared, rule="r", reason="x")
    assert [link.name for link in back.old_links] == [STATE.spare_slot]
    assert back.spare_slot == ""


def test_a_full_copy_that_is_given_up_leaves_its_own_link_to_be_dropped() -> None:
    """Its subscription may have been made although nobody heard of it: it would apply every row a second time."""
    copying = finish(start(PlanKind.RECOPY), Rpo.ZERO, until=Step.FULL_COPY)
    assert copying.plan is not None
    made = Link(name=copying.plan.slot, publisher=copying.plan.source, subscriber=copying.plan.target)
    given_up = begin(copying, PlanKind.SYNC_OFF, copying.primary, rule="r", reason="x")
    assert made in given_up.old_links
    copied = finish(start(PlanKind.RECOPY), Rpo.ZERO, until=Step.CATCH_UP)
    kept = begin(copied, PlanKind.SYNC_OFF, copied.primary, rule="r", reason="x")
    assert kept.link == made
    assert made not in kept.old_links


def test_a_full_copy_gives_up_every_link_of_its_node() -> None:
    begun = begin(STATE, PlanKind.RECOPY, "elm", rule="r", reason="x")
    assert begun.link is None
    assert {link.name for link in begun.old_links} == {"u1", STATE.spare_slot}
    assert begun.record("elm").role is Role.DETACHED
    assert not begun.in_sync


def test_abandoning_keeps_everything_else() -> None:
    assert abandon(begin(STATE, PlanKind.TIDY, "elm", rule="r", reason="x")) == STATE


def test_there_is_no_step_without_a_plan() -> None:
    assert next_step(STATE, Rpo.ZERO) is None
    with pytest.raises(ValueError, match="expected a plan"):
        complete(STATE, Step.FENCE, StepOutcome(), Rpo.ZERO)
    with pytest.raises(ValueError, match="expected a plan"):
        spare_name(replace(STATE, spare_slot=""))
