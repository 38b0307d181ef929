"""The peak memory of a process and of all that it starts, by program, as the kernel counts it (`VmHWM`)."""

from __future__ import annotations

import threading
from collections import defaultdict
from pathlib import Path
from typing import Self

EVERY_S = 0.05


class Peaks:
    """Watches a tree of processes in a thread of its own until it is left.

    ``by_program``: program to the largest peak of one process of it, in bytes. ``together``: the largest sum of what
    all of them held at a time, by proportional set size; shared memory counts once.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.by_program: dict[str, int] = {}
        self.together = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(EVERY_S):
            total = 0
            for pid in tree(self._root):
                try:
                    status = Path(f"/proc/{pid}/status").read_text()
                    shares = Path(f"/proc/{pid}/smaps_rollup").read_text()
                except OSError:  # it has ended
                    continue
                name = status.partition("\n")[0].removeprefix("Name:").strip()
                self.by_program[name] = max(self.by_program.get(name, 0), _bytes(status, "VmHWM:"))
                total += _bytes(shares, "\nPss:")
            self.together = max(self.together, total)


def tree(root: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue
            children[int(parent)].append(int(entry.name))
    found = [root]
    for pid in found:  # grows while it is walked
        found += children[pid]
    return found


def _bytes(text: str, field: str) -> int:
    words = text.partition(field)[2].split()
    return int(words[0]) * 1024 if words else 0
