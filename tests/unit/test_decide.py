"""`decide` does what the table in `decide_cases.py` says."""

from __future__ import annotations

import pytest
from tests.unit.decide_cases import BOUNDED, CASES, NOW, PRIMARY, STANDBY, Case, F, R, S, asks, plan

from understudy.decide import after_failure, decide
from understudy.decide.decide import _RULES
from understudy.model import ClusterState, NodeView, PlanKind, Probe, Step, View


def _node(name: str, seen: Probe | NodeView) -> NodeView:
    return seen if isinstance(seen, NodeView) else NodeView(name=name, probe=seen)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_decide(case: Case) -> None:
    nodes = {"oak": _node("oak", case.oak), "elm": _node("elm", case.elm)}
    view = View(
        now=NOW, wall=500_001.0, nodes=nodes, **{"lag_seconds": 0.1, "healthy_since": None, **case.view}
    )
    decision = decide(case.state, view, case.policy)
    assert decision.rule == case.rule, decision.reason
    assert case.says in decision.reason
    begun = (
        decision.state.plan if decision.state is not None and decision.state.plan != case.state.plan else None
    )
    assert (begun.kind if begun else None) == case.begins
    if case.works is not None:
        assert decision.work == case.works
    if decision.state is not None:
        assert decision.state.version == case.state.version, "only the witness counts versions"
        assert decision.state.primary == case.state.primary, "a decision never changes the primary by itself"
        assert decision.state.epoch >= case.state.epoch
    assert decide(case.state, view, case.policy) == decision, "the same in, the same out"


def test_every_rule_has_a_line() -> None:
    names = {case.rule for case in CASES}
    assert len(_RULES) == 12, "a new rule needs lines in this table"
    assert names >= {
        "witness_behind", "continue", "target_lost", "wait", "escalate", "primary_down", "failover_refused",
        "primary_fenced", "sync_unset", "sync_lost", "request_refused", "request", "returned", "copy_limit",
        "needs_copy", "link_lost", "tidy", "sync_possible", "failback_capped", "failback", "steady",
    }  # fmt: skip


def test_a_request_is_answered_once() -> None:
    state = asks("switchover", "oak")
    view = View(now=NOW, wall=0.0, nodes={"oak": _node("oak", PRIMARY), "elm": _node("elm", STANDBY)})
    decision = decide(state, view, BOUNDED)
    assert decision.state is not None
    assert decision.state.request is None
    assert decision.state.answer == "r1: refused: oak is the primary already"


@pytest.mark.parametrize(
    ("state", "step", "rule", "kind"),
    [
        (plan(S, "elm"), Step.PREPARE_REVERSE, "step_failed", None),
        (plan(S, "elm", Step.PREPARE_REVERSE, Step.ANNOUNCE), Step.HOLD, "step_failed", R),
        (plan(S, "elm", Step.PREPARE_REVERSE), Step.PROMOTE, "try_again", None),
        (plan(F, "elm"), Step.ANNOUNCE, "try_again", None),
        (plan(PlanKind.TIDY, "elm"), Step.FENCE, "try_again", None),
    ],
)
def test_after_failure(state: ClusterState, step: Step, rule: str, kind: PlanKind | None) -> None:
    decision = after_failure(state, step, "no answer", BOUNDED)
    assert decision.rule == rule
    assert "no answer" in decision.reason
    if rule == "step_failed":
        assert decision.state is not None
        assert (decision.state.plan.kind if decision.state.plan else None) == kind
    else:
        assert decision.state is None
