"""Processes that write and keep a ledger each: how they live, how they are started and stopped, what they were told."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from understudy.demo.ledger import SIZE, Entry, Ledger, Reader, read
from understudy.embedded import processes

JOIN_TIMEOUT = 45.0  # seconds: longer than `hold_timeout`, so that a writer that holds can end by itself

Tell = Callable[[int, str, str], None]
"""Notes what a writer was told that is no acknowledgement: of which transaction (seq), its kind, its text."""


@contextmanager
def _notes(path: Path) -> Iterator[Tell]:
    with path.open("a", buffering=1) as file:

        def tell(seq: int, kind: str, text: str) -> None:
            note = {"seq": seq, "at": time.monotonic_ns(), "kind": kind, "text": text}
            file.write(json.dumps(note) + "\n")

        yield tell


def live(path: Path, interval: float, stop: Event, one: Callable[[int, Tell], Entry]) -> None:
    """The life of one process: transaction after transaction. Ends when told to, or when its parent is gone.

    Args:
        path: of its ledger; it goes on after what is there.
        interval: seconds from the beginning of one transaction to the beginning of the next.
        one: does the transaction of this number.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which stops us in order
    parent = os.getppid()
    ledger = Ledger(path)
    seq, due = sum(1 for _ in read(path)), time.monotonic()
    with _notes(path.with_suffix(".errors")) as tell:
        while not stop.is_set() and os.getppid() == parent:
            seq += 1
            ledger.add(one(seq, tell))
            due = max(due + interval, time.monotonic())  # a writer that was held does not catch up
            time.sleep(max(0.0, due - time.monotonic()))
    ledger.close()


class Group(AbstractContextManager["Group"]):
    """A group of such processes. Leaving the block stops them.

    Args:
        life: what each of them runs, with its own orders and the event that stops it.
        orders: by the path of each one's ledger; plain values, for they cross a process boundary.
    """

    def __init__(self, life: Callable[[Any, Event], None], orders: Mapping[Path, Any]) -> None:
        self.ledgers = list(orders)
        self._life, self._orders = life, list(orders.values())
        for folder in {path.parent for path in self.ledgers}:
            folder.mkdir(parents=True, exist_ok=True)
        # Spawned, not forked: each is a process of its own as a worker of a web server is.
        self._context = multiprocessing.get_context("spawn")
        self._stop = self._context.Event()
        self._processes: list[Any] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(at_once=kind is not None)

    def start(self) -> None:
        """Start them all, and return when each has had an answer (or has ended)."""
        self._stop.clear()
        before = [self._size(path) for path in self.ledgers]
        for orders in self._orders:
            process = self._context.Process(target=self._life, args=(orders, self._stop), daemon=True)
            with processes.unbroken():
                process.start()
                self._processes.append(process)
        while any(
            process.is_alive() and self._size(path) == size
            for process, path, size in zip(self._processes, self.ledgers, before, strict=True)
        ):
            time.sleep(0.02)  # files have no event that the standard library can wait for

    @staticmethod
    def _size(path: Path) -> int:
        return path.stat().st_size if path.exists() else 0

    def stop(self, *, at_once: bool = False) -> None:
        """Let each finish its transaction and end; what does not end in time is killed."""
        self._stop.set()
        for process in self._processes:
            process.join(0.5 if at_once else JOIN_TIMEOUT)
            if process.is_alive():
                process.kill()
                process.join()
        self._processes.clear()

    @property
    def alive(self) -> int:
        """How many of them run."""
        return sum(process.is_alive() for process in self._processes)

    @property
    def written(self) -> int:
        """How many transactions have ended so far, however they did."""
        return sum(self._size(path) for path in self.ledgers) // SIZE

    def entries(self) -> list[Entry]:
        """All entries of all ledgers, in the order in which the writers were answered."""
        return Reader(self.ledgers).new()

    def reader(self) -> Reader:
        """A reader that follows the ledgers from now on."""
        reader = Reader(self.ledgers)
        reader.new()
        return reader

    def errors(self) -> list[dict[str, Any]]:
        """What writers were told when a transaction did not end well: seq, at (ns), kind, text."""
        found = []
        for path in self.ledgers:
            notes = path.with_suffix(".errors")
            if notes.exists():
                found += [json.loads(line) for line in notes.read_text().splitlines()]
        return found
