"""A file system of its own, as small as a test wants it, that can really be full: a tmpfs, mounted by root."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

MIB = 2**20


@dataclass
class SmallDisk:
    """Where it is mounted."""

    folder: Path

    @property
    def free(self) -> int:
        """Bytes."""
        return shutil.disk_usage(self.folder).free

    def fill(self, leave: int = 0) -> None:
        """Take all the room but ``leave`` bytes; may be said again."""
        with self._filler.open("ab", buffering=0) as file:
            while (left := self.free - leave) > 0:
                try:
                    file.write(bytes(min(left, MIB)))
                except OSError:  # the last page
                    return

    def clear(self) -> None:
        """Give it back."""
        self._filler.unlink(missing_ok=True)

    def resize(self, megabytes: int) -> None:
        """Make it so large."""
        subprocess.run(["mount", "-o", f"remount,size={megabytes}m", self.folder], check=True)

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"


@contextmanager
def small_disk(megabytes: int, at: Path | None = None) -> Iterator[SmallDisk]:
    """Mounted ``at`` a folder of the test's, which is made; else in one of its own. Skips where that is not allowed."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = Path(tempfile.mkdtemp(prefix="understudy-disk-")) if at is None else at
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={megabytes}m,mode=755"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        folder.rmdir()
        pytest.skip(f"this machine does not let root mount a file system: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        folder.rmdir()
