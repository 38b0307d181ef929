"""Two of three: when a lease may be renewed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.agent.leasing import LeaseKeeper, confirmed
from understudy.decide.plans import begin
from understudy.errors import EngineError
from understudy.lease import Lease, LeaseFile, Phase
from understudy.model import ClusterState, Link, NodeRecord, NodeView, PlanKind, Policy, Probe, Role

REGISTERS = ("witness", "fence:a", "fence:b")
STATE = ClusterState(
    cluster="main",
    version=1,
    epoch=3,
    primary="a",
    nodes=(NodeRecord(name="a", role=Role.PRIMARY), NodeRecord(name="b", role=Role.STANDBY)),
    link=Link(name="l", publisher="a", subscriber="b"),
    spare_slot="s",
)


def _nodes(a: tuple[int, float] | None, b: tuple[int, float] | None) -> dict[str, NodeView]:
    views = {}
    for name, seen in (("a", a), ("b", b)):
        probe = Probe(at=seen[1], answered=seen[1], epoch=seen[0]) if seen else None
        views[name] = NodeView(name=name, misses=0 if seen else 3, probe=probe)
    return views


@given(
    st.dictionaries(
        st.sampled_from(REGISTERS),
        st.tuples(st.integers(1, 4), st.floats(0, 100)),
    ),
    st.integers(1, 4),
)
def test_confirmed_only_by_two_that_agree_and_none_that_is_higher(
    votes: dict[str, tuple[int, float]], epoch: int
) -> None:
    at = confirmed(epoch, votes)
    agreeing = sorted(t for seen, t in votes.values() if seen == epoch)
    if at is None:
        assert len(agreeing) < 2 or any(seen > epoch for seen, _ in votes.values())
    else:
        assert all(seen <= epoch for seen, _ in votes.values())
        assert sum(t >= at for t in agreeing) >= 2


@given(st.permutations([3, 3, 4]), st.lists(st.floats(0, 100), min_size=3, max_size=3))
def test_two_epochs_are_never_both_confirmed(epochs: list[int], times: list[float]) -> None:
    """Once a change is written to two of three, neither any subset of what can be read confirms the old epoch
    unless the reader missed exactly the registers that changed, and then only one agrees."""
    changed = [4, 4, 3] if epochs[0] == 4 else [4, 3, 4]
    votes = dict(zip(REGISTERS, zip(changed, times, strict=True), strict=True))
    for missing in (None, *REGISTERS):
        seen = {r: v for r, v in votes.items() if r != missing}
        assert confirmed(3, seen) is None


def test_lease_opens_renews_and_ends(tmp_path: Path) -> None:
    lease = LeaseFile(tmp_path / "main.lease")
    now = 1000.0
    keeper = LeaseKeeper(lease, Policy(lease_ttl=5.0), lambda: now)
    assert keeper.renew(STATE, _nodes((3, 999.0), (3, 999.5)), read_at=1000.0, standby_lag=0.5)
    opened = lease.read()
    assert opened is not None
    assert (opened.epoch, opened.primary, opened.phase, opened.standby) == (3, "a", Phase.OPEN, "b")
    # The deadline counts from before the second newest of the agreeing answers.
    assert opened.deadline == 999.5 + 5.0
    assert not keeper.renew(STATE, _nodes(None, None), read_at=1000.0, standby_lag=-1.0)
    assert lease.read() == opened


def test_witness_down_the_nodes_renew_what_is_open_but_open_nothing(tmp_path: Path) -> None:
    lease = LeaseFile(tmp_path / "main.lease")
    keeper = LeaseKeeper(lease, Policy(lease_ttl=5.0), lambda: 1000.0)
    both = _nodes((3, 999.0), (3, 999.0))
    assert not keeper.renew(None, both, read_at=0.0, standby_lag=-1.0)
    assert lease.read() is None
    assert keeper.renew(STATE, both, read_at=999.0, standby_lag=-1.0)
    later = _nodes((3, 999.9), (3, 999.9))
    assert keeper.renew(None, later, read_at=0.0, standby_lag=-1.0)
    renewed = lease.read()
    assert renewed is not None
    assert renewed.deadline == 999.9 + 5.0


@pytest.mark.parametrize(("role", "offered"), [(Role.STANDBY, "b"), (Role.DETACHED, "")])
def test_only_a_node_that_follows_is_offered_to_readers(tmp_path: Path, role: Role, offered: str) -> None:
    """A former primary that has not been repaired holds rows that nobody else has, or none at all."""
    lease = LeaseFile(tmp_path / "main.lease")
    keeper = LeaseKeeper(lease, Policy(), lambda: 1000.0)
    state = replace(STATE, nodes=(STATE.nodes[0], replace(STATE.nodes[1], role=role)))
    assert keeper.renew(state, _nodes((3, 999.0), (3, 999.0)), read_at=999.0, standby_lag=0.1)
    opened = lease.read()
    assert opened is not None
    assert opened.standby == offered


def test_a_claimed_change_keeps_the_lease_shut(tmp_path: Path) -> None:
    lease = LeaseFile(tmp_path / "main.lease")
    keeper = LeaseKeeper(lease, Policy(), lambda: 1000.0)
    claimed = begin(STATE, PlanKind.FAILOVER, "b", rule="test", reason="test")
    assert not keeper.renew(claimed, _nodes((4, 999.0), (4, 999.0)), read_at=999.0, standby_lag=-1.0)
    assert lease.read() is None


def test_an_epoch_of_the_past_never_replaces_a_newer_lease(tmp_path: Path) -> None:
    lease = LeaseFile(tmp_path / "main.lease")
    newer = Lease(epoch=4, primary="b", phase=Phase.OPEN, deadline=2000.0, renewed=999.0)
    assert lease.write(newer)
    keeper = LeaseKeeper(lease, Policy(), lambda: 1000.0)
    assert not keeper.renew(STATE, _nodes((3, 999.0), (3, 999.0)), read_at=999.0, standby_lag=-1.0)
    assert lease.read() == newer


async def test_hold_waits_for_a_transaction_in_flight_and_no_longer(tmp_path: Path) -> None:
    lease = LeaseFile(tmp_path / "main.lease")
    clock = iter(range(1000, 2000))
    keeper = LeaseKeeper(lease, Policy(lease_ttl=5.0), lambda: float(next(clock)))
    lease.write(Lease(epoch=3, primary="a", phase=Phase.OPEN, deadline=1004.0, renewed=999.0))
    slot = lease.register()
    slot.set_epoch_seen(3)
    slot.enter()
    claimed = begin(STATE, PlanKind.FAILOVER, "b", rule="test", reason="test")
    await keeper.hold(claimed)  # ends although the transaction stays: the old lease has run out
    held = lease.read()
    assert held is not None
    assert (held.epoch, held.phase) == (4, Phase.CHANGING)
    assert next(clock) >= 1004
    slot.release()


async def test_a_failover_waits_out_what_a_planned_hold_had_allowed(tmp_path: Path) -> None:
    """A switchover with a short quiet_timeout turns into a failover: the open lease before it still counts."""
    lease = LeaseFile(tmp_path / "main.lease")
    clock = iter(range(1000, 2000))
    keeper = LeaseKeeper(lease, Policy(lease_ttl=9.0, quiet_timeout=2.0), lambda: float(next(clock)))
    lease.write(Lease(epoch=3, primary="a", phase=Phase.OPEN, deadline=1009.0, renewed=1000.0))
    slot = lease.register()
    slot.set_epoch_seen(3)
    slot.enter()
    planned = begin(STATE, PlanKind.SWITCHOVER, "b", rule="test", reason="test")
    with pytest.raises(EngineError, match="quiet_timeout"):
        await keeper.hold(replace(planned, epoch=4))
    await keeper.hold(begin(replace(planned, epoch=4), PlanKind.FAILOVER, "b", rule="test", reason="test"))
    assert next(clock) >= 1009
    slot.release()
