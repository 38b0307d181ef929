"""What verification says of backups that were damaged, and of those that it cannot judge here."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.faults.agent_world import Servers
from tests.integration.backup.world import LARGE, Backed, backed_pair, target

from understudy.backup import contents, restore
from understudy.backup.catalog import Catalog
from understudy.backup.keys import Key, Keys
from understudy.backup.manifest import Finding, Level, Manifest, Verdict, Verification
from understudy.backup.stream import read_part

SEALED_CHUNK = 2**20


@pytest.fixture(scope="module")
def backed(server_pair: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backed]:
    with backed_pair(server_pair, tmp_path_factory.mktemp("verify"), LARGE) as backed:
        yield backed


@pytest.fixture(scope="module")
def manifest(backed: Backed) -> Manifest:
    return backed.create()


@pytest.fixture
def damaged(backed: Backed, manifest: Manifest) -> Iterator[Callable[[str, Callable[[bytes], bytes]], None]]:
    """Change a part on its disk for the time of a test."""
    changed: list[tuple[Path, bytes]] = []

    def damage(name: str, how: Callable[[bytes], bytes]) -> None:
        path = backed.part(manifest, name)
        mode = path.stat().st_mode
        changed.append((path, path.read_bytes()))
        path.chmod(0o600)
        path.write_bytes(how(changed[-1][1]))
        path.chmod(mode)

    yield damage
    for path, before in changed:
        path.chmod(0o600)
        path.write_bytes(before)


def failed(proof: Verification) -> list[Finding]:
    return [check for check in proof.checks if check.verdict is not Verdict.PASS]


@pytest.mark.parametrize("level", list(Level))
def test_a_good_backup_passes_every_level(backed: Backed, manifest: Manifest, level: Level) -> None:
    proof = backed.verify(manifest, level)
    assert proof.verdict is Verdict.PASS, proof.checks
    assert proof.level is level


@pytest.mark.parametrize("name", ["archive", "roles", "ranges"])
@pytest.mark.parametrize("place", [0.0, 0.3, 0.7, 1.0])
def test_a_flipped_bit_anywhere_fails(
    backed: Backed, manifest: Manifest, damaged: Callable[..., None], name: str, place: float
) -> None:
    def flip(data: bytes) -> bytes:
        at = int(place * (len(data) - 1))
        return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]

    damaged(name, flip)
    proof = backed.verify(manifest, Level.BYTES)
    assert proof.verdict is Verdict.FAIL
    assert [check.what for check in failed(proof)] == [f"part {name}"]
    assert name not in proof.sha256


@pytest.mark.parametrize("chunks", [0, 1])
def test_cut_at_a_chunk_boundary_fails(
    backed: Backed, manifest: Manifest, damaged: Callable[..., None], chunks: int
) -> None:
    def cut(data: bytes) -> bytes:
        body = len(data) % (
            SEALED_CHUNK + 16
        )  # header and last chunk; either way no byte of a chunk is missing
        return data[: max(len(data) - body, 0)] if chunks else data[:0]

    damaged("archive", cut)
    assert backed.verify(manifest, Level.BYTES).verdict is Verdict.FAIL


@pytest.mark.parametrize("form", ["custom", "directory"])
def test_damage_is_noticed_without_encryption_too(backed: Backed, form: str) -> None:
    plain = replace(backed, keys=None)  # type: ignore[arg-type]
    manifest = plain.create(form=form)
    path = plain.part(manifest, "archive")
    data = path.read_bytes()
    path.chmod(0o600)
    for at in range(5, len(data), len(data) // 12):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert plain.verify(manifest, Level.ARCHIVE).verdict is Verdict.FAIL
    path.write_bytes(data)
    assert plain.verify(manifest, Level.ARCHIVE).verdict is Verdict.PASS


def test_a_part_of_another_backup_fails(
    backed: Backed, manifest: Manifest, damaged: Callable[..., None]
) -> None:
    """The place of an object is sealed with it."""
    other = backed.create()
    damaged("archive", lambda _: backed.part(other, "archive").read_bytes())
    assert backed.verify(manifest, Level.BYTES).verdict is Verdict.FAIL


def test_a_manifest_without_data_fails(backed: Backed) -> None:
    manifest = backed.create(scope=("schema-only",))
    path = backed.part(manifest, "archive")
    path.parent.chmod(0o700)
    path.unlink()
    proof = backed.verify(manifest, Level.RESTORE)
    assert proof.verdict is Verdict.FAIL
    assert [check.what for check in failed(proof)] == ["part archive"]


def test_data_without_a_manifest_is_no_backup(backed: Backed) -> None:
    manifest = backed.create(scope=("schema-only",))
    backed.part(manifest, "manifest.json").unlink()
    assert manifest.id not in backed.ids
    assert manifest.id in backed.catalog.survey(manifest.cluster).unfinished[backed.store.name]


@pytest.mark.parametrize("keys", [Keys(Key.new()), None])
def test_without_the_right_key_nothing_is_known(
    backed: Backed, manifest: Manifest, keys: Keys | None
) -> None:
    proof = backed.verify(manifest, Level.RESTORE, keys=keys)
    assert proof.verdict is Verdict.INCONCLUSIVE
    assert "key" in failed(proof)[0].detail


def test_contents_that_differ_are_named_with_their_range(backed: Backed, manifest: Manifest) -> None:
    """A restored database that somebody has changed."""
    dsn = target(backed, "changed")
    restored = restore.restore_logical(backed.config, manifest, backed.store, backed.keys, dsn)
    assert restored.equal, restored.findings
    divided = contents.decode(b"".join(read_part(backed.store, manifest, "ranges", backed.keys)), "ranges")
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("UPDATE large SET text = 'x' WHERE id = 30000")
            connection.execute("DELETE FROM large WHERE id = 90000")
            connection.execute("INSERT INTO note (body) VALUES ('more')")
            connection.execute("SELECT setval('ticket', 10, false)")
            connection.execute("CREATE TABLE intruder (id int)")
        findings = {
            f.what: f.detail for f in restore.compare(manifest, dsn, divided) if f.verdict is Verdict.FAIL
        }
    finally:
        with psycopg.connect(target(backed, "postgres"), autocommit=True) as server:
            server.execute("DROP DATABASE changed WITH (FORCE)")
    assert findings["table public.note"] == "expected 0 rows, found 1"
    large = findings["table public.large"]
    assert large == (
        "expected 30000 rows, found 29999: id 29550 to 30956 (469 rows expected, 469 found),"
        " id 88644 to 90050 (453 rows expected, 452 found)"
    )
    assert "intruder" in findings["tables"]
    assert "contents" in findings


def test_a_manifest_that_says_something_else_fails(backed: Backed, manifest: Manifest) -> None:
    """What verification would see of a dump that lost a row on its way."""
    tables = tuple(replace(t, rows=t.rows + 1) if t.name == "item" else t for t in manifest.tables)
    sequences = tuple(replace(s, last_value=5000) for s in manifest.sequences if s.name == "note_id_seq")
    proof = backed.verify(replace(manifest, tables=tables, sequences=sequences))
    assert proof.verdict is Verdict.FAIL
    assert {check.what for check in failed(proof)} == {"table public.item", "contents", "sequences"}


def rewritten(text: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    body = json.loads(text)
    change(body)
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("change", "verdict", "detail"),
    [
        (lambda body: None, Verdict.PASS, "authentic"),
        (lambda body: body["backup"]["tables"][0].update(rows=5), Verdict.FAIL, "without our key"),
        (lambda body: body["backup"].update(tables=[]), Verdict.FAIL, "without our key"),
        (
            lambda body: body["backup"].update(id="20200101T000000Z-logical-aaaaaa"),
            Verdict.FAIL,
            "another one",
        ),
        (
            lambda body: body.pop("mac"),
            Verdict.INCONCLUSIVE,
            "no proof of who wrote it",
        ),  # as before there was one
    ],
)
def test_whoever_can_write_there_cannot_change_what_the_manifest_says(
    backed: Backed,
    manifest: Manifest,
    damaged: Callable[..., None],
    change: Callable[[dict[str, Any]], object],
    verdict: Verdict,
    detail: str,
) -> None:
    damaged("manifest.json", lambda text: rewritten(text, change))
    proof = backed.verify(manifest, Level.BYTES)
    assert proof.verdict is verdict
    (check,) = [check for check in proof.checks if check.what == "manifest"]
    assert detail in check.detail
    listed = [found.id for found in Catalog([backed.store], backed.keys).backups(manifest.cluster)]
    assert (manifest.id in listed) is (verdict is not Verdict.FAIL)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"extensions": {"postgis": "3.4"}}, "extensions"),
        ({"client_version": "99.1"}, "machine"),
        ({"server_version": "99.1"}, "scratch server"),
    ],
)
def test_what_this_host_cannot_check_is_inconclusive(
    backed: Backed, manifest: Manifest, change: dict[str, object], what: str
) -> None:
    proof = backed.verify(replace(manifest, **change))  # type: ignore[arg-type]
    assert proof.verdict is Verdict.INCONCLUSIVE
    assert [check.what for check in failed(proof)] == [what]


def test_a_disk_that_fills_up_is_inconclusive(backed: Backed, manifest: Manifest) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    try:
        proof = backed.verify(manifest, Level.ARCHIVE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert proof.verdict is Verdict.INCONCLUSIVE
    assert "File too large" in failed(proof)[0].detail


def test_too_little_room_is_inconclusive_before_anything_is_fetched(
    backed: Backed, manifest: Manifest
) -> None:
    parts = tuple(replace(part, raw_bytes=2**60) for part in manifest.parts)
    proof = backed.verify(replace(manifest, parts=parts), Level.ARCHIVE)
    assert [check.what for check in failed(proof)] == ["machine"]
    assert proof.verdict is Verdict.INCONCLUSIVE
