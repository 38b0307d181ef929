"""One scenario of the smallest world: how it begins, when it is well, and what a state of it means."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from tests.simulation.small_nodes import (
    ELM,
    NAMES,
    OAK,
    Broken,
    Lease,
    Node,
    Servers,
    Subscription,
    Write,
    probe_of,
)

from understudy.client.renewal import confirmed
from understudy.decide import Decision, decide, invariants, next_step
from understudy.decide.plans import CHANGES
from understudy.model import (
    ClusterState,
    Failback,
    Link,
    NodeRecord,
    NodeView,
    Policy,
    Probe,
    Request,
    RequestKind,
    Role,
    Rpo,
    Step,
    View,
)

UNSEEN = -1
MOST_PLANS = 16
"""More plans than this in one history with one or two faults mean that plans are begun again and again."""
LOOKS_AT_UP = (Step.ANNOUNCE, Step.FENCE_IF_REACHABLE, Step.FENCE, Step.RAISE_SEQUENCES, Step.RESUME_APPLY)
"""Steps that ask the agent's view (see `agent.steps`)."""


class Agent(NamedTuple):
    """What one agent knows: nothing else survives between two of its steps.

    known: it has read the present state. fresh: it has looked since. seen: a probe of each node (or `UNSEEN`).
    doing: (state it acts on, step, outcome or -1 before the step is carried out).
    """

    awake: bool
    known: bool = False
    fresh: bool = False
    seen: tuple[int, int] | None = None
    doing: tuple[int, Step, int] | None = None


class World(NamedTuple):
    """One state of everything. Big parts are numbers of a table (`Table`), so that hashing is cheap."""

    state: int
    oak: int
    elm: int
    agents: tuple[Agent, Agent]
    lease: Lease
    write: Write
    rescued: bool
    cuts: tuple[str, ...]  # oak-elm, 0-oak, 1-witness, witness (out for all), ...
    trigger: bool  # the fault that a failover needs has yet to come
    faults: int  # how many more may come


class Table:
    """Objects by number."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self.items: list[Any] = []

    def number(self, item: Any, key: Any = None) -> int:
        key = item if key is None else key
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = len(self.items)
            self.items.append(item)
        return found


class Scenario:
    """One scenario.

    Args:
        rpo: the mode. switchover: a person has asked for one; else a fault of the primary starts it all.
        faults: how many faults may come besides the one that a failover needs.
        kinds: which faults; all by default.
        deep: an agent may also be stopped and begin anew after any of its steps, any number of times, and once the
            second agent has woken both act as if they were alone.
        rows_open: two fence rows alone open a lease (a rule taken away: only the witness says what is published).
    """

    def __init__(
        self,
        rpo: Rpo,
        *,
        switchover: bool,
        faults: int = 1,
        kinds: tuple[str, ...] | None = None,
        rows_open: bool = False,
        deep: bool = False,
    ) -> None:
        self.deep = deep
        self.rpo, self.switchover, self.faults, self.kinds = rpo, switchover, faults, kinds
        self.rows_open = rows_open
        self.policy = Policy(rpo=rpo, failback=Failback.MANUAL)
        self.states, self.nodes, self.probes, self.outcomes = Table(), Table(), Table(), Table()
        self.rules: set[str] = set()
        self._decided: dict[Any, tuple[int, Step | None]] = {}
        self._done: dict[Any, Any] = {}
        self._applied: dict[Any, list[tuple[str, dict[str, int]]]] = {}
        self._recorded: dict[Any, tuple[int, Step | None] | None] = {}
        self._checked: dict[Any, None] = {}
        self._leases: dict[Any, frozenset[Lease]] = {}
        self._views: dict[Any, View] = {}
        self._looks: dict[Any, tuple[int, int]] = {}

    # --- the beginning and the end -------------------------------------------------------------------------------

    def first(self) -> World:
        """A pair that is well, and (for a switchover) a person's order."""
        zero = self.rpo is Rpo.ZERO
        request = Request(id="r", kind=RequestKind.SWITCHOVER, target=ELM) if self.switchover else None
        state = ClusterState(
            cluster="c",
            version=1,
            epoch=1,
            primary=OAK,
            nodes=(
                NodeRecord(name=OAK, role=Role.PRIMARY, verified=True),
                NodeRecord(name=ELM, role=Role.STANDBY, verified=True),
            ),
            link=Link(name="link", publisher=OAK, subscriber=ELM),
            spare_slot="spare",
            in_sync=zero,
            request=request,
        )
        oak = Node(sync="link" if zero else "", slots=(("link", 0),))
        elm = Node(read_only=True, slots=(("spare", 0),), subscriptions=(Subscription("link", True, 0),))
        return World(
            state=self.states.number(state),
            oak=self.nodes.number(oak),
            elm=self.nodes.number(elm),
            agents=(Agent(True), Agent(False)),
            lease=Lease(1, OAK),
            write=Write(),
            rescued=False,
            cuts=(),
            trigger=not self.switchover,
            faults=self.faults,
        )

    def settled(self, world: World) -> bool:
        """All is well: one primary that hosts may write to, one equal standby that follows, nothing left to do."""
        state = self.states.items[world.state]
        if state.plan is not None or state.request is not None or world.cuts or world.write.in_flight:
            return False
        servers = self.servers(world)
        if any(node.up != "up" for node in servers.nodes.values()) or world.write.status == "ghost":
            return False
        primary, standby = servers.nodes[state.primary], servers.nodes[state.other]
        if primary.read_only or not standby.read_only or primary.has is not standby.has:
            return False
        if (primary.epoch, standby.epoch) != (state.epoch, state.epoch):
            return False
        if state.link is None or not servers.streams(state.primary, state.link.name):
            return False
        if not servers.can_apply(state.other) or (self.rpo is Rpo.ZERO and not state.in_sync):
            return False
        subscription = standby.subscription(state.link.name)
        if subscription is None or subscription.origin < primary.wal:
            return False
        if world.lease != Lease(state.epoch, state.primary):
            return False
        view = self.view(self.look(world, 0), fresh=True)
        return decide(state, view, self.policy).rule == "steady"

    # --- parts -----------------------------------------------------------------------------------------------------

    def servers(self, world: World, agent: int | None = None) -> Servers:
        nodes = {OAK: self.nodes.items[world.oak], ELM: self.nodes.items[world.elm]}
        reach = frozenset(n for n in NAMES if f"{agent}-{n}" not in world.cuts)
        return Servers(
            nodes=nodes,
            joined="oak-elm" not in world.cuts,
            write=world.write,
            rescued=world.rescued,
            state=self.states.items[world.state],
            reach=reach,
            lease=world.lease,
            renewable=agent is not None and world.lease in self.leases(world, lagging=True),
        )

    def put(self, world: World, servers: Servers, **more: Any) -> World:
        return world._replace(
            oak=self.nodes.number(servers.nodes[OAK]),
            elm=self.nodes.number(servers.nodes[ELM]),
            write=servers.write,
            rescued=servers.rescued,
            lease=servers.lease,
            **more,
        )

    def witness_answers(self, world: World, host: int) -> bool:
        return "witness" not in world.cuts and f"{host}-witness" not in world.cuts

    def leases(self, world: World, *, lagging: bool) -> frozenset[Lease]:
        """What hosts can have confirmed now: the lagging one (which is host 1) with what it reaches; or any host,
        whichever registers it happens to reach. Without the witness, what is open is renewed and nothing is opened."""
        key = (world.state, world.oak, world.elm, world.cuts, lagging and world.lease)
        found = self._leases.get(key)
        if found is not None:
            return found
        state = self.states.items[world.state]
        fences: list[tuple[tuple[int, str] | None, ...]] = []
        for name, number in ((OAK, world.oak), (ELM, world.elm)):
            node = self.nodes.items[number]
            reached = node.up == "up" and not (lagging and f"1-{name}" in world.cuts)
            row = (node.epoch, node.primary)
            fences.append(((row,) if lagging else (row, None)) if reached else (None,))
        seen = self.witness_answers(world, 1) if lagging else "witness" not in world.cuts
        witnesses = ((state,) if lagging else (state, None)) if seen else (None,)
        answers = {confirmed(s, [a, b]) for s in witnesses for a in fences[0] for b in fences[1]}
        found = frozenset(Lease(*answer) for answer in answers if answer is not None)
        if not self.rows_open:
            last = state.epoch - 1 if _claimed(state) else state.epoch
            found = frozenset(x for x in found if x.epoch <= last and x.primary == state.primary)
            if lagging and not seen:
                found = frozenset(Lease(*a) for a in answers if a is not None) & {world.lease}
        self._leases[key] = found
        return found

    def look(self, world: World, agent: int) -> tuple[int, int]:
        """What both nodes answer to this agent now."""
        cut = tuple(c for c in world.cuts if c == "oak-elm" or c.startswith(f"{agent}-"))
        key = (world.oak, world.elm, cut, agent)
        found = self._looks.get(key)
        if found is not None:
            return found
        servers = self.servers(world, agent)
        seen = []
        for name, node in servers.nodes.items():
            if node.up != "up" or name not in servers.reach:
                seen.append(UNSEEN)
                continue
            probe = probe_of(name, servers)
            seen.append(self.probes.number(probe, key=(name, repr(probe))))
        found = self._looks[key] = (seen[0], seen[1])
        return found

    def view(self, seen: tuple[int, int], *, fresh: bool) -> View:
        found = self._views.get((seen, fresh))
        if found is not None:
            return found
        nodes: dict[str, NodeView] = {}
        lost: float | None = None
        for name, number in zip(NAMES, seen, strict=True):
            if number == UNSEEN:
                nodes[name] = NodeView(name=name, misses=3, error="no answer")
                continue
            probe: Probe = replace(self.probes.items[number], at=2.0 if fresh else 0.5)
            nodes[name] = NodeView(name=name, probe=probe, highest_wal=probe.wal)
        view = View(now=100.0, wall=0.0, nodes=nodes, changed_at=1.0, lag_seconds=0.0, sync_lost_since=lost)
        self._views[seen, fresh] = view
        return view

    def _decide(self, number: int, seen: tuple[int, int], *, fresh: bool) -> tuple[int, Step | None]:
        """The next state (or the same) and the step to carry out."""
        key = (number, seen, fresh)
        found = self._decided.get(key)
        if found is None:
            state, view = self.states.items[number], self.view(seen, fresh=fresh)
            primary, standby = view.nodes[state.primary], view.nodes[state.other]
            if primary.probe is not None and primary.probe.sync_names:
                streams = state.link is not None and state.link.name in primary.probe.streaming
                if not (streams and standby.up):
                    view = replace(view, sync_lost_since=0.0)
            decision = decide(state, view, self.policy)
            self.rules.add(decision.rule)
            found = self._decided[key] = self._following(number, decision)
        return found

    def _following(self, number: int, decision: Decision) -> tuple[int, Step | None]:
        if decision.state is not None:
            number = self.written(number, decision.state)
        state = self.states.items[number]
        return number, next_step(state, self.rpo) if decision.work else None

    def written(self, before: int, after: ClusterState) -> int:
        """The number of the state after a compare-and-set; the invariants must agree to it, as in the agent."""
        old = self.states.items[before]
        begun = after.plan is not None and (old.plan is None or old.plan.number != after.plan.number)
        after = replace(after, version=old.version + (1 if begun else 0))
        if after.version > MOST_PLANS:
            raise Broken("plan after plan: this does not come to rest")
        broken = invariants.of_change(old, after, self.rpo)
        if broken:
            raise Broken(f"invariants: {'; '.join(broken)}")
        return self.states.number(after)

    # --- promises ---------------------------------------------------------------------------------------------

    def check(self, world: World) -> None:
        """The promises, in this state. Raises `Broken`."""
        key = (world.state, world.oak, world.elm, world.lease, world.write.status, world.rescued, world.cuts)
        if key in self._checked:
            return
        self._checked[key] = None
        broken = invariants.of_state(self.states.items[world.state], self.rpo)
        if broken:
            raise Broken(f"invariants: {'; '.join(broken)}")
        nodes = {OAK: self.nodes.items[world.oak], ELM: self.nodes.items[world.elm]}
        writers = {lease for lease, _ in self._valid(world) if not nodes[lease.primary].read_only}
        if len({lease.primary for lease in writers}) > 1:
            raise Broken(f"one writer: both nodes accept writes under valid leases: {sorted(writers)}")
        if world.write.status == "acked":
            state, primary = self.states.items[world.state], self.servers(world).next_primary
            kept = nodes[state.primary].has or (primary == world.write.node and nodes[primary].has)
            if self.rpo is Rpo.BOUNDED:
                kept = kept or nodes[state.other].has or world.rescued
            if not kept:
                raise Broken(f"an acknowledged write is not on the primary {state.primary}")


def _claimed(state: ClusterState) -> bool:
    """A change of primary has taken its epoch and is not published."""
    return state.plan is not None and state.plan.kind in CHANGES and state.plan.epoch == state.epoch
