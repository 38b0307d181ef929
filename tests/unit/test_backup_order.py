"""Which backup is the newest, also of two that were made in one second; backups made before ids told more stay."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.backup_records import manifest, verification

from understudy.backup import retention, source, verify, wal
from understudy.backup.catalog import ID, Catalog
from understudy.backup.manifest import Kind, Level, Manifest, Verdict, Verification
from understudy.backup.store_folder import FolderStore
from understudy.config_backup import Retention
from understudy.readiness import kept, light

SECOND = datetime(2026, 11, 21, 7, 45, tzinfo=UTC)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
# By their texts the third would be the first, and the first the last: "." comes before "Z".
OLD = "20261121T074500Z-physical-ffffff"
FIRST = "20261121T074500.250000Z-physical-cccccc"
LAST = "20261121T074500.500000Z-physical-000000"


def made(backup: str, time: str) -> Manifest:
    found = manifest(backup, SECOND, Kind.PHYSICAL, start=100, end=200)
    return replace(found, started=time, finished=time)


BACKUPS = [
    made(LAST, "2026-11-21T07:45:00.500000Z"),
    made(OLD, "2026-11-21T07:45:00Z"),
    made(FIRST, "2026-11-21T07:45:00.250000Z"),
]
IN_ORDER = [OLD, FIRST, LAST]


def test_a_new_id_is_one_and_tells_more_than_seconds() -> None:
    fresh = source.new_id(Kind.LOGICAL)
    assert all(ID.fullmatch(found) for found in (fresh, FIRST, OLD))
    assert re.fullmatch(r"\d{8}T\d{6}\.\d{6}Z-logical-[0-9a-f]{6}", fresh)
    assert not re.fullmatch(ID, "20261121T074500.Z-logical-1f2e3d")


def test_times_tell_more_than_seconds() -> None:
    told = source.now_text()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", told)
    assert datetime.fromisoformat(told).tzinfo == UTC


def test_the_catalogue_is_in_order(tmp_path: Path) -> None:
    catalog = Catalog([FolderStore("nas", tmp_path)])
    for one in BACKUPS:
        catalog.commit(replace(one, parts=()))
    assert [found.id for found in catalog.backups("main")] == IN_ORDER


def test_retention_keeps_the_newest() -> None:
    plan = retention.decide(BACKUPS, [], Retention(last=1, verified=0, pitr=0), NOW)
    assert [choice.id for choice in plan.keep] == [LAST]
    assert [choice.id for choice in plan.delete] == IN_ORDER[:2]


def test_everybody_means_the_same_by_the_newest() -> None:
    assert [found.backup for found in wal.coverage(BACKUPS, [])] == IN_ORDER
    assert verify.due(BACKUPS, [], 30, NOW)[0] == LAST
    stock = kept.stock(NOW.isoformat(), BACKUPS, {}, [], [])
    assert [found.id for found in reversed(stock.backups)] == IN_ORDER
    facts = light.Facts(backups=BACKUPS)
    (item,) = [
        item
        for item in light.judge("main", facts, light.Wanted(backup_every=1e6), NOW.timestamp()).items
        if item.name == "backup"
    ]
    assert LAST in item.detail


def line(at: str, verdict: Verdict) -> Verification:
    return replace(verification(LAST, SECOND, Level.RESTORE, verdict), at=at)


@pytest.mark.parametrize("newest", [Verdict.PASS, Verdict.FAIL])
def test_the_newest_verdict_of_a_second_counts(newest: Verdict) -> None:
    """The older of the two has no fraction: by the texts it would be the newer one."""
    (other,) = {Verdict.PASS, Verdict.FAIL} - {newest}
    ledger = [line("2026-11-21T07:45:00.500000Z", newest), line("2026-11-21T07:45:00Z", other)]
    plan = retention.decide(BACKUPS, ledger, Retention(last=1, verified=1, pitr=0), NOW)
    assert (LAST in {choice.id for choice in plan.keep}) is (newest is Verdict.PASS)
    stock = kept.stock(NOW.isoformat(), BACKUPS, {}, ledger, [])
    assert stock.backups[0].verified is not None
    assert stock.backups[0].verified.verdict is newest
    facts = light.Facts(backups=BACKUPS, verifications=ledger)
    wanted = light.Wanted(backup_every=1e6, verify_every=1e6)
    lights = {item.name: item.light for item in light.judge("main", facts, wanted, NOW.timestamp()).items}
    assert lights["verification"] is (light.Light.GREEN if newest is Verdict.PASS else light.Light.RED)


def test_the_ledger_is_in_order(tmp_path: Path) -> None:
    catalog = Catalog([FolderStore("nas", tmp_path)])
    catalog.commit(replace(BACKUPS[0], parts=()))
    times = ["2026-11-21T07:45:00Z", "2026-11-21T07:45:00.250000Z", "2026-11-21T07:45:00.500000Z"]
    for at in reversed(times):
        catalog.record("main", line(at, Verdict.PASS))
    assert [found.at for found in catalog.verifications("main")] == times
