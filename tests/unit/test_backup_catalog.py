"""The catalogue over several destinations: a union, never a guess; and a prune that leaves what it must."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.backup_records import manifest, verification

from understudy.backup.catalog import Catalog
from understudy.backup.manifest import Kind, Manifest
from understudy.backup.prune import Pruned, prune
from understudy.backup.retention import decide
from understudy.backup.store import Locked, Store, StoreError
from understudy.backup.store_folder import FolderStore
from understudy.backup.stream import Progress, write_part
from understudy.config_backup import Retention

NOW = datetime.now(UTC)
IDS = [f"2026112{n}T074500Z-logical-1f2e3{n}" for n in range(4)]


@pytest.fixture
def stores(tmp_path: Path) -> list[FolderStore]:
    for name in ("nas", "disk"):
        (tmp_path / name).mkdir()
    return [FolderStore(name, tmp_path / name) for name in ("nas", "disk")]


def committed(
    stores: list[FolderStore], backup: str, age: float = 1.0, kind: Kind = Kind.LOGICAL, **positions: int
) -> Manifest:
    part = write_part(
        io.BytesIO(b"data"), stores, f"main/{backup}/archive", "archive", None, Progress(backup)
    )
    made = manifest(backup, NOW - timedelta(days=age), kind, parts=(part,), **positions)  # type: ignore[arg-type]
    Catalog(stores).commit(made)
    return made


def pruned(catalog: Catalog, policy: Retention, *, confirm: bool, now: datetime = NOW) -> Pruned:
    plan = decide(catalog.backups("main"), catalog.verifications("main"), policy, now)
    return prune(catalog, "main", plan, now, confirm=confirm)


def test_backups_are_the_union_oldest_first(stores: list[FolderStore]) -> None:
    one, two, three = committed(stores[:1], IDS[1]), committed(stores[1:], IDS[0]), committed(stores, IDS[2])
    catalog = Catalog(stores)
    assert catalog.backups("main") == [two, one, three]
    assert catalog.survey("main").places == {IDS[0]: ("disk",), IDS[1]: ("nas",), IDS[2]: ("nas", "disk")}
    assert [s.name for s in catalog.places("main", IDS[0])] == ["disk"]
    assert catalog.backups("other") == []


@pytest.mark.parametrize(
    "text", [b"", b"{", b'{"format": 9, "backup": {}}', b'{"format": 1, "backup": {"id": "x"}}']
)
def test_a_manifest_that_cannot_be_read_is_a_problem_and_no_backup(
    stores: list[FolderStore], text: bytes
) -> None:
    committed(stores[:1], IDS[0])
    stores[0].put(f"main/{IDS[0]}/manifest.json", [text], replace=True)
    survey = Catalog(stores).survey("main")
    assert survey.backups == ()
    assert len(survey.problems) == 1
    assert f"nas: main/{IDS[0]}/manifest.json" in survey.problems[0]


def test_a_manifest_in_anothers_place_is_a_problem(stores: list[FolderStore]) -> None:
    committed(stores[:1], IDS[0])
    data = stores[0].read(f"main/{IDS[0]}/manifest.json")
    stores[0].put(f"main/{IDS[1]}/manifest.json", [data])
    survey = Catalog(stores).survey("main")
    assert [b.id for b in survey.backups] == [IDS[0]]
    assert "found that of" in survey.problems[0]


def test_two_manifests_that_differ_are_not_chosen_between(stores: list[FolderStore]) -> None:
    made = committed(stores, IDS[0])
    other = replace(made, epoch=made.epoch + 1)
    stores[1].delete([f"main/{IDS[0]}/manifest.json"])
    Catalog(stores[1:]).commit(other)
    survey = Catalog(stores).survey("main")
    assert survey.backups == ()
    assert "differ; neither is used" in survey.problems[0]


def test_a_destination_that_is_away_is_a_problem(stores: list[FolderStore], tmp_path: Path) -> None:
    committed(stores[:1], IDS[0])
    gone = FolderStore("gone", tmp_path / "gone")
    survey = Catalog([gone, stores[0]]).survey("main")
    assert [b.id for b in survey.backups] == [IDS[0]]
    assert "gone: " in survey.problems[0]
    with pytest.raises(StoreError, match="gone"):
        Catalog([gone]).backups("main")


def test_no_manifest_without_its_data(stores: list[FolderStore]) -> None:
    part = write_part(io.BytesIO(b"data"), stores, f"main/{IDS[0]}/archive", "archive", None, Progress("x"))
    made = manifest(IDS[0], NOW, parts=(part,))
    (Path(stores[0].place) / f"main/{IDS[0]}/archive").write_bytes(b"cut")
    assert Catalog(stores).commit(made) == ("disk",)
    with pytest.raises(StoreError, match=f"expected {part.stored_bytes} bytes, found 3"):
        Catalog(stores[:1]).commit(made)
    assert Catalog(stores[:1]).survey("main").unfinished == {"nas": (IDS[0],)}


def test_a_manifest_is_committed_once(stores: list[FolderStore]) -> None:
    made = committed(stores, IDS[0])
    assert Catalog(stores).commit(made) == ("nas", "disk")
    with pytest.raises(StoreError, match="it is there already"):
        Catalog(stores).commit(replace(made, epoch=99))
    assert Catalog(stores).backups("main") == [made]


def test_the_ledger_goes_beside_every_copy_and_is_never_overwritten(stores: list[FolderStore]) -> None:
    committed(stores, IDS[0])
    committed(stores[:1], IDS[1])
    catalog = Catalog(stores)
    lines = [
        verification(IDS[0], NOW),
        replace(verification(IDS[0], NOW), seconds=2.0),
        verification(IDS[1], NOW),
    ]
    for line in lines:
        catalog.record("main", line)
    assert sorted(catalog.verifications("main"), key=lambda v: (v.backup, v.seconds)) == lines
    assert catalog.verifications("main", IDS[1]) == [lines[2]]
    assert len(Catalog(stores[1:]).verifications("main")) == 2
    with pytest.raises(StoreError, match="no destination has it"):
        catalog.record("main", verification(IDS[3], NOW))


def test_pruning_says_what_it_would_do_and_does_it_only_when_confirmed(stores: list[FolderStore]) -> None:
    for number, backup in enumerate(IDS):
        committed(stores, backup, age=4 - number)
    catalog = Catalog(stores)
    plan = pruned(catalog, Retention(last=2), confirm=False)
    assert plan.backups == [f"{s}: {i}" for i in IDS[:2] for s in ("nas", "disk")]
    assert len(catalog.backups("main")) == 4
    assert pruned(catalog, Retention(last=2), confirm=True).backups == plan.backups
    assert [b.id for b in catalog.backups("main")] == IDS[2:]
    assert stores[0].folders("main/") == tuple(IDS[2:])
    assert pruned(catalog, Retention(last=2), confirm=True).backups == []


class Guarded(FolderStore):
    """Deletes no manifest: Object Lock."""

    def delete(self, keys: Iterable[str]) -> None:
        raise self.wrong(next(iter(keys)), "not deleted (AccessDenied)", "Object Lock", Locked)


def test_a_lock_is_told_and_the_copy_stays_whole(stores: list[FolderStore], tmp_path: Path) -> None:
    for number, backup in enumerate(IDS):
        committed(stores, backup, age=4 - number)
    guarded: list[Store] = [Guarded("nas", tmp_path / "nas"), stores[1]]
    done = pruned(Catalog(guarded), Retention(last=2), confirm=True)
    assert len(done.locked) == 2
    assert done.failed == []
    assert done.backups == [f"disk: {i}" for i in IDS[:2]]
    assert [b.id for b in Catalog(guarded).backups("main")] == IDS


def test_parts_without_a_manifest_go_when_they_are_old(stores: list[FolderStore]) -> None:
    write_part(io.BytesIO(b"data"), stores, f"main/{IDS[0]}/archive", "archive", None, Progress("x"))
    catalog = Catalog(stores)
    assert pruned(catalog, Retention(last=1), confirm=True).leftovers == []
    later = NOW + timedelta(days=3)
    told = pruned(catalog, Retention(last=1), confirm=True, now=later).leftovers
    assert told == [f"{s}: {IDS[0]}: 1 objects without a manifest" for s in ("nas", "disk")]
    assert list(stores[0].list("")) == []


def test_the_log_that_no_kept_backup_needs_goes(stores: list[FolderStore]) -> None:
    segment = 16 * 2**20
    base = committed(stores, IDS[0], 1.0, Kind.PHYSICAL, start=5 * segment + 40, end=6 * segment)
    for number in range(1, 10):
        stores[0].put(f"main/wal/{base.system_identifier}/{f'{1:08X}{0:08X}{number:08X}'}", [b"log"])
    catalog = Catalog(stores)
    assert len(pruned(catalog, Retention(last=1), confirm=True).wal) == 1
    left = sorted(i.key.rpartition("/")[2][-1] for i in stores[0].list("main/wal/"))
    assert left == ["5", "6", "7", "8", "9"]


def test_the_log_stays_while_a_manifest_cannot_be_read(stores: list[FolderStore]) -> None:
    base = committed(stores, IDS[1], 1.0, Kind.PHYSICAL, start=2**30, end=2**30 + 99)
    committed(stores[:1], IDS[0])
    stores[0].put(f"main/{IDS[0]}/manifest.json", [b"?"], replace=True)
    stores[0].put(f"main/wal/{base.system_identifier}/000000010000000000000001", [b"log"])
    done = pruned(Catalog(stores), Retention(last=1), confirm=True)
    assert done.wal == []
    assert "the write-ahead log was left as it is" in done.failed[0]
    assert list(stores[0].list("main/wal/"))
