"""pgBackRest where it is there already: its backups are made, seen, proven and restored to a moment. The real one."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from tests.integration.backup.pitr_world import SCHEMA, until
from tests.integration.backup.world import Backed, backed_pair
from tests.integration.conftest import FAST
from tools.install_peers import PGBACKREST

from understudy.backup import pgbackrest
from understudy.backup.catalog import discard
from understudy.backup.manifest import Kind, Level, Manifest, Verdict
from understudy.backup.pitr import Latest, Lsn, Name, OutOfReach, Target, Time
from understudy.backup.shelf import Shelf
from understudy.backup.source import BackupRefused, primary_of
from understudy.config import Config
from understudy.config_backup import Backup, Destination, Physical, Secrets
from understudy.drill import report, runner
from understudy.drill.backups import SCENARIOS
from understudy.drill.definition import Setting
from understudy.embedded import EmbeddedPostgreSQL
from understudy.embedded import programs as wheels
from understudy.model import Rpo
from understudy.readiness.gather import look
from understudy.readiness.journal import Outcome, Radius
from understudy.readiness.light import Light

pytestmark = [
    pytest.mark.skipif(not PGBACKREST.exists(), reason=f"no pgBackRest in {PGBACKREST.parent}: make peers"),
    pytest.mark.slow,
    pytest.mark.timeout(300),
]
CONFIGURATION = """
[global]
repo1-path={folder}/repo
repo1-retention-full=2
log-path={folder}/log
lock-path={folder}/lock
spool-path={folder}/spool
start-fast=y
compress-type=zst
[farm]
pg1-path={data}
pg1-port={port}
pg1-socket-path={folder}/lock
pg1-user=postgres
"""


@dataclass
class Rested:
    """A pair whose preferred primary archives with pgBackRest. ``folder``: of the repository and its configuration."""

    backed: Backed
    config: Config
    folder: Path

    @property
    def shelf(self) -> Shelf:
        return Shelf(self.config, self.backed.world.pair.cluster)

    @property
    def repository(self) -> Path:
        return self.folder / "repo" / "backup" / "farm"

    def switch(self) -> None:
        """Finish the segment, and wait until pgBackRest has it."""
        self.backed.sql("SELECT pg_create_restore_point('x')", user="postgres")
        ((name,),) = self.backed.sql("SELECT pg_walfile_name(pg_switch_wal())", user="postgres")
        until(lambda: list((self.folder / "repo" / "archive").rglob(f"{name}-*")), f"{name} to be archived")

    @contextmanager
    def rows(self, manifest: Manifest, target: Target) -> Iterator[set[int]]:
        """What a restored copy holds."""
        with tempfile.TemporaryDirectory(prefix="restored-", dir=self.folder) as place:
            Path(place).chmod(0o711)
            done = self.shelf.restore_physical(manifest, target, Path(place) / "server")
            with (
                done.server,
                psycopg.connect(done.server.dsn(dbname=self.backed.world.pair.database)) as connection,
            ):
                yield {row[0] for row in connection.execute("SELECT id FROM row").fetchall()}
                kept = {path.name for path in (Path(place) / "server").iterdir()}
                assert not kept & {"fetching", "wal"}


@pytest.fixture(scope="module")
def rested() -> Iterator[Rested]:
    with tempfile.TemporaryDirectory(prefix="understudy-test-") as made:
        folder = Path(made)
        folder.chmod(0o711)
        user = wheels.account()
        for name in ("repo", "log", "lock", "spool"):
            (folder / name).mkdir()
            if user is not None:
                os.chown(folder / name, user.uid, user.gid)
        file = folder / "pgbackrest.conf"
        push = f"{PGBACKREST} --config={file} --stanza=farm archive-push %p"
        settings = {
            **FAST,
            "archive_mode": "on",
            "archive_command": push,
            "unix_socket_directories": str(folder / "lock"),
        }
        with (
            EmbeddedPostgreSQL(folder / "a", name="a", settings=settings, die_with_parent=True) as a,
            EmbeddedPostgreSQL(folder / "b", name="b", settings=FAST, die_with_parent=True) as b,
        ):
            file.write_text(CONFIGURATION.format(folder=folder, data=a.data, port=a.port))
            (folder / "pair").mkdir()
            with (
                backed_pair({"a": a, "b": b}, folder / "pair", SCHEMA) as backed,
                pytest.MonkeyPatch.context() as patch,
            ):
                patch.setenv("PGPASSWORD", (a.folder / "password").read_text())
                backup = Backup(
                    destinations=(Destination(name="shelf", folder=backed.folder),),
                    secrets=Secrets(encryption=False),
                    physical=Physical(
                        wal=False, tool="pgbackrest", stanza="farm", program=str(PGBACKREST), config_file=file,
                        user="" if user is None else pwd.getpwuid(user.uid).pw_name,
                    ),
                )  # fmt: skip
                yield Rested(backed, replace(backed.config, backup=backup), folder)


def program(rested: Rested, *arguments: str) -> None:
    """As its user would call it by hand."""
    user = wheels.account()
    account = {} if user is None else {"user": user.uid, "group": user.gid, "extra_groups": []}
    command = [PGBACKREST, f"--config={rested.folder / 'pgbackrest.conf'}", "--stanza=farm", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **account)
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass
class Story:
    """A backup, three thousand rows after it, and where each thousand ended."""

    made: Manifest
    moment: datetime
    position: int


@pytest.fixture(scope="module")
def story(rested: Rested) -> Story:
    program(rested, "stanza-create")
    made = rested.shelf.create(Kind.PHYSICAL)
    sql = rested.backed.sql
    sql("INSERT INTO row SELECT generate_series(1, 1000)")
    sql("SELECT pg_sleep_until(%s::timestamptz)", made.finished)
    ((moment,),) = sql("SELECT clock_timestamp()")
    sql("INSERT INTO row SELECT generate_series(1001, 2000)")
    ((position,),) = sql("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
    sql("SELECT pg_create_restore_point('before the mistake')", user="postgres")
    rested.switch()
    sql("INSERT INTO row SELECT generate_series(2001, 3000)")
    rested.switch()
    return Story(made, moment, position)


def test_a_stanza_that_is_not_there_is_refused_with_what_makes_it(rested: Rested) -> None:
    backup = rested.config.backup
    assert backup is not None
    assert backup.physical is not None
    other = replace(backup, physical=replace(backup.physical, stanza="other"))
    with pytest.raises(BackupRefused, match="--stanza=other stanza-create"):
        Shelf(replace(rested.config, backup=other), rested.backed.world.pair.cluster).create(Kind.PHYSICAL)


def test_its_backups_stand_beside_ours(rested: Rested, story: Story) -> None:
    made, shelf = story.made, rested.shelf
    ((system,),) = rested.backed.sql("SELECT system_identifier::text FROM pg_control_system()")
    assert (made.form, made.kind, made.system_identifier) == ("pgbackrest", Kind.PHYSICAL, system)
    assert 0 < made.start_lsn < made.end_lsn
    survey = shelf.survey()
    assert survey.problems == ()
    assert survey.places[made.id] == ("pgbackrest",)
    assert made in survey.backups
    assert shelf.find("latest", Kind.PHYSICAL).form == "pgbackrest"
    assert shelf.find("latest").form == "pgbackrest"  # there is no other
    assert shelf.retention(datetime.now(UTC)).delete == ()  # what goes is its own affair


def test_restored_exact_to_the_row(rested: Rested, story: Story) -> None:
    wanted: dict[Target, int] = {
        Time(story.moment): 1000,
        Lsn(story.position): 2000,
        Name("before the mistake"): 2000,
        Latest(): 3000,
    }
    for target, last in wanted.items():
        with rested.rows(story.made, target) as rows:
            assert rows == set(range(1, last + 1)), target
    with pytest.raises(OutOfReach, match="was not reached"), rested.rows(story.made, Name("never")):
        pass


def test_a_proof_is_kept_and_the_light_counts_it(rested: Rested, story: Story) -> None:
    cluster, shelf = rested.backed.world.pair.cluster, rested.shelf
    before = {item.name: item for item in look(rested.config, cluster).items}
    assert before["backup"].light is Light.GREEN
    assert before["storage"].detail == "pgbackrest, shelf answered"
    assert "pgBackRest stores the log" in before["wal"].detail
    whole = shelf.verify(story.made, Level.BYTES)
    assert whole.verdict is Verdict.PASS, whole.checks
    proof = shelf.verify(story.made, Level.RESTORE)
    assert proof.verdict is Verdict.PASS, proof.checks
    assert any(f"database {rested.backed.world.pair.database}" in check.what for check in proof.checks)
    assert shelf.verifications(story.made.id) == [whole, proof]
    assert {item.name: item.light for item in look(rested.config, cluster).items}[
        "verification"
    ] is Light.GREEN
    assert shelf.due(datetime.now(UTC), 86400.0) == (story.made,)  # the only one: each day is its turn


def test_the_drill_restores_what_pgbackrest_made(rested: Rested, story: Story) -> None:
    """Although a dump of ours is newer: where pgBackRest is the tool, its backups are what the worst day needs."""
    dump = rested.shelf.create(Kind.LOGICAL)
    try:
        cluster = rested.backed.world.pair.cluster.name
        setting = Setting(radius=Radius.PRODUCTION, cluster=cluster, mode=Rpo.ZERO, config=rested.config)
        (drill,) = (found for found in SCENARIOS if found.name == "restore-latest")
        found = runner.run(drill, setting, rto=3600, rpo=300)
        assert found.outcome is Outcome.PASS, found.summary
        assert found.backup == story.made.id
        assert {"files", "log", f"database {rested.backed.world.pair.database}"} <= {
            c.what for c in found.evidence
        }
        assert any("archive-get" in one.name or "restore" in one.name for one in found.timeline)
        assert found.recovery is not None
        assert f"| backup | {story.made.id} |" in report.markdown(found)
    finally:
        discard(rested.shelf.stores[0], dump.cluster, dump.id)


def test_another_server_in_the_primarys_place_is_refused(
    rested: Rested, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {finding.what: finding for finding in rested.shelf.check()}["pgbackrest"]
    assert found.verdict is Verdict.PASS, found.detail
    world = rested.backed.world
    with monkeypatch.context() as patch:
        patch.setattr(
            pgbackrest, "primary_of", lambda *_: replace(primary_of(*_), dsn=world.pair.servers["b"].dsn())
        )
        with pytest.raises(BackupRefused, match=r"copies server \d+, and the primary is \d+"):
            rested.shelf.create(Kind.PHYSICAL)
        found = {finding.what: finding for finding in rested.shelf.check()}["pgbackrest"]
        assert found.verdict is Verdict.FAIL
    assert story.made.id in {manifest.id for manifest in rested.shelf.survey().backups}


def test_damage_and_a_repository_that_cannot_be_read_are_told_apart(rested: Rested, story: Story) -> None:
    shelf = rested.shelf
    largest = max(rested.repository.rglob("*.zst"), key=lambda path: path.stat().st_size)
    good = largest.read_bytes()
    at = len(good) // 2
    largest.write_bytes(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
    try:
        for level in (Level.BYTES, Level.RESTORE):
            proof = shelf.verify(story.made, level)
            assert proof.verdict is Verdict.FAIL, (level, proof.checks)
    finally:
        largest.write_bytes(good)
    (rested.folder / "repo").chmod(0)
    try:
        assert shelf.verify(story.made, Level.RESTORE).verdict is Verdict.INCONCLUSIVE
    finally:
        (rested.folder / "repo").chmod(0o755)
    assert shelf.verify(story.made, Level.RESTORE).verdict is Verdict.PASS
