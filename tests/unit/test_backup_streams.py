"""A part on its way to several destinations and back: nothing is lost, cut or left over, whichever of them fails."""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import zstandard
from tests.unit.backup_records import manifest

from understudy.backup import stream
from understudy.backup.catalog import Catalog
from understudy.backup.keys import Key, Keys
from understudy.backup.manifest import Manifest, Part
from understudy.backup.seal import SealError
from understudy.backup.store import Missing, Store, Stored, StoreError
from understudy.backup.store_folder import UNFINISHED, FolderStore
from understudy.backup.stream import PartError, Progress, read_object, read_part, write_part

ID = "20261121T074500Z-logical-1f2e3d"
KEY = f"main/{ID}/archive"
KEYS = Keys(Key.new())
TEXT = b"".join(b"cow %d\n" % i for i in range(300_000))
NOISE = os.urandom(3 * 2**20 + 17)


@pytest.fixture
def stores(tmp_path: Path) -> list[FolderStore]:
    for name in ("nas", "disk"):
        (tmp_path / name).mkdir()
    return [FolderStore(name, tmp_path / name) for name in ("nas", "disk")]


def written(part: Part, keys: Keys | None = KEYS) -> Manifest:
    return manifest(ID, datetime.now(UTC), parts=(part,), recipients=keys.recipients if keys else ())


def progress() -> Progress:
    return Progress(f"{ID} archive")


def leftovers(store: FolderStore) -> list[Path]:
    folder = Path(store.place)
    return [p for p in folder.rglob("*") if p.is_file()]


class Failing(FolderStore):
    """Fails after so many bytes, as a disk that is full."""

    def __init__(self, folder: Path, after: int) -> None:
        super().__init__("broken", folder)
        self._after = after

    def put(self, key: str, chunks: Iterable[bytes], *, replace: bool = False) -> Stored:
        def some() -> Iterator[bytes]:
            count = 0
            for chunk in chunks:
                count += len(chunk)
                if count > self._after:
                    raise self.wrong(key, "no space left on device")
                yield chunk

        return super().put(key, some(), replace=replace)


@pytest.mark.parametrize("keys", [KEYS, None], ids=["sealed", "plain"])
@pytest.mark.parametrize("data", [b"", b"x", TEXT, NOISE], ids=["nothing", "one byte", "text", "noise"])
def test_what_goes_in_comes_out_of_every_destination(
    stores: list[FolderStore], data: bytes, keys: Keys | None
) -> None:
    part = write_part(io.BytesIO(data), stores, KEY, "archive", keys, progress())
    assert part.raw_bytes == len(data)
    for store in stores:
        assert b"".join(read_part(store, written(part, keys), "archive", keys)) == data
        assert (Path(store.place) / KEY).stat().st_size == part.stored_bytes
        assert (Path(store.place) / KEY).stat().st_mode & 0o777 == 0o600
    if keys is not None:
        assert TEXT[:100] not in (Path(stores[0].place) / KEY).read_bytes()


def test_a_destination_that_fails_fails_alone_and_is_told(stores: list[FolderStore], tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    told: list[str] = []
    line = Progress(f"{ID} archive", tell=told.append, every=1e9)
    broken = Failing(tmp_path / "broken", 2**20)
    part = write_part(io.BytesIO(NOISE), [broken, *stores], KEY, "archive", KEYS, line)
    assert [t for t in told if "broken is left out" in t and ID in t]
    assert len(line.problems) == 1
    for store in stores:
        assert b"".join(read_part(store, written(part), "archive", KEYS)) == NOISE
    assert leftovers(broken) == []
    assert Catalog([broken, *stores]).commit(written(part)) == ("nas", "disk")


def test_where_every_destination_fails_that_is_the_error(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(StoreError, match="no space left on device"):
        write_part(io.BytesIO(NOISE), [Failing(tmp_path / "a", 2**20)], KEY, "archive", KEYS, progress())


def test_a_destination_that_takes_nothing_is_given_up(
    stores: list[FolderStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "STALL_SECONDS", 2.0)  # more than a busy disk lets the others wait
    released = threading.Event()

    class Stuck(FolderStore):
        def put(self, key: str, chunks: Iterable[bytes], *, replace: bool = False) -> Stored:
            released.wait(60)
            return super().put(key, chunks, replace=replace)

    line = progress()
    try:
        both: list[Store] = [Stuck("stuck", tmp_path), *stores]
        part = write_part(io.BytesIO(os.urandom(8 * 2**20)), both, KEY, "archive", KEYS, line)
    finally:
        released.set()
    assert "stuck is left out" in line.problems[0]
    assert "took nothing for" in line.problems[0]
    assert part.raw_bytes == 8 * 2**20


def test_a_source_that_breaks_leaves_nothing_anywhere(stores: list[FolderStore]) -> None:
    def source() -> Iterator[bytes]:
        yield NOISE
        raise ValueError("pg_dump died")

    with pytest.raises(ValueError, match="pg_dump died"):
        write_part(source(), stores, KEY, "archive", KEYS, progress())
    assert [leftovers(store) for store in stores] == [[], []]


@pytest.mark.parametrize("cut", ["byte", "end", "more"])
def test_an_object_that_is_not_the_manifests_is_noticed(stores: list[FolderStore], cut: str) -> None:
    part = write_part(io.BytesIO(TEXT), stores, KEY, "archive", None, progress())
    path = Path(stores[0].place) / KEY
    data = bytearray(path.read_bytes())
    if cut == "byte":
        data[len(data) // 2] ^= 1
    path.write_bytes({"byte": data, "end": data[:-3], "more": data + b"x"}[cut])
    with pytest.raises(PartError, match=r"nas: main/.*/archive"):
        list(read_part(stores[0], written(part, None), "archive", None))


def test_another_backups_object_in_its_place_does_not_open(stores: list[FolderStore]) -> None:
    part = write_part(io.BytesIO(TEXT), stores, KEY, "archive", KEYS, progress())
    other = KEY.replace("1f2e3d", "4a5b6c")
    write_part(io.BytesIO(TEXT), stores, other, "archive", KEYS, progress())
    root = Path(stores[0].place)
    (root / other).replace(root / KEY)
    with pytest.raises(SealError, match="sealed as another object"):
        list(read_part(stores[0], written(part), "archive", KEYS))


def test_a_sealed_part_without_keys_says_what_is_missing(stores: list[FolderStore]) -> None:
    part = write_part(io.BytesIO(TEXT), stores, KEY, "archive", KEYS, progress())
    with pytest.raises(PartError, match="there are no keys; set key_file"):
        list(read_part(stores[0], written(part), "archive", None))


def test_a_manifest_that_says_plain_does_not_make_a_sealed_object_pass(stores: list[FolderStore]) -> None:
    part = write_part(io.BytesIO(TEXT), stores, KEY, "archive", KEYS, progress())
    with pytest.raises(PartError):
        list(read_part(stores[0], replace(written(part), recipients=()), "archive", KEYS))


def test_a_bomb_is_read_in_small_pieces(stores: list[FolderStore]) -> None:
    part = write_part((bytes(2**20) for _ in range(64)), stores, KEY, "archive", KEYS, progress())
    assert part.stored_bytes < 100_000
    assert max(len(c) for c in read_part(stores[0], written(part), "archive", KEYS)) <= 2**20


def test_zstd_itself_reads_what_is_stored_without_keys(stores: list[FolderStore]) -> None:
    write_part(io.BytesIO(TEXT), stores, KEY, "archive", None, progress())
    with zstandard.ZstdDecompressor().stream_reader(stores[0].read(KEY), read_across_frames=True) as reader:
        assert reader.read() == TEXT


@pytest.mark.parametrize("keys", [KEYS, None], ids=["sealed", "plain"])
def test_a_cut_object_is_noticed_without_a_manifest(stores: list[FolderStore], keys: Keys | None) -> None:
    write_part(io.BytesIO(TEXT[:5000]), stores, KEY, "archive", keys, progress())
    path = Path(stores[0].place) / KEY
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises((PartError, SealError)):
            list(read_object(stores[0], KEY, keys, sealed=keys is not None))


def test_progress_names_the_backup_and_knows_rate_and_rest() -> None:
    now = [100.0]
    told: list[str] = []
    line = Progress(f"{ID} archive", 10_000_000, told.append, every=5.0, clock=lambda: now[0])
    assert line.eta is None
    line.add(1_000_000)
    assert told == []
    now[0] = 105.0
    line.add(1_000_000)
    assert told == [f"{ID} archive: 2.0 MB of 10.0 MB (20 %), 0.4 MB/s, 20 s left"]
    assert line.rate == pytest.approx(400_000)


def test_what_may_not_fit_is_told_when_it_begins(stores: list[FolderStore]) -> None:
    stores[0].limit = 10**9
    line = Progress(f"{ID} archive", 2 * 10**9)
    write_part([b"x"], stores, KEY, "archive", KEYS, line)
    assert line.problems == ["it may not fit into nas, where an object has at most 1 GB: raise part_size"]


# --- folders ------------------------------------------------------------------------------------------------


def test_a_folder_replaces_nothing_unless_asked(stores: list[FolderStore]) -> None:
    store: Store = stores[0]
    assert store.put("a/b", [b"one"]) == store.put("a/b", [b"one"])
    with pytest.raises(StoreError, match="it is there already"):
        store.put("a/b", [b"two"])
    assert store.read("a/b") == b"one"
    store.put("a/b", [b"two"], replace=True)
    assert store.read("a/b") == b"two"
    assert sum(p.is_file() for p in (Path(store.place) / UNFINISHED).iterdir()) == 0


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_folder_whose_file_system_has_no_links(
    stores: list[FolderStore], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", no_links)
    stores[0].put("a/b", [b"one"])
    with pytest.raises(StoreError, match="it is there already"):
        stores[0].put("a/b", [b"two"])
    assert stores[0].read("a/b") == b"one"
    assert [p.name for p in leftovers(stores[0])] == ["b"]


def test_a_folder_that_is_emptied_while_it_is_written_to(stores: list[FolderStore]) -> None:
    failures: list[Exception] = []

    def work(name: str) -> None:
        try:
            for number in range(200):
                stores[0].put(f"main/wal/{name}{number}", [b"x"])
                stores[0].delete([f"main/wal/{name}{number}"])
        except StoreError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(stores[0].list("")) == []


def test_a_folder_lists_reads_from_an_offset_and_deletes(stores: list[FolderStore]) -> None:
    store: Store = stores[0]
    for key in ("main/1/a", "main/1/b", "main/2/a", "other/1/a"):
        store.put(key, [key.encode()])
    assert {i.key for i in store.list("main/1/")} == {"main/1/a", "main/1/b"}
    assert {i.key for i in store.list("")} == {"main/1/a", "main/1/b", "main/2/a", "other/1/a"}
    assert (store.folders("main/"), store.folders(""), store.folders("none/")) == (
        ("1", "2"),
        ("main", "other"),
        (),
    )
    assert b"".join(store.get("main/1/a", start=5)) == b"1/a"
    assert b"".join(store.get("main/1/a", start=500)) == b""
    store.delete(["main/1/a", "main/1/b", "main/9/nothing"])
    assert store.folders("main/") == ("2",)
    with pytest.raises(Missing):
        store.read("main/1/a")


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/./b", "a\0b", "ä", "a b", "x" * 513, "a/"]
)
def test_a_key_cannot_leave_the_destination(stores: list[FolderStore], key: str) -> None:
    with pytest.raises(StoreError, match="expected a key"):
        stores[0].put(key, [b"x"])


def test_a_folder_that_is_not_mounted_is_told_and_not_made(tmp_path: Path) -> None:
    store = FolderStore("nas", tmp_path / "gone")
    for call in (
        lambda: store.put("a", [b"x"]), lambda: store.exists("a"), lambda: list(store.list("main/")),
        lambda: store.folders("main/"), lambda: store.read("a"),
    ):  # fmt: skip
        with pytest.raises(StoreError, match="the folder of the destination is not there; create"):
            call()
    assert not (tmp_path / "gone").exists()


def test_what_a_killed_process_left_is_swept_once_it_is_old(stores: list[FolderStore]) -> None:
    store = stores[0]
    store.put("main/1/a", [b"x"])
    left = Path(store.place) / UNFINISHED / "0123"
    left.write_bytes(b"half")
    assert [i.key for i in store.list("")] == ["main/1/a"]
    assert store.folders("") == ("main",)
    written_at = datetime.fromtimestamp(left.stat().st_mtime, UTC)
    assert store.sweep("main/", written_at, confirm=True) == []
    later = written_at + timedelta(days=365)
    assert len(store.sweep("main/", later, confirm=False)) == 1
    assert left.exists()
    assert len(store.sweep("main/", later, confirm=True)) == 1
    assert not left.exists()
