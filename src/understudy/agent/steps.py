"""Carrying out one step of a plan: which call of the engine, the lease or the clock each step is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from understudy.agent.leasing import LeaseKeeper
from understudy.decide.plans import CHANGES, StepOutcome, spare_name, ticket_number
from understudy.engines.base import Engine, RescueReport
from understudy.errors import EngineError, LeaseError, NeedsCopy, Unreachable
from understudy.gates.keeper import GateKeeper
from understudy.model import ClusterState, Link, Plan, PlanKind, Step, Ticket, View


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What steps act with.

    Args:
        rescues: the folder in which rescue folders are made.
        patience: seconds for what is tried on a node that may hang and must not hold up a failover.
        gates: what carries clients that hold no lease; None where the cluster has none.
    """

    engine: Engine
    keeper: LeaseKeeper
    rescues: Path
    patience: float
    gates: GateKeeper | None = None


async def carry_out(step: Step, state: ClusterState, view: View, hands: Hands) -> StepOutcome:
    """Do one step of the plan under way. Idempotent: it may be repeated after any interruption.

    Raises:
        EngineError and its children, as the engine does.
    """
    if state.plan is None:
        raise ValueError(f"cluster {state.cluster}: step {step} without a plan")
    return await _ACTIONS[step](state, state.plan, view, hands)


Action = Callable[[ClusterState, Plan, View, Hands], Awaitable[StepOutcome]]


async def _announce(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    """The next primary must hold the epoch (with the witness that makes two of three); the other one if it is up."""
    nodes = [plan.target, *(n for n, seen in view.nodes.items() if n != plan.target and seen.up)]
    reached = await hands.engine.announce(_ticket(state), nodes)
    if plan.target not in reached:
        raise Unreachable(f"{plan.target} did not take epoch {plan.epoch}")
    return StepOutcome(note=f"epoch {plan.epoch} announced to {', '.join(reached)}")


async def _prepare_reverse(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    reverse = Link(name=state.spare_slot, publisher=plan.target, subscriber=plan.source)
    await hands.engine.follow(reverse, _ticket(state))
    return StepOutcome(note=f"{plan.source} follows {plan.target} already")


async def _hold(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    try:
        await hands.keeper.hold(state)
    except LeaseError as error:
        raise EngineError(str(error)) from error  # as any other step that fails: tried again, or rolled back
    if hands.gates is not None:
        await hands.gates.hold(state)
    return StepOutcome(note="no transaction of an older epoch is in flight on this host")


async def _fence(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    """Planned changes fence the source; repairs fence the node they repair."""
    node = plan.source if plan.kind is PlanKind.SWITCHOVER else plan.target
    probe = view.nodes[node].probe
    if plan.kind is PlanKind.TIDY and probe is not None and probe.fenced and probe.epoch == state.epoch:
        return StepOutcome(note=f"{node} is read-only already")
    await hands.engine.fence(node, _ticket(state))
    return StepOutcome(identity=probe.identity if probe is not None else "", note=f"{node} refuses writes")


async def _fence_if_reachable(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    """An old primary that does not answer is left to its lease, to its fenced return, and to the standby's STOP."""
    if not view.nodes[plan.source].up:
        return StepOutcome(note=f"{plan.source} does not answer: it will be fenced when it returns")
    try:
        # A postmaster that hangs accepts logins and never answers, while sessions that are open go on.
        async with asyncio.timeout(hands.patience):
            await hands.engine.fence(plan.source, _ticket(state))
    except (Unreachable, TimeoutError) as error:
        return StepOutcome(note=f"{plan.source} could not be fenced now: {error!s:.200}")
    return StepOutcome(note=f"{plan.source} refuses writes")


async def _wait_replay(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    await hands.engine.wait_replay(_link(state), _ticket(state))
    return StepOutcome(note=f"{plan.target} has everything")


async def _copy_sequences(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    await hands.engine.copy_sequences(plan.source, plan.target, _ticket(state))
    return StepOutcome(note="sequences are exact")


async def _stop_apply(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    position = await hands.engine.stop_apply(_link(state), _ticket(state))
    return StepOutcome(rescue_point=position, note=f"{plan.target} has {plan.source} up to {position:#x}")


async def _raise_sequences(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    probe = view.nodes[plan.target].probe
    if probe is not None and not probe.fenced:
        # A switchover whose PROMOTE took effect, but whose source died before that was recorded, is now this failover.
        await hands.engine.fence(plan.target, _ticket(state))
    await hands.engine.raise_sequences(plan.target, _ticket(state))
    return StepOutcome(note="sequences are past anything handed out")


async def _open_reverse_slot(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    """Before the first write on the target: the slot from which the old primary will follow.

    Half-made reverse links of a switchover that failed lose their slot here, so that the old primary cannot
    stream on return before it has been rescued.
    """
    for link in state.old_links:
        if link.publisher == plan.target:
            await hands.engine.drop_link(link, _ticket(state))
    name = spare_name(state)
    await hands.engine.create_slot(plan.target, name, _ticket(state))
    return StepOutcome(note=f"slot {name} waits on {plan.target}")


async def _require_sync(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    """In a switchover the target waits for the source, which streams already; else the primary for its standby."""
    if plan.kind is PlanKind.SWITCHOVER:
        link = Link(name=state.spare_slot, publisher=plan.target, subscriber=plan.source)
    else:
        link = _link(state)
    await hands.engine.require_sync(link, _ticket(state))
    return StepOutcome(note=f"{link.publisher} waits for {link.subscriber}")


async def _relax_sync(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    await hands.engine.relax_sync(plan.target, _ticket(state))
    return StepOutcome(note=f"{plan.target} goes on alone")


async def _resume_apply(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    """Best effort: a standby that does not answer now follows again when it does."""
    if state.link is None:
        return StepOutcome(note="no link to resume")
    if not view.nodes[state.link.subscriber].up:
        return StepOutcome(note=f"{state.link.subscriber} does not answer: it follows when it returns")
    try:
        # A switchover that was rolled back may have made it wait for a standby of its own, and its worker with it.
        await hands.engine.relax_sync(state.link.subscriber, _ticket(state))
        await hands.engine.resume_apply(state.link, _ticket(state))
    except Unreachable as error:
        return StepOutcome(note=f"{state.link.subscriber} could not be resumed now: {error}")
    return StepOutcome(note=f"{state.link.subscriber} follows again")


async def _promote(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    await hands.engine.promote(plan.target, _ticket(state))
    return StepOutcome(note=f"{plan.target} accepts writes at epoch {plan.epoch}")


async def _publish(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    """Nothing to do on a node: the compare-and-set that records this step is the publication."""
    return StepOutcome(wall=view.wall, note=f"{plan.target} is primary at epoch {plan.epoch}")


async def _rescue(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    """Save what only this node has. Before a full copy empties it, save everything where that cannot be told."""
    record = state.record(plan.target)
    link = _rescue_link(state, plan.target)
    folder = hands.rescues / f"{state.cluster}-{plan.target}-epoch{plan.epoch}"
    unknown = record.needs_copy
    try:
        if record.rescue_point is not None and link is not None:
            try:
                report = await hands.engine.rescue(link, record.rescue_point, folder, _ticket(state))
                return StepOutcome(needs_copy=_truncated(report), note=_rescued(report, plan.target))
            except NeedsCopy as error:
                unknown = str(error)
        if plan.kind is PlanKind.REJOIN:
            return StepOutcome(needs_copy=unknown, note=unknown or f"{plan.target} has nothing of its own")
        if not unknown:
            return StepOutcome(note=f"{plan.target} was only ever a standby: it has nothing of its own")
        whole = folder.with_name(f"{folder.name}-contents-{plan.number}")
        kept = await hands.engine.keep(plan.target, whole, _ticket(state))
    except OSError as error:
        raise EngineError(
            f"the rescue folder {hands.rescues} cannot be written: {error}; make room or mend its rights, "
            "the step is tried again"
        ) from error
    return StepOutcome(note=f"{unknown}; all {kept.changes} rows of {plan.target} are kept in {kept.folder}")


def _rescued(report: RescueReport, node: str) -> str:
    if report.transactions == 0:
        return f"{node} had nothing that the others lack"
    return f"rescued {report.transactions} transactions, {report.changes} changes, kept in {report.folder}"


def _truncated(report: RescueReport) -> str:
    return f"TRUNCATE of {', '.join(report.truncates)} in the tail" if report.truncates else ""


async def _rewind(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    record = state.record(plan.target)
    link = _rescue_link(state, plan.target)
    if record.rescue_point is None or link is None or state.reverse is None:
        return StepOutcome(needs_copy=f"the position up to which {plan.target} was copied is unknown")
    try:
        keys = await hands.engine.rewind(link, state.reverse, record.rescue_point, _ticket(state))
    except NeedsCopy as error:
        return StepOutcome(needs_copy=str(error), note=str(error))
    return StepOutcome(note=f"{keys} keys of {plan.target} rewound")


async def _drop_old_links(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    undone = []
    for link in state.old_links:
        ends = await hands.engine.drop_link(link, _ticket(state))
        if plan.kind in (PlanKind.REJOIN, PlanKind.RECOPY) and plan.target == link.subscriber in ends:
            # Beside the link that is about to be made it would apply every row a second time.
            raise Unreachable(
                f"{plan.target} did not drop subscription {link.name}: nothing else may feed it before"
            )
        undone += [link.name] if ends else []
    return StepOutcome(undone=tuple(undone), note=f"{len(state.old_links) - len(undone)} old links dropped")


async def _follow(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    if state.reverse is None:
        raise ValueError(f"cluster {state.cluster}: no reverse link for {plan.target} to follow")
    try:
        await hands.engine.follow(state.reverse, _ticket(state))
    except NeedsCopy as error:
        return StepOutcome(needs_copy=str(error), note=str(error))
    return StepOutcome(note=f"{plan.target} follows {state.reverse.publisher}")


async def _full_copy(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    link = Link(name=plan.slot, publisher=plan.source, subscriber=plan.target)
    await hands.engine.full_copy(link, _ticket(state))
    return StepOutcome(note=f"{plan.target} is being copied from {plan.source}")


async def _catch_up(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    try:
        await hands.engine.catch_up(_link(state), _ticket(state))
    except NeedsCopy as error:
        return StepOutcome(needs_copy=str(error), note=str(error))
    return StepOutcome(note=f"{plan.target} has caught up")


async def _verify(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    report = await hands.engine.verify(state.primary, plan.target)
    note = f"{len(report.tables)} tables compared at {report.position:#x}: "
    note += "equal" if report.equal else "DIFFERENT: " + ", ".join(report.different)
    return StepOutcome(different=report.different, note=note)


async def _open_spare_slot(state: ClusterState, plan: Plan, view: View, hands: Hands) -> StepOutcome:
    name = spare_name(state)
    await hands.engine.create_slot(plan.target, name, _ticket(state))
    return StepOutcome(note=f"spare slot {name} on {plan.target}")


def _ticket(state: ClusterState) -> Ticket:
    """What this step's calls carry. A change that has not claimed its epoch yet acts for the present primary."""
    plan = state.plan
    if plan is None:
        raise ValueError(f"cluster {state.cluster}: no plan to act for")
    changing = plan.kind in CHANGES and plan.epoch == state.epoch
    return Ticket(state.epoch, ticket_number(plan), plan.target if changing else state.primary)


def _link(state: ClusterState) -> Link:
    if state.link is None:
        raise ValueError(f"cluster {state.cluster}: no node follows {state.primary}")
    return state.link


def _rescue_link(state: ClusterState, node: str) -> Link | None:
    """The link on which ``node`` last was the publisher: its slot still holds what nobody else has."""
    links = [link for link in state.old_links if link.publisher == node]
    return links[-1] if links else None


_ACTIONS: dict[Step, Action] = {
    Step.ANNOUNCE: _announce,
    Step.PREPARE_REVERSE: _prepare_reverse,
    Step.HOLD: _hold,
    Step.FENCE: _fence,
    Step.FENCE_IF_REACHABLE: _fence_if_reachable,
    Step.WAIT_REPLAY: _wait_replay,
    Step.COPY_SEQUENCES: _copy_sequences,
    Step.STOP_APPLY: _stop_apply,
    Step.RAISE_SEQUENCES: _raise_sequences,
    Step.OPEN_REVERSE_SLOT: _open_reverse_slot,
    Step.REQUIRE_SYNC: _require_sync,
    Step.RELAX_SYNC: _relax_sync,
    Step.RESUME_APPLY: _resume_apply,
    Step.PROMOTE: _promote,
    Step.PUBLISH: _publish,
    Step.RESCUE: _rescue,
    Step.REWIND: _rewind,
    Step.DROP_OLD_LINKS: _drop_old_links,
    Step.FOLLOW: _follow,
    Step.FULL_COPY: _full_copy,
    Step.CATCH_UP: _catch_up,
    Step.VERIFY: _verify,
    Step.OPEN_SPARE_SLOT: _open_spare_slot,
}
