"""The smallest world in which the protocol means something: hashable servers, and an engine that acts on them.

One write is followed, called *w*. Whatever loses some write loses it for some choice of w, and the search tries w at
every moment, so one is enough. A position (LSN) counts own commits and rewinds; what is received does not count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from understudy.agent.leasing import LeaseKeeper
from understudy.agent.steps import Hands, carry_out
from understudy.decide import StepOutcome
from understudy.decide.plans import CHANGES
from understudy.engines.base import RescueReport, TableCheck, VerifyReport
from understudy.errors import EngineError, NeedsCopy, StaleEpoch, Unreachable
from understudy.model import (
    ClusterState,
    Link,
    PlanKind,
    Probe,
    SlotView,
    Step,
    SubscriptionView,
    Ticket,
    View,
)

OAK, ELM = "oak", "elm"
NAMES = (OAK, ELM)
POSITION = 1000
_RUNNER = asyncio.Runner()


class Broken(Exception):
    """A promise was broken."""


class Blocked(EngineError):
    """The step waits for something that has not happened yet."""


class Subscription(NamedTuple):
    name: str
    enabled: bool
    origin: int


class Node(NamedTuple):
    """One server. ``has``: w is in its tables; ``own``: position at which w was committed *here* (0: it was not)."""

    up: str = "up"  # up, down, frozen
    epoch: int = 1
    plan: int = 0
    primary: str = OAK
    read_only: bool = False
    sync: str = ""
    slots: tuple[tuple[str, int], ...] = ()
    subscriptions: tuple[Subscription, ...] = ()
    has: bool = False
    own: int = 0
    wal: int = 0
    rewound: tuple[str, ...] = ()

    def slot(self, name: str) -> int | None:
        return next((start for n, start in self.slots if n == name), None)

    def subscription(self, name: str) -> Subscription | None:
        return next((s for s in self.subscriptions if s.name == name), None)

    def with_slot(self, name: str) -> Node:
        if self.slot(name) is not None:
            return self
        return self._replace(slots=tuple(sorted((*self.slots, (name, self.wal)))))

    def with_subscription(self, new: Subscription) -> Node:
        others = (s for s in self.subscriptions if s.name != new.name)
        return self._replace(subscriptions=tuple(sorted((*others, new))))

    def dropped(self, name: str) -> Node:
        return self._replace(
            slots=tuple(s for s in self.slots if s[0] != name),
            subscriptions=tuple(s for s in self.subscriptions if s.name != name),
        )


class Write(NamedTuple):
    """w. ``status``: none, sent (COMMIT is on its way), waiting (durable, not acknowledged), acked; or, when no client
    waits for it any more, ghost (may still arrive) and over."""

    status: str = "none"
    node: str = ""
    epoch: int = 0
    lagging: bool = False  # sent by the host whose lease may lag behind

    @property
    def in_flight(self) -> bool:
        return self.status in ("sent", "waiting")


class Lease(NamedTuple):
    """What the lagging host's processes may do: write to ``primary`` at ``epoch``, or nothing (epoch 0)."""

    epoch: int = 0
    primary: str = ""


NO_LEASE = Lease()


@dataclass(slots=True)
class Servers:
    """Both servers as one step or event changes them. ``reach``: which of them the acting agent reaches."""

    nodes: dict[str, Node]
    joined: bool  # the two reach each other
    write: Write
    rescued: bool
    state: ClusterState
    reach: frozenset[str] = frozenset(NAMES)
    # What the lagging host may still do, and whether it can go on renewing it.
    lease: Lease = NO_LEASE
    renewable: bool = False

    @property
    def next_primary(self) -> str:
        """The target of a claimed change: it may have been promoted already, and not be published yet."""
        plan = self.state.plan
        if plan is None or plan.kind not in CHANGES or plan.epoch != self.state.epoch:
            return self.state.primary
        return plan.target

    def streams(self, publisher: str, name: str) -> bool:
        """The subscriber receives from that slot of ``publisher``."""
        subscription = self.nodes[other(publisher)].subscription(name)
        return (
            self.joined
            and all(node.up == "up" for node in self.nodes.values())
            and subscription is not None
            and subscription.enabled
            and self.nodes[publisher].slot(name) is not None
        )

    def can_apply(self, subscriber: str) -> bool:
        """The subscriber's own commits do not wait for a standby that is not there."""
        sync = self.nodes[subscriber].sync
        return not sync or self.streams(subscriber, sync)

    def apply(self, subscriber: str, name: str) -> bool:
        """Everything that waits in the slot arrives. False: nothing changed."""
        publisher = other(subscriber)
        if not self.streams(publisher, name) or not self.can_apply(subscriber):
            return False
        source, target = self.nodes[publisher], self.nodes[subscriber]
        subscription, start = target.subscription(name), source.slot(name)
        assert subscription is not None
        assert start is not None
        if subscription.origin >= source.wal:
            return False
        if max(subscription.origin, start) < source.own:
            if subscriber == self.state.primary and publisher != self.next_primary:
                raise Broken(f"{publisher} pushed its tail into the primary {subscriber}")
            if target.has:
                return False  # a conflict: tried again and again
            target = target._replace(has=True)
        self.nodes[subscriber] = target.with_subscription(subscription._replace(origin=source.wal))
        return True

    def commit(self) -> None:
        """COMMIT of w arrives."""
        write, node = self.write, self.nodes[self.write.node]
        self.nodes[write.node] = node._replace(has=True, wal=node.wal + 1, own=node.wal + 1)
        self.write = write._replace(status="waiting") if write.status == "sent" else Write("over")

    def acknowledge(self, *, zero: bool) -> bool:
        """The server acknowledges w, when nobody has to be waited for. False: not yet."""
        write = self.write
        if write.status != "waiting" or self.nodes[write.node].up != "up":
            return False
        node = self.nodes[write.node]
        if node.sync:
            subscription = self.nodes[other(write.node)].subscription(node.sync)
            if (
                not self.streams(write.node, node.sync)
                or subscription is None
                or subscription.origin < node.own
            ):
                return False
        if (
            zero
            and self.state.in_sync
            and write.node == self.state.primary
            and not self.nodes[other(write.node)].has
        ):
            raise Broken(f"{write.node} acknowledged w, which the in-sync standby does not have")
        self.write = write._replace(status="acked")
        return True

    def end_sessions(self, name: str) -> None:
        if self.write.node == name and self.write.status in ("sent", "waiting", "ghost"):
            self.write = Write("over")


def other(name: str) -> str:
    return ELM if name == OAK else OAK


class SmallEngine:
    """`Engine` on `Servers`: what each call does at once and in one piece."""

    def __init__(self, servers: Servers, *, planned: bool) -> None:
        self.servers, self.planned = servers, planned

    def _change(self, name: str, ticket: Ticket) -> Node:
        """The beginning of every changing call: `require_ticket`."""
        servers = self.servers
        node = servers.nodes[name]
        if name not in servers.reach or node.up != "up":
            raise Unreachable(f"{name} does not answer")
        if (node.epoch, node.plan) > (ticket.epoch, ticket.plan):
            raise StaleEpoch(f"{name} has seen {node.epoch}, {node.plan}, the caller has {ticket}")
        if node.epoch == ticket.epoch and node.primary != ticket.primary:
            raise EngineError(
                f"epoch {node.epoch} names {node.primary} on {name}, the caller says {ticket.primary}"
            )
        node = node._replace(epoch=ticket.epoch, plan=ticket.plan, primary=ticket.primary)
        servers.nodes[name] = node
        return node

    def _ask(self, name: str) -> Node:
        if name not in self.servers.reach or self.servers.nodes[name].up != "up":
            raise Unreachable(f"{name} does not answer")
        return self.servers.nodes[name]

    def _fenced(self, name: str) -> None:
        if not self.servers.nodes[name].read_only:
            raise EngineError(f"{name} is not fenced")

    def _streaming(self, link: Link) -> None:
        if not self.servers.streams(link.publisher, link.name):
            raise EngineError(f"{link.name} does not stream")

    def _caught_up(self, link: Link) -> None:
        self._streaming(link)
        if not self.servers.can_apply(link.subscriber):
            raise EngineError(f"{link.subscriber} waits for a standby that is not there")
        subscription = self.servers.nodes[link.subscriber].subscription(link.name)
        if subscription is None or subscription.origin < self.servers.nodes[link.publisher].wal:
            raise Blocked(f"{link.subscriber} has not caught up")

    async def announce(self, ticket: Ticket, nodes: Sequence[str]) -> tuple[str, ...]:
        reached = []
        for name in nodes:
            try:
                self._change(name, ticket)
                reached.append(name)
            except Unreachable:
                continue
        return tuple(reached)

    async def fence(self, node: str, ticket: Ticket) -> None:
        self._change(node, ticket)
        write = self.servers.write
        if self.planned and write.node == node and write.in_flight:
            raise Broken(f"a planned change ends w, in flight on {node}")
        self.servers.end_sessions(node)
        self.servers.nodes[node] = self.servers.nodes[node]._replace(read_only=True, sync="")

    async def promote(self, node: str, ticket: Ticket) -> None:
        self.servers.nodes[node] = self._change(node, ticket)._replace(read_only=False)

    async def wait_replay(self, link: Link, ticket: Ticket) -> None:
        self._change(link.publisher, ticket)
        self._ask(link.subscriber)
        self._caught_up(link)

    async def copy_sequences(self, source: str, target: str, ticket: Ticket) -> None:
        self._ask(source)
        self._change(target, ticket)
        self._fenced(target)

    async def raise_sequences(self, target: str, ticket: Ticket) -> None:
        self._change(target, ticket)
        self._fenced(target)

    async def stop_apply(self, link: Link, ticket: Ticket) -> int:
        node = self._change(link.subscriber, ticket)
        subscription = node.subscription(link.name)
        if subscription is None:
            raise EngineError(f"no subscription {link.name}")
        self.servers.nodes[link.subscriber] = node.with_subscription(subscription._replace(enabled=False))
        return subscription.origin

    async def resume_apply(self, link: Link, ticket: Ticket) -> None:
        node = self._change(link.subscriber, ticket)
        subscription = node.subscription(link.name)
        if subscription is None:
            raise EngineError(f"no subscription {link.name}")
        self.servers.nodes[link.subscriber] = node.with_subscription(subscription._replace(enabled=True))

    async def create_slot(self, node: str, name: str, ticket: Ticket) -> None:
        self.servers.nodes[node] = self._change(node, ticket).with_slot(name)

    async def follow(self, link: Link, ticket: Ticket) -> None:
        if self._ask(link.publisher).slot(link.name) is None:
            raise NeedsCopy(f"slot {link.name} is gone")
        node = self._change(link.subscriber, ticket)
        subscription = node.subscription(link.name) or Subscription(link.name, True, 0)
        self.servers.nodes[link.subscriber] = node.with_subscription(subscription._replace(enabled=True))
        self._streaming(link)

    async def full_copy(self, link: Link, ticket: Ticket) -> None:
        source = self._change(link.publisher, ticket).with_slot(link.name)
        node = self._change(link.subscriber, ticket)
        self._fenced(link.subscriber)
        if not self.servers.joined:
            raise EngineError("the nodes do not reach each other")
        self.servers.nodes[link.publisher] = source
        if node.subscription(link.name) is None:
            node = node._replace(has=source.has, own=0, wal=node.wal + 1)
            node = node.with_subscription(Subscription(link.name, True, source.wal))
        self.servers.nodes[link.subscriber] = node

    async def catch_up(self, link: Link, ticket: Ticket) -> None:
        if self._ask(link.publisher).slot(link.name) is None:
            raise NeedsCopy(f"slot {link.name} is gone")
        target, source = self._ask(link.subscriber), self._change(link.publisher, ticket)
        subscription, start = target.subscription(link.name), source.slot(link.name)
        if subscription is not None and target.has and max(subscription.origin, start or 0) < source.own:
            raise NeedsCopy(f"{link.subscriber} cannot apply w: it is there already")
        self._caught_up(link)

    async def require_sync(self, link: Link, ticket: Ticket) -> None:
        self.servers.nodes[link.publisher] = self._change(link.publisher, ticket)._replace(sync=link.name)
        self._caught_up(link)

    async def relax_sync(self, node: str, ticket: Ticket) -> None:
        self.servers.nodes[node] = self._change(node, ticket)._replace(sync="")

    async def rescue(self, link: Link, after: int, folder: Path, ticket: Ticket) -> RescueReport:
        servers, node = self.servers, self._change(link.publisher, ticket)
        start = node.slot(link.name)
        if start is None:
            raise NeedsCopy(f"slot {link.name} is gone")
        found = link.name not in node.rewound and node.own > max(start, after)
        if found and servers.nodes[other(link.publisher)].has:
            raise Broken("w is rescued although the primary has it")
        servers.rescued = servers.rescued or found
        return RescueReport(folder=folder, transactions=int(found), changes=int(found))

    async def keep(self, node: str, folder: Path, ticket: Ticket) -> RescueReport:
        kept = self._change(node, ticket).has
        self.servers.rescued = self.servers.rescued or kept
        return RescueReport(folder=folder, transactions=0, changes=int(kept))

    async def rewind(self, link: Link, reverse: Link, after: int, ticket: Ticket) -> int:
        node = self._change(link.publisher, ticket)
        if link.name in node.rewound:
            return 0
        if any(s.enabled and s.name == reverse.name for s in node.subscriptions):
            raise EngineError(f"{link.publisher} follows already")
        start = node.slot(link.name)
        if start is None:
            raise NeedsCopy(f"slot {link.name} is gone")
        node = node._replace(rewound=(*node.rewound, link.name))
        if node.own > max(start, after):
            node = node._replace(has=False, own=0, wal=node.wal + 1)
        self.servers.nodes[link.publisher] = node
        return 1

    async def drop_link(self, link: Link, ticket: Ticket) -> tuple[str, ...]:
        left = []
        for name in (link.subscriber, link.publisher):
            try:
                self.servers.nodes[name] = self._change(name, ticket).dropped(link.name)
            except Unreachable:
                left.append(name)
        return tuple(left)

    async def verify(self, left: str, right: str) -> VerifyReport:
        one, two = self._ask(left), self._ask(right)
        link = self.servers.state.link
        assert link is not None
        self._caught_up(link)
        table = TableCheck(table="t", left=(int(one.has), ""), right=(int(two.has), ""))
        return VerifyReport(left=left, right=right, position=one.wal, tables=(table,))


class SmallKeeper(LeaseKeeper):
    """HOLD on all hosts: everybody has acknowledged the epoch and is quiet, or its lease has run out.

    The lagging host acknowledges nothing. Its lease runs out during the wait unless it can still be renewed.
    """

    def __init__(self, servers: Servers) -> None:
        self.servers = servers

    async def hold(self, state: ClusterState) -> None:
        servers, plan = self.servers, state.plan
        assert plan is not None
        stays = servers.lease.epoch >= plan.epoch or servers.renewable
        write = servers.write
        if write.in_flight and write.epoch < plan.epoch and not (write.lagging and stays):
            if plan.kind is PlanKind.SWITCHOVER:
                moves = servers.nodes[write.node].up == "up" and servers.can_apply(other(write.node))
                raise (Blocked if moves else EngineError)("w is in flight")
            servers.write = write._replace(status="ghost") if write.status == "sent" else Write("over")
        if not stays:
            servers.lease = NO_LEASE


def run_step(step: Step, state: ClusterState, view: View, servers: Servers) -> StepOutcome:
    """The agent's own `carry_out`, on these servers. Raises what it raises."""
    planned = state.plan is not None and state.plan.kind is PlanKind.SWITCHOVER
    engine: Any = SmallEngine(servers, planned=planned)
    hands = Hands(engine=engine, keeper=SmallKeeper(servers), rescues=Path("rescue"), patience=1.0)
    coroutine: Coroutine[Any, Any, StepOutcome] = carry_out(step, state, view, hands)
    if step is Step.FENCE_IF_REACHABLE:  # it sets a time limit, for which asyncio must be running
        return _RUNNER.run(coroutine)
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError(f"{step} waited for something")


def probe_of(name: str, servers: Servers) -> Probe:
    """What a probe of that node says now. Positions are left out: no disk goes back in time in this world, so the
    rules that compare them have nothing to say, and views that differ in nothing else are the same."""
    node = servers.nodes[name]
    streaming = {n: n == node.sync for n, _ in node.slots if servers.streams(name, n)}
    return Probe(
        at=0.0,
        answered=0.0,
        epoch=node.epoch,
        fenced=node.read_only,
        wal=POSITION,
        sync_names=node.sync,
        streaming=streaming,
        slots={n: SlotView(active=n in streaming, usable=True, confirmed=0) for n, _ in node.slots},
        subscriptions={
            s.name: SubscriptionView(
                enabled=s.enabled, running=servers.streams(other(name), s.name), ready=True, origin=POSITION
            )
            for s in node.subscriptions
        },
        schema="1",
    )
