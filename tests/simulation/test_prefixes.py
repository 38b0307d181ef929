"""Every plan, interrupted at every step in every way, ends where the uninterrupted one ends (Patroni's rule).

Exhaustive, no randomness but the network's small delays: the agent dies before a step, after it, or right after having
written it down, and another takes over; or the step's call fails, before or after it took effect.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.simulation.faults import Fault
from tests.simulation.world import Result, Setup, run

from understudy.decide import steps
from understudy.model import ClusterState, Failback, PlanKind, Rpo, Step

WAYS = ("dies before", "dies after", "dies written", "fails before", "fails after")
CRASH = Fault(at=3.0, kind="node_crash", which=0, lasts=4.0)
STANDBY_CRASH = Fault(at=3.0, kind="node_crash", which=1, lasts=4.0)
SWITCH = Fault(at=3.0, kind="switchover", which=0, lasts=0.0)
NO_SLOT = Fault(at=3.0, kind="slot_gone", which=0, lasts=0.0)
BREAK_HOLD = (PlanKind.SWITCHOVER, Step.HOLD, "fails before")

# What brings each plan about, and an interruption that must come first.
CAUSES = {
    PlanKind.FAILOVER: ((CRASH,), ()),
    PlanKind.SWITCHOVER: ((SWITCH,), ()),
    PlanKind.REINSTATE: ((SWITCH,), (BREAK_HOLD,)),
    PlanKind.REJOIN: ((CRASH,), ()),
    PlanKind.RECOPY: ((NO_SLOT,), ()),
    PlanKind.TIDY: ((SWITCH,), ()),
    PlanKind.SYNC_ON: ((STANDBY_CRASH,), ()),
    PlanKind.SYNC_OFF: ((STANDBY_CRASH,), ()),
}
CASES = [
    (kind, rpo)
    for kind in PlanKind
    for rpo in Rpo
    if rpo is Rpo.ZERO or kind not in (PlanKind.SYNC_ON, PlanKind.SYNC_OFF)
]


def history(
    kind: PlanKind, rpo: Rpo, *interruptions: tuple[PlanKind, Step, str], traced: bool = False
) -> Result:
    faults, first = CAUSES[kind]
    setup = Setup(
        seed=7,
        rpo=rpo,
        agents=2,
        clients=1,
        faults=faults,
        failback=Failback.MANUAL,
        interruptions=(*first, *interruptions),
        healed_at=9.0,
    )
    return run(setup, traced=traced)


def end_of(state: ClusterState | None) -> tuple[object, ...]:
    """What must be the same in the end, names of slots and counts of epochs aside."""
    assert state is not None
    roles = tuple((r.name, r.role, r.verified, r.rescue_point, r.needs_copy) for r in state.nodes)
    return (
        state.primary,
        roles,
        state.in_sync,
        state.plan,
        len(state.old_links),
        state.reverse,
        bool(state.spare_slot),
    )


def interruptions(kind: PlanKind, rpo: Rpo) -> Iterator[tuple[PlanKind, Step, str]]:
    for step in steps(kind, rpo):
        for way in WAYS:
            yield kind, step, way


@pytest.mark.parametrize(("kind", "rpo"), CASES)
def test_every_interrupted_plan_ends_where_the_whole_one_ends(kind: PlanKind, rpo: Rpo) -> None:
    whole = history(kind, rpo)
    assert not whole.promise, whole.text
    for step in steps(kind, rpo):
        assert (kind, step) in whole.steps_seen, f"the cause does not lead to {kind}: {step}"
    for cut in interruptions(kind, rpo):
        result = history(kind, rpo, cut)
        assert not result.interruptions_left, f"{cut} never came"
        if result.promise:
            pytest.fail(
                f"{cut}: {result.promise}: {result.text}\n"
                + "\n".join(history(kind, rpo, cut, traced=True).trace)
            )
        if kind is PlanKind.SWITCHOVER and cut[2].startswith("fails") and cut[1] is not Step.PROMOTE:
            # Rolled back on purpose: the pair must be well (the run itself checks that), at home or moved.
            continue
        assert end_of(result.final) == end_of(whole.final), cut
