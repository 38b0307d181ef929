"""What is kept for pages, metrics and alerts: the newest of everything, and what was proven, in one file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.backup_records import manifest, verification
from tests.unit.test_journal import drill

from understudy.backup.manifest import Kind, Level, Part, Verdict
from understudy.readiness import kept
from understudy.readiness.kept import LISTED, Archive, Reader, Told
from understudy.readiness.light import Item, Light, Readiness
from understudy.strict_json import RecordError

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def told(at: datetime = NOW, **changes: object) -> Told:
    parts = (Part(name="archive", raw_bytes=4000, stored_bytes=1000, sha256="ab"),)
    first, second = (
        manifest(f"2026112{day}T020000Z-logical-aaaaaa", NOW - timedelta(days=2 - day), parts=parts)
        for day in (0, 1)
    )
    ledger = [
        verification(second.id, NOW, Level.RESTORE, Verdict.INCONCLUSIVE),
        verification(second.id, NOW - timedelta(hours=1), Level.BYTES),
        verification(first.id, NOW - timedelta(hours=2), Level.RESTORE),
    ]
    made: dict[str, object] = {
        "at": at.isoformat(),
        "readiness": Readiness(
            cluster="main", light=Light.RED, items=(Item(name="backup", light=Light.RED, detail="old"),)
        ),
        "objectives": {"recovery_time": 3600.0},
        "stock": kept.stock(at.isoformat(), [first, second], {first.id: ("nas",)}, ledger, ["x: damaged"]),
        "archiving": True,
        "archive": Archive(receiving=True, until=5.0, retained=None, spool=0, trouble=""),
        "drills": kept.drilled([drill()]),
        "wrong": (),
    }
    return Told(**{**made, **changes})  # type: ignore[arg-type]


def test_backups_newest_first_each_with_the_line_that_says_something() -> None:
    stock = told().stock
    assert stock is not None
    newest, older = stock.backups
    assert newest.id > older.id
    assert (newest.raw_bytes, newest.stored_bytes, newest.destinations) == (4000, 1000, ())
    assert newest.verified is not None  # the inconclusive one is newer, and says nothing
    assert (newest.verified.level, newest.verified.verdict) == (Level.BYTES, Verdict.PASS)
    assert older.destinations == ("nas",)
    assert older.verified is not None
    assert older.verified.level is Level.RESTORE


def test_a_restore_proves_the_archive_and_the_bytes_too() -> None:
    stock = told().stock
    assert stock is not None
    assert {level: proof.at for level, proof in stock.proofs.items()} == {
        "bytes": "2026-11-21T11:00:00Z",
        "archive": "2026-11-21T10:00:00Z",
        "restore": "2026-11-21T10:00:00Z",
    }


def test_a_dump_of_a_part_proves_nothing_of_the_whole() -> None:
    whole = manifest("20260101T000000Z-logical-aaaaaa", NOW)
    parts = [
        manifest(f"20260102T{n:06}Z-logical-aaaaaa", NOW, scope=("schema-only",)) for n in range(LISTED + 1)
    ]
    ledger = [
        verification(whole.id, NOW - timedelta(hours=1), Level.BYTES),
        verification(parts[0].id, NOW, Level.RESTORE),
    ]
    stock = kept.stock(NOW.isoformat(), [whole, *parts], {}, ledger, [])
    assert list(stock.proofs) == ["bytes"]
    assert stock.backups[-1].id == whole.id  # always listed: its age is what counts


def test_only_the_newest_are_listed_all_are_counted() -> None:
    many = [manifest(f"20260101T{n:06}Z-logical-aaaaaa", NOW) for n in range(LISTED + 1)]
    stock = kept.stock(NOW.isoformat(), many, {}, [], [])
    assert (len(stock.backups), stock.total) == (LISTED, LISTED + 1)
    assert stock.backups[0].id == many[-1].id
    base = manifest("20250101T000000Z-physical-aaaaaa", NOW, Kind.PHYSICAL)
    assert (
        kept.stock(NOW.isoformat(), [base, *many], {}, [], []).backups[-1].id == base.id
    )  # the newest of its kind


def test_the_file_is_read_as_it_was_written_and_again_when_it_was_replaced(tmp_path: Path) -> None:
    reader = Reader(tmp_path, "main")
    assert reader.told() is None
    kept.write(tmp_path, "main", told())
    first = reader.told()
    assert first == told()
    assert reader.told() is first
    kept.write(tmp_path, "main", told(NOW + timedelta(minutes=1)))
    assert reader.told() == told(NOW + timedelta(minutes=1))
    assert [file.name for file in tmp_path.iterdir()] == ["main.readiness.json"]
    (tmp_path / "main.readiness.json").write_text('{"format": 1}')
    with pytest.raises(RecordError, match="expected format 2"):
        reader.told()


def test_after_a_while_it_says_nothing_of_the_present() -> None:
    assert told().fresh(NOW + timedelta(seconds=kept.STALE))
    assert not told().fresh(NOW + timedelta(seconds=kept.STALE + 1))
