"""The contract between the agent and a gate: something between clients and databases that can be closed and led.

A gate belongs to one cluster. It holds no register and confirms no epoch: who may write is decided without it, and a
gate that is away, hangs or shows the wrong way costs its clients errors, not rows. Every method is idempotent and may
be cancelled at any moment (callers bound it in time).

Errors of every method: `NotRunning` (nobody listens at its console, so nothing passes through it), `Unreachable` (no
answer; it may have taken effect), `EngineError` (it answered and refused; the text says what to do next).
"""

from __future__ import annotations

from typing import Protocol

from understudy.errors import Unreachable


class NotRunning(Unreachable):
    """Nobody listens at the gate's console."""


class Gate(Protocol):
    """One way for clients to the present primary."""

    @property
    def name(self) -> str:
        """What people call it."""

    async def hold(self) -> None:
        """Planned: let nothing new pass. Returns when what may end by itself has ended."""

    async def sever(self) -> None:
        """Unplanned: let nothing pass, and end what still does. Nothing to do where it is held already."""

    async def lead_to(self, node: str, *, anew: bool) -> None:
        """Lead to a node and let pass. In the steady state this only looks.

        ``anew``: the primary has changed or was fenced since this was last done: server sessions from before may
        be read-only for their whole life (the default is read at login), so they must not be used again.
        """

    async def close(self) -> None:
        """Give up what is open towards the gate; the gate itself stays as it is."""
