"""`decide`: what to do next, from what is decided (state), what is seen (view) and what is wanted (policy).

The rules stand in one list, the first that has something to say wins. Each returns a `Decision` whose reason
is the log line, the answer of `understudy explain` and the hook for tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from understudy.decide.plans import CHANGES, begin, next_step, roll_back
from understudy.model import (
    ClusterState,
    Failback,
    NodeRecord,
    NodeView,
    PlanKind,
    Policy,
    Probe,
    RequestKind,
    Role,
    Rpo,
    Step,
    View,
)

MAX_COPIES = 2
"""Full copies tried before a person is asked: if two copies came out different, a third will not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one look at the cluster led to.

    Args:
        rule: the name of the rule that spoke.
        reason: one sentence for people.
        state: the next state to write by compare-and-set, or None when nothing changes.
        work: carry out the next step of the plan under way (after writing ``state``, where there is one).
        alarm: a person should know (refused failover, a node from another time, ...).
    """

    rule: str
    reason: str
    state: ClusterState | None = None
    work: bool = False
    alarm: bool = False


Rule = Callable[[ClusterState, View, Policy], Decision | None]


def decide(state: ClusterState, view: View, policy: Policy) -> Decision:
    """The one decision of a moment. Pure: the same arguments always give the same answer."""
    for rule in _RULES:
        decision = rule(state, view, policy)
        if decision is not None:
            return decision
    return Decision(rule="steady", reason=_describe(state, view, policy))


# --- helpers over one look -----------------------------------------------------------------------------------


def _view(view: View, name: str) -> NodeView:
    return view.nodes.get(name, NodeView(name=name))


def _down(view: View, name: str, policy: Policy) -> bool:
    """Missed often enough to be called down (or never seen at all)."""
    return _view(view, name).misses >= policy.failure_threshold


def _probe(view: View, name: str) -> Probe | None:
    """The node's last answer, if its last probe was answered."""
    node = _view(view, name)
    return node.probe if node.up else None


def _fresh(view: View, name: str) -> Probe | None:
    """The node's last answer, if it was asked after the present state was written.

    Rules that act on what is *absent* look here: an older probe misses what the last step has just made.
    """
    probe = _probe(view, name)
    return probe if probe is not None and probe.at >= view.changed_at else None


def _primary_trouble(state: ClusterState, view: View, policy: Policy) -> str:
    """Why the primary cannot serve, or an empty string."""
    node = _view(view, state.primary)
    if node.misses >= policy.failure_threshold:
        return f"primary {state.primary} missed {node.misses} probes ({node.error or 'no answer'})"
    probe = _probe(view, state.primary)
    if probe is None:
        return ""
    if node.unwritable >= policy.failure_threshold:
        return f"primary {state.primary} answers but cannot write: {probe.unwritable}"
    return _rewound(state, view, probe)


def _rewound(state: ClusterState, view: View, probe: Probe) -> str:
    """A primary that knows less than it did, or less than the standby has, was restored from the past."""
    settled = (state.plan is None or state.plan.kind not in CHANGES) and probe.at >= view.changed_at
    if settled and probe.epoch < state.epoch:
        return (
            f"primary {state.primary} went back in time: it has seen epoch {probe.epoch}, "
            f"the witness says {state.epoch}"
        )
    if probe.wal < _view(view, state.primary).highest_wal:
        return _back(f"primary {state.primary}", probe.wal, _view(view, state.primary).highest_wal)
    standby = _probe(view, state.other)
    if standby is None or state.link is None:
        return ""
    subscription = standby.subscriptions.get(state.link.name)
    # Positions only grow, so this proves something only if the standby had answered before the primary was asked.
    if subscription is not None and standby.answered <= probe.at and subscription.origin > probe.wal:
        return _back(f"primary {state.primary}", probe.wal, subscription.origin)
    known = state.record(state.primary).identity
    if known and probe.identity and known.split("/")[0] != probe.identity.split("/")[0]:
        return f"primary {state.primary} is another server: {probe.identity}, expected {known}"
    return ""


def _back(who: str, now_at: int, was_at: int) -> str:
    return f"{who} went back in time: it is at {now_at:#x}, it was past {was_at:#x}"


def after_failure(state: ClusterState, step: Step, error: str, policy: Policy) -> Decision:
    """What a failed step leads to: a switchover is rolled back before its commit point, all else is tried again.

    ``error``: the engine's own words. Trying again is safe because every step is idempotent.
    """
    plan = state.plan
    if plan is not None and plan.kind is PlanKind.SWITCHOVER and Step.PROMOTE not in plan.done:
        if step is not Step.PROMOTE:
            return _roll_back(state, "step_failed", f"switchover to {plan.target}: {step} failed: {error}")
    kind = plan.kind if plan is not None else "plan"
    return Decision(
        rule="try_again", reason=f"{kind}: {step} failed, will be tried again: {error}", alarm=True
    )


# --- rules, most urgent first --------------------------------------------------------------------------------


def _superseded(state: ClusterState, view: View, policy: Policy) -> Decision | None:
    """A node that has seen a newer epoch than the witness: the witness was restored from an old copy."""
    for node in view.nodes.values():
        if node.probe is not None and node.probe.epoch > max(
            state.epoch, state.plan.epoch if state.plan else 0
        ):
            return Decision(
                rule="witness_behind",
                reason=f"node {node.name} has seen epoch {node.probe.epoch}, the witness says {state.epoch}: "
                "the witness is older than the databases; run `understudy setup` to adopt what they say",
                alarm=True,
            )
    return None


def _change_under_way(state: ClusterState, view: View, policy: Policy) -> Decision | None:
    """A change of primary goes on, or is rolled back, or escalates; it is never left half done."""
    plan = state.plan
    if plan is None or plan.kind not in CHANGES:
        return None
    if Step.PROMOTE in plan.done:
        return Decision(rule="continue", reason=_progress(state, policy), work=True)
    source_down, target_down = _down(view, plan.source, policy), _down(view, plan.target, policy)
    if plan.kind is PlanKind.FAILOVER and target_down:
        if _probe(view, plan.source) is None:
            return Decision(rule="wait", reason=f"{plan.target} and {plan.source} are both down", alarm=True)
        reason = f"{plan.target} went down before it was promoted; {plan.source} answers again"
        return _roll_back(state, "target_lost", reason)
    if plan.kind is PlanKind.SWITCHOVER:
        if target_down:
            return _roll_back(state, "target_lost", f"{plan.target} went down before it was promoted")
        if source_down:
            return _escalate(state, view, policy, f"{plan.source} went down during the switchover")
    if plan.kind is PlanKind.REINSTATE and source_down:
        return _escalate(state, view, policy, f"{plan.source} went down while it was reinstated")
    return Decision(rule="continue", reason=_progress(state, policy), work=True)


def _roll_back(state: ClusterState, rule: str, reason: str) -> Decision:
    return Decision(
        rule=rule, reason=reason, state=roll_back(state, rule=rule, reason=reason), work=True, alarm=True
    )


def _escalate(state: ClusterState, view: View, policy: Policy, why: str) -> Decision:
    """A planned change whose source died becomes a failover, if the gates allow; else it waits for the source."""
    refused = _failover_refused(state, view, policy)
    if refused:
        return Decision(rule="failover_refused", reason=f"{why}; no failover: {refused}", alarm=True)
    return _begin(state, PlanKind.FAILOVER, state.other, "escalate", why, alarm=True)


def _failover(state: ClusterState, view: View, policy: Policy) -> Decision | None:
    """The primary cannot serve: promote the standby if every gate is open, else say which is not."""
    trouble = _primary_trouble(state, view, policy)
    if not trouble:
        return None
    if state.paused:
        return Decision(rule="failover_refused", reason=f"{trouble}; no failover: paused", alarm=True)
    if not policy.failover:
        return Decision(rule="failover_refused", reason=f"{trouble}; no failover: disabled", alarm=True)
    refused = _failover_refused(state, view, policy)
    if refused:
        return Decision(rule="failover_refused", reason=f"{trouble}; no failover: {refused}", alarm=True)
    return _begin(state, PlanKind.FAILOVER, state.other, "primary_down", trouble, alarm=True)


def _failover_refused(state: ClusterState, view: View, policy: Policy) -> str:
    """Why the standby must not be promoted now, or an empty string."""
    name = state.other
    standby = _probe(view, name)
    if standby is None:
        return f"{name} does not answer either"
    unfit = _unfit(state, view, name)
    if unfit:
        return unfit
    if view.drifted:
        return _schemas_differ(state)
    if policy.rpo is Rpo.ZERO:
        return "" if state.in_sync else f"{name} is not in sync: acknowledged commits would be lost"
    return _lag_refused(state, view, policy)


def _unfit(state: ClusterState, view: View, name: str) -> str:
    """Why a node is no complete copy of the primary, whatever the lag; or an empty string."""
    if state.record(name).role is not Role.STANDBY or state.link is None:
        return f"{name} is not a standby ({state.record(name).role}): it must rejoin first"
    standby = _probe(view, name)
    subscription = standby.subscriptions.get(state.link.name) if standby is not None else None
    if subscription is None:
        return f"{name} has no subscription {state.link.name}"
    if not subscription.ready:
        return f"{name} has not finished copying"
    if standby is not None and standby.wal < _view(view, name).highest_wal:
        return _back(name, standby.wal, _view(view, name).highest_wal)
    return ""


def _schemas_differ(state: ClusterState) -> str:
    return f"the schemas of {state.primary} and {state.other} differ; run `understudy check`"


def _lag_refused(state: ClusterState, view: View, policy: Policy) -> str:
    """Why the lag is past its bounds (``bounded`` mode), or an empty string. Unknown lag is past the bound."""
    if view.lag_seconds is None:
        return (
            "no heartbeat tells how far the standby is behind; `understudy failover --accept-loss` forces it"
        )
    if view.lag_seconds > policy.max_lag_seconds:
        return f"the standby is {view.lag_seconds:.1f} s behind, more than max_lag_seconds = {policy.max_lag_seconds:g}"
    primary, standby = _view(view, state.primary).probe, _probe(view, state.other)
    if primary is None or standby is None or state.link is None:
        return ""
    behind = primary.wal - standby.subscriptions[state.link.name].origin
    if behind > policy.max_lag_bytes:
        return f"the standby is {behind} bytes behind, more than max_lag_bytes = {policy.max_lag_bytes}"
    return ""


def _primary_fenced(state: ClusterState, view: View, policy: Policy) -> Decision | None:
    """The published primary refuses writes: by somebody's hand, as no plan of ours leaves it so. Open it again.

    Not in the middle of a repair: what that has rescued must not be forgotten. It is bounded or waits for its node.
    """
    primary = _fresh(view, state.primary)
    if primary is None or not primary.fenced or state.plan is not None:
        return None
    reason = f"primary {state.primary} is read-only although no change is under way"
    if state.paused:
        return Decision(rule="primary_fenced", reason=f"{reason}; not opened: paused", alarm=True)
    return _begin(state, PlanKind.REINSTATE, state.primary, "primary_fenced", reason, alarm=True)


def _sync_lost(state: ClusterState, view: View, policy: Policy) -> Decision | None:
    """``zero``: the synchronous standby is gone. Withdraw *in-sync* first, then let the primary go on alone."""
    if policy.rpo is not Rpo.ZERO:
        return None
    primary = _fresh(view, state.primary)
    if primary is None or _settling(state, PlanKind.SYNC_OFF):
        return None
    if state.in_sync and not primary.sync_names:
        reason = f"primary {state.primary} does not wait for its standby although the witness says in-sync"
        return _begin(state, PlanKind.SYNC_OFF, state.primary, "sync_unset", reason, alarm=True)
    why = _gone_silent(view, policy) if primary.sync_names else ""
    if not why:
        return None
    reason = f"standby {state.other} {why}: going on without it"
    return _begin(state, PlanKind.SYNC_OFF, state.primary, "sync_lost", reason, alarm=True)


def _gone_silent(view: View, policy: Policy) -> str:
    """What tells that the standby acknowledges nothing, or an empty string."""
    lost_for = view.now - view.sync_lost_since if view.sync_lost_since is not None else 0.0
    if view.sync_lost_since is not None and lost_for >= policy.sync_timeout:
        return f"has not been streaming for {lost_for:.1f} s"
    if _far_behind(view, policy):
        # A network that swallows everything: the primary shows the standby streaming for wal_sender_timeout.
        return f"is {view.lag_seconds:.1f} s behind, and writes wait"
    return ""


def _far_behind(view: View, policy: Policy) -> bool:
    """The standby is known to be further behind than the policy allows."""
    return view.lag_seconds is not None and view.lag_seconds > policy.max_lag_seconds


def _settling(state: ClusterState, kind: PlanKind) -> bool:
    """A plan of that kind is under way already."""
    return state.plan is not None and state.plan.kind is kind


def _asked(state: ClusterState, view: View, policy: Policy) -> Decision | None:
    """A person's order: carried out or refused, once, with an answer."""
    request = state.request
    if request is None or not _answers_are_fresh(state, view):
        return None
    cleared = replace(state, request=None)
    if request.target == state.primary:
        answer = f"{request.target} is the primary already"
    elif request.kind is RequestKind.FAILOVER:
        answer = _forced_refused(state, view, accept_loss=request.accept_loss, policy=policy)
    else:
        answer = _switchover_refused(state, view, policy)
    if answer:
        return Decision(
            rule="request_refused",
            reason=f"{request.kind} to {request.target} refused: {answer}",
            state=replace(cleared, answer=f"{request.id}: refused: {answer}"),
        )
    kind = PlanKind.FAILOVER if request.kind is RequestKind.FAILOVER else PlanKind.SWITCHOVER
    accepted = replace(cleared, answer=f"{request.id}: accepted")
    return _begin(
        accepted, kind, request.target, "request", f"{request.kind} to {request.target} was asked for"
    )


def _answers_are_fresh(state: ClusterState, view: View) -> bool:
    """Every node that answers has been asked since the request was read: it is answered on facts of now."""
    return all(not node.up or _fresh(view, node.name) is not None for node in view.nodes.values())


def _forced_refused(state: ClusterState, view: View, *, accept_loss: bool, policy: Policy) -> str:
    """A forced failover skips the gates on lag and in-sync only when the person accepts the loss."""
    if _probe(view, state.other) is None:
        return f"{state.other} does not answer"
    if not accept_loss:
        return _failover_refused(state, view, policy)
    return _unfit(state, view, state.other)


def _switchover_refused(state: ClusterState, view: View, policy: Policy) -> str:
    """Why a planned change cannot be lossless and quick now, or an empty string."""
    primary, standby = _probe(view, state.primary), _probe(view, state.other)
    if primary is None:
        return f"primary {state.primary} does not answer (a failover, not a switchover, is what this needs)"
    if standby is None:
        return f"{state.other} does not answer"
    unfit = _unfit(state, view, state.other)
    if unfit:
        return unfit
    if primary.schema and standby.schema and primary.schema != standby.schema:
        return _schemas_differ(state)
    if state.link is None or not standby.subscriptions[state.link.name].running:
        return f"{state.other} is not receiving changes"
    if state.spare_slot not in standby.slots:
        return f"{state.other} has no spare slot yet (it is being made)"
    if policy.rpo is Rpo.ZERO and not state.in_sync:
        return f"{state.other} is not in sync"
    return _lag_refused(state, view, policy)


def _repair_under_way(state: ClusterState, view: View, policy: Policy) -> Decision | None:
    """A repair goes on while both nodes answer, else it waits: every step of it can be repeated."""
    plan = state.plan
    if plan is None or plan.kind in CHANGES:
        return None
    if _probe(view, plan.target) is None or _probe(view, state.primary) is None:
        return Decision(rule="wait", reason=f"{plan.kind} of {plan.target} waits until both nodes answer")
    return Decision(rule="continue", reason=_progress(state, policy), work=True)


def _rejoin(state: ClusterState, view: View, policy: Policy) -> Decision | None:
    """A detached node answers again: repair it, by key where possible, else by a full copy."""
    record = state.record(state.other)
    probe = _fresh(view, record.name)
    if record.role is not Role.DETACHED or probe is None or _fresh(view, state.primary) is None:
        return None
    stranger = _another_server(record, probe)
    if stranger:
        return Decision(rule="another_server", reason=stranger, alarm=True)
    needs_copy = record.needs_copy or _cannot_rewind(state, view, probe)
    if not needs_copy:
        reason = f"{record.name} is back: fence, rescue, rewind, follow"
        return _begin(state, PlanKind.REJOIN, record.name, "returned", reason)
    if record.copies >= MAX_COPIES:
        return Decision(
            rule="copy_limit",
            reason=f"{record.name} was copied {record.copies} times and still is not equal ({needs_copy}); "
            "run `understudy verify`, mend the cause, then `understudy setup`",
            alarm=True,
        )
    return _begin(
        state, PlanKind.RECOPY, record.name, "needs_copy", f"full copy of {record.name}: {needs_copy}"
    )


def _another_server(record: NodeRecord, probe: Probe) -> str:
    """A server that is not the one this node was is never emptied without a person's word."""
    if not record.identity or not probe.identity:
        return ""
    if record.identity.split("/")[0] == probe.identity.split("/")[0]:
        return ""
    return (
        f"{record.name} is another server now (system identifier {probe.identity}, expected {record.identity}): "
        "if its contents may be replaced, `understudy setup` accepts it and has it copied"
    )


def _cannot_rewind(state: ClusterState, view: View, probe: Probe) -> str:
    """Why the returned server cannot be brought back key by key, or an empty string."""
    record = state.record(probe_name := state.other)
    primary = _probe(view, state.primary)
    slot = (
        primary.slots.get(state.reverse.name) if primary is not None and state.reverse is not None else None
    )
    if slot is None or not slot.usable:
        return f"no replication slot waits for {probe_name}"
    if record.rescue_point is None:
        return f"the position up to which {probe_name} had been copied is unknown"
    if probe.wal < record.rescue_point:
        return f"{probe_name} went back in time (at {probe.wal:#x}, was past {record.rescue_point:#x})"
    return ""


def _standby_trouble(state: ClusterState, view: View, policy: Policy) -> Decision | None:
    """The standby answers but cannot go on following: its slot or subscription is gone."""
    standby, primary = _fresh(view, state.other), _fresh(view, state.primary)
    if standby is None or primary is None or state.record(state.other).role is not Role.STANDBY:
        return None
    if state.paused:
        return None
    why = state.record(state.other).needs_copy or _link_trouble(state, view, primary, standby)
    if not why:
        return None
    stranger = _another_server(state.record(state.other), standby)
    if stranger:
        return Decision(rule="another_server", reason=stranger, alarm=True)
    return _begin(
        state, PlanKind.RECOPY, state.other, "link_lost", f"full copy of {state.other}: {why}", alarm=True
    )


def _link_trouble(state: ClusterState, view: View, primary: Probe, standby: Probe) -> str:
    """Why the standby cannot go on following, or an empty string."""
    link, other = state.link, state.other
    if link is None:
        return f"{other} follows nobody"
    if link.name not in primary.slots:
        return f"slot {link.name} vanished from {state.primary}"
    if not primary.slots[link.name].usable:
        return f"slot {link.name} on {state.primary} has lost its log"
    if link.name not in standby.subscriptions:
        return f"subscription {link.name} vanished from {other}"
    if standby.wal < _view(view, other).highest_wal:
        return _back(other, standby.wal, _view(view, other).highest_wal)
    return ""


def _tidy(state: ClusterState, view: View, policy: Policy) -> Decision | None:
    """Leftovers of a change: an old link, a missing spare slot, a standby that is not fenced."""
    standby = _fresh(view, state.other)
    if standby is None or _probe(view, state.primary) is None:
        return None
    if state.record(state.other).role is not Role.STANDBY:
        return None
    why = []
    if not standby.fenced:
        why.append(f"{state.other} is not read-only")
    if standby.epoch < state.epoch:
        why.append(f"{state.other} has not seen epoch {state.epoch}")
    subscription = standby.subscriptions.get(state.link.name) if state.link is not None else None
    if subscription is not None and not subscription.enabled:
        why.append(f"{state.other} has stopped applying")
    if "understudy_" in standby.sync_names:
        why.append(f"{state.other} waits for a standby of its own")
    if state.old_links:
        why.append("old links remain")
    spare = standby.slots.get(state.spare_slot)
    if spare is None or not spare.usable:
        why.append("no spare slot")
    if not why:
        return None
    return _begin(state, PlanKind.TIDY, state.other, "tidy", ", ".join(why))


def _sync_possible(state: ClusterState, view: View, policy: Policy) -> Decision | None:
    """``zero``: the standby follows again: make the primary wait for it."""
    if policy.rpo is not Rpo.ZERO or state.in_sync or state.link is None:
        return None
    primary = _fresh(view, state.primary)
    if primary is None or state.record(state.other).role is not Role.STANDBY:
        return None
    if _probe(view, state.other) is None or state.link.name not in primary.streaming:
        return None
    if _far_behind(view, policy):
        return None
    reason = f"{state.other} follows: {state.primary} waits for it from now on"
    return _begin(state, PlanKind.SYNC_ON, state.primary, "sync_possible", reason)


def _failback(state: ClusterState, view: View, policy: Policy) -> Decision | None:
    """The preferred node is repaired, verified and has been well for long enough: go home."""
    preferred = state.nodes[0].name
    if policy.failback is not Failback.AUTO or state.paused or state.primary == preferred:
        return None
    if not state.record(preferred).verified or view.healthy_since is None:
        return None
    if view.now - view.healthy_since < policy.failback_after:
        return None
    today = sum(1 for w in state.failbacks if view.wall - w < 86_400.0)
    if today >= policy.failback_daily_cap:
        reason = f"no failback to {preferred}: {today} in the last 24 h (failback_daily_cap)"
        return Decision(rule="failback_capped", reason=reason)
    if _switchover_refused(state, view, policy):
        return None
    reason = f"{preferred} is preferred, verified, and well for {view.now - view.healthy_since:.0f} s"
    return _begin(state, PlanKind.SWITCHOVER, preferred, "failback", reason)


_RULES: tuple[Rule, ...] = (
    _superseded,
    _change_under_way,
    _asked,
    _failover,
    _primary_fenced,
    _sync_lost,
    _repair_under_way,
    _rejoin,
    _standby_trouble,
    _tidy,
    _sync_possible,
    _failback,
)


def _begin(
    state: ClusterState, kind: PlanKind, target: str, rule: str, reason: str, *, alarm: bool = False
) -> Decision:
    following = begin(state, kind, target, rule=rule, reason=reason)
    return Decision(rule=rule, reason=reason, state=following, work=True, alarm=alarm)


def _progress(state: ClusterState, policy: Policy) -> str:
    plan = state.plan
    step = next_step(state, policy.rpo)
    return f"{plan.kind} to {plan.target} at epoch {plan.epoch}: {step}" if plan is not None else "no plan"


def _describe(state: ClusterState, view: View, policy: Policy) -> str:
    """The sentence for a moment in which nothing is to be done."""
    other = state.record(state.other)
    primary = _view(view, state.primary)
    health = "is well" if primary.up else _ailment(primary)
    words = [f"epoch {state.epoch}: primary {state.primary} {health}"]
    seen = _view(view, other.name)
    if not seen.up:
        words.append(f"{other.role} {other.name} {_ailment(seen)}")
    elif view.lag_seconds is not None:
        words.append(f"{other.role} {other.name} {view.lag_seconds:.1f} s behind")
    else:
        words.append(f"{other.role} {other.name} answers")
    if policy.rpo is Rpo.ZERO:
        words.append("in sync" if state.in_sync else "NOT in sync")
    if state.paused:
        words.append("paused")
    return ", ".join(words)


def _ailment(node: NodeView) -> str:
    """What is wrong with a node that is not up."""
    return f"missed {node.misses} probes" if node.misses else f"refuses the agent: {node.error}"
