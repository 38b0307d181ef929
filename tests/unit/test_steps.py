"""What a step makes of the engine's answer, where that is more than handing it on."""

from __future__ import annotations

import fcntl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.decide_cases import BOUNDED, DETACHED, STATE

from understudy.agent.leasing import LeaseKeeper
from understudy.agent.steps import Hands, carry_out
from understudy.decide.plans import begin
from understudy.errors import EngineError, Unreachable
from understudy.lease import LeaseFile, boot_now
from understudy.model import ClusterState, Link, PlanKind, Step, View

OLD = Link(name="u0", publisher="elm", subscriber="oak")


class HalfDropped:
    """An engine one of whose links cannot be dropped on one end."""

    def __init__(self, *left: str) -> None:
        self.left = left

    async def drop_link(self, link: Link, ticket: object) -> tuple[str, ...]:
        return self.left


def copying(kind: PlanKind) -> ClusterState:
    return begin(replace(DETACHED, old_links=(OLD,)), kind, "oak", rule="r", reason="x")


async def drop(state: ClusterState, *left: str) -> tuple[str, ...]:
    engine: Any = HalfDropped(*left)
    keeper: Any = None
    hands = Hands(engine=engine, keeper=keeper, rescues=Path("unused"), patience=BOUNDED.probe_timeout)
    view = View(now=0.0, wall=0.0, nodes={})
    return (await carry_out(Step.DROP_OLD_LINKS, state, view, hands)).undone


@pytest.mark.parametrize("kind", [PlanKind.REJOIN, PlanKind.RECOPY])
async def test_nothing_feeds_a_node_beside_a_subscription_that_is_still_there(kind: PlanKind) -> None:
    with pytest.raises(Unreachable, match="u0"):
        await drop(copying(kind), "oak")


async def test_a_slot_or_a_link_of_others_may_be_dropped_later() -> None:
    assert "u0" in await drop(copying(PlanKind.RECOPY), "elm")
    assert "u0" in await drop(copying(PlanKind.TIDY), "oak")


async def test_a_lease_file_that_somebody_keeps_locked_fails_the_step_and_not_the_agent(
    tmp_path: Path,
) -> None:
    """A process that was stopped in the middle of a write: the step is tried again, or the change rolled back."""
    lease = LeaseFile(tmp_path / "c.lease")
    engine: Any = None
    hands = Hands(engine=engine, keeper=LeaseKeeper(lease, BOUNDED, boot_now), rescues=tmp_path, patience=1.0)
    change = begin(STATE, PlanKind.FAILOVER, "elm", rule="r", reason="x")
    with lease.path.open() as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        with pytest.raises(EngineError, match=r"c\.lease: another process has held the write lock"):
            await carry_out(Step.HOLD, change, View(now=0.0, wall=0.0, nodes={}), hands)
    lease.close()
