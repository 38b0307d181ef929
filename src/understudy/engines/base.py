"""The contract between the agent and a kind of database.

An engine belongs to one cluster and knows how to reach its nodes. Every method is idempotent (a plan may be
taken over after any step, or in the middle of one), bounded in time, and safe against a superseded caller:
whatever changes a node carries the caller's `Ticket` and is refused by a node that has seen a newer one; where it is
not refused it raises the node's fence row to the ticket.

Errors of every method: `Unreachable` (no answer in time; it may have taken effect), `StaleEpoch` (the caller
has been superseded), `EngineError` (the node answered and refused; the text says what to do next).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from understudy.model import Link, Probe, Ticket


class Severity(StrEnum):
    """ERROR: `setup` refuses. WARNING: works, with the limit the text names. OK: looked at and right."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One result of `check`. ``mend`` is the exact SQL (or setting) that mends it, or empty."""

    node: str
    subject: str
    severity: Severity
    message: str
    mend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RescueReport:
    """What was saved from an old primary.

    Args:
        folder: where the files are (`changes.jsonl`, `replay.sql`, `manifest.json`).
        transactions, changes: how many were only on the old primary.
        first_lsn, last_lsn: commit positions of the first and last of them, 0 where there are none.
        truncates: tables that were truncated in the tail (these cannot be rewound by key).
    """

    folder: Path | None
    transactions: int
    changes: int
    first_lsn: int = 0
    last_lsn: int = 0
    truncates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCheck:
    """One table compared on both nodes at the same position: (row count, checksum) on each."""

    table: str
    left: tuple[int, str]
    right: tuple[int, str]

    @property
    def equal(self) -> bool:
        return self.left == self.right


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """Contents of two nodes compared, table by table. ``position`` is the publisher's LSN compared at."""

    left: str
    right: str
    position: int
    tables: tuple[TableCheck, ...] = field(default=())

    @property
    def equal(self) -> bool:
        return all(t.equal for t in self.tables)

    @property
    def different(self) -> tuple[str, ...]:
        return tuple(t.table for t in self.tables if not t.equal)


class Engine(Protocol):
    """One kind of database, for one cluster."""

    async def check(self) -> Sequence[Finding]:
        """Pre-flight: everything that would stop or limit the protocol, each with what mends it."""

    async def setup(self, *, progress: Callable[[str], None]) -> Mapping[str, str]:
        """Make both nodes ready and copy the data to the standby. Idempotent and resumable.

        Returns ``{"link": name, "spare_slot": name, "identity:<node>": identity, ...}``, which the caller
        turns into the first `ClusterState`.
        """

    async def probe(self, node: str, *, heartbeat: int | None, epoch: int) -> Probe:
        """Ask a node how it is, in one round trip on a connection of the prober's own.

        ``heartbeat``: on the primary, also write this heartbeat number and the sequence sample (a real
        write, not waiting for a synchronous standby); a failed write sets ``unwritable``.
        """

    async def announce(self, ticket: Ticket, nodes: Sequence[str]) -> tuple[str, ...]:
        """Raise the fence row of every one of ``nodes`` that answers. Returns those that have it now."""

    async def fence(self, node: str, ticket: Ticket) -> None:
        """Make a node refuse writes: read-only for new sessions, existing sessions ended and gone."""

    async def promote(self, node: str, ticket: Ticket) -> None:
        """Lift the fence of a node: it accepts writes at this epoch."""

    async def wait_replay(self, link: Link, ticket: Ticket) -> None:
        """Wait until the subscriber has applied all that the (fenced) publisher committed."""

    async def copy_sequences(self, source: str, target: str, ticket: Ticket) -> None:
        """Give the target the exact sequence values of the fenced source."""

    async def raise_sequences(self, target: str, ticket: Ticket) -> None:
        """Raise the target's sequences past anything the lost primary can have handed out."""

    async def stop_apply(self, link: Link, ticket: Ticket) -> int:
        """Stop the subscriber for good and return its origin position on the publisher: the rescue point."""

    async def resume_apply(self, link: Link, ticket: Ticket) -> None:
        """Undo `stop_apply`: the subscriber follows again."""

    async def create_slot(self, node: str, name: str, ticket: Ticket) -> None:
        """Make sure the logical slot exists on a node."""

    async def advance_slot(self, node: str, name: str) -> None:
        """Let a spare slot forget what no follower will need, so that it keeps no disk."""

    async def follow(self, link: Link, ticket: Ticket) -> None:
        """Make the subscriber follow the publisher from the link's existing slot; returns once streaming."""

    async def full_copy(self, link: Link, ticket: Ticket) -> None:
        """Empty the subscriber's tables and start copying everything from the publisher."""

    async def catch_up(self, link: Link, ticket: Ticket) -> None:
        """Wait until the subscriber is ready (initial copies done) and within one heartbeat of the publisher."""

    async def require_sync(self, link: Link, ticket: Ticket) -> None:
        """Make the publisher wait for the subscriber on every commit; returns once that is in force and every
        earlier commit is on the subscriber."""

    async def relax_sync(self, node: str, ticket: Ticket) -> None:
        """Make a node stop waiting for a synchronous standby."""

    async def rescue(self, link: Link, after: int, folder: Path, ticket: Ticket) -> RescueReport:
        """Save every transaction that the publisher committed past ``after`` and nobody else has.

        The files are durable (fsync) when this returns. Raises `NeedsCopy` where the slot that holds them
        is gone (the report then says what is unknown).
        """

    async def keep(self, node: str, folder: Path, ticket: Ticket) -> RescueReport:
        """Save the whole contents of a node that is about to be emptied and whose own commits cannot be told.

        The files are durable when this returns; ``changes`` of the report counts rows.
        """

    async def rewind(self, link: Link, reverse: Link, after: int, ticket: Ticket) -> int:
        """Undo on the publisher, per key, what only it had; rows get the present primary's contents.

        Returns the number of keys touched. Raises `NeedsCopy` where that is impossible (TRUNCATE, ...).
        """

    async def drop_link(self, link: Link, ticket: Ticket) -> tuple[str, ...]:
        """Drop subscription and slot of a link, on whichever ends answer. Returns the ends still to do."""

    async def verify(self, left: str, right: str) -> VerifyReport:
        """Compare all replicated tables of two nodes at one position, without stopping writers for long."""

    async def sweep(self, primary: str) -> None:
        """Delete what nobody needs any more from Understudy's own tables (old commit tokens, markers)."""

    async def close(self) -> None:
        """Close every connection."""
