"""Who wrote a line of the ledger: whoever has no key of ours can make no backup count as proven, nor as bad."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest
from tests.unit.backup_records import manifest, verification

from understudy.backup import retention
from understudy.backup.catalog import Catalog
from understudy.backup.keys import Key, Keys
from understudy.backup.manifest import Manifest, Verdict, Verification
from understudy.backup.store_folder import FolderStore
from understudy.config_backup import Retention

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = Key.new()
KEYS = Keys(KEY)
IDS = [f"2026112{day}T020000Z-logical-aaaaaa" for day in range(4)]


class World:
    """Two destinations with four backups, a day apart, that nobody has proven."""

    def __init__(self, folder: Path, cluster: str = "main") -> None:
        self.folders = [folder / "nas", folder / "disk"]
        for place in self.folders:
            place.mkdir(exist_ok=True)
        self.stores = [FolderStore(place.name, place) for place in self.folders]
        self.cluster, self.catalog = cluster, Catalog(self.stores, KEYS)
        self.backups: list[Manifest] = []
        for number, backup in enumerate(IDS):
            made = replace(manifest(backup, NOW - timedelta(days=4 - number)), cluster=cluster)
            self.catalog.commit(made)
            self.backups.append(made)

    def line(self, number: int, verdict: Verdict = Verdict.PASS, age: float = 1.0) -> Verification:
        return verification(IDS[number], NOW - timedelta(hours=age), verdict=verdict)

    def files(self, number: int, place: int = 0) -> list[Path]:
        return sorted((self.folders[place] / self.cluster / IDS[number] / "verified").iterdir())

    def change(self, path: Path, change: Callable[[dict[str, Any]], object]) -> None:
        body = json.loads(path.read_text())
        change(body)
        path.write_text(json.dumps(body))

    def forge(self, line: Verification) -> None:
        """A line as somebody without our key writes it, in every destination."""
        Catalog(self.stores).record(self.cluster, line)

    def kept(self, **policy: int) -> list[str]:
        """What retention keeps with these rules."""
        found = self.catalog.ledger(self.cluster)
        rules = Retention(**{"pitr": 0, **policy})  # type: ignore[arg-type]
        plan = retention.decide(self.backups, found.lines, rules, NOW, unvouched=found.unvouched)
        return [choice.id for choice in plan.keep]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_what_we_wrote_counts_with_every_key_that_we_have(world: World) -> None:
    line = world.line(0)
    world.catalog.record("main", line)
    newer = Key.new()
    for keys in (KEYS, Keys(newer, [newer, KEY])):
        found = Catalog(world.stores, keys).ledger("main")
        assert (found.lines, found.unvouched, found.problems) == ((line,), (), ())


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["verification"].update(verdict="pass"),
        lambda body: body["verification"].update(level="bytes"),
        lambda body: body["verification"].update(backup=IDS[0]),
        lambda body: body["verification"].update(at="2026-11-21T13:00:00Z"),
        lambda body: body["mac"].update(hmac="0" * 64),
    ],
)
def test_a_line_that_was_changed_counts_no_more_and_is_told(
    world: World, change: Callable[[dict[str, Any]], object]
) -> None:
    world.catalog.record("main", world.line(1, Verdict.FAIL))
    for place in (0, 1):
        (file,) = world.files(1, place)
        world.change(file, change)
    found = world.catalog.ledger("main")
    assert (found.lines, found.unvouched) == ((), ())
    assert len(found.problems) == 2
    assert "nas: main/" in found.problems[0]
    assert "changed by somebody without our key" in found.problems[0]


def test_the_good_copy_of_a_changed_line_counts(world: World) -> None:
    line = world.line(1, Verdict.FAIL)
    world.catalog.record("main", line)
    for place in (0, 1):  # whichever is read first
        good = world.files(1, place)[0].read_bytes()
        world.change(world.files(1, place)[0], lambda body: body["verification"].update(verdict="pass"))
        found = world.catalog.ledger("main")
        assert found.lines == (line,)
        assert len(found.problems) == 1
        world.files(1, place)[0].write_bytes(good)


def test_a_line_in_anothers_place_counts_for_nobody(world: World, tmp_path: Path) -> None:
    world.catalog.record("main", world.line(1))
    (file,) = world.files(1)
    place = world.folders[0] / "main" / IDS[2] / "verified"
    place.mkdir()
    file.rename(place / file.name)
    found = world.catalog.ledger("main", IDS[2])
    assert (found.lines, found.unvouched) == ((), ())
    assert f"expected a line about {IDS[2]}, found one about {IDS[1]}" in found.problems[0]

    other = World(tmp_path, "other")  # the same ids in another cluster
    other.catalog.record("other", other.line(0))
    (theirs,) = other.files(0)
    ours = world.folders[0] / "main" / IDS[0] / "verified"
    ours.mkdir()
    theirs.rename(ours / theirs.name)
    assert world.catalog.ledger("main", IDS[0]).lines == ()


def test_a_line_without_a_proof_of_its_writer_proves_nothing(world: World) -> None:
    """Made by an older version, or by somebody else: nobody can say."""
    line = world.line(1)
    world.forge(line)
    found = world.catalog.ledger("main")
    assert (found.lines, found.unvouched, found.problems) == ((), (line,), ())
    assert world.catalog.verifications("main") == []


def test_a_line_by_a_key_that_is_not_here_proves_nothing(world: World) -> None:
    line = world.line(1)
    world.catalog.record("main", line)
    found = Catalog(world.stores, Keys(Key.new())).ledger("main")
    assert (found.lines, found.unvouched) == ((), (line,))


@pytest.mark.parametrize(
    "keys", [None, Keys(recipients=[str(pyrage.x25519.Identity.generate().to_public())])]
)
def test_without_a_key_of_ours_every_line_counts_as_it_always_did(world: World, keys: Keys | None) -> None:
    line = world.line(1)
    world.forge(line)
    found = Catalog(world.stores, keys).ledger("main")
    assert (found.lines, found.unvouched) == ((line,), ())


def test_forged_proofs_push_no_proven_backup_out(world: World) -> None:
    world.catalog.record("main", world.line(0))
    for number in (1, 2):
        world.forge(world.line(number))
    assert IDS[0] in world.kept(last=1, verified=1)


def test_forged_failures_push_no_good_backup_out(world: World) -> None:
    world.catalog.record("main", world.line(0))
    for number in range(4):
        world.forge(world.line(number, Verdict.FAIL, age=0.1))
    assert world.kept(last=1, verified=1) == [IDS[0], IDS[3]]


def test_what_only_an_old_line_proves_is_not_deleted_either(world: World) -> None:
    """The first prune of a version that asks for proofs of writers must not delete what the one before it proved."""
    world.forge(world.line(0))
    world.forge(world.line(1))
    assert world.kept(last=1, verified=1) == [IDS[1], IDS[3]]
    world.catalog.record("main", world.line(2))
    assert world.kept(last=1, verified=1) == [IDS[1], IDS[2], IDS[3]]
