"""The monitor beside the agents: looks, judges, tells. It changes nothing, and its faults end nothing but a look."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial

import structlog

from understudy.agent.agent import ClusterAgent, Sight
from understudy.agent.service import Running
from understudy.config_alerts import Alerting, Severity
from understudy.errors import EngineError, WitnessError
from understudy.lease import boot_now
from understudy.model import Cluster
from understudy.monitor import memory as memories
from understudy.monitor.delivery import Courier
from understudy.monitor.edges import EdgePolicy, Edges, Notice
from understudy.monitor.looking import Looker
from understudy.monitor.memory import Memory, MemoryDamaged
from understudy.monitor.readings import Look, Reading
from understudy.monitor.rules import Rules
from understudy.monitor.story import BEFORE, told
from understudy.readiness.kept import Reader, Told
from understudy.strict_json import RecordError
from understudy.witness import Witness

TURN = 1.0
"""Seconds between two judgements: the agent's knowledge costs nothing to read."""
_STALE = 3.0
"""A look is worth something for so many times the pause between two."""
_MAX_NEWS = 500
"""Lines of history read at once."""


async def watch(running: Running, leave: asyncio.Event) -> None:
    """Watch all clusters for which an agent acts here, until ``leave`` is set. Returns at once where nothing is to
    be watched (see `Config.alerting`)."""
    alerting = running.config.alerting
    if alerting is None:
        return
    courier = await asyncio.to_thread(Courier, alerting.routes)
    try:
        async with asyncio.TaskGroup() as group:
            for name, agent in running.agents.items():
                watcher = Watcher(running, running.config.cluster(name), alerting, agent, courier)
                group.create_task(watcher.run(leave))
    finally:
        await asyncio.to_thread(courier.close)


class Watcher:
    """Watches one cluster while its agent acts."""

    def __init__(
        self, running: Running, cluster: Cluster, alerting: Alerting, agent: ClusterAgent, courier: Courier
    ) -> None:
        self._cluster, self._alerting, self._agent, self._courier = cluster, alerting, agent, courier
        self._witness: Witness = running.witness
        self._path = memories.path_of(running.config.directory, cluster.name)
        self._policy = EdgePolicy(
            per_hour=alerting.per_hour, clear_after=alerting.clear_after, quiet_start=alerting.quiet_start
        )
        self._rules = Rules(cluster, alerting.monitor)
        self._looker = Looker(cluster, alerting.monitor, boot_now)
        backups = running.config.backup is not None
        self._reader = Reader(running.config.directory, cluster.name) if backups else None
        self._kept: Told | None = None
        self._looks: dict[str, tuple[float, Look]] = {}
        self._troubles: dict[str, str] = {}
        self._memory: Memory | None = None
        self._saved: object = None
        self._judging = asyncio.Lock()
        self._log = structlog.get_logger().bind(cluster=cluster.name)

    async def run(self, leave: asyncio.Event) -> None:
        """Until ``leave`` is set."""
        every = self._alerting.monitor.every
        looking = [
            asyncio.create_task(self._forever(partial(self._look, node.name), every, leave))
            for node in self._cluster.nodes
        ]
        try:
            await self._forever(self._turn, TURN, leave)
        finally:
            for task in looking:
                task.cancel()
            await asyncio.gather(*looking, return_exceptions=True)
            await self._looker.close()

    async def _forever(self, once: Callable[[], Awaitable[None]], every: float, leave: asyncio.Event) -> None:
        """Call ``once`` every so many seconds. Whatever it raises is reported; the agent must not end for it."""
        while not leave.is_set():
            try:
                await once()
            except Exception:  # noqa: BLE001 - reported
                self._log.exception("monitor_failed", message="a fault of the monitor's own; it goes on")
            try:
                async with asyncio.timeout(every * random.uniform(0.9, 1.1)):  # noqa: S311
                    await leave.wait()
            except TimeoutError:
                continue

    # --- looking ----------------------------------------------------------------------------------------

    async def _look(self, node: str) -> None:
        """One look, where the agent acts and its probes are answered: a node in trouble is not bothered."""
        sight = self._agent.sight
        if not sight.acting or not sight.nodes[node].up:
            self._troubles.pop(node, None)
            return
        try:
            self._looks[node] = (boot_now(), await self._looker.look(node))
            self._troubles.pop(node, None)
        except EngineError as error:
            self._troubles[node] = str(error)
        await self._turn()  # a look is judged before the next one replaces it

    def _read_kept(self) -> tuple[Told, float] | None:
        """What is kept of the cluster's readiness, and its age. Reads a file."""
        try:
            self._kept = (self._reader.told() if self._reader is not None else None) or self._kept
        except (RecordError, OSError) as error:
            self._log.debug("readiness_not_read", error=str(error))  # the next look writes it anew
        return None if self._kept is None else (self._kept, self._kept.age(datetime.now(UTC)))

    def _reading(self, sight: Sight, kept: tuple[Told, float] | None, now: float) -> Reading:
        fresh = now - _STALE * self._alerting.monitor.every
        return Reading(
            state=sight.state,
            nodes=sight.nodes,
            lag_seconds=sight.lag_seconds,
            rule=sight.rule,
            reason=sight.reason,
            looks={name: look for name, (at, look) in self._looks.items() if at >= fresh},
            troubles=dict(self._troubles),
            kept=kept,
        )

    # --- judging and telling ----------------------------------------------------------------------------

    async def _turn(self) -> None:
        async with self._judging:
            await self._judge()

    async def _judge(self) -> None:
        sight = self._agent.sight
        if not sight.acting:
            self._memory = None  # the acting agent's is the one that counts: read it again when this one acts
            return
        now = boot_now()
        if self._memory is None:
            self._memory = await asyncio.to_thread(self._remember, now)
        happenings = await self._news(self._memory)
        kept = await asyncio.to_thread(self._read_kept)
        verdict = self._rules.verdict(self._reading(sight, kept, now))
        for notice in self._memory.edges.look(verdict.conditions, happenings, verdict.unseen, now):
            self._tell(notice)
        await self._keep(self._memory, now)

    def _tell(self, notice: Notice) -> None:
        log = self._log.info if notice.severity is Severity.INFO else self._log.warning
        log("alert", kind=notice.kind, severity=notice.severity, title=notice.title, text=notice.text)
        self._courier.give(self._cluster.name, notice)

    async def _news(self, memory: Memory) -> list[Notice]:
        """Notices from the lines of history that were written since the last turn."""
        try:
            return await asyncio.to_thread(self._read_news, memory)
        except WitnessError as error:
            self._log.debug("history_not_read", error=str(error))  # the agent's own sentence says it loudly
            return []

    def _read_news(self, memory: Memory) -> list[Notice]:
        name = self._cluster.name
        newest = self._witness.events(name, limit=1)
        if not newest:
            return []
        last, present = memory.last_event, newest[-1].id
        if last is None or present <= last:
            memory.last_event = present
            return []  # the first look at this history, or another witness has taken its place: old news is none
        limit = min(_MAX_NEWS, present - last) + BEFORE
        events = [e for e in self._witness.events(name, limit=limit) if e.id <= present]
        memory.last_event = present  # not before they were read
        return told(events, last)

    def _remember(self, now: float) -> Memory:
        try:
            return memories.load(self._path, self._policy, now=now, wall=time.time())
        except (MemoryDamaged, OSError) as error:
            self._log.warning("alerts_forgotten", error=str(error))
            return Memory(edges=Edges(policy=self._policy, started=now), last_event=None)

    async def _keep(self, memory: Memory, now: float) -> None:
        """Write down what was told, where that has changed."""
        edges = memory.edges
        present = (
            memory.last_event,
            edges.sent,
            edges.waiting,
            tuple((key, held.told) for key, held in edges.held.items()),
        )
        if present == self._saved:
            return
        try:
            await asyncio.to_thread(memories.save, self._path, memory, now=now, wall=time.time())
            self._saved = present
        except OSError as error:
            self._log.warning("alerts_not_kept", error=str(error))
