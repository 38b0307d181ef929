"""The traffic light beside the agents: looked at every minute, kept in a file that pages, metrics and alerts read."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import structlog

from understudy.agent.service import Running
from understudy.config import Config
from understudy.model import Cluster
from understudy.readiness import gather, kept
from understudy.readiness.journal import Journals
from understudy.readiness.kept import Reader
from understudy.strict_json import RecordError

EVERY: Final = 60.0
"""Seconds between two looks: each lists every destination."""
SOON: Final = 10.0
"""Seconds from the first look to the second: just begun, an agent knows no lag yet, and nothing is archived."""
TURN: Final = 1.0
"""Seconds between two looks at whether the agent acts."""


async def keep(running: Running, leave: asyncio.Event) -> None:
    """Look once a minute at every cluster whose agent acts here, until ``leave`` is set."""
    due: dict[str, float] = {}
    journals = gather.journals_of(running.config)
    clock = asyncio.get_running_loop().time
    while not leave.is_set():
        for name, agent in running.agents.items():
            if agent.sight.acting and due.get(name, 0.0) <= clock():
                due[name] = clock() + (EVERY if name in due else SOON)
                await asyncio.to_thread(_look, running.config, running.config.cluster(name), journals)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(leave.wait(), TURN)


def _look(config: Config, cluster: Cluster, journals: Journals) -> None:
    log = structlog.get_logger().bind(cluster=cluster.name)
    try:
        before = Reader(config.directory, cluster.name).told()
    except (RecordError, OSError) as error:  # another version wrote it: this look replaces it
        log.info("readiness_not_read", error=str(error))
        before = None
    try:
        kept.write(config.directory, cluster.name, gather.told(config, cluster, before, journals))
    except OSError as error:
        log.warning("readiness_not_written", error=str(error))
    except Exception:  # the agent must not end for a look
        log.exception("readiness_failed", message="a fault of the look's own; the next one comes in a minute")
