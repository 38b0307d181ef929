"""The lease: a few bytes of shared memory that let the processes of one host write, for a short time, at one epoch.

The file `<directory>/<cluster>.lease` is mapped by the agent and by every client process of the host.

    0     header     magic, layout version
    64    sequence   8 bytes, aligned; its lowest bit names the record that counts
    128   record 0   magic, sequence, epoch, phase, times, names, BLAKE2b digest
    320   record 1   the same
    1024  slots      one cache line per process: who it is and what it has in flight

A writer fills the record that does not count and then stores the sequence, so a writer killed at any byte leaves
the former record in force. A record only counts if its digest is right and it carries the very sequence that names
it: any other byte pattern reads as None, never as a wrong primary.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from understudy.errors import LeaseError
from understudy.lease_record import (
    HEADER,
    LAYOUT,
    MAGIC,
    NAME_BYTES,
    RECORD_AT,
    SEQUENCE_AT,
    STATE_END,
    Lease,
    Phase,
    boot_now,
    decode,
    encode,
)
from understudy.lease_slots import (
    CURRENT,
    EPOCH,
    OLDER,
    PID,
    PROCESS_SLOTS,
    SLOT_SIZE,
    SLOT_WORDS,
    SLOTS_AT,
    START,
    ProcessSlot,
    ProcessView,
    start_time,
)

__all__ = [
    "NAME_BYTES",
    "PROCESS_SLOTS",
    "Lease",
    "LeaseFile",
    "Phase",
    "ProcessSlot",
    "ProcessView",
    "boot_now",
]

_SIZE = SLOTS_AT + PROCESS_SLOTS * SLOT_SIZE
_LOCK_PATIENCE = 0.25  # seconds; the lock is only ever held for microseconds


class LeaseFile:
    """The lease of one cluster on this host, mapped into memory. Safe to use from several threads.

    Creates the file (0660) and its directory (0770) as needed. Raises `LeaseError` when that is impossible
    or when the file belongs to another layout.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._slots: weakref.WeakSet[ProcessSlot] = weakref.WeakSet()
        self._behind: list[ProcessSlot] = []  # those that still count in the file before this one
        self._last: tuple[bytes, Lease | None] = (b"", None)  # one object: threads replace it as a whole
        self._map: mmap.mmap | None = None
        # Held by whoever writes or maps anew: a record and its sequence go to one file, a slot moves once.
        self._lock = threading.RLock()
        _files.add(self)
        self._open()

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o770, parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
        except OSError as ex:
            raise LeaseError(
                f"{self.path}: cannot open the lease file: {ex.strerror}. "
                "Give this process's user read and write access to it and to its directory."
            ) from ex
        try:
            with _locked(fd, self.path):
                _prepare(fd, self.path)
            self._map = mmap.mmap(fd, _SIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            status = os.fstat(fd)
            self._file = (status.st_dev, status.st_ino)
        except OSError as ex:
            raise LeaseError(f"{self.path}: cannot map the lease file: {ex.strerror}") from ex
        finally:
            os.close(fd)
        self._words = memoryview(self._map).cast("Q")

    def _mapped(self) -> mmap.mmap:
        if self._map is None:
            raise LeaseError(f"{self.path}: the lease file is closed")
        return self._map

    def read(self) -> Lease | None:
        """The lease, or None when it is missing, torn or corrupt: then nobody may write until it is rewritten.

        Costs a copy of 512 bytes and a comparison as long as nothing changed. The deadline is for the caller
        to check. The same object is returned while the bytes are the same.
        """
        mapped = self._map
        state = mapped[:STATE_END] if mapped is not None else b""
        last = self._last
        if state == last[0]:
            return last[1]
        for _ in range(4):  # two writes during one copy tear it; five in a row do not happen
            if (lease := decode(state)) is not None or mapped is None:
                break
            state = mapped[:STATE_END]
        if lease is not None:
            self._last = (state, lease)
        return lease

    def write(self, lease: Lease) -> bool:
        """Put this lease in force. False, with nothing changed, if the present record has a higher epoch.

        Repairs a corrupt file. Raises `LeaseError` if the file cannot be written.
        """
        self.refresh()
        with self._exclusive():
            present = self._read_now()
            if present is not None and present.epoch > lease.epoch:
                return False
            self._store(lease)
            return True

    def renew(
        self,
        epoch: int,
        primary: str,
        *,
        renewed: float,
        deadline: float,
        standby: str = "",
        standby_lag: float = -1.0,
    ) -> bool:
        """Prolong the lease. False unless the record is still exactly (epoch, primary, OPEN).

        A deadline is never moved backwards.
        """
        self.refresh()
        with self._exclusive():
            present = self._read_now()
            if present is None or (present.epoch, present.primary, present.phase) != (
                epoch,
                primary,
                Phase.OPEN,
            ):
                return False
            self._store(
                Lease(
                    epoch=epoch,
                    primary=primary,
                    phase=Phase.OPEN,
                    deadline=max(deadline, present.deadline),
                    renewed=max(renewed, present.renewed),
                    standby=standby,
                    standby_lag=standby_lag,
                )
            )
            return True

    def refresh(self) -> bool:
        """Map the file anew if somebody deleted or replaced it. True if so. Its folder is not made anew.

        The slots of this process move along with their counts. Raises `LeaseError`.
        """
        if not os.path.isdir(self.path.parent):  # noqa: PTH112 - Path.is_dir raises where it may not look
            return False  # the whole cluster was removed from this host, and nobody else would see a new file
        with self._lock:
            replaced = self._is_replaced()
            if replaced:
                # The former map stays: a thread may be reading it right now. It is freed with its last reference.
                self._open()
                self._behind = list(self._slots)
            while self._behind:  # also what was left when the last attempt failed
                self._behind[-1].move(self._claim())
                self._behind.pop()
        return replaced

    def _is_replaced(self) -> bool:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return True
        except OSError as ex:
            raise LeaseError(f"{self.path}: cannot look at the lease file: {ex.strerror}") from ex
        return (status.st_dev, status.st_ino) != self._file or status.st_size < _SIZE

    def register(self) -> ProcessSlot:
        """A slot for this process. Raises `LeaseError` when all 1024 are taken by living processes."""
        with self._lock:  # a slot claimed in a file that is replaced before it is listed would stay there
            slot = ProcessSlot(self._claim())
            self._slots.add(slot)
        return slot

    def _claim(self) -> memoryview:
        with self._exclusive():
            for number in range(PROCESS_SLOTS):
                words = self._slot(number)
                if words[PID] and start_time(words[PID]) == words[START]:
                    continue
                words[PID] = 0
                words[EPOCH] = words[CURRENT] = words[OLDER] = 0
                words[START] = start_time(os.getpid()) or 0
                words[PID] = os.getpid()
                return words
        raise LeaseError(
            f"{self.path}: all {PROCESS_SLOTS} process slots are taken; run fewer processes on this host"
        )

    def processes(self) -> list[ProcessView]:
        """Every registered process. Slots of processes that no longer exist are freed and listed once, as dead."""
        views = []
        for number in range(PROCESS_SLOTS):
            words = self._slot(number)
            pid, start = words[PID], words[START]
            if not pid:
                continue
            alive = start_time(pid) == start
            epoch, current, older = words[EPOCH], words[CURRENT], words[OLDER]
            views.append(ProcessView(pid=pid, in_flight=current + older, epoch_seen=epoch, alive=alive))
            if not alive:
                self._free(number, pid, start)
        return views

    def _free(self, number: int, pid: int, start: int) -> None:
        with suppress(LeaseError), self._exclusive():
            words = self._slot(number)
            if (words[PID], words[START]) == (pid, start):  # not taken over meanwhile
                words[PID] = 0

    def quiet(self, *, before_epoch: int) -> list[int]:
        """The living processes that may still have calls in flight from an epoch before ``before_epoch``.

        Write the lease (HOLDING, or a newer epoch) first and ask then: a process counts itself up before it
        reads the lease, so a transaction is either seen here or has seen the lease.
        """
        first = set(self._busy(before_epoch))
        # The store of another core may lag behind its later load for some nanoseconds. Look again after a
        # time in which every store buffer has drained.
        time.sleep(0.0005)
        busy = first | set(self._busy(before_epoch))
        return sorted(pid for pid in busy)

    def _busy(self, before_epoch: int) -> Iterator[int]:
        for number in range(PROCESS_SLOTS):
            words = self._slot(number)
            pid, start = words[PID], words[START]
            if not pid:
                continue
            epoch, current, older = words[EPOCH], words[CURRENT], words[OLDER]  # in this order
            if (older or (current and epoch < before_epoch)) and start_time(pid) == start:
                yield pid

    def close(self) -> None:
        """Give the slots of this process back and unmap the file. It may be called twice."""
        for slot in list(self._slots):
            slot.release()
        # A slot or a reading thread may still hold a view; the map goes with its last reference.
        self._map = None
        self._last = (b"", None)

    # --- under the lock ---------------------------------------------------------------------------------

    def _slot(self, number: int) -> memoryview:
        self._mapped()
        at = SLOTS_AT // 8 + number * SLOT_WORDS
        return self._words[at : at + SLOT_WORDS]

    def _read_now(self) -> Lease | None:
        return decode(self._mapped()[:STATE_END])

    def _store(self, lease: Lease) -> None:
        mapped = self._mapped()
        mapped[: HEADER.size] = HEADER.pack(MAGIC, LAYOUT, 0)
        sequence = (self._words[SEQUENCE_AT // 8] + 1) & 0xFFFF_FFFF_FFFF_FFFF
        record = encode(sequence, lease)
        at = RECORD_AT[sequence & 1]
        mapped[at : at + len(record)] = record
        self._words[SEQUENCE_AT // 8] = sequence  # one aligned 8-byte store

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Exclude every other writer, in this process and in others.

        The lock belongs to an open file description of its own: threads exclude each other, a forked child
        does not inherit it, and the kernel drops it when the holder dies.
        """
        with self._lock:
            try:
                fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
            except OSError as ex:
                raise LeaseError(f"{self.path}: cannot lock the lease file: {ex.strerror}") from ex
            try:
                with _locked(fd, self.path):
                    status = os.fstat(fd)
                    if (status.st_dev, status.st_ino) != self._file:
                        raise LeaseError(f"{self.path}: somebody has just replaced the lease file; try again")
                    yield
            finally:
                os.close(fd)


_files: weakref.WeakSet[LeaseFile] = weakref.WeakSet()


def _after_fork() -> None:
    """A thread of the parent, of which the child knows nothing, may have held a lock."""
    for file in list(_files):
        file._lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def _locked(fd: int, path: Path) -> Iterator[None]:
    """Hold the write lock. Bounded: a holder that was frozen (SIGSTOP) inside must not freeze us.

    Its lock is not broken: it may go on with a decision that was right when it was frozen.
    """
    give_up = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > give_up:
                raise LeaseError(
                    f"{path}: another process has held the write lock for {_LOCK_PATIENCE} s; is it stopped?"
                ) from None
            time.sleep(0.0002)
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)


def _reserve(fd: int) -> None:
    """Give a new file all its blocks. A hole would have to be filled at a store into the map, and where the disk
    is full by then the kernel ends the process that stores (SIGBUS).
    """
    try:
        os.posix_fallocate(fd, 0, _SIZE)
    except OSError:
        os.ftruncate(fd, 0)  # what is half done would be refused as somebody else's file
        raise


def _prepare(fd: int, path: Path) -> None:
    """Size and label a new file; refuse one that is not ours."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise LeaseError(f"{path}: expected a regular file")
    if status.st_size not in (0, _SIZE):
        raise LeaseError(
            f"{path}: expected a lease file of {_SIZE} bytes, found {status.st_size} bytes. "
            "If nothing else uses this file, stop Understudy on this host and remove it."
        )
    if status.st_size == 0:
        _reserve(fd)
        os.pwrite(fd, HEADER.pack(MAGIC, LAYOUT, 0), 0)
        with suppress(PermissionError):
            os.fchmod(fd, 0o660)  # whatever the umask: the agent and the application may be different users
        return
    magic, layout, _ = HEADER.unpack(os.pread(fd, HEADER.size, 0))
    if magic == MAGIC and layout != LAYOUT:
        raise LeaseError(
            f"{path}: expected layout {LAYOUT}, found {layout}: another version of Understudy uses it. "
            "Stop every process of the other version on this host and remove the file."
        )
