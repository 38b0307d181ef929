"""Plans as data: which steps each kind has, how one begins, moves on, and is rolled back.

Everything here maps a `ClusterState` to the next one. Nothing is written: the agent does that with a
compare-and-set, so two agents that both apply one of these to the same version cannot both succeed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from understudy.model import ClusterState, Link, Plan, PlanKind, Role, Rpo, Step

_STEPS: dict[PlanKind, tuple[Step, ...]] = {
    PlanKind.FAILOVER: (
        Step.ANNOUNCE,
        Step.HOLD,
        Step.FENCE_IF_REACHABLE,
        Step.STOP_APPLY,
        Step.RAISE_SEQUENCES,
        Step.OPEN_REVERSE_SLOT,
        Step.PROMOTE,
        Step.PUBLISH,
    ),
    PlanKind.SWITCHOVER: (
        Step.PREPARE_REVERSE,
        Step.ANNOUNCE,
        Step.HOLD,
        Step.FENCE,
        Step.WAIT_REPLAY,
        Step.COPY_SEQUENCES,
        Step.STOP_APPLY,
        Step.REQUIRE_SYNC,
        Step.PROMOTE,
        Step.PUBLISH,
    ),
    PlanKind.REINSTATE: (Step.ANNOUNCE, Step.RESUME_APPLY, Step.PROMOTE, Step.PUBLISH),
    PlanKind.REJOIN: (
        Step.FENCE,
        Step.RESCUE,
        Step.REWIND,
        Step.DROP_OLD_LINKS,
        Step.FOLLOW,
        Step.CATCH_UP,
        Step.VERIFY,
        Step.OPEN_SPARE_SLOT,
    ),
    PlanKind.RECOPY: (
        Step.FENCE,
        Step.RESCUE,
        Step.DROP_OLD_LINKS,
        Step.FULL_COPY,
        Step.CATCH_UP,
        Step.VERIFY,
        Step.OPEN_SPARE_SLOT,
    ),
    PlanKind.TIDY: (Step.FENCE, Step.RESUME_APPLY, Step.DROP_OLD_LINKS, Step.OPEN_SPARE_SLOT),
    PlanKind.SYNC_ON: (Step.REQUIRE_SYNC,),
    PlanKind.SYNC_OFF: (Step.RELAX_SYNC,),
}

CHANGES = frozenset({PlanKind.FAILOVER, PlanKind.SWITCHOVER, PlanKind.REINSTATE})
"""Plans that change (or restore) who is primary; the others are repairs and may be given up for one of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """What a finished step found out and the state must remember.

    Args:
        rescue_point: STOP_APPLY: the standby's origin position on the old primary.
        identity: FENCE: ``system_identifier/timeline`` of the node, where it was read.
        different: VERIFY: tables whose contents differ; empty means equal.
        undone: DROP_OLD_LINKS: names of links that could not be dropped on both ends yet.
        needs_copy: RESCUE or REWIND: why the node can only come back by a full copy.
        wall: PUBLISH: wall time, for the daily cap on failbacks.
        note: one sentence for people.
    """

    rescue_point: int | None = None
    identity: str = ""
    different: tuple[str, ...] = ()
    undone: tuple[str, ...] = ()
    needs_copy: str = ""
    wall: float = 0.0
    note: str = ""


def steps(kind: PlanKind, rpo: Rpo) -> tuple[Step, ...]:
    """The steps of a plan of that kind, in order. REQUIRE_SYNC in a switchover exists in ``zero`` only."""
    found = _STEPS[kind]
    if kind is PlanKind.SWITCHOVER and rpo is not Rpo.ZERO:
        return tuple(s for s in found if s is not Step.REQUIRE_SYNC)
    return found


def next_step(state: ClusterState, rpo: Rpo) -> Step | None:
    """The first step of the plan under way that is not done, or None when there is nothing to do."""
    if state.plan is None:
        return None
    left = steps(state.plan.kind, rpo)[len(state.plan.done) :]
    return left[0] if left else None


def begin(state: ClusterState, kind: PlanKind, target: str, *, rule: str, reason: str) -> ClusterState:
    """The state with a new plan under way (replacing a repair that is given up).

    FAILOVER and REINSTATE claim the next epoch at once; SWITCHOVER does when its preparation is done, so
    that leases go on being renewed meanwhile; repairs keep the epoch.
    """
    if state.plan is not None and state.plan.kind in CHANGES:
        claimed = max(state.epoch, state.plan.epoch)
        state = replace(_retire_reverse(state), epoch=claimed, plan=None)
    state = _retire_copy(state)
    plan = Plan(
        kind=kind,
        epoch=state.epoch + 1 if kind in CHANGES else state.epoch,
        source=state.primary,
        target=target,
        number=state.version + 1,
        slot=slot_name(state.cluster, state.version + 1),
        rule=rule,
        reason=reason,
    )
    claims = kind in (PlanKind.FAILOVER, PlanKind.REINSTATE)
    state = replace(state, plan=plan, epoch=plan.epoch if claims else state.epoch)
    if kind is PlanKind.RECOPY:
        state = _give_up_links(state, target)
    if kind in (PlanKind.SYNC_OFF, PlanKind.REINSTATE):
        # REINSTATE: the source may have been told to stop waiting for the standby when it was fenced.
        state = replace(state, in_sync=False)
    return state


def _give_up_links(state: ClusterState, target: str) -> ClusterState:
    """Before a full copy: whatever link the target had becomes an old one; it is detached meanwhile.

    The target's spare slot must go too: it would hand the copy's TRUNCATE on to the next follower.
    """
    gone = [link for link in (state.link, state.reverse) if link is not None]
    if state.spare_slot:
        gone.append(Link(name=state.spare_slot, publisher=target, subscriber=state.primary))
    old = (*state.old_links, *gone)
    state = replace(state, link=None, reverse=None, old_links=old, spare_slot="", in_sync=False)
    return state.with_record(target, role=Role.DETACHED, verified=False)


def slot_name(cluster: str, number: int) -> str:
    """A name for a slot and its subscription. Slot names may hold only a-z, 0-9 and _ and 63 bytes
    (PostgreSQL 16 manual, "Replication Slots"); cluster names are at most 31 characters (`config`)."""
    return f"understudy_{cluster.replace('-', '_')}_{number}"


def roll_back(state: ClusterState, *, rule: str, reason: str) -> ClusterState:
    """Undo a change before its commit point: reinstate the source at a further epoch.

    A switchover that has not claimed its epoch yet is simply dropped.
    """
    plan = _plan(state)
    if plan.kind is PlanKind.SWITCHOVER and state.epoch < plan.epoch:
        return abandon(_retire_reverse(state))
    return begin(state, PlanKind.REINSTATE, plan.source, rule=rule, reason=reason)


def _retire_reverse(state: ClusterState) -> ClusterState:
    """A reverse link that may exist half-made is dropped later by TIDY, and its slot with it."""
    plan = _plan(state)
    if plan.kind is not PlanKind.SWITCHOVER or not state.spare_slot:
        return state
    half_made = Link(name=state.spare_slot, publisher=plan.target, subscriber=plan.source)
    return replace(state, spare_slot="", old_links=(*state.old_links, half_made))


def _retire_copy(state: ClusterState) -> ClusterState:
    """The link of a full copy that is given up may have been made without anybody hearing of it: drop it later.

    Left alone, it would apply each row a second time beside the next copy's.
    """
    plan = state.plan
    if plan is None or plan.kind is not PlanKind.RECOPY or Step.FULL_COPY in plan.done:
        return state
    made = Link(name=plan.slot, publisher=plan.source, subscriber=plan.target)
    return replace(state, old_links=(*state.old_links, made))


def abandon(state: ClusterState) -> ClusterState:
    """Give a plan up where nothing needs undoing (repairs are begun anew from what is then seen)."""
    return replace(state, plan=None)


def complete(state: ClusterState, step: Step, outcome: StepOutcome, rpo: Rpo) -> ClusterState:
    """The state after ``step`` of the plan under way has finished."""
    plan = _plan(state)
    done = (*plan.done, step)
    expected = steps(plan.kind, rpo)[: len(done)]
    if done != expected:
        raise ValueError(f"plan {plan.kind}: expected step {expected[-1]} next, found {step}")
    state = _after(replace(state, plan=replace(plan, done=done)), plan, step, outcome)
    if state.plan is not None and len(done) == len(steps(plan.kind, rpo)):
        state = _finish(state, plan)
    return state


def _after(state: ClusterState, plan: Plan, step: Step, outcome: StepOutcome) -> ClusterState:
    """What each step leaves in the state besides being done."""
    if outcome.needs_copy or outcome.different:
        return _not_a_copy(state, plan, step, outcome)
    match step:
        case Step.PREPARE_REVERSE:
            return replace(state, epoch=plan.epoch)
        case Step.STOP_APPLY:
            return state.with_record(plan.source, rescue_point=outcome.rescue_point)
        case Step.OPEN_REVERSE_SLOT:
            return replace(state, spare_slot=spare_name(state))
        case Step.PUBLISH:
            return _publish(state, plan, outcome)
        case Step.DROP_OLD_LINKS:
            left = tuple(link for link in state.old_links if link.name in outcome.undone)
            return replace(state, old_links=left)
        case Step.FOLLOW:
            return replace(state, link=state.reverse, reverse=None)
        case Step.FULL_COPY:
            link = Link(name=plan.slot, publisher=plan.source, subscriber=plan.target)
            return replace(state, link=link)
        case Step.FENCE if outcome.identity and plan.kind in (PlanKind.REJOIN, PlanKind.RECOPY):
            return state.with_record(plan.target, identity=outcome.identity)
        case Step.OPEN_SPARE_SLOT:
            return replace(state, spare_slot=spare_name(state))
        case _:
            return state


def _not_a_copy(state: ClusterState, plan: Plan, step: Step, outcome: StepOutcome) -> ClusterState:
    """The node cannot be brought back key by key, or follows and is not equal: it needs a full copy.

    A full copy that led to this is counted. One that could not rescue goes on: there is nothing better to do.
    """
    if plan.kind is PlanKind.RECOPY and step is Step.RESCUE:
        return state
    why = outcome.needs_copy or "contents differ in " + ", ".join(outcome.different)
    copies = state.record(plan.target).copies + (1 if plan.kind is PlanKind.RECOPY else 0)
    return abandon(state.with_record(plan.target, needs_copy=why, copies=copies))


def _publish(state: ClusterState, plan: Plan, outcome: StepOutcome) -> ClusterState:
    """The change of primary takes effect."""
    if plan.kind is PlanKind.REINSTATE:
        return state.with_record(plan.source, rescue_point=None)
    reverse = Link(name=state.spare_slot, publisher=plan.target, subscriber=plan.source)
    old = (state.link,) if state.link is not None else ()
    state = replace(state, primary=plan.target, old_links=state.old_links + old, spare_slot="")
    state = state.with_record(plan.target, role=Role.PRIMARY, rescue_point=None, needs_copy="", copies=0)
    if plan.kind is PlanKind.SWITCHOVER:
        failbacks = (*state.failbacks, outcome.wall) if plan.rule == "failback" else state.failbacks
        recent = tuple(w for w in failbacks if outcome.wall - w < 86_400.0)
        state = replace(state, link=reverse, in_sync=Step.REQUIRE_SYNC in plan.done, failbacks=recent)
        return state.with_record(plan.source, role=Role.STANDBY, rescue_point=None, verified=True)
    state = replace(state, link=None, reverse=reverse, in_sync=False)
    return state.with_record(plan.source, role=Role.DETACHED, verified=False)


def _finish(state: ClusterState, plan: Plan) -> ClusterState:
    """The last step is done: what the plan as a whole achieved."""
    state = replace(state, plan=None)
    match plan.kind:
        case PlanKind.REJOIN | PlanKind.RECOPY:
            return state.with_record(
                plan.target, role=Role.STANDBY, rescue_point=None, needs_copy="", verified=True, copies=0
            )
        case PlanKind.SYNC_ON:
            return replace(state, in_sync=True)
        case _:
            return state


STEP_ROOM = 32
"""Numbers between two plans' tickets: more than any plan has steps."""


def ticket_number(plan: Plan) -> int:
    """What the tickets of the plan's present step carry: grows with every plan and with every step of one.

    Who acts for a step has seen all earlier ones recorded, so a call with a lower number comes from an agent that
    was taken over, also within one plan; repeating a step keeps its number.
    """
    return plan.number * STEP_ROOM + len(plan.done)


def spare_name(state: ClusterState) -> str:
    """The name of the standby's spare slot: the one it has, or the one the plan under way gives it."""
    return state.spare_slot or _plan(state).slot + "s"


def _plan(state: ClusterState) -> Plan:
    if state.plan is None:
        raise ValueError(f"cluster {state.cluster}: expected a plan under way, found none")
    return state.plan
