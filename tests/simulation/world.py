"""The simulated world: two nodes, one or two hosts, one to three agents, a witness, and everything that fails.

run(Setup.from_seed(7))           -> Result
run(Setup.from_seed(7), traced=True).trace
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace

from tests.simulation import faults as fault_module
from tests.simulation.agents import Agent
from tests.simulation.checks import Checks
from tests.simulation.faults import Fault
from tests.simulation.hosts import Host
from tests.simulation.kernel import Broken, Kernel
from tests.simulation.network import Network
from tests.simulation.nodes import Node, Slot, Subscription

from understudy.decide.plans import CHANGES
from understudy.errors import StaleVersion
from understudy.model import ClusterState, Failback, Link, NodeRecord, Plan, PlanKind, Policy, Role, Rpo, Step

NAMES = ("oak", "elm")
FAULTS_UNTIL = 16.0
HEALED_AT = 20.0
END = 75.0
RESUME_WITHIN = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the protocol demands. Tests switch one off and expect the simulation to find out."""

    announced: bool = True
    held: bool = True
    apply_stopped: bool = True
    in_sync_withdrawn_first: bool = True
    rescue_filtered: bool = True
    slot_before_promote: bool = True
    stale_refused: bool = True
    sessions_end_before_relax: bool = True
    plan_numbers: bool = True
    fence_raises_row: bool = True
    advance_guarded: bool = True
    zombies_dropped: bool = True
    promoted_left_alone: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One run, fully determined."""

    seed: int
    rpo: Rpo = Rpo.BOUNDED
    hosts: int = 1
    agents: int = 2
    clients: int = 2
    faults: tuple[Fault, ...] = ()
    lasting: str = ""
    rules: Rules = Rules()
    failback: Failback = Failback.AUTO
    interruptions: tuple[tuple[PlanKind, Step, str], ...] = ()
    healed_at: float = HEALED_AT

    @classmethod
    def focused(cls, seed: int, *kinds: str, rpo: Rpo, hosts: int = 1, rules: Rules | None = None) -> Setup:
        """Only these kinds of fault: to look hard at one corner."""
        faults = tuple(fault_module.draw(seed, FAULTS_UNTIL, kinds))
        return cls(seed=seed, rpo=rpo, hosts=hosts, agents=2, faults=faults, rules=rules or Rules())

    @classmethod
    def from_seed(cls, seed: int, rules: Rules | None = None) -> Setup:
        """Even seeds heal everything (safety); every fourth keeps one fault for good (liveness)."""
        chance = random.Random(seed)
        hosts = chance.choice((1, 1, 2))
        lasting = ""
        if seed % 4 == 3:
            lasting = chance.choice(
                ("standby_down", "agent_dead", "one_way", "replication", "standby_frozen")
            )
        return cls(
            seed=seed,
            rpo=chance.choice((Rpo.ZERO, Rpo.BOUNDED)),
            hosts=hosts,
            agents=chance.randint(hosts, 3),
            clients=chance.choice((1, 2)),
            faults=tuple(fault_module.draw(seed, FAULTS_UNTIL)),
            lasting=lasting,
            rules=rules or Rules(),
            failback=Failback.AUTO if chance.random() < 0.7 else Failback.MANUAL,
        )


@dataclass(slots=True, kw_only=True)
class Result:
    """What came out. ``promise`` is empty when all of them held."""

    setup: Setup
    promise: str = ""
    text: str = ""
    trace: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    rules_seen: set[str] = field(default_factory=set)
    steps_seen: set[tuple[PlanKind, Step]] = field(default_factory=set)
    events: int = 0
    interruptions_left: int = 0
    final: ClusterState | None = None


class SimulatedWitness:
    """A register with compare-and-set and a history, checked at every write."""

    def __init__(self, world: World, state: ClusterState) -> None:
        self.world, self.state, self.up = world, state, True
        self.history = [state]
        self.agent, self.heard = "", -1e9

    def write(self, state: ClusterState, expected: int, who: str) -> ClusterState:
        if expected != self.state.version:
            raise StaleVersion(f"expected version {expected}, found {self.state.version}")
        before = self.state
        self.state = replace(state, version=expected + 1)
        self.history.append(self.state)
        self.world.kernel.say(who, f"wrote {_short(self.state)}")
        self.world.checks.state_written(before, self.state)
        return self.state

    def take_agent(self, agent: str, now: float, takeover: float) -> bool:
        if self.agent not in ("", agent) and now - self.heard < takeover:
            return False
        self.agent, self.heard = agent, now
        return True

    def restore(self, versions_back: int) -> None:
        self.state = self.history[max(0, len(self.history) - 1 - versions_back)]
        self.world.witness_restored = True


class World:
    """Everything that exists in one run."""

    def __init__(self, setup: Setup, *, traced: bool = False) -> None:
        self.setup, self.rules = setup, setup.rules
        self.kernel = Kernel(setup.seed, traced=traced)
        self.policy = Policy(
            rpo=setup.rpo,
            failback=setup.failback,
            failback_after=4.0,
            probe_interval=0.5,
            probe_timeout=0.25,
            failure_threshold=2,
            max_lag_bytes=40,
            max_lag_seconds=3.0,
            lease_ttl=2.0,
            quiet_timeout=1.0,
            step_timeout=2.0,
            sync_timeout=1.0,
            agent_takeover=1.5,
        )
        self.network = Network(self)
        self.fault_counts: Counter[str] = Counter()
        self.rules_seen: set[str] = set()
        self.steps_seen: set[tuple[PlanKind, Step]] = set()
        self.wall_offset = 0.0
        self.witness_restored = False
        self.promotions: dict[str, tuple[int, int]] = {}
        self.interruptions = list(setup.interruptions)
        self._ids = 0
        self._pumping = False
        self._build()

    def _build(self) -> None:
        setup, (oak, elm) = self.setup, NAMES
        self.nodes = {name: Node(self, name) for name in NAMES}
        self.hosts = [Host(self, f"host{n}") for n in range(setup.hosts)]
        self.checks = Checks(self)
        name = "understudy_c_1"
        for node in self.nodes.values():
            node.disk.fence = (1, oak)
            node.disk.data.update({"hb": 0, "seq": 0, "mark": 0})
        self.nodes[oak].disk.slots[name] = Slot(0, 0)
        self.nodes[elm].disk.subscriptions[name] = Subscription(oak)
        self.nodes[elm].disk.slots[name + "s"] = Slot(0, 0)
        self.nodes[elm].disk.read_only = True
        records = (
            NodeRecord(name=oak, role=Role.PRIMARY, identity="oak-1/1", verified=True),
            NodeRecord(name=elm, role=Role.STANDBY, identity="elm-1/1", verified=True),
        )
        state = ClusterState(
            cluster="c",
            version=1,
            epoch=1,
            primary=oak,
            nodes=records,
            link=Link(name=name, publisher=oak, subscriber=elm),
            spare_slot=name + "s",
        )
        self.witness = SimulatedWitness(self, state)
        self.agents = [Agent(self, f"agent{n}", self.hosts[n % setup.hosts]) for n in range(setup.agents)]

    # --- replication -----------------------------------------------------------------------------------------

    def streams(self, publisher: Node, name: str) -> bool:
        """A subscription of that name is connected to that publisher right now."""
        if not publisher.answers:
            return False
        slot = publisher.disk.slots.get(name)
        if slot is None or not slot.usable:
            return False
        other = self.nodes[NAMES[publisher.name == NAMES[0]]]
        subscription = other.disk.subscriptions.get(name)
        return (
            subscription is not None
            and subscription.enabled
            and other.answers
            and self.network.joined(publisher.name, other.name)
        )

    def runs(self, subscriber: Node, name: str, subscription: Subscription) -> bool:
        return subscriber.answers and self.streams(self.nodes[subscription.publisher], name)

    def replicate_soon(self) -> None:
        if not self._pumping:
            self._pumping = True
            delay = (0.002 + 0.01 * self.kernel.random.random()) * self.network.slow
            self.kernel.at(self.kernel.now + delay, self._pump)

    def _pump(self) -> None:
        self._pumping = False
        for node in self.nodes.values():
            for name, subscription in list(node.disk.subscriptions.items()):
                publisher = self.nodes[subscription.publisher]
                if self.streams(publisher, name):
                    node.apply_from(publisher, name, subscription, publisher.disk.slots[name])

    def _tick(self) -> None:
        self._pump()
        for node in self.nodes.values():
            node.release()
        self.kernel.at(self.kernel.now + 0.25, self._tick)

    # --- small services --------------------------------------------------------------------------------------

    def next_id(self) -> int:
        self._ids += 1
        return self._ids

    def interruption(self, kind: PlanKind, step: Step) -> str:
        """How this step is to be interrupted, once; or an empty string."""
        for wanted in self.interruptions:
            if wanted[:2] == (kind, step):
                self.interruptions.remove(wanted)
                return wanted[2]
        return ""

    def wall(self) -> float:
        return 1_700_000_000.0 + self.kernel.now + self.wall_offset

    def excuse_rows(self, name: str) -> None:
        """What only this node has may be lost from now on: the fault took the means to save it."""
        other = NAMES[name == NAMES[0]]
        there = self.checks.present(other)[0]
        self.checks.excused |= {txn for txn in self.checks.acked if txn not in there}
        self.nodes[name].from_past = True

    def promoted(self, node: Node, plan: Plan) -> None:
        if self.promotions.get(node.name, (0, 0))[0] < plan.epoch:
            self.promotions[node.name] = (plan.epoch, node.wal)
        node.from_past = False

    def check_slot_precedes_writes(self, link: Link) -> None:
        epoch, at = self.promotions.get(link.publisher, (0, 0))
        subscription = self.nodes[link.subscriber].disk.subscriptions[link.name]
        slot = self.nodes[link.publisher].disk.slots.get(link.name)
        if self.witness.state.primary != link.publisher or epoch != self.witness.state.epoch or slot is None:
            return
        if subscription.origin == 0 and slot.confirmed > at:
            raise Broken(
                "reverse slot", f"{link.name} begins at {slot.confirmed}, after the first write at {at}"
            )

    # --- the run ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        kernel = self.kernel
        for agent in self.agents:
            agent.start(0.05 * kernel.random.random())
        for host in self.hosts:
            kernel.spawn(host.owner, host.renew_forever(), 0.2)
            for number in range(self.setup.clients):
                kernel.spawn(host.owner, host.client(number), 0.3)
        kernel.at(0.1, self._tick)
        for node in self.nodes.values():
            kernel.at(3.0, node.save)
        for fault in self.setup.faults:
            kernel.at(fault.at, lambda fault=fault: fault_module.apply(self, fault))
        kernel.run_until(self.setup.healed_at)
        self._heal()
        self._until_well()

    def _heal(self) -> None:
        """Everything that was broken works again, but for the one fault that lasts."""
        kernel = self.kernel
        kernel.say(
            "world", "everything is mended" + (f", but {self.setup.lasting}" if self.setup.lasting else "")
        )
        self.network.heal()
        self.witness.up = True
        for node in self.nodes.values():
            node.full = False
            node.start()
            node.thaw()
        for owner in (o.owner for o in (*self.hosts, *self.agents)):
            kernel.resume(owner)
        for agent in self.agents:
            if not any(process.alive for process in agent.owner.processes):
                agent.start()
        if self.setup.lasting:
            self._let_changes_end()
            kernel.say("world", f"from now on: {self.setup.lasting}")
            _LASTING[self.setup.lasting](self)

    def _let_changes_end(self) -> None:
        """Who is standby is only settled between changes; a lasting fault must not be a second one at once."""
        give_up = self.kernel.now + 20.0
        while (plan := self.witness.state.plan) is not None and plan.kind in CHANGES:
            if self.kernel.now > give_up:
                if self.witness_restored:
                    return
                raise Broken("comes to rest", f"a change is stuck: {_short(self.witness.state)}")
            self.kernel.run_until(self.kernel.now + 0.25)

    def _until_well(self) -> None:
        healed, missing = self.kernel.now, "nothing yet"
        while self.kernel.now < END:
            self.kernel.run_until(self.kernel.now + 1.0)
            state = self.witness.state
            if self.checks.last_ack < healed and self.kernel.now > healed + RESUME_WITHIN:
                if not self._may_stand_still():
                    raise Broken(
                        "writes go on", f"no acknowledgement {RESUME_WITHIN} s after healing: {_short(state)}"
                    )
            missing = self._missing(state)
            if not missing:
                break
        else:
            if not self._may_stand_still():
                raise Broken("comes to rest", f"{missing}: {_short(self.witness.state)}")
        primary = max(node.disk.fence for node in self.nodes.values())[1]
        self.checks.nothing_lost(primary if self.witness_restored else self.witness.state.primary)

    def _may_stand_still(self) -> bool:
        """A person has been asked, by design: the witness is older than the databases, or copying failed twice."""
        return self.witness_restored or "copy_limit" in self.rules_seen

    def _missing(self, state: ClusterState) -> str:
        """What is not yet as it should be in the end."""
        if self.checks.last_ack < self.setup.healed_at:
            return "no write since"
        if state.plan is not None and not self.setup.lasting and not self.witness_restored:
            return f"a plan is under way: {state.plan.kind}"
        if self.setup.lasting or self.witness_restored:
            return ""
        if state.link is None or not self.streams(self.nodes[state.primary], state.link.name):
            return "the standby does not follow"
        if self.setup.rpo is Rpo.ZERO and not state.in_sync:
            return "not in sync"
        if state.old_links or not state.record(state.other).verified:
            return "leftovers"
        if self.setup.failback is Failback.AUTO and state.primary != NAMES[0] and not state.failbacks:
            return "not home"
        fences = {node.disk.fence[0] for node in self.nodes.values()}
        if fences != {state.epoch}:
            return (
                f"fence rows {sorted(fences)}, not both at {state.epoch}: no second register holds the epoch"
            )
        return self.checks.equal()


def _standby_down(world: World) -> None:
    world.nodes[world.witness.state.other].crash()


def _standby_frozen(world: World) -> None:
    world.nodes[world.witness.state.other].freeze()


def _agent_dead(world: World) -> None:
    if len(world.agents) > len(world.hosts):
        world.kernel.kill(world.agents[-1].owner)


def _one_way(world: World) -> None:
    world.network.cuts.add((world.hosts[-1].name, world.witness.state.other))


def _replication(world: World) -> None:
    state = world.witness.state
    world.network.cuts.add((state.primary, state.other))


_LASTING = {
    "standby_down": _standby_down,
    "standby_frozen": _standby_frozen,
    "agent_dead": _agent_dead,
    "one_way": _one_way,
    "replication": _replication,
}


def _short(state: ClusterState) -> str:
    plan = state.plan
    doing = f" {plan.kind}->{plan.target}@{plan.epoch} done={len(plan.done)}" if plan else ""
    flags = (" in_sync" if state.in_sync else "") + (" paused" if state.paused else "")
    link = state.link.name if state.link else "-"
    roles = ",".join(f"{r.name}={r.role}{'+v' if r.verified else ''}" for r in state.nodes)
    return f"v{state.version} e{state.epoch} {state.primary} [{roles}] link={link}{flags}{doing}"


def run(setup: Setup, *, traced: bool = False) -> Result:
    """Run one world to its end; a broken promise is in the result, never raised."""
    world = World(setup, traced=traced)
    result = Result(setup=setup)
    try:
        world.run()
    except Broken as broken:
        world.kernel.say("BROKEN", str(broken))
        result.promise, result.text = broken.promise, broken.text
    result.trace = world.kernel.trace or []
    result.faults, result.outcomes = world.fault_counts, world.checks.counts
    result.rules_seen, result.steps_seen = world.rules_seen, world.steps_seen
    result.interruptions_left = len(world.interruptions)
    result.events, result.final = world.kernel.events, world.witness.state
    return result
