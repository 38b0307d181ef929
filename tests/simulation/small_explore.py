"""Runs a `Search` to its end, and looks for states that cannot be left."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from tests.simulation.small_nodes import Broken
from tests.simulation.small_search import Search
from tests.simulation.small_world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a search found. ``broken``: the promise that broke, and the way there."""

    states: int
    steps: int
    settled: int
    rules: frozenset[str]
    broken: str = ""
    way: tuple[str, ...] = ()


class Found:
    """Every state reached so far, how it was reached first, and who can be reached from whom without a fault."""

    def __init__(self) -> None:
        self.numbers: dict[World, int] = {}
        self.worlds: list[World] = []
        self.came_from = array("l")
        self.labels: list[str] = []
        self.sources, self.targets = array("l"), array("l")

    def add(self, world: World, came_from: int, label: str) -> int:
        number = self.numbers.get(world)
        if number is None:
            number = self.numbers[world] = len(self.worlds)
            self.worlds.append(world)
            self.came_from.append(came_from)
            self.labels.append(label)
        return number

    def way(self, number: int) -> tuple[str, ...]:
        labels = []
        while number > 0:
            labels.append(self.labels[number])
            number = self.came_from[number]
        return tuple(reversed(labels))

    def without_a_way_out(self, good: list[int]) -> int | None:
        """The first state from which no good one can be reached, or None."""
        count = len(self.worlds)
        first, following = array("l", [-1]) * count, array("l", [-1]) * len(self.targets)
        for edge, target in enumerate(self.targets):
            following[edge], first[target] = first[target], edge
        reached = bytearray(count)
        todo = list(good)
        for number in todo:
            reached[number] = 1
        while todo:
            edge = first[todo.pop()]
            while edge >= 0:
                source = self.sources[edge]
                if not reached[source]:
                    reached[source] = 1
                    todo.append(source)
                edge = following[edge]
        stuck = reached.find(0)
        return None if stuck < 0 else stuck


def explore(search: Search, *, limit: int = 5_000_000) -> Report:
    """Visit every state that can be reached, check the promises in each, then look for one without a way out."""
    found = Found()
    good: list[int] = []
    at, broken, stuck = 0, "", None
    try:
        found.add(search.first(), -1, "")
        while at < len(found.worlds):
            if at > limit:
                raise RuntimeError(f"more than {limit} states, {at} visited")
            world = found.worlds[at]
            search.check(world)
            if search.settled(world):
                good.append(at)
            for label, after in search.following(world):
                found.sources.append(at)
                found.targets.append(found.add(after, at, label))
            for label, after in search.disturbed(world):
                found.add(after, at, label)
            at += 1
    except Broken as error:
        broken = str(error)
    else:
        stuck = found.without_a_way_out(good)
        if stuck is not None:
            broken = "no way out: no healthy settled state can be reached from here"
    return Report(
        states=len(found.worlds),
        steps=len(found.targets),
        settled=len(good),
        rules=frozenset(search.rules),
        broken=broken,
        way=found.way(stuck if stuck is not None else at) if broken else (),
    )
