"""Calls between places: hosts (agents, clients), nodes and the witness. Any of them may be cut off, one way too."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tests.simulation.kernel import Sleeper
from tests.simulation.nodes import Node

from understudy.errors import EngineError, Unreachable, WitnessError

if TYPE_CHECKING:
    from tests.simulation.world import World

NODE_TIMEOUT = 0.3
WITNESS_TIMEOUT = 0.2


class Network:
    """Who reaches whom, how slowly, and what gets lost, doubled or delivered late."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cuts: set[tuple[str, str]] = set()
        self.loss = self.late = self.double = 0.0
        self.slow = 1.0

    def heal(self) -> None:
        self.cuts.clear()
        self.loss = self.late = self.double = 0.0
        self.slow = 1.0

    def joined(self, one: str, other: str) -> bool:
        return (one, other) not in self.cuts and (other, one) not in self.cuts

    def call(
        self, source: str, node: Node, what: Callable[[], Any], timeout: float = NODE_TIMEOUT
    ) -> Sleeper:
        """Run ``what`` on a node. Raises `Unreachable` if no answer came: it may have run, or may run later."""
        kernel = self.world.kernel
        chance = kernel.random.random
        yield (0.001 + 0.003 * chance()) * self.slow
        if (source, node.name) in self.cuts or (self.loss and chance() < self.loss):
            yield timeout
            raise Unreachable(f"{node.name}: no answer")
        if not node.up:
            raise Unreachable(f"{node.name}: connection refused")
        if node.frozen:
            node.inbox.append(lambda: _quietly(node, what))
            yield timeout
            raise Unreachable(f"{node.name}: no answer")
        if self.late and chance() < self.late:
            kernel.at(kernel.now + timeout + 3.0 * chance(), lambda: _quietly(node, what))
            yield timeout
            raise Unreachable(f"{node.name}: no answer")
        value = what()
        if self.double and chance() < self.double:
            kernel.at(kernel.now + chance(), lambda: _quietly(node, what))
        if (node.name, source) in self.cuts or (self.loss and chance() < self.loss):
            yield timeout
            raise Unreachable(f"{node.name}: the answer was lost")
        return value

    def ask_witness(self, source: str, what: Callable[[], Any]) -> Sleeper:
        """The same for the witness; raises `WitnessError`."""
        yield 0.001 * self.slow
        if not self.world.witness.up or (source, "witness") in self.cuts:
            yield WITNESS_TIMEOUT
            raise WitnessError("the witness does not answer")
        value = what()
        if ("witness", source) in self.cuts:
            yield WITNESS_TIMEOUT
            raise WitnessError("the witness's answer was lost")
        return value


def _quietly(node: Node, what: Callable[[], Any]) -> None:
    """A call that nobody waits for any more."""
    if node.answers:
        with suppress(EngineError):
            what()
