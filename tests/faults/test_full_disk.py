"""A disk that is really full: of a destination, of the archiver's spool, of a scratch restore."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.equipment.small_disk import MIB, SmallDisk, small_disk
from tests.faults.agent_world import Servers
from tests.faults.test_backup import BULK
from tests.integration.backup.pitr_world import archive_of_a_pair, covered, slots, until
from tests.integration.backup.world import Backed, backed_pair

from understudy.backup import archiver, logical, physical, staging
from understudy.backup.catalog import Catalog, discard
from understudy.backup.manifest import Level, Manifest, Verdict
from understudy.backup.pitr import Latest
from understudy.backup.store import Store, StoreError, open_store
from understudy.backup.store_folder import UNFINISHED
from understudy.backup.verify import verify
from understudy.config_backup import Destination

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def backed(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backed]:
    with backed_pair(servers, tmp_path_factory.mktemp("full"), BULK) as backed:
        yield backed


def place_on(disk: SmallDisk) -> Store:
    """A destination there; what fills the disk is beside it."""
    folder = disk.folder / "backups"
    folder.mkdir()
    return open_store(Destination(name="small", folder=folder))


def create(backed: Backed, *stores: Store, **options: object) -> Manifest:
    return logical.create(backed.config, backed.world.pair.cluster, stores, backed.keys, **options)  # type: ignore[arg-type]


def nothing_left(store: Store, disk: SmallDisk, backed: Backed, ids: list[str]) -> None:
    survey = Catalog([store]).survey(backed.world.name)
    assert [m.id for m in survey.backups] == ids
    assert survey.unfinished == {"small": ()}
    assert survey.problems == ()
    assert list((disk.folder / "backups" / UNFINISHED).iterdir()) == []


@pytest.mark.parametrize("left", [0, 4096, 4 * MIB])
def test_a_full_destination_gets_no_backup_and_keeps_the_earlier_ones(backed: Backed, left: int) -> None:
    with small_disk(64) as disk:
        store = place_on(disk)
        first = create(backed, store)
        disk.fill(left)
        with pytest.raises(StoreError, match=r"small: .*no space left on device; free space"):
            create(backed, store)
        nothing_left(store, disk, backed, [first.id])
        disk.clear()
        proof = verify(Catalog([store]), first, Level.BYTES, backed.keys, backed.config)
        assert proof.verdict is Verdict.PASS
        second = create(backed, store)
        nothing_left(store, disk, backed, [first.id, second.id])


def test_a_destination_that_fills_up_at_any_page_holds_a_whole_backup_or_none(backed: Backed) -> None:
    """From too little for the first part to enough for the manifest, which is written last, page by page."""
    with small_disk(16) as disk:
        store = place_on(disk)
        first = create(backed, store, scope=("schema-only",))
        pages = sum(-(-item.bytes // 4096) for item in store.list(""))
        outcomes = set()
        for left in range(pages + 3):
            disk.clear()
            disk.fill(left * 4096)
            try:
                made = create(backed, store, scope=("schema-only",))
            except StoreError as error:
                assert "no space left" in str(error)
                outcomes.add("refused")
                nothing_left(store, disk, backed, [first.id])
            else:
                outcomes.add("made")
                disk.clear()
                proof = verify(Catalog([store]), made, Level.ARCHIVE, backed.keys, backed.config)
                assert proof.verdict is Verdict.PASS
                discard(store, made.cluster, made.id)
        assert outcomes == {"refused", "made"}


def test_one_full_destination_is_left_out_and_told(backed: Backed) -> None:
    with small_disk(16) as disk:
        store, told = place_on(disk), []
        disk.fill()
        made = create(backed, store, backed.store, tell=told.append)
        nothing_left(store, disk, backed, [])
        assert any(f"{made.id}: NOT in small; it is in shelf" in line for line in told)
        assert backed.verify(made).verdict is Verdict.PASS


def test_a_full_spool_disk_stops_the_receiver_and_room_brings_it_back_without_a_gap() -> None:
    """Less room than a segment, more than what the archiver leaves free: pg_receivewal meets the end of the disk."""
    with archive_of_a_pair() as archive, small_disk(400, archive.folder / "spool") as disk:
        try:
            archive.start()
            base = archive.base()
            archive.insert(1, 10)
            archive.await_shipped()
            disk.fill(int(400 * MIB * archiver.FULL) + 4 * MIB)
            for first in range(11, 91, 10):
                archive.insert(first, first + 9)
                archive.switch()
            until(lambda: "No space left on device" in archive.status.trouble, "the full disk to be told")
            assert not archive.status.receiving
            assert slots(archive, "a")  # the primary keeps what does not fit
            disk.clear()
            until(lambda: archive.status.receiving and not archive.status.trouble, "receiving to begin again")
            archive.insert(91, 100)
            archive.await_shipped()
            found = covered(archive, base, base.system_identifier)
            assert found.whole, found.reason
            with archive.restored(base, Latest()) as restored:
                assert archive.rows(restored) == set(range(1, 101))
        finally:
            archive.stop()


def test_a_spool_disk_without_any_room_stops_before_it_is_full() -> None:
    with archive_of_a_pair() as archive, small_disk(200, archive.folder / "spool") as disk:
        try:
            archive.start()
            base = archive.base()

            def told() -> bool:
                disk.fill()  # again: what is stored leaves the spool
                return "left on its disk" in archive.status.trouble

            until(told, "the full disk to be told")
            for first in range(1, 41, 10):
                archive.insert(first, first + 9)
                archive.switch()
            assert not archive.status.receiving
            disk.clear()
            archive.await_shipped()
            with archive.restored(base, Latest()) as restored:
                assert archive.rows(restored) == set(range(1, 41))
        finally:
            archive.stop()


@contextlib.contextmanager
def restoring_on(disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Somebody else takes the room after it was looked at."""
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(disk.folder))
        patch.setattr(staging, "require_space", lambda *_: None)
        yield


@pytest.mark.parametrize("kind", ["logical", "physical"])
def test_a_scratch_restore_that_meets_the_end_of_the_disk_says_nothing_of_the_backup(
    backed: Backed, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is being done when the room ends (opening, unpacking, replaying, restoring, comparing)."""
    cluster, keys, config = backed.world.pair.cluster, backed.keys, backed.config
    made = (
        create(backed, backed.store)
        if kind == "logical"
        else physical.create(config, cluster, [backed.store], keys)
    )
    verdicts = []
    with small_disk(8) as disk:
        for megabytes in (8, 32, 48, 64, 80, 96, 112, 128, 160, 192, 256, 320, 1024):
            disk.resize(megabytes)
            with restoring_on(disk, monkeypatch):
                proof = backed.verify(made)
            verdicts.append(proof.verdict)
            bad = [check for check in proof.checks if check.verdict is not Verdict.PASS]
            assert proof.verdict is not Verdict.FAIL, (megabytes, bad)
            assert list(disk.folder.iterdir()) == []
    assert verdicts[0] is Verdict.INCONCLUSIVE
    assert verdicts[-1] is Verdict.PASS
    assert made.id in backed.ids
    refused = [
        proof for proof in backed.catalog.verifications(made.cluster, made.id) if proof.verdict != "pass"
    ]
    assert refused


def test_without_the_room_nothing_is_begun(backed: Backed) -> None:
    made = create(backed, backed.store)
    with small_disk(64) as disk, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(disk.folder))
        proof = backed.verify(made)
    (check,) = [check for check in proof.checks if check.verdict is not Verdict.PASS]
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "MB are free; make room, or point TMPDIR to a larger disk" in check.detail
    assert Path(tempfile.gettempdir()) != disk.folder
