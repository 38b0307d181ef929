"""What was told survives a restart of the agent: one small file per cluster beside the witness."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.errors import UnderstudyError
from understudy.monitor.edges import EdgePolicy, Edges, restored

_VERSION = 1
_MAX_BYTES = 4 * 1024 * 1024


class MemoryDamaged(UnderstudyError):
    """The file is there and is not what was written; the text says what becomes of it."""


@dataclass(slots=True)
class Memory:
    """What is kept of one cluster: what was told, and the last event of the history that was looked at."""

    edges: Edges
    last_event: int | None


def path_of(directory: Path, cluster: str) -> Path:
    """Where the memory of a cluster lies."""
    return directory / f"{cluster}.alerts.json"


def save(path: Path, memory: Memory, *, now: float, wall: float) -> None:
    """Replace the file as a whole. Raises OSError."""
    record = {
        "version": _VERSION,
        "wall": wall,
        "last_event": memory.last_event,
        "edges": memory.edges.dump(now),
    }
    made = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(record, file)
    made.replace(path)


def load(path: Path, policy: EdgePolicy, *, now: float, wall: float) -> Memory:
    """What was kept, or a memory of nothing where no file is there. Raises MemoryDamaged, OSError."""
    record = read(path)
    if record is None:
        return Memory(edges=Edges(policy=policy, started=now), last_event=None)
    try:
        edges = restored(policy, record["edges"], now=now, elapsed=wall - float(record["wall"]))
        last = record["last_event"]
        return Memory(edges=edges, last_event=None if last is None else int(last))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def read(path: Path) -> dict[str, Any] | None:
    """The record as it lies in the file; None: there is none. Raises MemoryDamaged, OSError."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES)
    except FileNotFoundError:
        return None
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(record, dict) or record.get("version") != _VERSION:
        raise _damaged(path, "another version or no record at all")
    return record


def _damaged(path: Path, what: str) -> MemoryDamaged:
    return MemoryDamaged(
        f"{path}: expected what was told so far, found {what[:100]}; the agent begins anew, some notices may come twice"
    )
