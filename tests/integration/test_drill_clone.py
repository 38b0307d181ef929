"""The clone that drills happen on: one's own data on servers of our own, and nothing in it that leads to production."""

from __future__ import annotations

import json
import os
import secrets
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from tests.equipment.interruption import interrupted, processes_in

from understudy import config
from understudy.backup import restore, staging
from understudy.backup.keys import write_new
from understudy.backup.manifest import Kind, Level, Manifest, Verdict
from understudy.backup.shelf import Shelf
from understudy.cli.app import main
from understudy.demo import agent_process
from understudy.demo.lab import CLUSTER, NODES, Lab
from understudy.drill import backups, changes, runner
from understudy.drill.clone import CloneLab, find, newest_proven
from understudy.drill.definition import AnyScenario, Setting
from understudy.drill.pair import Sandbox
from understudy.drill.stage import Stage
from understudy.drill.vault import Vault
from understudy.model import Rpo
from understudy.readiness.journal import Outcome, Radius

pytestmark = pytest.mark.timeout(300)
TABLES = """
[backup]
key_file = "{place}/backup.key"
[[backup.destination]]
name = "shelf"
folder = "{place}/shelf"
"""
PASSWORD = secrets.token_urlsafe(12)
FARM = f"""
CREATE ROLE farmer NOLOGIN;
CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}' IN ROLE pg_read_all_data;
GRANT farmer TO understudy, app;
CREATE EXTENSION vector;
CREATE SCHEMA farm AUTHORIZATION farmer;
CREATE TABLE farm.herd (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE farm.animal (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, herd int REFERENCES farm.herd, name text, traits vector(3));
CREATE INDEX animal_name ON farm.animal (lower(name));
ALTER TABLE farm.herd OWNER TO farmer;
ALTER TABLE farm.animal OWNER TO farmer;
ALTER TABLE farm.animal ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON farm.animal TO farmer USING (herd = 1);
ALTER ROLE farmer BYPASSRLS;
ALTER ROLE understudy BYPASSRLS;
INSERT INTO farm.herd SELECT i, 'herd ' || i FROM generate_series(1, 20) i;
INSERT INTO farm.animal (herd, name, traits)
    SELECT i % 20 + 1, 'animal ' || i, ARRAY[i, i, i]::vector FROM generate_series(1, 5000) i;
CREATE PUBLICATION reports FOR TABLE farm.animal;
CREATE FOREIGN DATA WRAPPER elsewhere;
CREATE SERVER warehouse FOREIGN DATA WRAPPER elsewhere;
CREATE USER MAPPING FOR understudy SERVER warehouse OPTIONS (password '{PASSWORD}');
CREATE USER MAPPING FOR PUBLIC SERVER warehouse OPTIONS (password '{PASSWORD}');
"""
FOUND = """
SELECT (SELECT count(*) FROM farm.animal), (SELECT sum(id) FROM farm.animal),
    (SELECT relowner::regrole::text FROM pg_class WHERE oid = 'farm.animal'::regclass),
    (SELECT count(*) FROM pg_indexes WHERE indexname = 'animal_name'),
    (SELECT count(*) FROM pg_constraint WHERE contype = 'f'),
    (SELECT rolpassword FROM pg_authid WHERE rolname = 'reader'),
    (SELECT count(*) FROM pg_publication WHERE pubname = 'reports'),
    (SELECT count(*) FROM pg_user_mapping), (SELECT count(*) FROM pgbench_accounts)
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Key, destination, and what stands for TMPDIR, open to the user that servers run as."""
    with tempfile.TemporaryDirectory(prefix="understudy-test-") as made:
        folder = Path(made)
        folder.chmod(0o711)
        write_new(folder / "backup.key")
        (folder / "shelf").mkdir()
        (folder / "tmp").mkdir(mode=0o711)
        yield folder


@pytest.fixture(scope="module")
def lab(place: Path) -> Iterator[Lab]:
    with Lab(mode=Rpo.BOUNDED, scale=1, tables=TABLES.format(place=place)) as made:
        made.agent.stop()  # what follows is read from `a` alone
        with made.connect("a", "postgres") as connection:
            connection.execute(FARM)
        yield made


@pytest.fixture
def setting(lab: Lab) -> Setting:
    loaded = config.load(lab.config_file, {})
    return Setting(radius=Radius.CLONE, cluster=CLUSTER, mode=Rpo.BOUNDED, config=loaded)


@pytest.fixture(scope="module")
def shelf(lab: Lab) -> Shelf:
    """One verified dump of everything."""
    loaded = config.load(lab.config_file, {})
    made = Shelf(loaded, loaded.cluster(CLUSTER))
    assert made.verify(made.create(Kind.LOGICAL), Level.RESTORE).verdict is Verdict.PASS
    return made


@pytest.fixture
def temporary(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where everything of a drill lies; nothing was there before."""
    folder = place / "tmp"
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    assert list(folder.iterdir()) == []
    return folder


def proven(shelf: Shelf) -> Manifest:
    found = newest_proven(shelf.catalog.backups(CLUSTER), shelf.catalog.verifications(CLUSTER))
    assert found is not None
    return found


@contextmanager
def damaged(shelf: Shelf, damage: Callable[..., str]) -> Iterator[None]:
    """What clones are made of is broken, and mended afterwards."""
    manifest = proven(shelf)
    store = shelf.place(manifest)
    kept = {item.key: b"".join(store.get(item.key)) for item in store.list(f"{CLUSTER}/{manifest.id}/")}
    damage(Vault(shelf.config, shelf.cluster), manifest, store)
    yield
    for key, body in kept.items():
        store.put(key, [body], replace=True)


def test_a_clone_is_ones_own_data_and_leads_nowhere(lab: Lab, setting: Setting, temporary: Path) -> None:
    """No backups are configured, so the primary is dumped."""
    assert setting.config is not None
    alone = replace(setting, config=replace(setting.config, backup=None))
    stage = Stage()
    with staging.folder() as folder, CloneLab(stage, find(stage, alone, folder), folder, alone.mode) as made:
        for node in NODES:
            with made.connect(node, "postgres") as connection:
                row = connection.execute(FOUND).fetchone()
                assert row is not None
                assert row[:5] == (5000, 12502500, "farmer", 1, 1)
                assert row[5:] == (None, 0, 0, 100_000)
                slots = connection.execute("SELECT slot_name FROM pg_replication_slots").fetchall()
                assert all(name.startswith(f"understudy_{CLUSTER}_") for (name,) in slots)
        assert {check.outcome for check in stage.evidence} == {Outcome.PASS}
        assert len(stage.evidence) == 2
        assert made.verify().equal
        original = conninfo_passwords(lab)
        assert not original & conninfo_passwords(made)
        text = made.config_file.read_text()
        assert not [password for password in original if password in text]
    assert any(line.name == "dump the primary a" for line in stage.timeline)
    assert (stage.backup, stage.backup_sha256) == ("", "")
    assert list(temporary.iterdir()) == []


def conninfo_passwords(lab: Lab) -> set[str]:
    found = {psycopg.conninfo.conninfo_to_dict(lab.dsn(node, user)).get("password") for node in NODES
             for user in ("app", "understudy", "postgres")}  # fmt: skip
    return {str(password) for password in found if password}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_verified_dump_is_what_a_clone_is_made_of(
    lab: Lab, setting: Setting, shelf: Shelf, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer one that was never verified is passed over; what is opened on the way nobody else can read."""
    verified = proven(shelf)
    shelf.create(Kind.LOGICAL, scope=("schema-only",))
    seen: list[int] = []

    def look(stage: Stage, world: object) -> None:
        seen.append(len(list(temporary.iterdir())))

    real = restore.run_restore

    def watched(manifest: object, staged: restore.Staged, *args: object, **kwargs: object) -> None:
        seen.append(staged.archive.parent.stat().st_mode & 0o077)
        real(manifest, staged, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(restore, "run_restore", watched)
    found = runner.run(replace(scenario("switchover"), run=look), setting, rto=60, rpo=10)
    assert found.outcome is Outcome.PASS, found.summary
    assert (found.backup, found.backup_sha256) == (verified.id, verified.part("archive").sha256)
    assert (found.radius, found.versions["postgresql"]) == (Radius.CLONE, verified.server_version)
    assert seen == [0, 0, 1]
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_only_the_lost_primary_had_is_found_among_what_was_rescued(
    setting: Setting, shelf: Shelf, temporary: Path
) -> None:
    """The canaries' last writes had not reached the standby, which hung for a moment."""

    def crash(stage: Stage, pair: Sandbox) -> None:
        standby = pair.lab.servers[pair.state.other]
        standby.freeze()
        before = len(pair.acknowledged())
        stage.wait("writes that the standby lacks", lambda: len(pair.acknowledged()) > before + 50, 30)
        killed = pair.lab.servers[pair.state.primary]
        changes._lose(
            stage, pair, "kill -9 the primary, thaw the standby", lambda _: (killed.kill(), standby.thaw())
        )
        killed.start()
        stage.wait("a healthy pair", pair.settled, pair.settle)
        changes._account(stage, pair)

    found = runner.run(replace(scenario("failover-crash"), run=crash), setting, rto=60, rpo=10)
    assert found.outcome is Outcome.PASS, found.summary
    assert found.loss is not None
    assert (found.loss.lost, found.loss.rescued >= 50) == (0, True)


def refused(lab: Lab, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a drill says that is not begun."""
    line = ["--config", str(lab.config_file), "--json", "drill", "run", "failover-crash", *words]
    assert main(line) == 6
    [found] = json.loads(capsys.readouterr().out)
    assert found["outcome"] == "inconclusive"
    assert found["cleanup"] == []
    return str(found["summary"])


def test_what_is_too_large_or_has_no_room_is_not_begun(
    lab: Lab,
    shelf: Shelf,
    temporary: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = refused(lab, capsys, "--clone-limit", "1MB")
    assert "a clone is made up to 1 MB" in told
    assert "--no-clone" in told
    monkeypatch.setattr(staging, "SLACK_BYTES", 2**62)
    told = refused(lab, capsys)
    assert "a clone needs about" in told
    assert "MB are free" in told
    assert list(temporary.iterdir()) == []


def test_a_missing_extension_is_named_and_nothing_is_passed(
    lab: Lab, shelf: Shelf, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with damaged(shelf, backups.need_extension):
        told = refused(lab, capsys)
    assert "understudy_absent" in told
    assert "--no-clone" in told
    assert list(temporary.iterdir()) == []


def test_a_dump_that_does_not_restore_fails_the_drill(
    setting: Setting, shelf: Shelf, temporary: Path
) -> None:
    with damaged(shelf, backups.flip_bit):
        found = runner.run(scenario("switchover"), setting, rto=60, rpo=10)
    assert found.outcome is Outcome.FAIL
    assert "archive" in found.summary
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("--clone", "--production", CLUSTER, "--yes-production", CLUSTER),
        ("--clone-limit", "very large"),
    ],
)
def test_wrong_use_is_told(lab: Lab, words: tuple[str, ...]) -> None:
    assert main(["--config", str(lab.config_file), "drill", "run", "switchover", *words]) == 2


def test_without_a_configuration_there_is_nothing_to_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("UNDERSTUDY_", "DATABASE_", "DB_"))]:
        monkeypatch.delenv(name)
    assert main(["drill", "run", "switchover", "--clone"]) == 2
    assert "no configuration that says of what" in capsys.readouterr().err


def scenario(name: str) -> AnyScenario:
    return next(one for one in changes.SCENARIOS if one.name == name)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", list(Rpo), ids=str)
@pytest.mark.parametrize("one", changes.SCENARIOS, ids=lambda one: one.name)
def test_every_drill_of_a_change_passes_on_a_clone(
    setting: Setting, shelf: Shelf, temporary: Path, one: AnyScenario, mode: Rpo
) -> None:
    found = runner.run(one, replace(setting, mode=mode), rto=60, rpo=10)
    assert found.outcome is Outcome.PASS, found.summary
    assert found.recovery is not None
    assert found.loss is not None
    assert found.loss.acknowledged > 100
    assert [check.outcome for check in found.cleanup] == [Outcome.PASS, Outcome.PASS]
    assert list(temporary.iterdir()) == []
    assert found.radius is Radius.CLONE


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("at", ["fetch, open and check", "restore it into a", "understudy setup"])
def test_a_signal_leaves_nothing_of_a_clone(lab: Lab, shelf: Shelf, temporary: Path, at: str) -> None:
    environment = agent_process.environment(lab.config_file) | {"TMPDIR": str(temporary)}
    code, said = interrupted(["drill", "run", "failover-crash"], environment, at, signal.SIGTERM)
    assert code == 130, said
    assert list(temporary.iterdir()) == []
    assert processes_in(temporary) == []
