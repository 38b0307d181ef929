"""The process slots of the lease file: what each process of the host has in flight. See `understudy.lease`."""

from __future__ import annotations

import os
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path

SLOTS_AT = 1024
SLOT_SIZE = 64
SLOT_WORDS = SLOT_SIZE // 8
PROCESS_SLOTS = 1024

# Words of a process slot. The order in which they are written and read matters: see `ProcessSlot`.
PID, START, EPOCH, CURRENT, OLDER = range(5)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessView:
    """One registered process: its calls in flight, and the newest epoch it has seen."""

    pid: int
    in_flight: int
    epoch_seen: int
    alive: bool


def start_time(pid: int) -> int | None:
    """When that process was started (clock ticks since boot), or None if there is no such process.

    A zombie counts as gone: its memory, and with it every connection, no longer exists.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


class ProcessSlot:
    """What this process has in flight, for the agent to see. Safe to use from several threads.

    A call *enters* before it reads the lease. It is counted under the newest epoch that this process had seen
    by then; when the lease turns out to be newer, the caller leaves, calls `set_epoch_seen` and enters again.

    Shared words: epoch seen, calls entered under it (current), calls entered earlier (older). When the epoch
    moves on, *older* is written first, the epoch second, *current* last; readers read epoch, current, older.
    So however reads and writes interleave, an old call is seen in one of the two.
    """

    __slots__ = ("__weakref__", "_current", "_lock", "_older", "_words", "epoch")

    def __init__(self, words: memoryview) -> None:
        self._words: memoryview | list[int] = words
        self._lock = threading.Lock()
        self._current = 0
        self._older = 0
        self.epoch = 0
        _living_slots.add(self)

    @property
    def in_flight(self) -> int:
        """Calls that have entered and not left."""
        return self._current + self._older

    def enter(self) -> int:
        """Count one call up. Returns the epoch it is counted under, which `leave` wants back."""
        with self._lock:
            self._current += 1
            self._words[CURRENT] = self._current
            return self.epoch

    def leave(self, epoch: int) -> None:
        """Count one call down that entered under this epoch."""
        with self._lock:
            if epoch == self.epoch:
                self._current -= 1
                self._words[CURRENT] = self._current
            else:
                self._older -= 1
                self._words[OLDER] = self._older

    def set_epoch_seen(self, epoch: int) -> None:
        """Note that this process has seen a lease of that epoch. Lower ones are ignored."""
        with self._lock:
            if epoch <= self.epoch:
                return
            self._older += self._current
            self._words[OLDER] = self._older
            self.epoch = epoch
            self._words[EPOCH] = epoch
            self._current = 0
            self._words[CURRENT] = 0

    def release(self) -> None:
        """Give the slot back. What is still counted is counted for nobody from now on."""
        with self._lock:
            if isinstance(self._words, memoryview) and self._words[PID] == os.getpid():
                self._words[PID] = 0
            self._words = [0] * SLOT_WORDS

    def move(self, words: memoryview) -> None:
        """Go on in another slot, of a file that replaced the former one."""
        with self._lock:
            words[OLDER], words[EPOCH], words[CURRENT] = self._older, self.epoch, self._current
            self._words = words

    def forget(self) -> None:
        """After a fork: the slot is the parent's. The child counts into the air until it has its own."""
        self._lock = threading.Lock()
        self._words = [0] * SLOT_WORDS


_living_slots: weakref.WeakSet[ProcessSlot] = weakref.WeakSet()


def _after_fork() -> None:
    for slot in list(_living_slots):
        slot.forget()
    _living_slots.clear()


os.register_at_fork(after_in_child=_after_fork)
