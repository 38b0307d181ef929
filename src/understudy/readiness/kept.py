"""What the agent keeps in one file per cluster, so that pages, metrics and alerts never ask a destination themselves.

The part that looks (`part`) writes it every minute; everybody else only reads. Times are ISO 8601 in UTC.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from understudy import strict_json
from understudy.backup.manifest import Kind, Level, Manifest, Verdict, Verification
from understudy.readiness.journal import Journal, Loss, Outcome, Radius, Recovery
from understudy.readiness.light import Readiness

FORMAT: Final = 2
STALE: Final = 10 * 60.0
"""Seconds after which what the file says of the present counts no more."""
LISTED: Final = 200
"""Backups, and drills, that are listed: the newest ones."""
MAX_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One line of the ledger. ``seconds``: how long it took; ``restore_seconds``: the restore alone (0: none)."""

    backup: str
    level: Level
    verdict: Verdict
    destination: str
    at: str
    seconds: float
    restore_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One backup.

    Args:
        scope: ``all``, ``schema-only``, or how many tables: ``2 tables``.
        raw_bytes, stored_bytes: before and after compression.
        destinations: where it is. verified: the newest line of the ledger that says yes or no; else the newest one.
    """

    id: str
    kind: Kind
    scope: str
    node: str
    started: str
    finished: str
    raw_bytes: int
    stored_bytes: int
    destinations: tuple[str, ...]
    verified: Proof | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """The backups as the destinations told at a moment.

    Args:
        backups: newest first: `LISTED` of them, and the newest of each kind that holds the whole database. total: how
            many there are.
        proofs: by level, the newest verification of the whole database that passed and went at least that deep.
        problems: what could not be read, one sentence each.
    """

    at: str
    backups: tuple[Listed, ...]
    total: int
    proofs: Mapping[str, Proof]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """How the archiving of the write-ahead log stands.

    Args:
        until: every destination has everything committed before this moment (seconds since 1970); None: not known.
        retained: bytes of log that the primary keeps for us; None: not known. spool: bytes waiting on this host.
        trouble: what is wrong; empty: nothing.
    """

    receiving: bool
    until: float | None
    retained: int | None
    spool: int
    trouble: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """One drill. ``rto``, ``rpo``: its targets in seconds; ``recovery``, ``loss``: what was measured."""

    id: str
    scenario: str
    outcome: Outcome
    summary: str
    must_fail: bool
    radius: Radius
    operator: str
    started: str
    finished: str
    seconds: float
    rto: float
    rpo: float
    recovery: Recovery | None
    loss: Loss | None
    backup: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Everything, as it was at a moment.

    Args:
        objectives: in seconds, by name: ``recovery_time``, ``data_loss``, ``backup_age``, ``verification_age``.
        stock: None where no destination has answered yet. archive: None where nothing is archived.
        archiving: the write-ahead log is to be archived.
        drills: newest first, at most `LISTED`. wrong: what is wrong with their journals, one sentence each.
    """

    at: str
    readiness: Readiness
    objectives: Mapping[str, float]
    stock: Stock | None
    archiving: bool
    archive: Archive | None
    drills: tuple[Drilled, ...]
    wrong: tuple[str, ...]

    def age(self, now: datetime) -> float:
        """Seconds since it was written. ``now``: in UTC."""
        return (now - datetime.fromisoformat(self.at)).total_seconds()

    def fresh(self, now: datetime) -> bool:
        """It still says something of the present."""
        return self.age(now) <= STALE


# --- made of what was found ---------------------------------------------------------------------------------


def stock(
    at: str,
    backups: Sequence[Manifest],
    places: Mapping[str, tuple[str, ...]],
    verifications: Sequence[Verification],
    problems: Sequence[str],
) -> Stock:
    """The summary. ``backups``: oldest first; ``verifications``: in any order."""
    ledger = sorted(verifications, key=lambda found: found.moment)
    told = {found.backup: found for found in ledger}
    told |= {found.backup: found for found in ledger if found.verdict is not Verdict.INCONCLUSIVE}
    by_time = sorted(backups, key=lambda manifest: manifest.order, reverse=True)
    whole = [m for m in by_time if m.whole]
    proving = {m.id for m in whole}
    each = {next(m.id for m in whole if m.kind is kind) for kind in {m.kind for m in whole}}
    newest = [m for place, m in enumerate(by_time) if place < LISTED or m.id in each]
    return Stock(
        at=at,
        backups=tuple(_listed(manifest, places, told.get(manifest.id)) for manifest in newest),
        total=len(backups),
        proofs=dict(_proofs([line for line in ledger if line.backup in proving])),
        problems=tuple(problems),
    )


def drilled(journals: Sequence[Journal]) -> tuple[Drilled, ...]:
    """The summaries, newest first. ``journals``: oldest first."""
    return tuple(_drilled(journal) for journal in reversed(journals[-LISTED:]))


def _listed(
    manifest: Manifest, places: Mapping[str, tuple[str, ...]], verified: Verification | None
) -> Listed:
    words = manifest.scope
    return Listed(
        id=manifest.id,
        kind=manifest.kind,
        scope=words[0] if words[0] in ("all", "schema-only") else f"{len(words)} tables",
        node=manifest.node,
        started=manifest.started,
        finished=manifest.finished,
        raw_bytes=sum(part.raw_bytes for part in manifest.parts),
        stored_bytes=sum(part.stored_bytes for part in manifest.parts),
        destinations=places.get(manifest.id, ()),
        verified=None if verified is None else _proof(verified),
    )


def _proofs(ledger: Sequence[Verification]) -> Iterator[tuple[str, Proof]]:
    levels = list(Level)
    for level in levels:
        deep = levels[levels.index(level) :]
        passed = [one for one in ledger if one.verdict is Verdict.PASS and one.level in deep]
        if passed:
            yield level.value, _proof(passed[-1])


def _proof(found: Verification) -> Proof:
    return Proof(
        backup=found.backup,
        level=found.level,
        verdict=found.verdict,
        destination=found.destination,
        at=found.at,
        seconds=found.seconds,
        restore_seconds=found.restore_seconds,
    )


def _drilled(journal: Journal) -> Drilled:
    return Drilled(
        id=journal.id,
        scenario=journal.scenario,
        outcome=journal.outcome,
        summary=journal.summary,
        must_fail=journal.must_fail,
        radius=journal.radius,
        operator=journal.operator,
        started=journal.started,
        finished=journal.finished,
        seconds=journal.seconds,
        rto=journal.rto,
        rpo=journal.rpo,
        recovery=journal.recovery,
        loss=journal.loss,
        backup=journal.backup,
    )


# --- the file -----------------------------------------------------------------------------------------------


def path_of(directory: Path, cluster: str) -> Path:
    """Where a cluster's file lies."""
    return directory / f"{cluster}.readiness.json"


def write(directory: Path, cluster: str, told: Told) -> None:
    """Replace the file at once and whole. Raises OSError."""
    path = path_of(directory, cluster)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(strict_json.encode(told, layout=FORMAT, key="told", indent=1))
    unfinished.replace(path)


class Reader:
    """Reads a cluster's file again only where it was replaced. May be used from any thread."""

    def __init__(self, directory: Path, cluster: str) -> None:
        self._path = path_of(directory, cluster)
        self._known: tuple[tuple[int, int, int], Told] | None = None

    def told(self) -> Told | None:
        """What the agent told last, however long ago; None where it has told nothing yet.

        Raises `RecordError` where the file is damaged, and OSError.
        """
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
                known = self._known
                if known is not None and known[0] == stamp:
                    return known[1]
                text = file.read(MAX_BYTES)
        except FileNotFoundError:
            return None
        told = strict_json.decode(Told, text, layout=FORMAT, key="told", what=str(self._path))
        self._known = (stamp, told)
        return told
