"""Drills on real servers: each passes, measures, leaves nothing behind; and in production changes nothing for good."""

from __future__ import annotations

import contextlib
import json
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from understudy import config
from understudy.backup import schedule
from understudy.backup.keys import write_new
from understudy.backup.manifest import Kind
from understudy.backup.schedule import Memory, Run
from understudy.backup.source import alone
from understudy.cli.app import main
from understudy.demo.lab import CLUSTER, Lab
from understudy.demo.workload import canary_tokens
from understudy.drill import alarm, backups, changes, runner
from understudy.drill.catalogue import SCENARIOS
from understudy.drill.definition import AnyScenario, Setting
from understudy.drill.stage import Stage
from understudy.drill.vault import Vault
from understudy.model import Rpo
from understudy.readiness import journal
from understudy.readiness.journal import Outcome, Radius

TABLES = """
[backup]
key_file = "{place}/backup.key"
[[backup.destination]]
name = "shelf"
folder = "{place}/shelf"
[backup.targets]
backup_age = "1h"
[[backup.drill]]
name = "restore-latest"
schedule = "0 5 * * 1"
[[backup.drill]]
name = "quarterly-simulation"
schedule = "0 5 1 1,4,7,10 *"
[monitor]
[[alerts.routes]]
name = "nobody"
urls = ["json://127.0.0.1:{port}/"]
"""
NOTHING: Callable[..., str] = lambda *_: "nothing"  # noqa: E731 - it stands for a damage


@pytest.fixture(scope="module")
def receiver() -> Iterator[alarm.Receiver]:
    with alarm.Receiver() as made:
        yield made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key, copy of the key, and destination."""
    made = tmp_path_factory.mktemp("backups")
    write_new(made / "backup.key")
    (made / "escrow.key").write_text((made / "backup.key").read_text())
    (made / "shelf").mkdir()
    return made


@pytest.fixture(scope="module")
def lab(place: Path, receiver: alarm.Receiver) -> Iterator[Lab]:
    with Lab(mode=Rpo.ZERO, scale=1, tables=TABLES.format(place=place, port=receiver.port)) as made:
        yield made


@pytest.fixture(scope="module")
def vault(lab: Lab) -> Vault:
    """The shared pair's backups; there is one."""
    loaded = config.load(lab.config_file, {})
    made = Vault(loaded, loaded.cluster(CLUSTER))
    made.shelf.create(Kind.LOGICAL)
    return made


def command(lab: Lab, *words: str) -> list[str]:
    return ["--config", str(lab.config_file), *words]


def in_production(lab: Lab, name: str, *words: str) -> list[str]:
    return command(lab, "drill", "run", name, "--production", CLUSTER, "--yes-production", CLUSTER, *words)


def newest(lab: Lab) -> journal.Journal:
    """The one that was written last; all of them are as they were written."""
    folder = lab.directory / "drills"
    assert journal.all_of(folder)[1] == []
    return journal.read(max(folder.glob("*.json"), key=lambda file: file.stat().st_mtime_ns))


def tried_on(vault: Vault, name: str, run: Callable[[Stage, Vault], None]) -> journal.Journal:
    """A drill that is done to the shared pair's backups instead of to a sandbox of its own."""
    scenario = replace(scenario_of(name), run=run, open=lambda stage, setting: contextlib.nullcontext(vault))
    setting = Setting(radius=Radius.SANDBOX, cluster=CLUSTER, mode=Rpo.ZERO)
    return runner.run(scenario, setting, rto=3600, rpo=300)


def scenario_of(name: str) -> AnyScenario:
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


def test_a_planned_change_in_production_is_measured_by_canaries(lab: Lab) -> None:
    """The only rows it writes are tokens, which the agent forgets after a day."""
    lab.await_settled()
    home = lab.state.primary
    loaded = config.load(lab.config_file, {})
    setting = Setting(radius=Radius.PRODUCTION, cluster=CLUSTER, mode=Rpo.ZERO, config=loaded)
    switchover = next(s for s in changes.SCENARIOS if s.name == "switchover")
    found = runner.run(switchover, setting, rto=60, rpo=0)
    assert (found.outcome, found.radius) == (Outcome.PASS, Radius.PRODUCTION), found.summary
    assert lab.state.primary == home
    assert found.loss is not None
    assert found.recovery is not None
    with lab.connect(home, "understudy") as connection:
        tokens = connection.execute("SELECT count(*) FROM understudy.commit_token").fetchone()
        other = canary_tokens(connection, 1)  # whoever asks for other canaries gets none
        history = connection.execute("SELECT count(*) FROM pgbench_history").fetchone()
    assert tokens is not None
    assert tokens[0] >= found.loss.acknowledged > 0
    assert other == []
    assert history == (0,)


def test_production_has_to_be_said_twice(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    state = lab.state
    once = ["--config", str(lab.config_file), "drill", "run", "switchover", "--production", CLUSTER]
    assert main(once) == 2
    assert (
        main([*once[:3], "run", "failover-crash", "--production", CLUSTER, "--yes-production", CLUSTER]) == 3
    )
    assert "only in a sandbox" in capsys.readouterr().err
    assert lab.state == state


def test_without_an_agent_nothing_is_drilled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "understudy.toml"
    file.write_text(
        f'directory = "{tmp_path}"\n[clusters.main]\nrpo = "zero"\n'
        + "".join(
            f'[[clusters.main.nodes]]\nname = "{name}"\ndsn = "postgresql://app:x@127.0.0.1:1/{name}"\n'
            for name in ("a", "b")
        )
    )
    command = ["--config", str(file), "--json", "drill", "run", "switchover"]
    assert main([*command, "--production", "main", "--yes-production", "main"]) == 6
    [found] = json.loads(capsys.readouterr().out)
    assert found["outcome"] == "inconclusive"
    assert "there is none" in found["summary"]
    assert journal.all_of(tmp_path / "drills")[1] == []


# --- backups ------------------------------------------------------------------------------------------------


def test_the_newest_backup_is_restored_and_compared(lab: Lab, vault: Vault) -> None:
    before = lab.state
    assert main(in_production(lab, "restore-latest")) == 0
    found, manifest = newest(lab), vault.shelf.find("latest")
    assert (found.backup, found.backup_sha256) == (manifest.id, manifest.part("archive").sha256)
    assert found.versions["postgresql"] == manifest.server_version
    assert found.recovery is not None
    assert found.recovery.act > 0
    assert found.recovery.verify > 0
    assert found.loss is None  # how old a backup may be has a target of its own
    assert any("young enough" in check.what for check in found.evidence)
    assert found.skipped
    assert lab.state == before


def test_a_backup_that_is_too_old_fails(vault: Vault) -> None:
    long_ago = replace(vault.shelf.find("latest"), started="2026-01-01T00:00:00Z")
    stage = Stage()
    backups._age(stage, vault, long_ago)
    assert [check.outcome for check in stage.evidence] == [Outcome.FAIL]


def test_an_escrowed_copy_is_proven_where_the_key_is_gone(
    lab: Lab, place: Path, vault: Vault, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the runbook has it for the day on which only the copy is left."""
    (place / "backup.key").rename(place / "gone.key")
    try:
        assert main(command(lab, "backup", "key", "check")) == 1
        assert "put the key back, or a copy of it" in capsys.readouterr().err
        assert main(command(lab, "backup", "key", "check", "--escrow", str(place / "escrow.key"))) == 0
        write_new(place / "another.key")
        assert main(command(lab, "backup", "key", "check", "--escrow", str(place / "another.key"))) == 1
    finally:
        (place / "gone.key").rename(place / "backup.key")
    assert vault.shelf.key_trouble() == ""
    assert main(command(lab, "backup", "restore", "latest", "--folder", str(place / "nowhere"))) == 2
    assert (
        "no physical backup: make one with `understudy backup create --physical`" in capsys.readouterr().err
    )


def test_the_escrowed_copy_is_proven_and_has_to_be_named(lab: Lab, place: Path, vault: Vault) -> None:
    assert main(in_production(lab, "key-loss")) == 6
    assert "--escrow FILE" in newest(lab).summary
    assert main(in_production(lab, "key-loss", "--escrow", str(place / "escrow.key"))) == 0
    assert {c.what for c in newest(lab).evidence} >= {
        "no key opens nothing", "another key opens nothing", "the escrowed copy opens the newest backup",
    }  # fmt: skip
    write_new(place / "wrong.key")
    assert main(in_production(lab, "key-loss", "--escrow", str(place / "wrong.key"))) == 1
    assert main(command(lab, "drill", "run", "key-loss", "--escrow", str(place / "escrow.key"))) == 2


@pytest.mark.parametrize(
    ("name", "broken", "whole"),
    [
        ("broken-flipped-bit", backups.flipped_bit, partial(backups.flipped_bit, damage=NOTHING)),
        pytest.param(
            *("broken-missing-extension", backups.missing_extension),
            partial(backups.missing_extension, damage=NOTHING),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_damage_that_nobody_notices_fails_the_drill(
    vault: Vault, name: str, broken: Callable[..., None], whole: Callable[..., None]
) -> None:
    found = tried_on(vault, name, broken)
    assert (found.outcome, found.must_fail) == (Outcome.PASS, True), found.summary
    unnoticed = tried_on(vault, name, whole)
    assert unnoticed.outcome is Outcome.FAIL
    assert "found pass" in unnoticed.summary


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_key_that_opens_it_fails_the_drill_of_the_wrong_one(vault: Vault) -> None:
    assert tried_on(vault, "broken-wrong-key", backups.wrong_key).outcome is Outcome.PASS
    right = partial(backups.wrong_key, keys=vault.shelf.keys)
    assert tried_on(vault, "broken-wrong-key", right).outcome is Outcome.FAIL


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_log_without_a_hole_fails_the_drill_of_the_missing_segment() -> None:
    scenario = replace(scenario_of("broken-missing-wal"), run=partial(backups.missing_wal, damage=NOTHING))
    found = runner.run(
        scenario, Setting(radius=Radius.SANDBOX, cluster="main", mode=Rpo.ZERO), rto=3600, rpo=300
    )
    assert found.outcome is Outcome.FAIL
    assert "it was restored" in found.summary


# --- alerts -------------------------------------------------------------------------------------------------


def test_every_route_takes_a_notice(lab: Lab, receiver: alarm.Receiver) -> None:
    assert main(in_production(lab, "alert-fire")) == 0
    assert any("this is a test" in title for title in receiver.titles)


# --- the command --------------------------------------------------------------------------------------------


def test_two_drills_at_one_cluster_are_refused(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    with alone(lab.directory, f"drill-{CLUSTER}"):
        assert main(in_production(lab, "switchover")) == 3
    assert "another drill is at demo" in capsys.readouterr().err


def test_the_schedule_says_what_is_due(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(lab, "--json", "drill", "schedule")) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in told["drills"]] == ["restore-latest", "quarterly-simulation"]
    assert told["drills"][0]["drills"] == ["restore-latest"]
    assert len(told["drills"][1]["drills"]) > 5
    assert [row["last"] for row in told["drills"]] == [None, None]
    assert min(row["due"] for row in told["drills"]) > datetime.now(UTC).isoformat(timespec="seconds")
    path = schedule.path_of(lab.directory, CLUSTER)
    run = Run(since="2026-11-16T06:00:00+00:00", ended="2026-11-16T06:00:00+00:00", code=1)
    schedule.save(path, Memory(runs={"drill_restore_latest": run}))
    try:
        assert main(command(lab, "--json", "drill", "schedule")) == 0
    finally:
        path.unlink()
    row = json.loads(capsys.readouterr().out)["drills"][0]
    assert (row["due"], row["last"], row["code"]) == ("2026-11-23T05:00:00+00:00", run.ended, 1)


def test_a_scheduled_drill_that_does_not_exist_is_named(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "understudy.toml"
    text = lab.config_file.read_text().replace('name = "restore-latest"', 'name = "earthquake"')
    file.touch(mode=0o600)
    file.write_text(text)
    assert main(["--config", str(file), "drill", "schedule"]) == 1
    assert "earthquake: there is no such drill" in capsys.readouterr().err


def test_a_journal_that_does_not_fit_is_told(
    lab: Lab, vault: Vault, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its report is all there is, so it goes to stderr."""
    before = sorted((lab.directory / "drills").iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256, hard))  # the kernel refuses as a full disk does
    try:
        assert main(in_production(lab, "alert-fire")) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    told = capsys.readouterr().err
    assert "the journal was not kept: File too large" in told
    assert "# Drill alert-fire: pass" in told
    assert sorted((lab.directory / "drills").iterdir()) == before


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", list(Rpo), ids=str)
@pytest.mark.parametrize("scenario", changes.SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_drill_of_a_change_passes_in_a_sandbox(scenario: AnyScenario, mode: Rpo) -> None:
    found = runner.run(scenario, Setting(radius=Radius.SANDBOX, cluster="main", mode=mode), rto=60, rpo=10)
    assert found.outcome is Outcome.PASS, found.summary
    assert found.recovery is not None
    assert found.loss is not None
    assert found.loss.acknowledged > 100
    assert [check.outcome for check in found.cleanup] == [Outcome.PASS, Outcome.PASS]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "scenario", [*alarm.SCENARIOS, *backups.SCENARIOS], ids=lambda scenario: scenario.name
)
def test_every_drill_of_backups_and_alerts_passes_in_a_sandbox(scenario: AnyScenario) -> None:
    setting = Setting(radius=Radius.SANDBOX, cluster="main", mode=Rpo.BOUNDED)
    found = runner.run(scenario, setting, rto=3600, rpo=300)
    assert found.outcome is Outcome.PASS, found.summary
    assert [check.outcome for check in found.cleanup] == [Outcome.PASS, Outcome.PASS]
    assert bool(found.backup) is (scenario.name != "alert-fire")
    assert (found.loss is not None) is (scenario.name == "pitr")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_base_backup_is_proven_too() -> None:
    """Where the newest backup is one."""

    def newest_is_physical(stage: Stage, made: Vault) -> None:
        made.make(stage, Kind.PHYSICAL)
        backups._prove(stage, *made.newest(stage), made.shelf.keys)

    scenario = replace(scenario_of("pitr"), run=newest_is_physical)
    setting = Setting(radius=Radius.SANDBOX, cluster="main", mode=Rpo.BOUNDED)
    found = runner.run(scenario, setting, rto=3600, rpo=300)
    assert found.outcome is Outcome.PASS, found.summary
    assert found.recovery is not None
    assert any(check.what.startswith("database ") for check in found.evidence)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_agent_runs_a_drill_that_is_due(place: Path, receiver: alarm.Receiver) -> None:
    """It was due last week, while nothing ran."""
    with Lab(mode=Rpo.ZERO, scale=1, tables=TABLES.format(place=place, port=receiver.port)) as lab:
        lab.agent.stop()
        due = Run(since=(datetime.now(UTC) - timedelta(days=8)).isoformat(timespec="seconds"))
        schedule.save(schedule.path_of(lab.directory, CLUSTER), Memory(runs={"drill_restore_latest": due}))
        lab.start_agent()
        lab.await_event("drill_restore_latest_done", 300)
        found = newest(lab)
        assert (found.scenario, found.radius, found.outcome) == (
            *("restore-latest", Radius.SANDBOX),
            Outcome.PASS,
        )
        assert (lab.directory / "drills" / f"{found.id}.html").exists()
        assert main(command(lab, "--json", "drill", "schedule")) == 0
