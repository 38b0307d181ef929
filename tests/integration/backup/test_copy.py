"""A destination that was away gets what it missed; a copy that was killed goes on where it stood."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.integration.backup.s3 import ACCESS, BUCKET, SECRET, SERVERS, MoodyProxy, S3Server, bucket_store
from tests.unit.backup_records import manifest, verification

from understudy.backup import copying, wal
from understudy.backup.catalog import Catalog
from understudy.backup.keys import Key, Keys, parse_keys, write_new
from understudy.backup.manifest import Kind, Manifest
from understudy.backup.store import Store, StoreError, open_store
from understudy.backup.store_folder import FolderStore
from understudy.backup.store_s3 import CONCURRENT_PARTS, BucketStore
from understudy.backup.stream import PartError, Progress, read_part, write_part
from understudy.cli.app import main
from understudy.cli.common import Exit
from understudy.config_backup import MIB, Destination

NOW = datetime.now(UTC)
ID = "20261121T074500.000000Z-logical-1f2e3d"
KEYS = Keys(Key.new())
PART = 5 * MIB
BIG = os.urandom(5 * PART)
"""Sealed it is a little more: six parts."""
# A copy as a process of its own. With a number, its source stops for ever after so many MiB, and says so.
PROGRAM = """
import json, sys, threading
from pathlib import Path
from understudy.backup import copying
from understudy.backup.catalog import Catalog
from understudy.backup.store import open_store
from understudy.backup.store_folder import FolderStore
from understudy.config_backup import Destination

class Stopping(FolderStore):
    def get(self, key, *, start=0):
        for number, chunk in enumerate(super().get(key, start=start)):
            if number == stop and key.endswith("/archive"):
                print("well under way", flush=True)
                threading.Event().wait()
            yield chunk

def opened(given):
    return open_store(Destination(**{k: Path(v) if k == "folder" else v for k, v in given.items()}))

folder, target, stop = json.loads(sys.argv[1])
source = Stopping("nas", Path(folder))
(made,) = Catalog([source]).backups("main")
copying.copy(made, source, opened(target))
"""


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[S3Server]:
    with S3Server(request.param) as running:
        yield running


@pytest.fixture
def proxy(server: S3Server) -> Iterator[MoodyProxy]:
    with MoodyProxy(server.port) as running:
        yield running


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """Of the test's own, in a bucket that all share."""
    return request.node.originalname


@pytest.fixture
def nas(tmp_path: Path) -> FolderStore:
    (tmp_path / "nas").mkdir()
    return FolderStore("nas", tmp_path / "nas")


def backup(stores: list[Store], data: bytes = BIG, keys: Keys | None = KEYS) -> Manifest:
    """A backup of one part, in every destination that takes it."""
    progress = Progress(ID)
    part = write_part(io.BytesIO(data), stores, f"main/{ID}/archive", "archive", keys, progress)
    made = manifest(ID, NOW, parts=(part,), recipients=keys.recipients if keys else ())
    Catalog(stores, keys).commit(made)
    return made


def content(store: Store, made: Manifest) -> bytes:
    return b"".join(read_part(store, made, "archive", KEYS))


def given(store: BucketStore, endpoint: str, prefix: str) -> dict[str, object]:
    return {
        "name": store.name, "bucket": BUCKET, "prefix": prefix, "endpoint": endpoint, "access_key": ACCESS,
        "secret_key": SECRET, "part_bytes": PART,
    }  # fmt: skip


def begun(source: FolderStore, target: dict[str, object], stop: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", PROGRAM, json.dumps([source.place, target, stop])]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def sent(proxy: MoodyProxy) -> int:
    """Bytes of parts that the server got."""
    return sum(count for line, count in proxy.taken if "partNumber" in line)


def test_killed_in_the_middle_it_sends_only_what_is_not_there(
    nas: FolderStore, proxy: MoodyProxy, prefix: str
) -> None:
    made = backup([nas])
    size = made.part("archive").stored_bytes
    cloud = bucket_store(proxy.endpoint, prefix=prefix)
    proxy.hold("partNumber=5")
    with begun(nas, given(cloud, proxy.endpoint, prefix), -1) as process:
        assert proxy.holding.wait(60)
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    assert Catalog([cloud], KEYS).backups("main") == []
    first = sent(proxy)
    proxy.calm()
    proxy.taken.clear()
    done = copying.copy(made, nas, cloud)
    # Parts that were on their way with the fifth may have to be sent again, nothing else.
    assert sent(proxy) == done.sent
    assert first + done.sent <= size + (CONCURRENT_PARTS - 1) * PART
    assert done.sent <= size - (5 - CONCURRENT_PARTS) * PART
    assert done.bytes == size
    assert content(cloud, made) == BIG
    assert Catalog([nas, cloud], KEYS).survey("main").places == {made.id: ("nas", "cloud")}
    assert list(cloud.uploads("main/")) == []


def test_what_the_backup_itself_had_sent_is_not_sent_again(
    nas: FolderStore, proxy: MoodyProxy, prefix: str
) -> None:
    """The destination goes away in the middle of the backup, which is kept where it can be, and comes back."""
    cloud = bucket_store(proxy.endpoint, prefix=prefix)
    proxy.answer(403, "AccessDenied", 100, "partNumber=4|DELETE")
    made = backup([nas, cloud])
    assert Catalog([nas, cloud], KEYS).survey("main").places == {made.id: ("nas",)}
    assert content(nas, made) == BIG
    proxy.calm()
    proxy.taken.clear()
    done = copying.copy(made, nas, cloud)
    size = made.part("archive").stored_bytes
    assert PART <= done.sent <= size - 3 * PART
    assert sent(proxy) == done.sent
    assert content(cloud, made) == BIG


@pytest.mark.slow
def test_parts_of_something_else_are_sent_again(nas: FolderStore, proxy: MoodyProxy, prefix: str) -> None:
    made = backup([nas])
    cloud = bucket_store(proxy.endpoint, prefix=prefix)
    key = f"main/{ID}/archive"
    upload = cloud.ask(key, cloud.client.create_multipart_upload)["UploadId"]
    for number in (1, 2):
        cloud.ask(key, cloud.client.upload_part, UploadId=upload, PartNumber=number, Body=os.urandom(PART))
    assert copying.copy(made, nas, cloud).sent == made.part("archive").stored_bytes
    assert content(cloud, made) == BIG


@pytest.mark.slow
def test_who_may_not_see_what_is_there_begins_anew(nas: FolderStore, proxy: MoodyProxy, prefix: str) -> None:
    made = backup([nas])
    proxy.answer(403, "AccessDenied", 1, "^GET .*uploads")
    cloud = bucket_store(proxy.endpoint, prefix=prefix)
    assert copying.copy(made, nas, cloud).sent == made.part("archive").stored_bytes
    assert content(cloud, made) == BIG


@pytest.mark.slow
def test_back_from_a_bucket_into_a_folder_that_was_killed(
    nas: FolderStore, proxy: MoodyProxy, prefix: str, tmp_path: Path
) -> None:
    made = backup([nas])
    size = made.part("archive").stored_bytes
    (tmp_path / "disk").mkdir()
    with begun(nas, {"name": "disk", "folder": str(tmp_path / "disk")}, 15) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"well under way\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    disk = FolderStore("disk", tmp_path / "disk")
    assert Catalog([disk], KEYS).backups("main") == []
    cloud = bucket_store(proxy.endpoint, prefix=prefix)
    copying.copy(made, nas, cloud)
    done = copying.copy(made, cloud, disk)  # the rest comes from elsewhere: the bytes are the same
    assert (done.bytes, done.sent) == (size, size - 15 * MIB)
    assert content(disk, made) == BIG
    assert [p.name for p in (tmp_path / "disk" / ".unfinished").iterdir()] == []


def test_the_proofs_and_the_log_come_too(nas: FolderStore, proxy: MoodyProxy, prefix: str) -> None:
    segment = wal.SEGMENT_BYTES
    made = manifest(ID, NOW, Kind.PHYSICAL, start=5 * segment + 40, end=6 * segment)
    catalog = Catalog([nas], KEYS)
    catalog.commit(made)
    line = verification(ID, NOW)
    catalog.record("main", line)
    log = wal.prefix("main", made.system_identifier)
    for number in (4, 6, 7):  # the first was before it
        nas.put(f"{log}{wal.segment_name(1, number)}", [b"log %d" % number])
    nas.put(f"{log}{wal.segment_name(1, 8)}{wal.PARTIAL}", [b"grows"])
    cloud = bucket_store(proxy.endpoint, prefix=prefix)
    cloud.put(f"{log}{wal.segment_name(1, 7)}", [b"log 7"])
    copying.copy(made, nas, cloud)
    assert {item.key.rpartition("/")[2] for item in cloud.list(log)} == {
        wal.segment_name(1, n) for n in (6, 7)
    }
    assert cloud.read(f"{log}{wal.segment_name(1, 6)}") == b"log 6"
    assert Catalog([cloud], KEYS).ledger("main").lines == (line,)


def test_nothing_is_left_to_do_a_second_time(nas: FolderStore, proxy: MoodyProxy, prefix: str) -> None:
    made = backup([nas], b"small")
    cloud = bucket_store(proxy.endpoint, prefix=prefix)
    assert copying.copy(made, nas, cloud).sent == made.part("archive").stored_bytes
    proxy.taken.clear()
    assert copying.copy(made, nas, cloud).sent == 0
    assert [line for line, _ in proxy.taken if line.startswith(("PUT", "POST"))] == []


def test_damage_is_not_copied(nas: FolderStore, tmp_path: Path) -> None:
    made = backup([nas])
    file = tmp_path / "nas" / "main" / ID / "archive"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    (tmp_path / "disk").mkdir()
    disk = FolderStore("disk", tmp_path / "disk")
    with pytest.raises(PartError, match=f"nas: main/{ID}/archive: .* not the bytes of its manifest"):
        copying.copy(made, nas, disk)
    assert list(disk.list("")) == []


def test_what_has_other_bytes_is_not_touched(nas: FolderStore, tmp_path: Path) -> None:
    made = backup([nas], b"small")
    (tmp_path / "disk").mkdir()
    disk = open_store(Destination(name="disk", folder=tmp_path / "disk"))
    disk.put(f"main/{ID}/archive", [b"other"])
    with pytest.raises(StoreError, match=f"disk: main/{ID}/archive: expected .* bytes or nothing, found 5"):
        copying.copy(made, nas, disk)
    assert disk.read(f"main/{ID}/archive") == b"other"


def test_which_copies_are_missing(nas: FolderStore, tmp_path: Path) -> None:
    """A destination is caught up with what came since its oldest backup; a new one only where that is asked for."""
    stores: list[Store] = [nas]
    for name in ("disk", "new"):
        (tmp_path / name).mkdir()
        stores.append(FolderStore(name, tmp_path / name))
    stores.append(FolderStore("away", tmp_path / "away"))
    made = [manifest(f"2026112{n}T020000Z-logical-aaaaaa", NOW - timedelta(days=4 - n)) for n in range(4)]
    for number, one in enumerate(made):
        Catalog([nas] if number != 1 else stores[:2]).commit(one)
    survey = Catalog(stores).survey("main")
    ids = [one.id for one in made]
    assert copying.missing(survey) == [(made[3], "disk"), (made[2], "disk")]
    everything = copying.missing(survey, all_of_them=True)
    assert {(one.id, name) for one, name in everything} == {
        *((i, "new") for i in ids), *((i, "disk") for i in ids if i != ids[1]),
    }  # fmt: skip


CONFIG = """
[clusters.main]
rpo = "bounded"
[[clusters.main.nodes]]
name = "home"
dsn = "postgresql://app@127.0.0.1:1/farm"
[[clusters.main.nodes]]
name = "cloud"
dsn = "postgresql://app@127.0.0.1:2/farm"
[backup]
key_file = "{folder}/backup.key"
[[backup.destination]]
name = "nas"
folder = "{folder}/nas"
[[backup.destination]]
name = "disk"
folder = "{folder}/disk"
[backup.retention]
days = 14
"""


@dataclass
class Hall:
    """A configuration with two destinations."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> tuple[int, list[dict[str, object]]]:
        """`understudy backup copy`: its exit code and its answer."""
        given = ["--config", str(self.folder / "understudy.toml"), "--json", "backup", "copy", *arguments]
        code = main(given)
        text = self.capsys.readouterr().out
        return code, json.loads(text) if text else []

    @property
    def stores(self) -> list[FolderStore]:
        return [FolderStore(name, self.folder / name) for name in ("nas", "disk")]

    def backup(self, day: int, *names: str) -> Manifest:
        backup = f"202611{day:02}T020000.000000Z-logical-aaaaaa"
        stores = [store for store in self.stores if store.name in names]
        key, age = f"main/{backup}/archive", timedelta(days=30 - day)
        part = write_part(io.BytesIO(os.urandom(999)), stores, key, "archive", None, Progress(backup))
        made = manifest(backup, NOW - age, parts=(part,))
        Catalog(stores, load_keys(self.folder)).commit(made)
        return made


def load_keys(folder: Path) -> Keys:
    found = parse_keys((folder / "backup.key").read_text(), "test")
    return Keys(found[0], found)


@pytest.fixture
def hall(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Hall:
    for name in ("nas", "disk"):
        (tmp_path / name).mkdir()
    (tmp_path / "understudy.toml").write_text(CONFIG.format(folder=tmp_path))
    write_new(tmp_path / "backup.key")
    return Hall(tmp_path, capsys)


def test_the_command_copies_one_backup_where_it_is_missing(hall: Hall) -> None:
    made = hall.backup(28, "nas")
    code, done = hall()
    size = made.part("archive").stored_bytes
    assert (code, done) == (0, [
        {"backup": made.id, "source": "nas", "target": "disk", "bytes": size, "sent": size, "segments": 0}
    ])  # fmt: skip
    assert Catalog(hall.stores).survey("main").places == {made.id: ("nas", "disk")}
    assert hall() == (0, [])  # it is everywhere


def test_the_command_catches_up_what_is_kept(hall: Hall) -> None:
    hall.backup(1, "nas")  # fourteen days are over
    kept = [hall.backup(day, "nas") for day in (26, 27, 28)]
    code, done = hall("--missing")
    assert code == 0
    assert [one["backup"] for one in done] == [made.id for made in reversed(kept)]
    assert [made.id for made in Catalog(hall.stores[1:]).backups("main")] == [made.id for made in kept]


def test_a_damaged_copy_is_passed_over_and_told(hall: Hall, capsys: pytest.CaptureFixture[str]) -> None:
    bad, good = hall.backup(27, "nas"), hall.backup(28, "nas")
    (hall.folder / "nas" / "main" / bad.id / "archive").write_bytes(b"x" * bad.part("archive").stored_bytes)
    code, done = hall("--missing")
    assert (code, [one["backup"] for one in done]) == (1, [good.id])
    assert Catalog(hall.stores).survey("main").places == {bad.id: ("nas",), good.id: ("nas", "disk")}


def test_a_destination_that_nobody_configured_is_told(hall: Hall) -> None:
    hall.backup(28, "nas")
    assert hall("--to", "dsik") == (Exit.USAGE, [])


def test_a_destination_that_is_away_is_told(hall: Hall) -> None:
    hall.backup(28, "nas")
    (hall.folder / "disk").rmdir()
    code, done = hall("--to", "disk")
    assert (code, done) == (Exit.UNREACHABLE, [])
