"""Virtual time: a heap of events and processes written as generators that yield how long they sleep.

Nothing here knows databases. One `random.Random` decides everything, so a seed is a whole history.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Generator
from typing import Any

EVENTS = 12_000  # a usual run has 1,500

Sleeper = Generator[float, None, Any]


class Broken(Exception):
    """A promise does not hold. ``promise`` is its short name, the text says what was seen."""

    def __init__(self, promise: str, text: str) -> None:
        self.promise, self.text = promise, text
        super().__init__(f"{promise}: {text}")


class Owner:
    """Whatever can be stopped (SIGSTOP) or killed together with the processes that run in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.paused = False
        self.processes: list[Process] = []
        self.waiting: list[Process] = []


class Process:
    """One generator with its owner. A killed one never runs again, not even its ``finally``."""

    __slots__ = ("alive", "owner", "run")

    def __init__(self, owner: Owner, run: Sleeper) -> None:
        self.owner, self.run, self.alive = owner, run, True


class Kernel:
    """The clock (seconds), the heap of events, the randomness and the trace."""

    def __init__(self, seed: int, *, traced: bool = False) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self.trace: list[str] | None = [] if traced else None
        self.events = 0
        self._heap: list[tuple[float, int, Any]] = []
        self._number = 0

    def say(self, who: str, what: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.now:8.3f}  {who:<10} {what}")

    def at(self, when: float, what: Process | Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._heap, (when, self._number, what))

    def spawn(self, owner: Owner, run: Sleeper, delay: float = 0.0) -> None:
        process = Process(owner, run)
        owner.processes.append(process)
        self.at(self.now + delay, process)

    def kill(self, owner: Owner) -> None:
        for process in owner.processes:
            process.alive = False
        owner.processes.clear()
        owner.waiting.clear()

    def resume(self, owner: Owner) -> None:
        owner.paused = False
        for process in owner.waiting:
            self.at(self.now, process)
        owner.waiting.clear()

    def run_until(self, end: float) -> None:
        heap, pop, push = self._heap, heapq.heappop, heapq.heappush
        while heap and heap[0][0] <= end:
            self.now, _, what = pop(heap)
            self.events += 1
            if self.events > EVENTS:
                raise Broken(
                    "comes to rest",
                    f"{EVENTS} events in {self.now:.0f} s: something is begun again and again",
                )
            if not isinstance(what, Process):
                what()
                continue
            if not what.alive:
                continue
            if what.owner.paused:
                what.owner.waiting.append(what)
                continue
            try:
                delay = next(what.run)
            except StopIteration:
                what.alive = False
                continue
            self._number += 1
            push(heap, (self.now + delay, self._number, what))
        self.now = end
