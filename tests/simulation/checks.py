"""The promises, checked while the world runs. A broken one raises `Broken` at the moment it breaks."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.simulation.hosts import Host, HostLease
from tests.simulation.kernel import Broken
from tests.simulation.nodes import Node, Txn

from understudy.decide import invariants
from understudy.lease import Phase
from understudy.model import ClusterState, Role, Rpo, Step

if TYPE_CHECKING:
    from tests.simulation.world import World


class Checks:
    """What was promised to clients so far, and whether it still holds."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.acked: dict[int, Txn] = {}
        self.tokens: set[int] = set()  # exactly-once transactions that were acknowledged
        self.rescued: set[int] = set()
        self.token_of: dict[int, int] = {}
        self.excused: set[int] = set()  # lost by what nobody promises to survive (see simulation.md)
        self.accepted_loss = False
        self.newest_commit: Counter[str] = Counter()  # by node: the highest epoch of a client's commit
        self.last_ack = 0.0
        self.counts: Counter[str] = Counter()

    # --- one writer ------------------------------------------------------------------------------------------

    def lease_written(self, host: Host, before: HostLease) -> None:
        lease = host.lease
        if lease.epoch < before.epoch:
            raise Broken("epoch", f"lease of {host.name} went back from {before.epoch} to {lease.epoch}")
        if lease.phase is Phase.OPEN:
            for other in self.world.hosts:
                theirs, now = other.lease, other.clock()
                if theirs.phase is Phase.OPEN and theirs.deadline > now and theirs.primary != lease.primary:
                    raise Broken(
                        "one writer",
                        f"{host.name} may write to {lease.primary} at {lease.epoch} while {other.name} may write to "
                        f"{theirs.primary} at {theirs.epoch} for {theirs.deadline - now:.2f} s more",
                    )

    def begun(self, host: Host, txn: Txn) -> None:
        for other in self.world.hosts:
            lease = other.lease
            if lease.phase is Phase.OPEN and lease.deadline > other.clock() and lease.primary != txn.node:
                raise Broken(
                    "one writer", f"{host.name} began on {txn.node}, {other.name} writes to {lease.primary}"
                )

    def committed(self, node: Node, txn: Txn) -> int:
        """Returns the newest epoch anybody had committed under *elsewhere* when this one did."""
        self.token_of[txn.id] = txn.token
        self.newest_commit[node.name] = max(self.newest_commit[node.name], txn.epoch)
        if node.from_past:
            self.excused.add(txn.id)
        return max((epoch for name, epoch in self.newest_commit.items() if name != node.name), default=0)

    def acked_by(self, node: Node, txn: Txn) -> None:
        """A server acknowledged: while the witness says in-sync, the standby must have it, whoever listens."""
        state = self.world.witness.state
        if not state.in_sync or node.name != state.primary or node.from_past or state.link is None:
            return
        standby = self.world.nodes[state.other]
        subscription = standby.disk.subscriptions.get(state.link.name)
        if not standby.from_past and subscription is not None and subscription.origin < txn.position:
            raise Broken(
                "rpo zero", f"{node.name} acknowledged {txn.id}, which the in-sync standby does not have"
            )

    def applied(self, node: Node, publisher: Node, txn: int) -> None:
        """A subscriber applied a client's transaction."""
        state = self.world.witness.state
        if not txn or self.world.witness_restored:
            return
        if node.name == state.primary:
            raise Broken("rescue", f"{publisher.name} pushed its tail ({txn}) into the primary {node.name}")
        plan, record = state.plan, state.record(node.name)
        lost_role = record.role is Role.DETACHED and record.rescue_point is not None and state.link is None
        if lost_role and (plan is None or Step.RESCUE not in plan.done):
            raise Broken("rescue", f"{node.name} streams ({txn}) before what only it has was rescued")

    def ended(self, host: Host, txn: Txn, outcome: str) -> None:
        self.counts[outcome] += 1
        if outcome != "acked":
            return
        if txn.overtaken > txn.epoch:
            raise Broken(
                "one writer",
                f"{txn.node} acknowledged at {txn.epoch} after a commit elsewhere at {txn.overtaken}",
            )
        self.last_ack = self.world.kernel.now
        if txn.token:
            self.tokens.add(txn.token)
        self.acked[txn.id] = txn

    # --- the decision ----------------------------------------------------------------------------------------

    def state_written(self, before: ClusterState, after: ClusterState) -> None:
        broken = invariants.of_change(before, after, self.world.policy.rpo)
        if broken:
            raise Broken("invariants", "; ".join(broken))
        if after.primary != before.primary or (before.plan and not after.plan and before.epoch > 1):
            self.nothing_lost(after.primary)

    # --- data ------------------------------------------------------------------------------------------------

    def present(self, name: str) -> tuple[set[int], Counter[int]]:
        """Transactions whose row is on that node, and how often each exactly-once token was applied."""
        rows: set[int] = set()
        tokens: Counter[int] = Counter()
        for key, value in self.world.nodes[name].disk.data.items():
            if type(key) is int:
                rows.add(value[0])
                if value[1]:
                    tokens[value[1]] += 1
        return rows, tokens

    def nothing_lost(self, primary: str) -> None:
        world = self.world
        rows, tokens = self.present(primary)
        twice = [token for token, times in tokens.items() if times > 1]
        if twice:
            raise Broken("exactly once", f"on {primary} twice: {twice}")
        missing = {
            txn.id
            for txn in self.acked.values()
            if txn.id not in rows and not (txn.token and txn.token in tokens) and txn.id not in self.excused
        }
        if not missing:
            return
        if world.policy.rpo is Rpo.ZERO:
            if not self.accepted_loss:
                raise Broken("rpo zero", f"acknowledged but not on {primary}: {sorted(missing)}")
            return
        # An exactly-once transaction is safe where its token is, whichever attempt brought it there.
        other = next(node.name for node in world.nodes.values() if node.name != primary)
        rows, tokens = self.present(other)
        kept = rows | self.rescued
        kept_tokens = {self.token_of.get(txn, 0) for txn in self.rescued} | set(tokens)
        missing = {
            txn for txn in missing if txn not in kept and (self.acked[txn].token or -1) not in kept_tokens
        }
        if missing:
            raise Broken(
                "rpo bounded", f"acknowledged, not on {primary}, in no tail, not rescued: {sorted(missing)}"
            )

    def rescued_now(self, txns: set[int], primary: str, after: int) -> None:
        """Rescued: on the old primary only. What the primary has too must not be called rescued."""
        rows, _ = self.present(primary)
        both = {txn for txn in txns if txn in rows}
        if both:
            raise Broken("rescue", f"rescued although {primary} has them: {sorted(both)}")
        self.rescued |= txns

    def equal(self) -> str:
        """What differs between the nodes, or an empty string."""
        one, other = (node.disk.data for node in self.world.nodes.values())
        keys = {
            k
            for k in one.keys() | other.keys()
            if k not in ("hb", "mark", "seq") and one.get(k) != other.get(k)
        }
        return f"differ in {sorted(map(str, keys))[:6]}" if keys else ""
