"""Metrics of readiness, backups, the archived log and drills, made of what the agent keeps in its file.

Names and units: `docs/reference/metrics.md`. A figure that nobody has has no sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric

from understudy.backup.manifest import Kind
from understudy.readiness.journal import Outcome
from understudy.readiness.kept import Archive, Drilled, Listed, Reader, Stock, Told
from understudy.readiness.light import Light
from understudy.strict_json import RecordError

_LIGHTS: Final = {Light.GREEN: 0, Light.AMBER: 1, Light.RED: 2}
_OUTCOMES: Final = {Outcome.PASS: 0, Outcome.INCONCLUSIVE: 1, Outcome.FAIL: 2}
_Samples = Iterator[tuple[str, tuple[str, ...], float]]
"""Name, values of the labels after the cluster's, value."""

_FAMILIES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "readiness": ("0: green, 1: amber, 2: red. What is not configured has no sample.", ("item",)),
    "readiness_timestamp_seconds": ("When it was looked at last (Unix time).", ()),
    "objective_seconds": ("What the configuration promises.", ("objective",)),
    "backups": ("How many backups the destinations hold.", ()),
    "backup_last_success_timestamp_seconds": (
        "When the newest backup of the whole database was finished (Unix time).",
        ("kind",),
    ),
    "backup_duration_seconds": ("How long the newest backup took.", ("kind",)),
    "backup_bytes": ("Size of the newest backup, before and after compression.", ("kind", "stage")),
    "verify_last_success_timestamp_seconds": (
        "When a backup last passed a verification that went at least that deep (Unix time).",
        ("level",),
    ),
    "restore_duration_seconds": ("How long the newest restore that passed took.", ()),
    "wal_unstored_seconds": ("Age of the oldest commit that some destination may lack.", ()),
    "wal_receiving": ("1 while the write-ahead log is received.", ()),
    "wal_slot_retained_bytes": ("Log that the primary keeps for the archiver.", ()),
    "wal_spool_bytes": ("Log on this host that waits for a destination.", ()),
    "drill_last_outcome": ("0: passed, 1: inconclusive, 2: failed.", ("scenario",)),
    "drill_last_timestamp_seconds": ("When the drill last ended (Unix time).", ("scenario",)),
    "rto_last_drill_seconds": ("Time to recover, as the newest drill measured it.", ()),
    "rpo_last_drill_seconds": ("Age of the oldest write that the newest drill lost; 0: none.", ()),
}


def families(readers: Mapping[str, Reader]) -> Iterator[Metric]:
    """All families, for the clusters of these readers. Reads their files."""
    made = {
        name: GaugeMetricFamily(f"understudy_{name}", text, labels=["cluster", *labels])
        for name, (text, labels) in _FAMILIES.items()
    }
    now = datetime.now(UTC)
    for cluster, reader in readers.items():
        try:
            told = reader.told()
        except (RecordError, OSError):
            continue  # the time of the last look is missing then, and a rule waits for that
        for name, labels, value in _samples(told, now) if told is not None else ():
            made[name].add_metric([cluster, *labels], value)
    yield from made.values()


def _samples(told: Told, now: datetime) -> _Samples:
    yield "readiness_timestamp_seconds", (), _when(told.at)
    for objective, seconds in told.objectives.items():
        yield "objective_seconds", (objective,), seconds
    if told.fresh(now):
        for item in told.readiness.items:
            if item.light in _LIGHTS:
                yield "readiness", (item.name,), _LIGHTS[item.light]
        if told.archive is not None:
            yield from _of_archive(told.archive, now)
    if told.stock is not None:
        yield from _of_stock(told.stock)
    yield from _of_drills(told.drills)


def _of_archive(archive: Archive, now: datetime) -> _Samples:
    yield "wal_receiving", (), float(archive.receiving)
    yield "wal_spool_bytes", (), archive.spool
    if archive.until is not None:
        yield "wal_unstored_seconds", (), max(0.0, now.timestamp() - archive.until)
    if archive.retained is not None:
        yield "wal_slot_retained_bytes", (), archive.retained


def _of_stock(stock: Stock) -> _Samples:
    yield "backups", (), stock.total
    newest: dict[Kind, Listed] = {}
    for backup in stock.backups:  # newest first
        if backup.scope == "all":
            newest.setdefault(backup.kind, backup)
    for kind, backup in newest.items():
        ended = _when(backup.finished)
        yield "backup_last_success_timestamp_seconds", (kind,), ended
        yield "backup_duration_seconds", (kind,), ended - _when(backup.started)
        yield "backup_bytes", (kind, "raw"), backup.raw_bytes
        yield "backup_bytes", (kind, "stored"), backup.stored_bytes
    for level, proof in stock.proofs.items():
        yield "verify_last_success_timestamp_seconds", (level,), _when(proof.at)
    if (restored := stock.proofs.get("restore")) is not None:
        yield "restore_duration_seconds", (), restored.restore_seconds


def _of_drills(drills: tuple[Drilled, ...]) -> _Samples:
    newest: dict[str, Drilled] = {}
    for drill in drills:  # newest first
        newest.setdefault(drill.scenario, drill)
    for scenario, drill in newest.items():
        yield "drill_last_outcome", (scenario,), _OUTCOMES[drill.outcome]
        yield "drill_last_timestamp_seconds", (scenario,), _when(drill.finished)
    measured = [drill for drill in drills if not drill.must_fail]
    recovery = next((drill.recovery for drill in measured if drill.recovery is not None), None)
    loss = next((drill.loss for drill in measured if drill.loss is not None), None)
    if recovery is not None:
        yield "rto_last_drill_seconds", (), recovery.total
    if loss is not None:
        yield "rpo_last_drill_seconds", (), loss.seconds


def _when(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
