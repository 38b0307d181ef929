"""What must always be true of a state, and of a change from one state to the next.

Used by the tests, by the simulation, and at run time: an agent that is about to write a state that breaks one
of these stops instead (a wrong decision written down would be worse than none).
"""

from __future__ import annotations

from understudy.decide.plans import CHANGES, steps
from understudy.model import ClusterState, PlanKind, Role, Rpo, Step


def of_state(state: ClusterState, rpo: Rpo) -> list[str]:
    """Sentences naming what is broken in this state; empty when all is well."""
    return [text for text in (*_roles(state), *_links(state), *_plan(state, rpo)) if text]


def of_change(before: ClusterState, after: ClusterState, rpo: Rpo) -> list[str]:
    """Sentences naming what is broken in going from one state to the next; empty when all is well."""
    broken = of_state(after, rpo)
    if after.epoch < before.epoch:
        broken.append(f"epoch went back from {before.epoch} to {after.epoch}")
    if after.epoch > before.epoch + 1:
        planned = before.plan.epoch + 1 if before.plan is not None else 0
        if after.epoch > planned:
            broken.append(f"epoch jumped from {before.epoch} to {after.epoch}")
    if after.primary != before.primary:
        broken.extend(_new_primary(before, after))
    if after.in_sync and not before.in_sync and rpo is not Rpo.ZERO:
        broken.append("in_sync set although the cluster is not in zero mode")
    return broken


def _roles(state: ClusterState) -> list[str]:
    primaries = [r.name for r in state.nodes if r.role is Role.PRIMARY]
    if primaries != [state.primary]:
        return [f"expected {state.primary} to be the one primary, found {primaries}"]
    return []


def _links(state: ClusterState) -> list[str]:
    broken = []
    if state.link is not None and (state.link.publisher, state.link.subscriber) != (
        state.primary,
        state.other,
    ):
        broken.append(f"link {state.link.name} does not go from the primary to the other node")
    if state.reverse is not None and state.record(state.other).role is not Role.DETACHED:
        broken.append("a reverse link waits although nobody is detached")
    if state.in_sync and state.link is None:
        broken.append("in_sync although no node follows")
    if state.in_sync and state.record(state.other).role is not Role.STANDBY:
        broken.append("in_sync although the other node is not a standby")
    names = [link.name for link in (state.link, state.reverse, *state.old_links) if link is not None]
    if state.spare_slot:
        names.append(state.spare_slot)
    if len(names) != len(set(names)):
        broken.append(f"a replication name is used twice: {sorted(names)}")
    return broken


def _plan(state: ClusterState, rpo: Rpo) -> list[str]:
    plan = state.plan
    if plan is None:
        return []
    broken = []
    expected = steps(plan.kind, rpo)
    if plan.done != expected[: len(plan.done)] or len(plan.done) >= len(expected):
        broken.append(f"plan {plan.kind}: done {plan.done} is no proper prefix of {expected}")
    if plan.epoch not in (state.epoch, state.epoch + 1):
        broken.append(f"plan {plan.kind} at epoch {plan.epoch} in a state at epoch {state.epoch}")
    if plan.kind in CHANGES and plan.epoch == state.epoch + 1 and plan.kind is not PlanKind.SWITCHOVER:
        broken.append(f"plan {plan.kind} has not claimed its epoch {plan.epoch}")
    return broken


def _new_primary(before: ClusterState, after: ClusterState) -> list[str]:
    plan = before.plan
    if plan is None or plan.kind not in (PlanKind.FAILOVER, PlanKind.SWITCHOVER):
        return [f"primary changed from {before.primary} to {after.primary} without a plan"]
    broken = []
    if plan.target != after.primary:
        broken.append(f"plan promotes {plan.target}, the state says {after.primary}")
    if Step.PROMOTE not in plan.done or Step.ANNOUNCE not in plan.done:
        broken.append(f"{after.primary} published before it was announced and promoted")
    if after.record(before.primary).role is Role.PRIMARY:
        broken.append(f"{before.primary} still primary")
    if plan.kind is PlanKind.FAILOVER and after.record(before.primary).role is not Role.DETACHED:
        broken.append(f"{before.primary} not detached after a failover")
    return broken
