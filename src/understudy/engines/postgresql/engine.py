"""PostgreSQL as an engine: every operation of the protocol on a pair of independent servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from understudy.engines.base import Finding, RescueReport, VerifyReport
from understudy.engines.postgresql import fencing, links, sequences, slots, synchronous
from understudy.engines.postgresql.check import check
from understudy.engines.postgresql.housekeeping import sweep
from understudy.engines.postgresql.probe import Prober
from understudy.engines.postgresql.rescue import rescue
from understudy.engines.postgresql.rewind import rewind
from understudy.engines.postgresql.sessions import Sessions
from understudy.engines.postgresql.setup import setup
from understudy.engines.postgresql.verify import verify
from understudy.model import Cluster, Link, Probe


class PostgreSQLEngine:
    """The `Engine` for PostgreSQL; see `docs/explanation/protocol.md` for what each operation does and why.

    Args:
        cluster: whose nodes.
        application: what the control connections call themselves, after ``understudy/<cluster>/``.
    """

    def __init__(self, cluster: Cluster, *, application: str = "agent") -> None:
        self.cluster = cluster
        self.sessions = Sessions(cluster, application=application)
        self._prober = Prober(self.sessions)

    async def check(self) -> Sequence[Finding]:
        return await check(self.sessions)

    async def setup(self, *, progress: Callable[[str], None]) -> Mapping[str, str]:
        return await setup(self.sessions, progress)

    async def probe(self, node: str, *, heartbeat: int | None, epoch: int) -> Probe:
        return await self._prober.probe(node, heartbeat=heartbeat, epoch=epoch)

    async def announce(self, epoch: int, primary: str, nodes: Sequence[str]) -> tuple[str, ...]:
        return await fencing.announce(self.sessions, epoch, primary, nodes)

    async def fence(self, node: str, epoch: int) -> None:
        await fencing.fence(self.sessions, node, epoch)

    async def promote(self, node: str, epoch: int) -> None:
        await fencing.promote(self.sessions, node, epoch)

    async def wait_replay(self, link: Link, epoch: int) -> None:
        await links.wait_replay(self.sessions, link, epoch)

    async def copy_sequences(self, source: str, target: str, epoch: int) -> None:
        await sequences.copy(self.sessions, source, target, epoch)

    async def raise_sequences(self, target: str, epoch: int) -> None:
        await sequences.raise_past(self.sessions, target, epoch)

    async def stop_apply(self, link: Link, epoch: int) -> int:
        return await links.stop_apply(self.sessions, link, epoch)

    async def resume_apply(self, link: Link, epoch: int) -> None:
        await links.resume_apply(self.sessions, link, epoch)

    async def create_slot(self, node: str, name: str, epoch: int) -> None:
        await slots.create_slot(self.sessions, node, name, epoch)

    async def advance_slot(self, node: str, name: str) -> None:
        await slots.advance_slot(self.sessions, node, name)

    async def follow(self, link: Link, epoch: int) -> None:
        await links.follow(self.sessions, link, epoch)

    async def full_copy(self, link: Link, epoch: int) -> None:
        await slots.full_copy(self.sessions, link, epoch)

    async def catch_up(self, link: Link, epoch: int) -> None:
        await links.catch_up(self.sessions, link, epoch)

    async def require_sync(self, link: Link, epoch: int) -> None:
        await synchronous.require_sync(self.sessions, link, epoch)

    async def relax_sync(self, node: str, epoch: int) -> None:
        await synchronous.relax_sync(self.sessions, node, epoch)

    async def rescue(self, link: Link, after: int, folder: Path, epoch: int) -> RescueReport:
        return await rescue(self.sessions, self.cluster, link, after, folder, epoch)

    async def rewind(self, link: Link, reverse: Link, after: int, epoch: int) -> int:
        return await rewind(self.sessions, self.cluster, link, reverse, after, epoch)

    async def drop_link(self, link: Link, epoch: int) -> tuple[str, ...]:
        return await links.drop_link(self.sessions, link, epoch)

    async def verify(self, left: str, right: str) -> VerifyReport:
        return await verify(self.sessions, self.cluster, left, right)

    async def sweep(self, primary: str) -> None:
        await sweep(self.sessions, primary)

    async def close(self) -> None:
        await self._prober.close()
        await self.sessions.close()
