"""PostgreSQL as an engine: every operation of the protocol on a pair of independent servers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from understudy.engines.base import Finding, RescueReport, VerifyReport
from understudy.engines.postgresql import fencing, links, sequences, slots, synchronous
from understudy.engines.postgresql.check import check
from understudy.engines.postgresql.housekeeping import sweep
from understudy.engines.postgresql.keep import keep
from understudy.engines.postgresql.probe import Prober
from understudy.engines.postgresql.rescue import rescue
from understudy.engines.postgresql.rewind import rewind
from understudy.engines.postgresql.sessions import Sessions
from understudy.engines.postgresql.setup import setup
from understudy.engines.postgresql.verify import verify
from understudy.model import Cluster, Link, Probe, Ticket


class PostgreSQLEngine:
    """The `Engine` for PostgreSQL; see `docs/explanation/protocol.md` for what each operation does and why.

    Args:
        cluster: whose nodes.
        application: what the control connections call themselves, after ``understudy/<cluster>/``.
        clock: seconds, monotonic: what the times of probes are told in.
    """

    def __init__(
        self, cluster: Cluster, *, application: str = "agent", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.cluster = cluster
        self.sessions = Sessions(cluster, application=application)
        self._prober = Prober(self.sessions, clock)

    async def check(self) -> Sequence[Finding]:
        return await check(self.sessions)

    async def setup(self, *, progress: Callable[[str], None]) -> Mapping[str, str]:
        return await setup(self.sessions, progress)

    async def probe(self, node: str, *, heartbeat: int | None, epoch: int) -> Probe:
        return await self._prober.probe(node, heartbeat=heartbeat, epoch=epoch)

    async def announce(self, ticket: Ticket, nodes: Sequence[str]) -> tuple[str, ...]:
        return await fencing.announce(self.sessions, ticket, nodes)

    async def fence(self, node: str, ticket: Ticket) -> None:
        await fencing.fence(self.sessions, node, ticket)

    async def promote(self, node: str, ticket: Ticket) -> None:
        await fencing.promote(self.sessions, node, ticket)

    async def wait_replay(self, link: Link, ticket: Ticket) -> None:
        await links.wait_replay(self.sessions, link, ticket)

    async def copy_sequences(self, source: str, target: str, ticket: Ticket) -> None:
        await sequences.copy(self.sessions, source, target, ticket)

    async def raise_sequences(self, target: str, ticket: Ticket) -> None:
        await sequences.raise_past(self.sessions, target, ticket)

    async def stop_apply(self, link: Link, ticket: Ticket) -> int:
        return await links.stop_apply(self.sessions, link, ticket)

    async def resume_apply(self, link: Link, ticket: Ticket) -> None:
        await links.resume_apply(self.sessions, link, ticket)

    async def create_slot(self, node: str, name: str, ticket: Ticket) -> None:
        await slots.create_slot(self.sessions, node, name, ticket)

    async def advance_slot(self, node: str, name: str) -> None:
        await slots.advance_slot(self.sessions, node, name)

    async def follow(self, link: Link, ticket: Ticket) -> None:
        await links.follow(self.sessions, link, ticket)

    async def full_copy(self, link: Link, ticket: Ticket) -> None:
        await slots.full_copy(self.sessions, link, ticket)

    async def catch_up(self, link: Link, ticket: Ticket) -> None:
        await links.catch_up(self.sessions, link, ticket)

    async def require_sync(self, link: Link, ticket: Ticket) -> None:
        await synchronous.require_sync(self.sessions, link, ticket)

    async def relax_sync(self, node: str, ticket: Ticket) -> None:
        await synchronous.relax_sync(self.sessions, node, ticket)

    async def rescue(self, link: Link, after: int, folder: Path, ticket: Ticket) -> RescueReport:
        return await rescue(self.sessions, self.cluster, link, after, folder, ticket)

    async def keep(self, node: str, folder: Path, ticket: Ticket) -> RescueReport:
        return await keep(self.sessions, node, folder, ticket)

    async def rewind(self, link: Link, reverse: Link, after: int, ticket: Ticket) -> int:
        return await rewind(self.sessions, self.cluster, link, reverse, after, ticket)

    async def drop_link(self, link: Link, ticket: Ticket) -> tuple[str, ...]:
        return await links.drop_link(self.sessions, link, ticket)

    async def verify(self, left: str, right: str) -> VerifyReport:
        return await verify(self.sessions, self.cluster, left, right)

    async def sweep(self, primary: str) -> None:
        await sweep(self.sessions, primary)

    async def close(self) -> None:
        await self._prober.close()
        await self.sessions.close()
