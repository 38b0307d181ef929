"""The traffic light beside the agents: looked at every minute, kept in a file that pages, metrics and alerts read."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from understudy import strict_json
from understudy.agent.service import Running
from understudy.config import Config
from understudy.model import Cluster
from understudy.readiness.gather import look
from understudy.readiness.light import Readiness

FORMAT: Final = 1
EVERY: Final = 60.0
"""Seconds between two looks: each lists every destination."""
TURN: Final = 1.0
"""Seconds between two looks at whether the agent acts."""
STALE: Final = 10 * 60.0
"""Seconds after which what the file says counts no more."""
MAX_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The light as it was at a moment (ISO 8601, UTC)."""

    at: str
    readiness: Readiness


def path_of(directory: Path, cluster: str) -> Path:
    """Where a cluster's file lies."""
    return directory / f"{cluster}.readiness.json"


async def keep(running: Running, leave: asyncio.Event) -> None:
    """Look once a minute at every cluster whose agent acts here, until ``leave`` is set."""
    due: dict[str, float] = {}
    clock = asyncio.get_running_loop().time
    while not leave.is_set():
        for name, agent in running.agents.items():
            if agent.sight.acting and due.get(name, 0.0) <= clock():
                due[name] = clock() + EVERY
                await asyncio.to_thread(_look, running.config, running.config.cluster(name))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(leave.wait(), TURN)


def _look(config: Config, cluster: Cluster) -> None:
    told = Told(at=datetime.now(UTC).isoformat(timespec="seconds"), readiness=look(config, cluster))
    path = path_of(config.directory, cluster.name)
    unfinished = path.with_suffix(".unfinished")
    try:
        unfinished.write_text(strict_json.encode(told, layout=FORMAT, key="told", indent=1))
        unfinished.replace(path)
    except OSError as error:
        structlog.get_logger().warning("readiness_not_written", cluster=cluster.name, error=str(error))


def read(directory: Path, cluster: str, now: datetime) -> Readiness | None:
    """The light as the agent saw it last; None where it has not looked lately. ``now``: in UTC.

    Raises `RecordError` where the file is damaged, and OSError.
    """
    path = path_of(directory, cluster)
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES)
    except FileNotFoundError:
        return None
    told = strict_json.decode(Told, text, layout=FORMAT, key="told", what=str(path))
    age = (now - datetime.fromisoformat(told.at)).total_seconds()
    return told.readiness if age <= STALE else None
