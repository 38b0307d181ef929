"""Schedules: every due time leads to a run, missed ones to one run together, and what fails is tried again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.backup import schedule
from understudy.backup.schedule import ATTEMPTS, PAUSE, Job, Memory, Run
from understudy.config_backup import Backup, Destination, Drill, Logical, Physical, Retention, Secrets, Verify
from understudy.strict_json import RecordError

NIGHTLY = Job(name="logical_backup", command=("backup", "create"), schedule="15 2 * * *")
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def remembered(job: Job, now: datetime = NOON) -> Memory:
    return schedule.met((job,), Memory(), now)


def step(job: Job, memory: Memory, now: datetime, code: int) -> Memory:
    return schedule.finished(schedule.began(memory, job, now), job, code, now + timedelta(seconds=5))


@pytest.mark.parametrize(("count", "option"), [(1, ()), (2, ("--catch-up",))])
def test_with_several_destinations_a_backup_catches_up_what_one_missed(
    count: int, option: tuple[str, ...]
) -> None:
    places = tuple(Destination(name=f"d{n}", folder=Path("/x")) for n in range(count))
    policy = Backup(
        destinations=places,
        secrets=Secrets(),
        logical=Logical(schedule="15 2 * * *"),
        physical=Physical(schedule="15 3 * * *"),
    )
    commands = {job.name: job.command for job in schedule.jobs(policy)}
    assert commands["logical_backup"] == ("backup", "create", *option)
    assert commands[schedule.PHYSICAL] == ("backup", "create", "--physical", *option)


def test_a_new_job_waits_for_its_time() -> None:
    memory = remembered(NIGHTLY)
    assert schedule.next_due((NIGHTLY,), memory, NOON) is None
    assert schedule.next_due((NIGHTLY,), memory, datetime(2026, 11, 22, 2, 14, 59, tzinfo=UTC)) is None
    assert schedule.next_due((NIGHTLY,), memory, datetime(2026, 11, 22, 2, 15, tzinfo=UTC)) is NIGHTLY


def test_missed_runs_are_made_up_for_once() -> None:
    memory, later = remembered(NIGHTLY), NOON + timedelta(days=9)
    assert schedule.next_due((NIGHTLY,), memory, later) is NIGHTLY
    memory = step(NIGHTLY, memory, later, 0)
    assert schedule.next_due((NIGHTLY,), memory, later + timedelta(minutes=1)) is None
    assert schedule.due_at(NIGHTLY, memory.runs[NIGHTLY.name]) == datetime(2026, 12, 1, 2, 15, tzinfo=UTC)


def test_what_fails_is_tried_again_and_then_given_up_until_the_next_time() -> None:
    memory, now = remembered(NIGHTLY), datetime(2026, 11, 22, 2, 15, tzinfo=UTC)
    for attempt in range(1, ATTEMPTS):
        memory = step(NIGHTLY, memory, now, 4)
        assert memory.runs[NIGHTLY.name].attempts == attempt
        assert schedule.next_due((NIGHTLY,), memory, now + PAUSE / 2) is None
        now += PAUSE + timedelta(seconds=5)
        assert schedule.next_due((NIGHTLY,), memory, now) is NIGHTLY
    memory = step(NIGHTLY, memory, now, 4)
    assert schedule.next_due((NIGHTLY,), memory, now + 2 * PAUSE) is None
    assert schedule.due_at(NIGHTLY, memory.runs[NIGHTLY.name]).day == 23


def test_a_verdict_is_a_result_however_it_is() -> None:
    proof = replace(NIGHTLY, name="verification", results=(0, 1))
    memory = step(proof, remembered(proof), NOON, 1)
    assert (memory.runs["verification"].attempts, memory.runs["verification"].code) == (0, 1)


def test_the_one_that_waited_longest_comes_first() -> None:
    hourly = Job(name="retention", command=("backup", "prune"), schedule="0 * * * *")
    memory = schedule.met((NIGHTLY, hourly), Memory(), NOON)
    assert schedule.next_due((NIGHTLY, hourly), memory, NOON + timedelta(days=1)) is hourly


@given(st.floats(0, 6 * 3600), st.integers(0, 400))
def test_jitter_puts_off_by_no_more_than_itself_and_always_the_same(jitter: float, days: int) -> None:
    job, run = replace(NIGHTLY, jitter=jitter), Run(since=(NOON + timedelta(days=days)).isoformat())
    plain, late = schedule.due_at(NIGHTLY, run), schedule.due_at(job, run)
    assert plain <= late <= plain + timedelta(seconds=jitter)
    assert late == schedule.due_at(job, run)


@given(st.lists(st.tuples(st.integers(1, 3000), st.sampled_from([0, 1, 4])), max_size=30))
def test_a_day_without_a_try_never_passes(runs: list[tuple[int, int]]) -> None:
    memory, now = remembered(NIGHTLY), NOON
    for minutes, code in runs:
        now += timedelta(minutes=minutes)
        if schedule.next_due((NIGHTLY,), memory, now) is not None:
            memory = step(NIGHTLY, memory, now, code)
        assert schedule.due_at(NIGHTLY, memory.runs[NIGHTLY.name]) <= now + timedelta(days=1, seconds=5)


BASE = Job(name=schedule.PHYSICAL, command=("backup", "create", "--physical"), schedule="")


def test_a_base_backup_is_due_at_once_on_another_server_and_only_then() -> None:
    memory = schedule.met((BASE,), Memory(), NOON)
    assert schedule.next_due((BASE,), memory, NOON) is None  # nobody knows who is primary
    assert schedule.next_due((BASE,), memory, NOON, "71") is BASE
    memory = schedule.finished(memory, BASE, 0, NOON, "71")
    assert schedule.next_due((BASE,), memory, NOON + timedelta(days=99), "71") is None
    assert schedule.next_due((BASE,), memory, NOON, "72") is BASE


def test_a_base_backup_that_fails_is_not_tried_without_end() -> None:
    memory, now, tries = schedule.met((BASE,), Memory(), NOON), NOON, 0
    for _ in range(100):
        now += timedelta(minutes=1)
        if schedule.next_due((BASE,), memory, now, "71") is not None:
            memory, tries = schedule.finished(memory, BASE, 3, now, "71"), tries + 1
    assert tries == ATTEMPTS


def test_memory_outlives_the_process(tmp_path: Path) -> None:
    path = schedule.path_of(tmp_path, "main")
    assert schedule.load(path) == Memory()
    schedule.save(path, remembered(NIGHTLY))
    assert schedule.load(path) == remembered(NIGHTLY)
    path.write_text("{")
    with pytest.raises(RecordError, match="expected JSON"):
        schedule.load(path)


def test_what_is_configured_no_more_is_forgotten() -> None:
    other = replace(NIGHTLY, name="retention")
    assert set(schedule.met((other,), remembered(NIGHTLY), NOON).runs) == {"retention"}


def test_jobs_are_those_with_a_schedule() -> None:
    places = (Destination(name="disk", folder=Path("/backups")),)
    assert schedule.jobs(Backup(destinations=places, secrets=Secrets())) == ()
    policy = Backup(
        destinations=places,
        secrets=Secrets(),
        logical=Logical(schedule="0 2 * * *"),
        physical=Physical(schedule="0 3 * * 0"),
        retention=Retention(schedule="0 5 * * *"),
        verify=Verify(schedule="0 4 * * *"),
        drills=(Drill(name="monthly-failover", schedule="0 6 1 * *"),),
    )
    names = [job.name for job in schedule.jobs(policy)]
    assert names == [
        "logical_backup",
        "verification",
        "retention",
        "physical_backup",
        "drill_monthly_failover",
    ]


@pytest.mark.parametrize(
    ("drill", "options"),
    [
        ({}, ()),
        ({"clone": False}, ("--no-clone",)),
        ({"clone_limit": 2**31}, ("--clone-limit", "2147483648")),
    ],
)
def test_a_drill_says_whether_it_clones(drill: dict[str, Any], options: tuple[str, ...]) -> None:
    one = Drill(name="failback", schedule="0 6 1 * *", **drill)
    places = (Destination(name="disk", folder=Path("/backups")),)
    [job] = schedule.jobs(Backup(destinations=places, secrets=Secrets(), drills=(one,)))
    assert job.command == ("drill", "run", "failback", *options)
