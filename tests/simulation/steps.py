"""What each step does on the simulated servers, as `docs/explanation/protocol.md` says. Every step is a process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.simulation.kernel import Sleeper
from tests.simulation.nodes import SEQUENCE_MARGIN

from understudy.decide.plans import CHANGES, StepOutcome, spare_name, ticket_number
from understudy.errors import EngineError, NeedsCopy, Unreachable
from understudy.model import ClusterState, Link, Plan, PlanKind, Step

if TYPE_CHECKING:
    from tests.simulation.agents import Agent

MARGIN = 0.2
"""Added to the wait for another host's lease: 2 × `DRIFT` of its length, and a little."""
NOTHING = StepOutcome()


def carry_out(agent: Agent, state: ClusterState, step: Step) -> Sleeper:
    """Do one step. Returns its `StepOutcome`; raises `EngineError` and its children."""
    assert state.plan is not None
    outcome = yield from _STEPS[step](Doing(agent, state, state.plan), step)
    return outcome or NOTHING


class Doing:
    """One step under way: who does it, on what state, with which calls."""

    def __init__(self, agent: Agent, state: ClusterState, plan: Plan) -> None:
        self.agent, self.state, self.plan = agent, state, plan
        self.world, self.kernel = agent.world, agent.world.kernel
        # What `Ticket` carries. Before a switchover claims its epoch it acts at the present one.
        self.ticket = (state.epoch, ticket_number(plan))
        claimed = plan.kind in CHANGES and state.epoch == plan.epoch
        self.primary = plan.target if claimed else state.primary

    def on(self, name: str, what: Callable[..., Any], *args: Any) -> Sleeper:
        """A changing call on a node, guarded by the epoch."""
        node, ticket, primary = self.world.nodes[name], self.ticket, self.primary

        def guarded() -> Any:
            node.guard(ticket, primary)
            return what(node, *args)

        return (yield from self.world.network.call(self.agent.host.name, node, guarded))

    def ask(self, name: str, what: Callable[..., Any]) -> Sleeper:
        """A call that changes nothing."""
        node = self.world.nodes[name]
        return (yield from self.world.network.call(self.agent.host.name, node, lambda: what(node)))

    def until(self, name: str, what: Callable[..., bool], why: str) -> Sleeper:
        """Ask again and again until it is so. Raises `EngineError` after the step's time."""
        give_up = self.kernel.now + self.world.policy.step_timeout
        while not (yield from self.ask(name, what)):
            if self.kernel.now > give_up:
                raise EngineError(why)
            yield 0.1

    @property
    def reverse(self) -> Link:
        """The link that a switchover prepares."""
        return Link(name=spare_name(self.state), publisher=self.plan.target, subscriber=self.plan.source)

    @property
    def link(self) -> Link:
        if self.state.link is None:
            raise EngineError("no link in the state")
        return self.state.link


def announce(do: Doing, step: Step) -> Sleeper:
    if not do.world.rules.announced:
        return
    reached = []
    for name in do.world.nodes:
        try:
            yield from do.on(name, lambda node: node.raise_fence(do.plan.epoch, do.plan.target))
            reached.append(name)
        except Unreachable:
            continue
    if do.plan.target not in reached:
        raise EngineError(f"{do.plan.target} could not be told of epoch {do.plan.epoch}")


def hold(do: Doing, step: Step) -> Sleeper:
    """Every host has seen the epoch and is quiet, or its former lease has run out."""
    world, epoch, clock = do.world, do.plan.epoch, do.agent.host.clock
    started = clock()
    if not world.rules.held:
        return
    planned = do.plan.kind is PlanKind.SWITCHOVER
    while True:
        busy = False
        missing = False
        for host in world.hosts:
            answers = host is do.agent.host or (
                world.network.joined(do.agent.host.name, host.name) and not host.owner.paused
            )
            if answers and host.lease.epoch >= epoch:
                busy = busy or not host.quiet(epoch)
            else:
                missing = True
        waited = clock() - started
        if not busy and not missing:
            return
        if planned and busy and waited > world.policy.quiet_timeout:
            raise EngineError("a process is not quiet")
        if waited >= world.policy.lease_ttl + MARGIN:
            return
        yield 0.05


def fence(do: Doing, step: Step) -> Sleeper:
    name = do.plan.source if do.plan.kind in (PlanKind.FAILOVER, PlanKind.SWITCHOVER) else do.plan.target
    try:
        identity = yield from do.on(name, lambda node: node.fence())
    except Unreachable:
        if step is Step.FENCE_IF_REACHABLE:
            return NOTHING
        raise
    return StepOutcome(identity=identity)


def prepare_reverse(do: Doing, step: Step) -> Sleeper:
    yield from _follow(do, do.reverse)


def follow(do: Doing, step: Step) -> Sleeper:
    if do.state.reverse is None:
        raise EngineError("no slot waits")
    yield from _follow(do, do.state.reverse)


def _follow(do: Doing, link: Link) -> Sleeper:
    def reserved(node: Any) -> bool:
        slot = node.disk.slots.get(link.name)
        return slot is not None and slot.usable

    if not (yield from do.ask(link.publisher, reserved)):
        raise NeedsCopy(f"slot {link.name} does not exist on {link.publisher}")
    yield from do.on(link.subscriber, lambda node: node.subscribe(link.name, link.publisher))
    do.world.check_slot_precedes_writes(link)
    yield from do.until(
        link.publisher, lambda node: do.world.streams(node, link.name), f"{link.name} does not stream"
    )


def wait_replay(do: Doing, step: Step) -> Sleeper:
    mark = do.world.next_id()
    yield from do.on(do.plan.source, lambda node: node.append((("update", "mark", mark),)))
    yield from do.until(
        do.plan.target, lambda node: node.disk.data.get("mark") == mark, "the standby did not get the marker"
    )


def copy_sequences(do: Doing, step: Step) -> Sleeper:
    value = yield from do.ask(do.plan.source, lambda node: node.disk.sequence)

    def set_(node: Any) -> None:
        # A repeated call of the same plan may come after PROMOTE: what is handed out already must stay handed out.
        if node.disk.read_only or not do.world.rules.promoted_left_alone:
            node.disk.sequence = value

    yield from do.on(do.plan.target, set_)


def raise_sequences(do: Doing, step: Step) -> Sleeper:
    def raise_(node: Any) -> None:
        if not node.disk.read_only:  # a switchover whose PROMOTE took effect is now this failover
            node.fence()
        # The sample may be older than the former primary's own promotion: what arrived counts too.
        arrived = max((key for key in node.disk.data if type(key) is int), default=0)
        node.disk.sequence = max(node.disk.sequence, node.disk.data.get("seq", 0), arrived) + SEQUENCE_MARGIN

    yield from do.on(do.plan.target, raise_)


def stop_apply(do: Doing, step: Step) -> Sleeper:
    at = yield from do.on(do.plan.target, lambda node: node.stop_apply(do.link.name))
    return StepOutcome(rescue_point=at)


def resume_apply(do: Doing, step: Step) -> Sleeper:
    if do.state.link is None:
        return
    link = do.state.link
    try:
        yield from do.on(link.subscriber, lambda node: node.resume_apply(link.name))
    except Unreachable:
        return


def open_slot(do: Doing, step: Step) -> Sleeper:
    name = spare_name(do.state)
    if step is Step.OPEN_REVERSE_SLOT and do.world.rules.zombies_dropped:
        for link in do.state.old_links:
            if link.publisher == do.plan.target:
                yield from do.on(link.publisher, lambda node, link=link: node.drop(link.name))
    if step is Step.OPEN_REVERSE_SLOT and not do.world.rules.slot_before_promote:
        yield from do.on(do.plan.target, lambda node: node.drop(name))
        late = do.world.nodes[do.plan.target]
        do.kernel.at(do.kernel.now + 1.0, lambda: late.create_slot(name))
        return
    yield from do.on(do.plan.target, lambda node: node.create_slot(name))


def require_sync(do: Doing, step: Step) -> Sleeper:
    link = do.reverse if do.plan.kind is PlanKind.SWITCHOVER else do.link

    def demand(node: Any) -> int:
        node.disk.sync = link.name
        return node.wal

    at = yield from do.on(link.publisher, demand)

    def reached(node: Any) -> bool:
        slot = node.disk.slots.get(link.name)
        return slot is not None and slot.confirmed >= at and do.world.streams(node, link.name)

    yield from do.until(link.publisher, reached, f"{link.name} did not catch up")


def relax_sync(do: Doing, step: Step) -> Sleeper:
    yield from do.on(do.plan.target, lambda node: node.relax())


def promote(do: Doing, step: Step) -> Sleeper:
    def lift(node: Any) -> None:
        node.promote(do.plan.epoch)
        do.world.promoted(node, do.plan)

    yield from do.on(do.plan.target, lift)


def publish(do: Doing, step: Step) -> Sleeper:
    yield 0.001
    return StepOutcome(wall=do.world.wall())


def _old_link(do: Doing) -> Link | None:
    """The link that kept what only the returned node has: the newest it published."""
    found = [link for link in do.state.old_links if link.publisher == do.plan.target]
    return found[-1] if found else None


def rescue(do: Doing, step: Step) -> Sleeper:
    link, point = _old_link(do), do.state.record(do.plan.target).rescue_point
    if point is None and do.plan.kind is PlanKind.RECOPY:
        return NOTHING  # it was only ever a standby, or has been rescued: it has nothing of its own
    if link is None:
        return StepOutcome(needs_copy="no link kept what only it had")

    def read(node: Any) -> Any:
        return [] if link.name in node.disk.rewound else node.tail(link.name, point or 0)

    tail = yield from do.on(do.plan.target, read)
    if tail is None:
        do.world.excuse_rows(do.plan.target)
        return StepOutcome(needs_copy=f"slot {link.name} is gone")
    do.world.checks.rescued_now({e.txn for e in tail if e.txn}, do.state.primary, point or 0)
    if any(kind == "truncate" for e in tail for kind, _, _ in e.operations):
        return StepOutcome(needs_copy="TRUNCATE in the tail")


def rewind(do: Doing, step: Step) -> Sleeper:
    link, point = _old_link(do), do.state.record(do.plan.target).rescue_point
    if link is None:
        return StepOutcome(needs_copy="no link kept what only it had")
    present = yield from do.ask(do.plan.source, lambda node: dict(node.disk.data))
    tail = yield from do.on(do.plan.target, lambda node: node.tail(link.name, point or 0))
    if tail is None:
        return StepOutcome(needs_copy=f"slot {link.name} is gone")
    yield from do.on(do.plan.target, lambda node: node.rewind(link.name, point or 0, present))
    do.world.checks.nothing_lost(do.state.primary)


def drop_old_links(do: Doing, step: Step) -> Sleeper:
    undone = set()
    for link in do.state.old_links:
        for name in (link.subscriber, link.publisher):
            try:
                yield from do.on(name, lambda node, link=link: node.drop(link.name))
            except Unreachable:
                if (
                    do.plan.kind in (PlanKind.REJOIN, PlanKind.RECOPY)
                    and do.plan.target == name == link.subscriber
                ):
                    raise
                undone.add(link.name)
    return StepOutcome(undone=tuple(undone))


def full_copy(do: Doing, step: Step) -> Sleeper:
    name, source = do.plan.slot, do.plan.source
    yield from do.on(source, lambda node: node.create_slot(name))
    yield from do.on(do.plan.target, lambda node: node.empty_and_copy(name, source))
    do.world.nodes[do.plan.target].from_past = False
    do.world.checks.nothing_lost(do.state.primary)


def catch_up(do: Doing, step: Step) -> Sleeper:
    target = yield from do.ask(do.plan.source, lambda node: node.wal)
    yield from _slot_there(do)

    def near(node: Any) -> bool:
        subscription = node.disk.subscriptions.get(do.link.name)
        if subscription is None or not subscription.enabled:
            raise NeedsCopy(f"{do.link.name} is not applied: {subscription and subscription.error}")
        return subscription.ready and subscription.origin >= target

    yield from do.until(do.plan.target, near, "not caught up")


def _slot_there(do: Doing) -> Sleeper:
    """A slot that is gone is not worth waiting for."""

    def usable(node: Any) -> bool:
        slot = node.disk.slots.get(do.link.name)
        return slot is not None and slot.usable

    if not (yield from do.ask(do.link.publisher, usable)):
        raise NeedsCopy(f"slot {do.link.name} on {do.link.publisher} is gone")


def verify(do: Doing, step: Step) -> Sleeper:
    """Both snapshots lie at one position: here, a moment at which everything sent has been applied."""
    source, target = do.world.nodes[do.plan.source], do.world.nodes[do.plan.target]
    yield from _slot_there(do)

    def same_position(node: Any) -> bool:
        subscription = node.disk.subscriptions.get(do.link.name)
        return subscription is not None and source.answers and subscription.origin >= source.wal

    yield from do.until(target.name, same_position, "no common position")
    return StepOutcome(different=("tables",) if do.world.checks.equal() else ())


_STEPS: dict[Step, Callable[[Doing, Step], Sleeper]] = {
    Step.ANNOUNCE: announce,
    Step.PREPARE_REVERSE: prepare_reverse,
    Step.HOLD: hold,
    Step.FENCE: fence,
    Step.FENCE_IF_REACHABLE: fence,
    Step.WAIT_REPLAY: wait_replay,
    Step.COPY_SEQUENCES: copy_sequences,
    Step.STOP_APPLY: stop_apply,
    Step.RAISE_SEQUENCES: raise_sequences,
    Step.OPEN_REVERSE_SLOT: open_slot,
    Step.REQUIRE_SYNC: require_sync,
    Step.RELAX_SYNC: relax_sync,
    Step.RESUME_APPLY: resume_apply,
    Step.PROMOTE: promote,
    Step.PUBLISH: publish,
    Step.RESCUE: rescue,
    Step.REWIND: rewind,
    Step.DROP_OLD_LINKS: drop_old_links,
    Step.FOLLOW: follow,
    Step.FULL_COPY: full_copy,
    Step.CATCH_UP: catch_up,
    Step.VERIFY: verify,
    Step.OPEN_SPARE_SLOT: open_slot,
}
