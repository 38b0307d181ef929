"""Private folders for what has to be on a disk for a while: archives, scratch servers. Removed also after a crash."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from understudy.backup.source import BackupRefused

PREFIX: Final = "understudy-staging-"
_LOCK: Final = "in-use"
SLACK_BYTES: Final = 256 * 2**20
"""What stays free on the disk besides."""


@contextlib.contextmanager
def folder(parent: Path | None = None, *, prefix: str = PREFIX) -> Iterator[Path]:
    """A fresh folder that only this process uses (beneath TMPDIR by default), removed at the end.

    What earlier processes left behind there when they were killed is removed first: folders of that prefix and of this
    user whose lock nobody holds. The kernel lets go of a lock when its process is gone, whatever pids say.
    """
    place = parent or Path(tempfile.gettempdir())
    _sweep(place, prefix)
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    descriptor = os.open(made / f"{_LOCK}.new", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        (made / f"{_LOCK}.new").rename(made / _LOCK)  # who sweeps sees it only while it is held
        if os.geteuid() == 0:
            made.chmod(0o711)  # a scratch server runs as another user, who must get through
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(descriptor)


def require_space(where: Path, wanted: int, what: str) -> None:
    """Raise `BackupRefused` unless ``wanted`` bytes, and some more, are free there."""
    free = shutil.disk_usage(where).free
    if free < wanted + SLACK_BYTES:
        raise BackupRefused(
            f"{where}: {what} needs about {wanted / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free; make room, or"
            " point TMPDIR to a larger disk"
        )


def _sweep(place: Path, prefix: str) -> None:
    for left in place.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # it goes away this moment, or is another user's
            if left.lstat().st_uid != os.geteuid():
                continue  # root could remove it, and has no business to
            descriptor = os.open(left / _LOCK, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
                if left.exists():  # somebody who has not quite ended wrote there: the next sweep gets it
                    (left / _LOCK).touch(mode=0o600)
            finally:
                os.close(descriptor)
