"""What the processes of one host share for one cluster, seen from one process: lease, slot, watcher, renewal.

There is one `Host` per process, cluster and directory. A fork gets a slot, threads and pools of its own, lazily;
what the parent had stays the parent's.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
import time
import weakref
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from understudy.client.errors import PrimaryLost
from understudy.client.guard import Guard
from understudy.client.renewal import Renewal
from understudy.errors import LeaseError
from understudy.lease import Lease, LeaseFile, Phase, boot_now
from understudy.model import Cluster

_OPEN = Phase.OPEN
_CALM = 0.02  # seconds between two looks at the lease
_HOLDING = 0.002  # the same while somebody waits
_REFRESH_EVERY = 50  # looks
_IDLE = 10  # refreshes, a second each: then a process that has no pool and no connection stops looking


class LeaseListener(Protocol):
    """A pool: hears of every change of epoch or phase, in the watcher's thread, and must not block."""

    def lease_changed(self, lease: Lease) -> None:
        """Leave what this lease makes useless."""

    def forget(self) -> list[object]:
        """After a fork: let go of everything that is the parent's, and return it so that it is kept alive."""


class Observer(Protocol):
    """Hears of what happens seldom: nothing here costs a transaction that is neither held nor lost. Must not raise."""

    def held(self, host: Host, why: str, seconds: float, lease: Lease | None) -> None:
        """A transaction has waited to begin, because of ``why``; None: no lease let it. In the thread that waited."""

    def doubted(self, host: Host, node: str, epoch: int) -> None:
        """A commit is in doubt. In the thread that committed."""


class Host:
    """The lease of one cluster on this host, and those in this process who depend on it."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.cluster, self.directory = cluster, Path(directory)
        self.file = LeaseFile(self.directory / f"{cluster.name}.lease")
        self.slot = self.file.register()
        self._registered = True
        self.observers: list[Observer] = []
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()  # never held during I/O
        self._changed = threading.Condition(self._lock)
        self._connections: weakref.WeakSet[Guard] = weakref.WeakSet()
        self._listeners: weakref.WeakSet[Any] = weakref.WeakSet()
        self._loops: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._wake = threading.Event()
        self._waiting = 0
        self._seen: Lease | None = None
        self._last: Lease | None = None
        self._usable = False
        self._unusable_since = boot_now()
        self.forgotten: deque[int] = deque()  # what connections that nobody has any more were counted under
        self._doubts = 0  # commits in doubt of which the agent has not been told
        self.watching = False  # this process has a slot, and a thread that watches the lease
        self._left = False  # that thread has ended because nobody needed it
        self._unmapped = ""  # why the lease file could not be mapped anew
        self._thread: threading.Thread | None = None
        self._renewal = Renewal(self.cluster, self.directory, self.file)
        self.version = 0

    # --- for checkouts ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Make sure that this process has a slot and somebody watches the lease for it."""
        if self.watching:
            return
        with self._lock:
            if not self._registered:  # the slot before a fork was the parent's
                self.slot = self.file.register()
                self._registered = True
            if not self.watching:
                self._thread = threading.Thread(
                    target=self._watch, name=f"understudy-{self.cluster.name}-lease", daemon=True
                )
                self.watching, self._left = True, False
                try:
                    self._thread.start()
                except RuntimeError:  # no more threads
                    self.watching = False
                    raise

    def lease(self) -> Lease | None:
        """The lease; where the file is corrupt just now, the last one that was seen (it has its deadline)."""
        return self.file.read() or self._last

    def usable(self, lease: Lease | None) -> bool:
        """Whether new transactions may begin under this lease."""
        return (
            lease is not None
            and lease.phase is _OPEN
            and lease.epoch >= self.slot.epoch
            and lease.deadline > boot_now()
        )

    def enter(self, epoch: int, node: str) -> int | None:
        """Count a call up if, and only if, the lease lets it begin on that node at that epoch.

        Counting comes first and reading second: the agent writes first and counts second, so it either sees
        this call or this call sees what it wrote. Returns what `ProcessSlot.leave` wants, or None.
        """
        slot = self.slot
        tag = slot.enter()
        lease = self.file.read()
        if (
            lease is not None
            and tag == epoch == lease.epoch
            and lease.primary == node
            and lease.phase is _OPEN
            and lease.deadline > boot_now()
        ):
            return tag
        slot.leave(tag)
        if lease is not None:
            slot.set_epoch_seen(lease.epoch)
        return None

    def why(self, lease: Lease | None) -> str:
        """Why new transactions have to wait, for people."""
        since = f"for {boot_now() - self._unusable_since:.1f} s"
        where = f"lease file {self.file.path}{self._unmapped and '; ' + self._unmapped}"
        if lease is None:
            return f"there is no valid lease {since} ({where}); is the agent running?"
        if lease.epoch < self.slot.epoch:
            return f"the lease went back from epoch {self.slot.epoch} to {lease.epoch} ({where})"
        if lease.phase is not Phase.OPEN:
            return f"the primary is being changed ({lease.phase.name}, epoch {lease.epoch}) {since}"
        if lease.deadline <= boot_now():
            return (
                f"the lease of primary {lease.primary!r} (epoch {lease.epoch}) ran out "
                f"{boot_now() - lease.deadline:.1f} s ago and two of three registers did not confirm it"
            )
        return f"primary {lease.primary!r} (epoch {lease.epoch}) does not take connections"

    def lost(self, conn: Guard) -> PrimaryLost:
        """The error for work that was about to begin on a connection to a former primary."""
        return PrimaryLost(
            f"nothing was sent: node {conn.node!r} (epoch {conn.epoch}) is no longer the primary of this "
            "connection's epoch. Connect again."
        )

    # --- waiting for a change ---------------------------------------------------------------------------

    def wait_change(self, version: int, timeout: float) -> None:
        """Wait until the lease is another than at ``version``, at most ``timeout`` seconds."""
        with self._lock:
            self._waiting += 1
        try:
            self.start()  # after counting: the watcher does not leave while somebody waits
            self._wake.set()
            with self._changed:
                if self.version == version:
                    self._changed.wait(timeout)
        finally:
            with self._lock:
                self._waiting -= 1

    async def wait_change_async(self, version: int, timeout: float) -> None:  # noqa: ASYNC109
        """The same for asyncio."""
        event = asyncio.Event()
        with self._lock:
            if self.version != version:
                return
            self._waiting += 1
            self._loops[event] = asyncio.get_running_loop()
        try:
            self.start()
            self._wake.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await event.wait()
        finally:
            with self._lock:
                self._waiting -= 1
                self._loops.pop(event, None)

    # --- who depends on it ------------------------------------------------------------------------------

    def watch_over(self, conn: Guard) -> None:
        """Abort this connection when its epoch ends in an unplanned change."""
        with self._lock:
            self._connections.add(conn)
        self._call_back()

    def listen(self, listener: LeaseListener) -> None:
        """Tell a pool of every change."""
        with self._lock:
            self._listeners.add(listener)
        self._call_back()

    def report(self, node: str, epoch: int, error: str) -> None:
        """Tell the agent at once of a connection error (it answers with a burst of probes). Best effort."""
        self._tell_agent({"node": node, "epoch": epoch, "error": error[:500]})

    def held(self, why: str, seconds: float, lease: Lease | None) -> None:
        """A transaction has waited so long until this lease let it begin; None: it gave up."""
        for observer in self.observers:
            observer.held(self, why, seconds, lease)

    def doubt(self, node: str, epoch: int) -> None:
        """Tell the agent, which counts them, that a commit is in doubt: now, or as soon as it can be told."""
        with self._lock:
            self._doubts += 1
        self._tell_doubts()
        for observer in self.observers:
            observer.doubted(self, node, epoch)

    def _tell_doubts(self) -> None:
        with self._lock:
            count, self._doubts = self._doubts, 0
        if count and not self._tell_agent({"in_doubt": count}):
            with self._lock:
                self._doubts += count

    def _tell_agent(self, what: dict[str, object]) -> bool:
        """Send one datagram, without waiting. False where nobody listens or its queue is full."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
                there.setblocking(False)
                there.sendto(json.dumps(what).encode(), str(self.directory / f"{self.cluster.name}.sock"))
        except OSError:
            return False
        return True

    # --- the watcher's thread ---------------------------------------------------------------------------

    def _watch(self) -> None:
        try:
            self._watch_while_needed()
        except BaseException:  # a mistake of ours; Python prints it, and `start` begins anew
            self.watching = False
            raise

    def _watch_while_needed(self) -> None:
        looks = idle = 0
        while True:
            looks += 1
            if looks % _REFRESH_EVERY == 0:
                self._map_anew()
                if self._doubts:
                    self._tell_doubts()
                idle = idle + 1 if self._unused() else 0
                if idle >= _IDLE and self._leave():
                    return
            while self.forgotten:
                self.slot.leave(self.forgotten.popleft())
            lease = self.file.read()
            if lease is not self._seen:
                self._look(lease)
            usable = self.usable(lease)
            if usable is not self._usable:
                self._usable = usable
                self._unusable_since = boot_now()
                self._notify()
            self._renewal.nudge_if_due(lease)
            if self._waiting:
                time.sleep(_HOLDING)
            else:
                self._wake.wait(_CALM)
                self._wake.clear()

    def _unused(self) -> bool:
        return not (self._connections or self._listeners or self._waiting or self._doubts or self.forgotten)

    def _leave(self) -> bool:
        """Stop watching, unless somebody has come meanwhile. Whoever comes next has `start` begin anew."""
        with self._lock:
            if not self._unused():
                return False
            self.watching, self._left = False, True
            return True

    def _call_back(self) -> None:
        """Somebody has come to whom the watcher, if it left, is of use; in that order, so that none is missed."""
        if self._left:
            self.start()

    def _map_anew(self) -> None:
        """Follow a lease file that was replaced. What stands in the way is told by `why` and tried again in a second.

        Until then this process goes by the former file, whose lease nobody prolongs: it waits, and says why.
        """
        try:
            self.file.refresh()
        except (LeaseError, OSError) as error:
            self._unmapped = str(error)
        else:
            self._unmapped = ""

    def _look(self, lease: Lease | None) -> None:
        before, self._seen = self._seen, lease
        if lease is None or lease.epoch < self.slot.epoch:
            return
        last, self._last = self._last, lease
        self.slot.set_epoch_seen(lease.epoch)
        if last is not None and (last.epoch, last.phase, last.primary) == (
            lease.epoch,
            lease.phase,
            lease.primary,
        ):
            if before is None:
                self._notify()
            return
        if lease.phase is not Phase.HOLDING:
            self._abort_others(lease, last)
            with self._lock:
                listeners = list(self._listeners)
            for listener in listeners:
                listener.lease_changed(lease)
        self._notify()

    def _abort_others(self, lease: Lease, last: Lease | None) -> None:
        """End calls in flight on a node that lost its role.

        CHANGING: on every connection of that epoch or an older one. OPEN: on those to another node than the
        primary (after a planned change there are none; a change that was rolled back harms nobody). Reads
        on the standby go on.
        """
        with self._lock:
            connections = list(self._connections)
        old_primary = last.primary if last is not None else ""
        for conn in connections:
            if conn._readonly and conn.node != old_primary:
                continue
            if lease.phase is Phase.CHANGING:
                if conn.epoch <= lease.epoch:
                    conn.abort()
            elif conn.epoch < lease.epoch and conn.node != lease.primary:
                conn.abort()

    def _notify(self) -> None:
        with self._changed:
            self.version += 1
            self._changed.notify_all()
            loops = list(self._loops.items())
        for event, loop in loops:
            with suppress(RuntimeError):  # that loop was closed
                loop.call_soon_threadsafe(event.set)

    # --- fork -------------------------------------------------------------------------------------------

    def after_fork(self) -> None:
        """In the child: begin anew; keep what is the parent's alive and untouched.

        Closing the parent's connections here would say goodbye to the server on the parent's sockets.
        """
        kept: list[object] = [*self._connections, self._thread, self._renewal]
        listeners = list(self._listeners)
        for listener in listeners:
            kept.extend(listener.forget())
        _parents.append(kept)
        self._begin()
        for listener in listeners:
            self._listeners.add(listener)
        self._registered = False  # `start` makes up for it, where an error can be raised


_hosts: dict[tuple[Path, str], Host] = {}
_hosts_lock = threading.Lock()
_parents: list[object] = []  # what the parent had, kept for the child's life


def host_of(cluster: Cluster, directory: Path) -> Host:
    """The one `Host` of this process for that cluster. Raises `LeaseError` where the lease cannot be opened."""
    key = (Path(directory).absolute(), cluster.name)
    with _hosts_lock:
        if key not in _hosts:
            _hosts[key] = Host(cluster, directory)
        return _hosts[key]


def _after_fork() -> None:
    global _hosts_lock  # noqa: PLW0603 - another thread of the parent may have held it
    _hosts_lock = threading.Lock()
    for host in _hosts.values():
        host.after_fork()


os.register_at_fork(after_in_child=_after_fork)
