"""Who holds SQLite's write lock, and waking it where it stands still.

A process that is stopped (SIGSTOP, Ctrl-Z, a debugger) in the middle of a write keeps the lock for as long as it is
stopped, and nobody else can write the witness: no decision, no takeover. Letting it go on ends its transaction.

Sources: SQLite, os_unix.c (the lock of WAL writers is byte 120 of the -shm file); proc(5), `/proc/locks` and
`/proc/PID/stat`. The -shm file itself is not opened: closing it would drop this process's own locks (fcntl(2)).
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

_WRITE_LOCK = 120
_LOCKS = Path("/proc/locks")


def freed(database: Path) -> str:
    """Find out who holds the write lock, and let it go on where it is stopped. What was found, or an empty string."""
    pid = _holder(database.with_name(f"{database.name}-shm"))
    if pid is None:
        return ""
    if not _stopped(pid):
        return f"process {pid} holds its lock"
    try:
        os.kill(pid, signal.SIGCONT)
    except OSError as error:
        return f"process {pid} holds its lock, is stopped, and cannot be woken: {error.strerror}; end it"
    return f"process {pid} held its lock while it was stopped, and has been woken"


def _holder(shared: Path) -> int | None:
    """The process with the write lock. Lines of /proc/locks: `1: POSIX ADVISORY WRITE 42 fe:00:7 120 120`."""
    try:
        status = shared.stat()
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return None
    # With the device: the same number on another file system is another file, and its holder not ours to wake.
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in lines:
        words = line.split()
        if len(words) != 8 or words[1] != "POSIX" or words[3] != "WRITE" or words[5] != file:
            continue
        end = int(words[7]) if words[7] != "EOF" else _WRITE_LOCK
        if int(words[6]) <= _WRITE_LOCK <= end:
            return int(words[4])
    return None


def _stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("T", "t")
    except OSError:
        return False  # it has ended meanwhile, and its lock with it
