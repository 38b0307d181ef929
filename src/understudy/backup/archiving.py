"""The archiver as a process of its own, and the small file by which others see how it stands."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from understudy import strict_json
from understudy.backup.archiver import Archiver, Status
from understudy.backup.shelf import Shelf
from understudy.backup.source import BackupRefused, primary_of

FORMAT: Final = 1
TOLD_EVERY: Final = 2.0
"""Seconds between two writes of the file."""
STALE: Final = 30.0
"""Seconds after which what the file says counts no more."""
MAX_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """How the archiver stood at a moment (ISO 8601, UTC)."""

    at: str
    status: Status


def path_of(directory: Path, cluster: str) -> Path:
    """Where a cluster's file lies."""
    return directory / f"{cluster}.archiver.json"


def run(shelf: Shelf, stop: threading.Event, *, tell: Callable[[str], None]) -> None:
    """Archive until the event is set. ``tell`` gets a line whenever something is wrong, and when it is right again.

    Raises `BackupRefused` where the configuration does not ask for it, and OSError.
    """
    policy, cluster = shelf.policy.physical, shelf.cluster
    if policy is None or not policy.wal:
        raise BackupRefused(
            f"{shelf.config.source}: expected a table [backup.physical] with wal = true, found none"
        )
    archiver = Archiver(
        cluster,
        shelf.stores,
        shelf.keys,
        spool=shelf.config.directory / "wal" / cluster.name,
        policy=policy,
        primary=lambda: primary_of(shelf.config, cluster),
    )
    telling = threading.Thread(
        target=_tell, args=(archiver, path_of(shelf.config.directory, cluster.name), stop, tell), daemon=True
    )
    telling.start()
    archiver.run(stop)
    telling.join(2 * TOLD_EVERY)


def _tell(archiver: Archiver, path: Path, stop: threading.Event, tell: Callable[[str], None]) -> None:
    last = ""
    while not stop.is_set():
        status = archiver.status
        wrong = "; ".join(
            [status.trouble, *(f"{d.destination}: {d.error}" for d in status.destinations if d.error)]
        ).strip("; ")
        if wrong != last:
            tell(wrong or f"the log of {status.node} is archived again")
            last = wrong
        told = Told(at=datetime.now(UTC).isoformat(timespec="seconds"), status=status)
        try:
            unfinished = path.with_suffix(".unfinished")
            unfinished.write_text(strict_json.encode(told, layout=FORMAT, key="archiver"))
            unfinished.replace(path)
        except OSError as error:
            tell(f"{path}: {error.strerror or error}: nobody sees how the archiver stands")
        stop.wait(TOLD_EVERY)


def read(path: Path, now: datetime) -> Status | None:
    """How the archiver stands; None where nothing was told lately. ``now``: in UTC. Raises `RecordError`, OSError."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES)
    except FileNotFoundError:
        return None
    told = strict_json.decode(Told, text, layout=FORMAT, key="archiver", what=str(path))
    age = (now - datetime.fromisoformat(told.at)).total_seconds()
    return told.status if age <= STALE else None
