"""Simulated servers with the semantics of PostgreSQL that the protocol leans on (postgresql-facts §1-4).

A position (LSN) is a number of log entries: entry ``n`` is ``log[n - 1]``. Every entry is durable once it is
in the log, acknowledged or not: that is how a crash makes unacknowledged commits visible.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.simulation.kernel import Broken

from understudy.errors import EngineError, StaleEpoch
from understudy.model import Probe, SlotView, SubscriptionView

if TYPE_CHECKING:
    from tests.simulation.world import World

Key = int | str
Operation = tuple[str, Key, Any]  # insert | update | delete | truncate, key, value
SEQUENCE_MARGIN = 1000


class Entry:
    """One committed transaction. ``own``: written here by a session, not received from the other node."""

    __slots__ = ("operations", "own", "txn")

    def __init__(self, txn: int, operations: tuple[Operation, ...], own: bool) -> None:
        self.txn, self.operations, self.own = txn, operations, own


@dataclass(slots=True)
class Slot:
    confirmed: int
    saved: int  # what a crash takes it back to
    usable: bool = True


@dataclass(slots=True)
class Subscription:
    publisher: str
    enabled: bool = True
    origin: int = 0
    ready: bool = True
    error: str = ""


@dataclass(slots=True)
class Txn:
    """One attempt of a client. ``status``: open, waiting (for the synchronous standby), acked, gone."""

    id: int
    token: int
    epoch: int
    node: str
    session: int = 0
    status: str = "open"
    position: int = 0
    overtaken: int = 0
    why: str = ""


@dataclass(slots=True)
class Disk:
    """What survives a crash."""

    log: list[Entry] = field(default_factory=list)
    data: dict[Key, Any] = field(default_factory=dict)
    fence: tuple[int, str] = (0, "")
    fence_plan: int = 0
    read_only: bool = False
    sync: str = ""
    slots: dict[str, Slot] = field(default_factory=dict)
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    rewound: set[str] = field(default_factory=set)
    sequence: int = 0
    identity: str = ""


class Node:
    """One server. Methods that the agent calls over a control connection take the caller's (epoch, plan)."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.disk = Disk(identity=f"{name}-1/1")
        self.up = True
        self.frozen = False
        self.full = False
        self.from_past = False  # restored from an old copy and not noticed yet
        self.session = 0
        self.waiting: list[Txn] = []
        self.inbox: list[Callable[[], object]] = []
        self.saved: Disk | None = None

    @property
    def wal(self) -> int:
        return len(self.disk.log)

    @property
    def answers(self) -> bool:
        return self.up and not self.frozen

    # --- writing ---------------------------------------------------------------------------------------------

    def append(self, operations: tuple[Operation, ...], *, txn: int = 0, own: bool = True) -> int:
        data = self.disk.data
        for kind, key, value in operations:
            if kind == "delete":
                data.pop(key, None)
            elif kind == "truncate":
                data.clear()
            else:
                data[key] = value
        self.disk.log.append(Entry(txn, operations, own))
        if own and self.disk.slots:
            self.world.replicate_soon()
        return len(self.disk.log)

    def begin(self, txn: Txn) -> bool:
        """A client session starts a transaction. False: the database is read-only."""
        if self.disk.read_only or self.full:
            return False
        txn.session = self.session
        return True

    def commit(self, txn: Txn) -> None:
        """COMMIT arrives. Durable at once; acknowledged when nobody has to be waited for any more."""
        if not self.up or txn.session != self.session or txn.status != "open":
            txn.status = "gone" if txn.status == "open" else txn.status
            return
        disk, world = self.disk, self.world
        token = f"tok{txn.token}"
        if txn.token and token in disk.data:
            # The row is there already. Writing it again makes this commit wait for the standby like any other.
            txn.position = self.append((("update", token, disk.data[token]),))
        else:
            txn.position = self.append(self._work(txn), txn=txn.id)
        txn.overtaken = world.checks.committed(self, txn)
        txn.status = "waiting"
        self.waiting.append(txn)
        self.release()

    def _work(self, txn: Txn) -> tuple[Operation, ...]:
        disk = self.disk
        disk.sequence += 1
        if disk.sequence in disk.data:
            raise Broken("sequences", f"{self.name} handed out {disk.sequence} although that row exists")
        operations: list[Operation] = [("insert", disk.sequence, (txn.id, txn.token))]
        shared = f"k{txn.id * 7 % 5}"
        if shared not in disk.data:
            operations.append(("insert", shared, txn.id))
        else:
            operations.append(("delete" if txn.id % 3 == 0 else "update", shared, txn.id))
        if txn.token:
            operations.append(("insert", f"tok{txn.token}", txn.id))
        return tuple(operations)

    def release(self) -> None:
        """Acknowledge what no longer has to wait."""
        if not self.waiting:
            return
        sync = self.disk.sync
        reached = 1 << 60
        if sync:
            slot = self.disk.slots.get(sync)
            reached = slot.confirmed if slot is not None and self.world.streams(self, sync) else 0
        for txn in self.waiting:
            if txn.position <= reached:
                txn.status = "acked"
                self.world.checks.acked_by(self, txn)
        self.waiting = [txn for txn in self.waiting if txn.status == "waiting"]

    def end_sessions(self) -> None:
        self.session += 1
        for txn in self.waiting:
            txn.status = "gone"
        self.waiting.clear()

    # --- faults ----------------------------------------------------------------------------------------------

    def crash(self) -> None:
        self.up = self.frozen = False
        self.inbox.clear()
        self.end_sessions()
        for slot in self.disk.slots.values():
            slot.confirmed = min(slot.confirmed, slot.saved)

    def start(self) -> None:
        self.up = True

    def freeze(self) -> None:
        self.frozen = self.up

    def thaw(self) -> None:
        if self.frozen:
            self.frozen = False
            inbox, self.inbox = self.inbox, []
            for call in inbox:
                call()
            self.release()

    def save(self) -> None:
        self.saved = copy.deepcopy(self.disk)

    def restore(self) -> None:
        """The server comes back as it was when `save` copied it: same identity, shorter log."""
        if self.saved is not None:
            self.crash()
            self.disk = copy.deepcopy(self.saved)
            self.from_past = True
            self.up = True

    # --- control connection ----------------------------------------------------------------------------------

    def guard(self, ticket: tuple[int, int], primary: str) -> None:
        """What every changing call does first: refuse who has been superseded, else remember who acts now."""
        rules, disk = self.world.rules, self.disk
        mine = (disk.fence[0], disk.fence_plan if rules.plan_numbers else 0)
        theirs = (ticket[0], ticket[1] if rules.plan_numbers else 0)
        if rules.stale_refused and mine > theirs:
            raise StaleEpoch(f"{self.name} has seen epoch and plan {mine}, the caller has {theirs}")
        if rules.fence_raises_row:
            self.raise_fence(ticket[0], primary)
            disk.fence_plan = ticket[1]

    def raise_fence(self, epoch: int, primary: str) -> None:
        if epoch >= self.disk.fence[0]:
            self.disk.fence = (epoch, primary)

    def fence(self) -> str:
        self.disk.read_only = True
        if self.world.rules.sessions_end_before_relax:
            self.end_sessions()
            self.disk.sync = ""
        else:
            self.disk.sync = ""
            self.release()
            self.end_sessions()
        return self.disk.identity

    def promote(self, epoch: int) -> None:
        self.raise_fence(epoch, self.name)
        self.disk.read_only = False

    def create_slot(self, name: str) -> None:
        slot = self.disk.slots.get(name)
        if slot is None or not slot.usable:
            self.disk.slots[name] = Slot(self.wal, self.wal)

    def drop(self, name: str) -> None:
        self.disk.slots.pop(name, None)
        self.disk.subscriptions.pop(name, None)
        # A primary that waits for what was dropped goes on waiting: only relax_sync ends that.

    def subscribe(self, name: str, publisher: str) -> None:
        subscription = self.disk.subscriptions.get(name)
        if subscription is None:
            self.disk.subscriptions[name] = Subscription(publisher)
        else:
            subscription.enabled, subscription.error = True, ""
        self.world.replicate_soon()

    def empty_and_copy(self, name: str, publisher: str) -> None:
        if name not in self.disk.subscriptions:
            self.append((("truncate", "", None),))
            self.disk.subscriptions[name] = Subscription(publisher, ready=False)
        self.world.replicate_soon()

    def stop_apply(self, name: str) -> int:
        subscription = self.disk.subscriptions.get(name)
        if subscription is None:
            raise EngineError(f"{self.name} has no subscription {name}")
        if self.world.rules.apply_stopped:
            subscription.enabled = False
        return subscription.origin

    def resume_apply(self, name: str) -> None:
        subscription = self.disk.subscriptions.get(name)
        if subscription is not None:
            subscription.enabled = True
        self.disk.sync = ""  # a switchover that was rolled back may have told it to wait
        self.world.replicate_soon()

    def relax(self) -> None:
        self.disk.sync = ""
        self.release()

    def tail(self, name: str, after: int) -> list[Entry] | None:
        """What only this node committed past ``after``, or None: the slot that kept it is gone."""
        slot = self.disk.slots.get(name)
        if slot is None or not slot.usable:
            return None
        start = max(slot.confirmed, after) if self.world.rules.rescue_filtered else slot.confirmed
        return [entry for entry in self.disk.log[start:] if entry.own]

    def rewind(self, name: str, after: int, present: dict[Key, Any]) -> None:
        if name in self.disk.rewound:
            return
        first: dict[Key, str] = {}
        for entry in self.tail(name, after) or ():
            for kind, key, _ in entry.operations:
                first.setdefault(key, kind)
        operations: list[Operation] = []
        for key, kind in first.items():
            if kind != "insert" and key in present:
                operations.append(("update", key, present[key]))
            else:
                operations.append(("delete", key, None))
        self.append(tuple(operations))
        self.disk.rewound.add(name)

    def probe(self, asked: float) -> Probe:
        world, disk = self.world, self.disk
        streaming = {name: name == disk.sync for name in disk.slots if world.streams(self, name)}
        return Probe(
            at=asked,
            answered=world.kernel.now,
            epoch=disk.fence[0],
            epoch_primary=disk.fence[1],
            fenced=disk.read_only,
            wal=self.wal,
            identity=disk.identity,
            unwritable="disk full" if self.full else "",
            sync_names=disk.sync,
            streaming=streaming,
            slots={
                n: SlotView(active=n in streaming, usable=s.usable, confirmed=s.confirmed)
                for n, s in disk.slots.items()
            },
            subscriptions={
                n: SubscriptionView(
                    enabled=s.enabled, running=world.runs(self, n, s), ready=s.ready, origin=s.origin
                )
                for n, s in disk.subscriptions.items()
            },
            heartbeat=disk.data.get("hb", 0),
            schema="1",
        )

    # --- applying what the other node sends ---------------------------------------------------------------------

    def apply_from(self, publisher: Node, name: str, subscription: Subscription, slot: Slot) -> None:
        log = publisher.disk.log
        if not subscription.ready:
            self.append((("truncate", "", None), *_snapshot(publisher.disk.data)), own=False)
            subscription.origin, subscription.ready = len(log), True
        start = max(subscription.origin, slot.confirmed)
        for position in range(start, len(log)):
            entry = log[position]
            if entry.own:
                if self.disk.sync and not self.world.streams(self, self.disk.sync):
                    return  # the apply worker's own commit waits for a standby that is not there
                self.world.checks.applied(self, publisher, entry.txn)
                for kind, key, _ in entry.operations:
                    if kind == "insert" and key in self.disk.data:
                        subscription.enabled, subscription.error = False, f"duplicate key {key}"
                        self.world.kernel.say(self.name, f"apply error in {name}: duplicate key {key}")
                        return
                kept = tuple(o for o in entry.operations if o[0] != "update" or o[1] in self.disk.data)
                self.append(kept, txn=entry.txn, own=False)
            subscription.origin = position + 1
            slot.confirmed = position + 1
        slot.confirmed = max(slot.confirmed, subscription.origin)
        if self.world.kernel.random.random() < 0.2:
            slot.saved = slot.confirmed
        publisher.release()


def _snapshot(data: dict[Key, Any]) -> tuple[Operation, ...]:
    return tuple(("insert", key, value) for key, value in data.items())
