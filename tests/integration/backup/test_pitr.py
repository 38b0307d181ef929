"""Base backups and the log after them on real servers: exact to the row, or an error that says what is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from tests.integration.backup.pitr_world import Archive, archive_of_a_pair, until

from understudy.backup import physical, pitr, wal
from understudy.backup.keys import Key, Keys
from understudy.backup.manifest import Kind, Level, Manifest, Verdict
from understudy.backup.pitr import Latest, Lsn, Name, OutOfReach, Time, files
from understudy.backup.seal import WrongKey
from understudy.backup.source import BackupError, BackupRefused, primary_of


@dataclass
class Story:
    """A base backup, and five thousand rows after it with a mark after each thousand."""

    archive: Archive
    base: Manifest
    position: int
    moment: datetime
    end: int


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    with archive_of_a_pair() as archive:
        archive.start()
        base = archive.base()
        sql = archive.backed.sql
        archive.insert(1, 1000)
        sql("SELECT pg_sleep_until(%s::timestamptz)", base.finished)  # a moment before it is not to be had
        ((position,),) = sql("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
        archive.insert(1001, 2000)
        ((moment,),) = sql("SELECT clock_timestamp()")
        archive.insert(2001, 3000)
        sql("SELECT pg_create_restore_point('before the mistake')", user="postgres")
        for first in (3001, 4001):
            archive.insert(first, first + 999)
            archive.switch()
        ((end,),) = sql("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
        archive.await_shipped()
        archive.stop()
        yield Story(archive, base, position, moment, end)


def restore(
    story: Story, target: pitr.Target, manifest: Manifest | None = None, keys: Keys | None = None
) -> None:
    """A restore that is to fail: no server to look at."""
    folder = story.archive.folder / "fails"
    backed = story.archive.backed
    try:
        pitr.restore(manifest or story.base, backed.store, keys or backed.keys, target, folder)
    finally:
        assert not folder.exists()


def test_the_manifest_says_what_was_copied(story: Story) -> None:
    base = story.base
    ((system, lsn),) = story.archive.backed.sql(
        "SELECT (SELECT system_identifier::text FROM pg_control_system()), (pg_current_wal_lsn() - '0/0')::bigint"
    )
    assert (base.kind, base.form, base.timeline) == (Kind.PHYSICAL, "tar", 1)
    assert base.system_identifier == system
    assert 0 < base.start_lsn < base.end_lsn < lsn
    assert base in story.archive.backed.catalog.backups(base.cluster)


def test_everything_since_the_base_is_covered(story: Story) -> None:
    backed = story.archive.backed
    found = wal.archives(backed.store, story.base.cluster, backed.keys)
    (covered,) = wal.coverage([story.base], found, story.base.system_identifier)
    assert covered.whole, covered.reason
    assert wal.first_record(covered.ends) >= story.end


def test_to_a_moment_exact_to_the_row(story: Story) -> None:
    with story.archive.restored(story.base, Time(story.moment)) as restored:
        assert story.archive.rows(restored) == set(range(1, 2001))
        self_alone(story, restored)


def self_alone(story: Story, restored: pitr.Restored) -> None:
    """A restored server reaches nobody, and belongs to no cluster."""
    with psycopg.connect(restored.server.dsn(dbname=story.archive.backed.world.pair.database)) as connection:
        ask = connection.execute
        assert ask("SELECT count(*) FROM pg_subscription").fetchone() == (0,)
        assert ask("SELECT count(*) FROM pg_replication_slots").fetchone() == (0,)
        assert ask("SELECT current_setting('synchronous_standby_names')").fetchone() == ("",)
        assert ask("SELECT current_setting('max_logical_replication_workers')").fetchone() == ("0",)
        assert ask("SELECT timeline_id FROM pg_control_checkpoint()").fetchone() == (2,)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            ask("INSERT INTO row VALUES (9999)")


@pytest.mark.slow
def test_to_a_position_a_name_and_the_end_exact_to_the_row(story: Story) -> None:
    wanted = {
        Lsn(story.position): 1000,
        Name("before the mistake"): 3000,
        Latest(): 5000,
        Lsn(story.end): 5000,  # no record follows that would say: reached
    }
    for target, last in wanted.items():
        with story.archive.restored(story.base, target) as restored:
            assert story.archive.rows(restored) == set(range(1, last + 1)), target


@pytest.mark.slow
def test_a_target_past_the_end_says_how_far_one_can_get(story: Story) -> None:
    for target in (Lsn(story.end + 2**20), Time(datetime.now(story.moment.tzinfo)), Name("never made")):
        with pytest.raises(
            OutOfReach, match=r"was not reached: the log ends at 0/\w+, the last transaction .* at 20"
        ):
            restore(story, target)


def test_a_moment_before_the_base_needs_an_older_one(story: Story) -> None:
    """PostgreSQL itself would silently give what the base backup holds."""
    for moment in (story.base.started, story.base.finished):
        with pytest.raises(OutOfReach, match="older base backup"):
            restore(story, Time(datetime.fromisoformat(moment) - timedelta(seconds=1)))


def test_a_position_before_the_base_needs_an_older_one(story: Story) -> None:
    with pytest.raises(OutOfReach, match="older base backup"):
        restore(story, Lsn(story.base.start_lsn))


def test_a_missing_segment_is_named(story: Story) -> None:
    file = story.archive.segments(story.base)[-2]
    aside = file.rename(story.archive.folder / "aside")
    try:
        with pytest.raises(OutOfReach, match=f"segment {file.name} .* is missing"):
            restore(story, Latest())
        with pytest.raises(OutOfReach, match=f"segment {file.name} .* is missing"):
            restore(story, Lsn(story.end))
    finally:
        aside.rename(file)


def test_a_flipped_bit_in_a_segment_is_noticed_before_anything_is_replayed(story: Story) -> None:
    file = story.archive.segments(story.base)[-1]
    good = file.read_bytes()
    file.write_bytes(good[:-40] + bytes([good[-40] ^ 1]) + good[-39:])
    try:
        with pytest.raises(OutOfReach, match=f"segment {file.name} .* is damaged"):
            restore(story, Latest())
    finally:
        file.write_bytes(good)


def test_a_restore_with_another_key_names_the_right_one(story: Story) -> None:
    with pytest.raises(WrongKey, match=story.archive.backed.keys.recipients[0]):
        restore(story, Latest(), keys=Keys(Key.new()))


def test_a_folder_in_use_is_left_alone(story: Story, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(BackupRefused, match="found files in it"):
        pitr.restore(story.base, story.archive.backed.store, story.archive.backed.keys, Latest(), tmp_path)
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to another user")
def test_a_folder_that_the_server_cannot_reach_is_refused_beforehand(story: Story, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(BackupRefused, match="closed to user"):
        pitr.restore(
            story.base, story.archive.backed.store, story.archive.backed.keys, Latest(), tmp_path / "server"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_server_of_another_version_is_not_to_be_had(story: Story) -> None:
    with pytest.raises(BackupRefused, match="needs a server of PostgreSQL 13"):
        restore(story, Latest(), manifest=replace(story.base, server_version="13.4"))


@pytest.mark.slow
def test_a_base_backup_is_proven_by_a_restore(story: Story) -> None:
    backed = story.archive.backed
    found = backed.verify(story.base, Level.RESTORE)
    assert found.verdict is Verdict.PASS, found.checks
    assert found.sha256 == {"base": story.base.part("base").sha256}
    assert {"files", "log", f"database {backed.world.pair.database}"} <= {f.what for f in found.checks}
    assert found in backed.catalog.verifications(story.base.cluster, story.base.id)


def test_proving_without_the_key_is_inconclusive(story: Story) -> None:
    (found,) = pitr.verify_physical(story.base, story.archive.backed.store, Keys(Key.new()))
    assert found.verdict is Verdict.INCONCLUSIVE


@pytest.mark.slow
def test_a_changed_file_fails_the_proof(story: Story) -> None:
    """The bytes are authentic, but not what PostgreSQL said when it copied them."""
    backed = story.archive.backed
    job = files.job_of(pitr.Stored(backed.store, backed.keys), story.base, story.archive.folder / "unpacked")
    job.folder.mkdir()
    job.origin.unpack(story.base, job.data, job.say)
    try:
        files.verify_files(job)
        table = max((job.data / "base").glob("*/*"), key=lambda p: p.stat().st_size)
        with table.open("r+b") as file:
            file.write(b"\xff")
        with pytest.raises(BackupError, match=f"checksum mismatch for file.*{table.name}"):
            files.verify_files(job)
    finally:
        shutil.rmtree(job.folder)


@pytest.mark.slow
def test_the_log_is_followed_onto_the_timeline_of_a_restored_copy(story: Story) -> None:
    """A copy at 3000 is written to and archived in its original's place; the base backup reaches into its timeline,
    past the rows 3001 to 5000 that the original had."""
    archive, backed = story.archive, story.archive.backed
    with archive.restored(story.base, Name("before the mistake")) as copy:
        with (copy.server.data / "pg_hba.conf").open("a") as hba:
            hba.write("host replication postgres 127.0.0.1/32 scram-sha-256\n")
        dsn = copy.server.dsn(dbname=backed.world.pair.database)
        with psycopg.connect(
            dsn, autocommit=True, options="-c default_transaction_read_only=off"
        ) as connection:
            connection.execute("SELECT pg_reload_conf()")
            alone = Archive(backed=backed, servers={}, folder=archive.folder / "copy")
            alone.folder.mkdir()
            alone.start(
                primary=lambda: replace(primary_of(backed.config, backed.world.pair.cluster), dsn=dsn)
            )
            try:
                connection.execute("INSERT INTO row SELECT generate_series(6001, 7000)")
                connection.execute("SELECT pg_switch_wal()")
                connection.execute("INSERT INTO row SELECT generate_series(7001, 8000)")
                alone.await_shipped()
            finally:
                alone.stop()
    try:
        reached = wal.reach(story.base, wal.archive_of(
            backed.store, story.base.cluster, story.base.system_identifier, backed.keys))  # fmt: skip
        assert (reached.timeline, reached.missing) == (2, "")
        with archive.restored(story.base, Latest()) as restored:
            assert archive.rows(restored) == {*range(1, 3001), *range(6001, 8001)}
    finally:  # the other tests are about the first timeline
        for file in archive.segment(story.base, "x").parent.glob("00000002*"):
            file.unlink()


# --- who may --------------------------------------------------------------------------------------------------


def test_obstacles_name_what_mends_them(story: Story) -> None:
    archive = story.archive
    node = archive.backed.world.pair.cluster.nodes[0]
    assert physical.obstacles(node) == ()
    hba = archive.servers["a"].data / "pg_hba.conf"
    before = hba.read_text()
    superuser = archive.backed.sql
    try:
        superuser("ALTER ROLE understudy NOREPLICATION", user="postgres")
        assert 'ALTER ROLE "understudy" REPLICATION' in physical.obstacles(node)[0]
        superuser("ALTER ROLE understudy REPLICATION", user="postgres")
        hba.write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        superuser("SELECT pg_reload_conf()", user="postgres")
        until(lambda: physical.obstacles(node), "the new pg_hba.conf")
        assert "host replication understudy" in physical.obstacles(node)[0]
    finally:
        hba.write_text(before)
        superuser("ALTER ROLE understudy REPLICATION", user="postgres")
        superuser("SELECT pg_reload_conf()", user="postgres")
    until(lambda: physical.obstacles(node) == (), "the old pg_hba.conf")
    managed = replace(node, provider="supabase")
    assert "logical backups" in physical.obstacles(managed)[0]


def test_tablespaces_are_refused(story: Story) -> None:
    archive = story.archive
    data = archive.servers["a"].data
    place = data.parent / "space"
    place.mkdir()
    os.chown(place, data.stat().st_uid, data.stat().st_gid)
    archive.backed.sql(f"CREATE TABLESPACE \"fast disk\" LOCATION '{place}'", user="postgres")
    try:
        with pytest.raises(BackupRefused, match=r"tablespaces \(fast disk\)"):
            archive.base()
    finally:
        archive.backed.sql('DROP TABLESPACE "fast disk"', user="postgres")


def test_a_base_backup_that_fails_leaves_nothing(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = story.archive
    before = sorted(p for p in archive.backed.folder.rglob("*") if p.is_file())
    real = physical._basebackup

    def killed(dsn: str, binary: Path, identifier: str) -> object:
        child = real(dsn, binary, identifier)
        child._process.kill()
        return child

    monkeypatch.setattr(physical, "_basebackup", killed)
    with pytest.raises(BackupError, match="SIGKILL"):
        archive.base()
    assert sorted(p for p in archive.backed.folder.rglob("*") if p.is_file()) == before


def test_a_primary_that_changed_gives_no_backup(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = story.archive
    cluster = archive.backed.world.pair.cluster
    real = physical.primary_of
    monkeypatch.setattr(physical, "primary_of", lambda *a: replace(real(*a), epoch=99))
    before = len(archive.backed.ids)
    with pytest.raises(BackupError, match="primary"):
        physical.create(archive.backed.config, cluster, archive.stores, archive.backed.keys)
    assert len(archive.backed.ids) == before
