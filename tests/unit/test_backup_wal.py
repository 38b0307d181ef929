"""What a base backup is worth is a question about names: gaps, timelines, other servers."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.backup_records import manifest

from understudy.backup import wal
from understudy.backup.keys import Key, Keys
from understudy.backup.manifest import Kind, Manifest
from understudy.backup.physical import Watch
from understudy.backup.retention import Span
from understudy.backup.source import BackupError
from understudy.backup.store import Store, open_store
from understudy.backup.wal import SEGMENT_BYTES, Archived, WalError
from understudy.config_backup import Destination

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
SYSTEM = "7000000000000000001"


def base(first: int = 2, timeline: int = 1) -> Manifest:
    """A base backup that lies within one segment."""
    start = first * SEGMENT_BYTES + 40
    made = manifest("20261121T080000Z-physical-1", NOW, Kind.PHYSICAL, start=start, end=start + 216)
    return replace(made, timeline=timeline)


def archived(*names: str, histories: dict[int, str] | None = None) -> Archived:
    stored = {name: f"2026-11-21T08:00:{number:02}Z" for number, name in enumerate(names)}
    return Archived(system=SYSTEM, stored=stored, histories=histories or {})


def segments(*numbers: int, timeline: int = 1) -> list[str]:
    return [wal.segment_name(timeline, number) for number in numbers]


def test_names_are_those_of_postgresql() -> None:
    assert wal.segment_name(1, 0x1FE) == "0000000100000001000000FE"  # 256 segments in each 4 GiB
    assert wal.segment_number("0000000A00000001000000FE") == 0x1FE
    assert wal.parse_lsn("1/FE000028") == 0x1FE * SEGMENT_BYTES + 0x28
    assert wal.lsn_text(0x1FE * SEGMENT_BYTES + 0x28) == "1/FE000028"
    with pytest.raises(ValueError, match="position like"):
        wal.parse_lsn("1FE000028")


def test_a_record_begins_behind_the_header_of_its_page() -> None:
    assert wal.first_record(5 * SEGMENT_BYTES) == 5 * SEGMENT_BYTES + 0x28
    assert wal.first_record(5 * SEGMENT_BYTES + 8192) == 5 * SEGMENT_BYTES + 8192 + 0x18
    assert wal.first_record(5 * SEGMENT_BYTES + 8200) == 5 * SEGMENT_BYTES + 8200


def test_without_a_gap_all_of_it_can_be_restored() -> None:
    (found,) = wal.coverage([base()], [archived(*segments(1, 2, 3, 4), segments(5)[0] + wal.PARTIAL)], SYSTEM)
    assert found.whole
    assert found.begins == base().end_lsn
    assert found.ends == 6 * SEGMENT_BYTES
    assert found.until == "2026-11-21T08:00:04Z"


def test_the_segment_in_which_the_backup_ended_is_in_the_backup_itself() -> None:
    assert wal.reach(base(), archived(*segments(3, 4))).names == tuple(segments(3, 4))
    assert wal.reach(base(), archived(*segments(3, 4))).missing == ""


def test_a_gap_is_named_and_ends_what_can_be_restored() -> None:
    (found,) = wal.coverage([base()], [archived(*segments(3, 5, 6))], SYSTEM)
    assert not found.whole
    assert found.ends == 4 * SEGMENT_BYTES
    assert segments(4)[0] in found.reason


def test_an_unfinished_segment_before_later_ones_is_a_gap() -> None:
    left = segments(4)[0] + wal.PARTIAL  # where the slot was lost
    found = wal.reach(base(), archived(segments(3)[0], left, segments(5)[0]))
    assert (found.missing, found.names) == (segments(4)[0], (segments(3)[0],))


def test_another_primary_needs_a_base_backup_of_its_own() -> None:
    (found,) = wal.coverage([base()], [archived(*segments(3))], "7000000000000000002")
    assert not found.whole
    assert "another server" in found.reason


def test_no_log_at_all_covers_the_backup_alone() -> None:
    (found,) = wal.coverage([base()], [], SYSTEM)
    assert (found.ends, found.until) == (base().end_lsn, base().finished)
    assert "no log after it" in found.reason


def test_dumps_cover_nothing() -> None:
    assert wal.coverage([manifest("20261121T080000Z-logical-1", NOW)], [archived(*segments(3))]) == ()


HISTORY = f"1\t{wal.lsn_text(4 * SEGMENT_BYTES + 100)}\tno recovery target specified\n"


def test_the_log_is_followed_onto_the_timeline_that_left_after_the_backup() -> None:
    names = [*segments(3, 4, 5, 6), *segments(4, 5, timeline=2), "00000002.history"]
    found = wal.reach(base(), archived(*names, histories={2: HISTORY}))
    assert found.timeline == 2
    # From the segment in which timeline 2 begins, its own files; 5 and 6 of timeline 1 are of another history.
    assert found.names == ("00000002.history", segments(3)[0], *segments(4, 5, timeline=2))


def test_a_timeline_that_left_before_the_backup_is_another_history() -> None:
    late = base(first=7)
    found = wal.reach(late, archived(*segments(8), *segments(4, 5, timeline=2), histories={2: HISTORY}))
    assert (found.timeline, found.names) == (1, tuple(segments(8)))


def test_a_backup_of_the_new_timeline_does_not_ask_for_the_old() -> None:
    found = wal.reach(base(first=5, timeline=2), archived(*segments(6, timeline=2), histories={2: HISTORY}))
    assert (found.missing, found.names) == ("", ("00000002.history", *segments(6, timeline=2)))


def test_log_that_no_kept_backup_needs_may_go() -> None:
    there = archived(*segments(1, 2, 3, 4, 5), segments(6)[0] + wal.PARTIAL, "00000002.history")
    spans = (Span(base().start_lsn, base().end_lsn), Span(5 * SEGMENT_BYTES, None))
    assert wal.unneeded(spans, there, NOW) == tuple(segments(1, 3, 4))


def test_log_of_a_server_without_a_kept_backup_stays_two_days() -> None:
    there = archived(*segments(1, 2))
    assert wal.unneeded((), there, NOW) == ()
    assert wal.unneeded((), there, NOW + timedelta(days=3)) == tuple(segments(1, 2))


# --- storing ------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "shelf").mkdir()
    return open_store(Destination(name="shelf", folder=tmp_path / "shelf"))


def test_a_segment_is_stored_once_and_read_back(store: Store, tmp_path: Path) -> None:
    keys, file = Keys(Key.new()), tmp_path / segments(3)[0]
    file.write_bytes(b"log" * 100_000)
    key = wal.prefix("main", SYSTEM) + file.name
    wal.put(store, key, file, keys)
    wal.put(store, key, file, keys)  # killed before it was noted: the same again
    assert b"".join(wal.fetch(store, key, keys)) == file.read_bytes()
    (found,) = wal.archives(store, "main", keys)
    assert (found.system, list(found.stored)) == (SYSTEM, [file.name])


def test_a_segment_with_other_contents_is_never_replaced(store: Store, tmp_path: Path) -> None:
    keys, file = Keys(Key.new()), tmp_path / segments(3)[0]
    file.write_bytes(b"of the original")
    key = wal.prefix("main", SYSTEM) + file.name
    wal.put(store, key, file, keys)
    file.write_bytes(b"of a copy")
    with pytest.raises(WalError, match="two servers with one system identifier"):
        wal.put(store, key, file, keys)
    assert b"".join(wal.fetch(store, key, keys)) == b"of the original"


def test_an_unfinished_segment_is_replaced_as_it_grows(store: Store, tmp_path: Path) -> None:
    file = tmp_path / (segments(3)[0] + wal.PARTIAL)
    key = wal.prefix("main", SYSTEM) + file.name
    for text in (b"a", b"ab"):
        file.write_bytes(text)
        wal.put(store, key, file, None)
    assert b"".join(wal.fetch(store, key, None)) == b"ab"


# --- the tar of a base backup -------------------------------------------------------------------------------


def tar(ranges: list[dict[str, object]], *, large: int = 3_000_000) -> bytes:
    target = io.BytesIO()
    text = json.dumps({"Files": ["x" * 200_000], "WAL-Ranges": ranges, "Manifest-Checksum": "0"}).encode()
    members = {
        "backup_label": b"START WAL LOCATION",
        "base/1/1259": b"\0" * large,
        "global/pg_control": int(SYSTEM).to_bytes(8, "little") + b"\x14\x05" + bytes(8000),
        "backup_manifest": text,
    }
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as out:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return target.getvalue()


RANGE: list[dict[str, object]] = [{"Timeline": 3, "Start-LSN": "1/28", "End-LSN": "1/100"}]


@pytest.mark.parametrize("size", [1, 511, 513, 2**20])
def test_the_position_is_read_while_the_tar_goes_by(size: int) -> None:
    data, watch = tar(RANGE, large=5000 if size == 1 else 3_000_000), Watch()
    for at in range(0, len(data), size):
        watch.feed(data[at : at + size])
    found = watch.position()
    assert (found.system, found.timeline) == (SYSTEM, 3)
    assert (found.start_lsn, found.end_lsn) == (2**32 + 0x28, 2**32 + 0x100)


def test_a_tar_that_ends_early_has_no_position() -> None:
    data = tar(RANGE)
    for length in (0, 100, len(data) // 2, len(data) - 12_000):
        watch = Watch()
        watch.feed(data[:length])
        with pytest.raises(BackupError, match="ends early"):
            watch.position()


def test_a_backup_over_two_timelines_is_refused() -> None:
    watch = Watch()
    watch.feed(tar(RANGE * 2))
    with pytest.raises(BackupError, match="2 ranges"):
        watch.position()


def test_what_is_no_tar_is_refused() -> None:
    with pytest.raises(BackupError, match="not a tar"):
        Watch().feed(b"pg_basebackup: error" * 100)
