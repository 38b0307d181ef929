"""The lease of this host: renewed while two of three registers confirm the epoch, changed when the state does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from understudy.decide.plans import CHANGES
from understudy.errors import EngineError
from understudy.lease import Lease, LeaseFile, Phase
from understudy.model import ClusterState, NodeView, PlanKind, Policy, Role, Step

_QUIET_POLL = 0.001
"""Seconds between two looks at the in-flight counts: part of the stall of every planned change."""


def confirmed(epoch: int, votes: Mapping[str, tuple[int, float]]) -> float | None:
    """When two of three registers last agreed on ``epoch``, or None where they do not.

    Args:
        votes: register -> (epoch it holds, monotonic time *before* it was asked); only those that answered.

    The answer is the older of the two newest agreeing votes: both were true at some moment after it. A single
    register with a higher epoch denies.
    """
    if any(seen > epoch for seen, _ in votes.values()):
        return None
    times = sorted((at for seen, at in votes.values() if seen == epoch), reverse=True)
    return times[1] if len(times) >= 2 else None


def node_votes(nodes: Mapping[str, NodeView]) -> dict[str, tuple[int, float]]:
    """The fence rows as the last good probes saw them."""
    return {f"fence:{n.name}": (n.probe.epoch, n.probe.at) for n in nodes.values() if n.probe is not None}


class LeaseKeeper:
    """Writes this host's lease from the state and the registers.

    Args:
        clock: seconds on the boot clock (CLOCK_BOOTTIME), the clock of the lease file.
    """

    def __init__(self, lease: LeaseFile, policy: Policy, clock: Callable[[], float]) -> None:
        self._lease, self._policy, self._clock = lease, policy, clock

    def renew(
        self,
        state: ClusterState | None,
        nodes: Mapping[str, NodeView],
        *,
        read_at: float,
        standby_lag: float,
    ) -> bool:
        """Renew, or open, the lease as far as two of three registers allow. Returns whether it is open.

        ``state``: what the witness says, read at ``read_at``; None when it does not answer (the lease is
        then only ever renewed as it is, never changed).
        """
        votes = node_votes(nodes)
        present = self._lease.read()
        if state is None:
            if present is None or present.phase is not Phase.OPEN:
                return False
            epoch, primary, standby = present.epoch, present.primary, present.standby
        else:
            votes["witness"] = (state.epoch, read_at)
            epoch, primary, standby = state.epoch, state.primary, _readable(state)
            if _change_claimed(state):
                return False
        at = confirmed(epoch, votes)
        if at is None:
            return False
        lease = Lease(
            epoch=epoch,
            primary=primary,
            phase=Phase.OPEN,
            deadline=at + self._policy.lease_ttl,
            renewed=at,
            standby=standby,
            standby_lag=standby_lag,
        )
        return lease.deadline > self._clock() and self._store(lease, present)

    def _store(self, lease: Lease, present: Lease | None) -> bool:
        """Renew where only the time changes, write where the host had another lease or none."""
        if self._lease.renew(
            lease.epoch,
            lease.primary,
            renewed=lease.renewed,
            deadline=lease.deadline,
            standby=lease.standby,
            standby_lag=lease.standby_lag,
        ):
            return True
        return (present is None or present.epoch <= lease.epoch) and self._lease.write(lease)

    async def hold(self, state: ClusterState) -> None:
        """Stop new transactions on this host and wait until none of an older epoch is in flight.

        A planned change gives up after ``quiet_timeout`` (EngineError: the change is rolled back). An
        unplanned one aborts what is in flight and waits at most until the old lease has run out.
        """
        plan = state.plan
        planned = plan is not None and plan.kind is PlanKind.SWITCHOVER
        now = self._clock()
        before = self._lease.read()
        # Kept in the record, so that an agent that takes over in the middle still knows how long the last
        # open lease may be believed by a process that is stopped.
        ttl, quiet = self._policy.lease_ttl, self._policy.quiet_timeout
        ends = min(before.deadline, now + max(ttl, quiet)) if before is not None else now + ttl
        until = now + quiet if planned else ends
        self._lease.write(
            Lease(
                epoch=state.epoch,
                primary=state.primary,
                phase=Phase.HOLDING if planned else Phase.CHANGING,
                deadline=max(until, ends),
                renewed=now,
                standby=_readable(state),
            )
        )
        while busy := self._lease.quiet(before_epoch=state.epoch):
            if self._clock() >= until:
                if planned:
                    raise EngineError(
                        f"transactions of processes {busy} were still in flight after "
                        f"quiet_timeout = {quiet:g} s; end them or try again later"
                    )
                return
            await asyncio.sleep(_QUIET_POLL)


def _readable(state: ClusterState) -> str:
    """The node that readers may be sent to; not a former primary before its repair, which has rows of its own."""
    return state.other if state.record(state.other).role is Role.STANDBY else ""


def _change_claimed(state: ClusterState) -> bool:
    """A change of primary has claimed its epoch and is not published: nobody may write at this epoch yet."""
    plan = state.plan
    if plan is None or plan.kind not in CHANGES:
        return False
    return plan.epoch == state.epoch and Step.PUBLISH not in plan.done
