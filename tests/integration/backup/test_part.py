"""The agent makes backups on schedule and archives the log, each in a process of its own that ends with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from understudy import config
from understudy.backup import archiving, schedule
from understudy.backup.keys import write_new
from understudy.backup.manifest import Kind
from understudy.backup.schedule import Memory, Run
from understudy.backup.shelf import Shelf
from understudy.cli.app import main
from understudy.demo.lab import CLUSTER, Lab
from understudy.model import Rpo
from understudy.readiness.gather import look
from understudy.readiness.kept import Reader
from understudy.readiness.light import Light

TABLES = """
[backup]
key_file = "{key}"
[[backup.destination]]
name = "disk"
folder = "{folder}"
[backup.logical]
schedule = "0 3 1 1 *"
[backup.retention]
schedule = "0 4 1 1 *"
[backup.physical]
partial_every = "1s"
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A cluster whose backups were due last January, while nothing ran."""
    place = tmp_path_factory.mktemp("backups")
    with Lab(mode=Rpo.BOUNDED, scale=1) as made:
        made.agent.stop()
        key = made.folder / "backup.key"
        write_new(key)
        (place / "disk").mkdir()
        with made.config_file.open("a") as file:
            file.write(TABLES.format(key=key, folder=place / "disk"))
        long_ago = Run(since=(datetime.now(UTC) - timedelta(days=400)).isoformat(timespec="seconds"))
        memory = Memory(runs={"logical_backup": long_ago, "retention": long_ago})
        schedule.save(schedule.path_of(made.directory, CLUSTER), memory)
        made.start_agent()
        yield made


def shelf(lab: Lab) -> Shelf:
    loaded = config.load(lab.config_file, {})
    return Shelf(loaded, loaded.cluster(CLUSTER))


def children(pid: int) -> set[int]:
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        if int(fields[1]) == pid:
            found.add(int(status.parent.name))
    return found


def test_what_was_missed_is_made_up_for_in_order_and_once(lab: Lab) -> None:
    done = lab.await_event("logical_backup_done", 60)
    lab.await_event("retention_done", 60, after=done.id)
    lab.await_event(
        "physical_backup_done", 60
    )  # never asked for: without it the log could be replayed onto nothing
    assert {backup.kind for backup in shelf(lab).survey().backups} == {Kind.PHYSICAL, Kind.LOGICAL}
    memory = schedule.load(schedule.path_of(lab.directory, CLUSTER))
    assert {run.code for run in memory.runs.values()} == {0}
    assert all(
        schedule.due_at(job, memory.runs[job.name]) > datetime.now(UTC) + timedelta(minutes=1)
        for job in schedule.jobs(shelf(lab).policy)
    )


def test_the_log_is_archived_and_whoever_asks_is_told(lab: Lab) -> None:
    path = archiving.path_of(lab.directory, CLUSTER)

    def stored() -> bool:
        status = archiving.read(path, datetime.now(UTC))
        return status is not None and status.receiving and all(d.until for d in status.destinations)

    lab.await_true(stored, 60, "log in the destination")
    assert archiving.read(path, datetime.now(UTC) + timedelta(hours=1)) is None  # nobody believes an old file


def test_the_light_is_looked_at_and_kept_for_others(lab: Lab) -> None:
    """Whatever was not done yet is not green: nothing was restored, nothing drilled."""
    loaded = config.load(lab.config_file, {})

    def lights() -> dict[str, Light]:
        told = Reader(lab.directory, CLUSTER).told()
        return {} if told is None else {item.name: item.light for item in told.readiness.items}

    lab.await_true(lambda: bool(lights()), 90, "a light")
    found = {item.name: item.light for item in look(loaded, loaded.cluster(CLUSTER)).items}
    assert set(found) == set(lights())
    assert [found[name] for name in ("standby", "backup", "wal", "key", "storage")] == [Light.GREEN] * 5
    assert found["verification"] is Light.RED
    assert [found[name] for name in ("recovery_time", "data_loss")] == [Light.OFF] * 2
    assert main(["--config", str(lab.config_file), "readiness"]) == 1


def test_a_failed_job_is_told_and_ends_nothing_else(lab: Lab) -> None:
    key = lab.folder / "backup.key"
    hidden = key.rename(key.with_suffix(".away"))
    before, agent = lab.last_event, lab.agent.pid
    memory = schedule.load(schedule.path_of(lab.directory, CLUSTER))
    lab.agent.stop()
    overdue = Run(since=(datetime.now(UTC) - timedelta(days=400)).isoformat(timespec="seconds"))
    schedule.save(
        schedule.path_of(lab.directory, CLUSTER), Memory(runs={**memory.runs, "logical_backup": overdue})
    )
    try:
        lab.start_agent()
        told = lab.await_event("logical_backup_failed", 60, after=before)
        assert str(key) in told.message
        assert lab.agent.pid not in (None, agent)
    finally:
        hidden.rename(key)


def test_another_primary_gets_a_base_backup_at_once(lab: Lab) -> None:
    before = lab.last_event
    lab.await_settled()
    lab.switchover(lab.state.other)
    lab.await_event("physical_backup_done", 90, after=before)
    # A job of another kind may have been made up for meanwhile.
    *_, newest = (one for one in shelf(lab).survey().backups if one.kind is Kind.PHYSICAL)
    assert newest.node == lab.state.primary


def test_a_job_that_was_never_run_is_remembered_from_the_first_look(lab: Lab) -> None:
    """Else a time that passes while no agent runs would be missed for good."""
    path = schedule.path_of(lab.directory, CLUSTER)
    lab.agent.stop()
    known = schedule.load(path)
    later = {
        name: replace(run, since=datetime.now(UTC).isoformat(timespec="seconds"))
        for name, run in known.runs.items()
    }
    del later["retention"]
    schedule.save(path, replace(known, runs=later))
    lab.start_agent()
    lab.await_true(lambda: "retention" in schedule.load(path).runs, 60, "a memory of it")
    assert schedule.load(path).runs["retention"].begun == ""


def test_its_processes_end_with_the_agent(lab: Lab) -> None:
    pid = lab.agent.pid
    assert pid is not None
    lab.await_true(lambda: bool(children(pid)), 60, "an archiver")
    ours = children(pid)
    lab.agent.kill()
    lab.await_true(lambda: not any(Path(f"/proc/{child}").exists() for child in ours), 60, "their end")
    assert pid != os.getpid()
