"""One host: its lease, the process that renews it (agent or client, whoever lives), and its clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.simulation.kernel import Owner, Sleeper
from tests.simulation.nodes import Node, Txn

from understudy.errors import EngineError, Unreachable, WitnessError
from understudy.lease import Phase

if TYPE_CHECKING:
    from tests.simulation.world import World

RENEW_EVERY = 0.5
DRIFT = 0.03
"""How much faster or slower than time a host's clock may tick: far more than real ones do (500 ppm, adjtimex(2))."""


@dataclass(slots=True)
class HostLease:
    """The lease record, with the rules of `understudy.lease.LeaseFile.write` and `.renew`."""

    epoch: int
    primary: str
    phase: Phase
    deadline: float


class Host:
    """A machine on which clients and one or more agents run; all of them share its lease."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.owner = Owner(name)
        self.rate = 1.0 + world.kernel.random.uniform(-DRIFT, DRIFT)
        self.lease = HostLease(0, "", Phase.CHANGING, 0.0)
        self.in_flight: set[int] = set()
        self.flying: dict[int, Txn] = {}

    def clock(self) -> float:
        """This host's boot clock, in seconds: what its deadlines are measured with."""
        return self.world.kernel.now * self.rate

    def write_lease(self, epoch: int, primary: str, phase: Phase, deadline: float) -> bool:
        lease = self.lease
        if lease.epoch > epoch:
            return False
        if lease.phase is not phase or lease.epoch != epoch:
            self.world.kernel.say(self.name, f"lease {phase.name} at {epoch} for {primary}")
        self.lease = HostLease(epoch, primary, phase, deadline)
        self.world.checks.lease_written(self, lease)
        return True

    def may_write(self, epoch: int) -> bool:
        """A transaction of that epoch may begin now."""
        lease = self.lease
        return lease.phase is Phase.OPEN and lease.epoch == epoch and self.clock() < lease.deadline

    def may_finish(self, epoch: int) -> bool:
        """A transaction of that epoch in flight may go on, or count its acknowledgement."""
        lease = self.lease
        if self.clock() >= lease.deadline:
            return False
        if lease.epoch == epoch:
            return lease.phase is not Phase.CHANGING
        return lease.phase is Phase.HOLDING and lease.epoch == epoch + 1

    def quiet(self, before: int) -> bool:
        return not any(txn.epoch < before for txn in self.flying.values())

    def registers(self) -> Sleeper:
        """What each of the three registers says: (epoch, primary), or None where it does not answer."""
        world, found = self.world, []
        for node in world.nodes.values():
            try:
                value = yield from world.network.call(self.name, node, lambda n=node: n.disk.fence, 0.15)
            except Unreachable:
                value = None
            found.append(value)
        try:
            state = yield from world.network.ask_witness(self.name, lambda: world.witness.state)
            found.append((state.epoch, state.primary))
        except WitnessError:
            found.append(None)
        return found

    def renew_forever(self) -> Sleeper:
        """Prolong an open lease for as long as two of three hold its epoch and nobody holds a higher one."""
        world = self.world
        while True:
            lease, asked = self.lease, self.clock()
            if lease.phase is Phase.OPEN:
                agreed = two_of_three((yield from self.registers()))
                now = self.lease
                if agreed == (now.epoch, now.primary) and now.phase is Phase.OPEN:
                    deadline = max(now.deadline, asked + world.policy.lease_ttl)
                    self.write_lease(now.epoch, now.primary, Phase.OPEN, deadline)
            yield RENEW_EVERY

    def client(self, number: int) -> Sleeper:
        """One application process: transactions one after another, some exactly-once."""
        world, chance = self.world, self.world.kernel.random.random
        token = 0
        while True:
            yield 0.1 + 0.5 * chance()
            lease = self.lease
            if not self.may_write(lease.epoch):
                continue
            if not token and chance() < 0.4:
                token = world.next_id()
            txn = Txn(world.next_id(), token, lease.epoch, lease.primary)
            world.checks.begun(self, txn)
            self.flying[txn.id] = txn
            outcome = yield from self._transaction(world.nodes[lease.primary], txn)
            del self.flying[txn.id]
            world.checks.ended(self, txn, outcome)
            if outcome == "acked" or (outcome == "failed" and not token):
                token = 0

    def _transaction(self, node: Node, txn: Txn) -> Sleeper:
        """acked, failed (certainly not committed) or in doubt."""
        world, chance = self.world, self.world.kernel.random.random
        try:
            if not (yield from world.network.call(self.name, node, lambda: node.begin(txn))):
                return "failed"
        except EngineError:
            return "failed"
        yield 0.02 + (0.6 * chance() if chance() < 0.1 else 0.0)
        if not self.may_finish(txn.epoch):
            return "failed"
        try:
            yield from world.network.call(self.name, node, lambda: node.commit(txn), 0.2)
        except EngineError:
            return "in doubt"
        patience = world.kernel.now + 3.0
        while self.may_finish(txn.epoch) and world.kernel.now < patience:
            if node.answers and world.network.joined(self.name, node.name):
                if txn.status == "acked":
                    return "acked"
                if txn.status == "gone":
                    return "in doubt"
            yield 0.05
        return "in doubt"


def two_of_three(found: list[tuple[int, str] | None]) -> tuple[int, str] | None:
    """What at least two registers hold, no answering one being higher; or None."""
    answers = [value for value in found if value is not None]
    if not answers:
        return None
    highest = max(answers, key=lambda value: value[0])
    return highest if sum(1 for value in answers if value == highest) >= 2 else None
