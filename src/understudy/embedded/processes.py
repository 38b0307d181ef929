"""Processes seen through /proc: who belongs to a server, who is stopped, who is gone. Linux only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

GONE = frozenset("ZX")  # zombie, dead (proc(5)): nothing of it runs any more
STOPPED = frozenset("Tt") | GONE
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
IPC_RMID = 0  # <linux/ipc.h>

_libc = ctypes.CDLL(None, use_errno=True)


def state(pid: int) -> str | None:
    """The state letter of proc(5) (R, S, D, T, Z, ...), or None where there is no such process."""
    try:
        # The name in parentheses may itself hold blanks and parentheses; the letter follows the last one.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def alive(pid: int) -> bool:
    """Whether the process exists and is more than a zombie; a stopped one is alive."""
    return (state(pid) or "X") not in GONE


def working_in(folder: Path, program: str) -> set[int]:
    """The processes that run an executable called `program` with `folder` as their working directory.

    Unlike parent ids this also finds the children of a parent that is gone. Zombies are not listed.
    """
    found = set()
    wanted = str(folder.resolve())
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile, or belongs to somebody else
                if str((entry / "cwd").readlink()) != wanted:
                    continue
                if (entry / "exe").readlink().name.removesuffix(" (deleted)") == program:
                    found.add(int(entry.name))
    return found


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each process; one that has ended is no error."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def wait_gone(pids: Iterable[int], timeout_s: float) -> set[int]:
    """Wait until the processes have ended, and return those that have not after `timeout_s` seconds.

    The kernel reports each end through a pidfd (pidfd_open(2)), so this works for processes of other parents
    and returns at once when the last one ends.
    """
    deadline = time.monotonic() + timeout_s
    waiting: dict[int, int] = {}
    poller = select.poll()
    try:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                waiting[descriptor] = pid
                poller.register(descriptor, select.POLLIN)
        left = dict(waiting)
        while left and (remaining := deadline - time.monotonic()) > 0:
            for descriptor, _ in poller.poll(remaining * 1000):
                poller.unregister(descriptor)
                del left[descriptor]
        return set(left.values())
    finally:
        for descriptor in waiting:
            os.close(descriptor)


def wait_stopped(pids: Iterable[int], timeout_s: float = 60) -> None:
    """Wait until SIGSTOP has taken effect on each process: it is delivered a moment after `send` returns."""
    deadline = time.monotonic() + timeout_s
    for pid in pids:
        while (state(pid) or "X") not in STOPPED and time.monotonic() < deadline:
            time.sleep(0.0005)  # the kernel offers no event for it to a process that is not the parent


def stop_all(parent: int | None, members: Callable[[], set[int]]) -> set[int]:
    """Stop `parent` and then every other member, and return all of them: none can start another meanwhile."""
    stopped: set[int] = set()
    if parent is not None:
        send([parent], signal.SIGSTOP)
        wait_stopped([parent])
        stopped.add(parent)
    while new := members() - stopped:
        send(new, signal.SIGSTOP)
        wait_stopped(new)
        stopped |= new
    return stopped


@contextlib.contextmanager
def unbroken() -> Iterator[None]:
    """Put SIGINT and SIGTERM off until the block is left: for starting a process and noting that it was started.

    An exception of a signal's handler in between would leave a process that nobody knows of; one that is raised where
    `fork` calls its hooks (`os.register_at_fork`) is dropped, and with it the signal. What is ignored stays so.
    """
    if threading.current_thread() is not threading.main_thread():  # handlers run in the main one only
        yield
        return
    came: list[signal.Signals] = []
    before = {n: h for n in (signal.SIGINT, signal.SIGTERM) if callable(h := signal.getsignal(n))}
    try:
        for number in before:
            signal.signal(number, lambda number, frame: came.append(signal.Signals(number)))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)


def die_with_parent(number: signal.Signals = signal.SIGQUIT) -> None:
    """Ask the kernel for a signal (SIGQUIT: PostgreSQL stops at once) when the thread that started this process ends.

    To be called in the child before it becomes the server (`preexec_fn`): prctl(2), PR_SET_PDEATHSIG.
    """
    _libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def remove_shared_memory(identifier: int) -> None:
    """Remove a System V shared memory segment that a killed server has left; none there is no error."""
    _libc.shmctl(identifier, IPC_RMID, None)
