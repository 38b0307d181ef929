"""When backups, verifications, the tidying and drills are due. Pure, but for the small file that remembers.

Schedules are cron expressions in UTC, each start put off by a part of the job's jitter that is the same for every
process that works it out. A run that was missed (the host was down, the agent stopped) is made up for, once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cronsim import CronSim

from understudy import strict_json
from understudy.config_backup import CLONE_LIMIT, Backup, Drill

FORMAT: Final = 1
MAX_BYTES: Final = 1024 * 1024
ATTEMPTS: Final = 3
PHYSICAL: Final = "physical_backup"
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
PAUSE: Final = timedelta(minutes=10)
"""After a run that failed, until it is tried again; at most `ATTEMPTS` times, then the schedule goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Something that is run again and again.

    Args:
        name: for history and memory. command: arguments of `understudy`.
        schedule: five fields, UTC; empty: only when something else calls for it. jitter: seconds.
        results: exit codes that are a result: nothing is gained by running it again.
    """

    name: str
    command: tuple[str, ...]
    schedule: str
    jitter: float = 0.0
    results: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is remembered of a job. Times are ISO 8601 in UTC; empty: never.

    Args:
        since: from when on its schedule counts: when it was first seen, or the last run that is over with.
        begun, ended: of the last run. code: its exit code. attempts: runs in vain since ``since``.
    """

    since: str
    begun: str = ""
    ended: str = ""
    code: int = 0
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Every job's last run, by name.

    ``base``: the server (its system identifier) of the last base backup; empty: none was made yet.
    """

    runs: Mapping[str, Run] = field(default_factory=dict)
    base: str = ""


def jobs(policy: Backup) -> tuple[Job, ...]:
    """The jobs that a configuration asks for; what has no schedule is only done when asked for."""
    verdicts = (0, 1)
    catching_up = ("--catch-up",) if len(policy.destinations) > 1 else ()
    found = [
        Job(
            name="logical_backup",
            command=("backup", "create", *catching_up),
            schedule=policy.logical.schedule,
            jitter=policy.logical.jitter,
        ),
        Job(
            name="verification",
            command=("backup", "verify", "--due"),
            schedule=policy.verify.schedule,
            jitter=policy.verify.jitter,
            results=verdicts,
        ),
        Job(name="retention", command=("backup", "prune", "--confirm"), schedule=policy.retention.schedule),
    ]
    if policy.physical is not None:
        command = ("backup", "create", "--physical", *catching_up)
        found.append(
            Job(
                name=PHYSICAL,
                command=command,
                schedule=policy.physical.schedule,
                jitter=policy.physical.jitter,
            )
        )
    found += [
        Job(
            name=f"drill_{drill.name.replace('-', '_')}",
            command=("drill", "run", drill.name, *_clone(drill)),
            schedule=drill.schedule,
            results=verdicts,
        )
        for drill in policy.drills
    ]
    archived = policy.physical is not None and policy.physical.wal
    return tuple(job for job in found if job.schedule or (job.name == PHYSICAL and archived))


def _clone(drill: Drill) -> tuple[str, ...]:
    """The options of `drill run`; none where they are what it does by itself."""
    if not drill.clone:
        return ("--no-clone",)
    return () if drill.clone_limit == CLONE_LIMIT else ("--clone-limit", str(drill.clone_limit))


def due_at(job: Job, run: Run) -> datetime:
    """When the job is to be run next."""
    if run.attempts and run.attempts < ATTEMPTS:
        return _time(run.ended) + PAUSE
    if not job.schedule:
        return _NEVER
    moment: datetime = next(CronSim(job.schedule, _time(run.since)))
    return moment + timedelta(seconds=job.jitter * _share(f"{job.name} {moment.isoformat()}"))


def next_due(wanted: Sequence[Job], memory: Memory, now: datetime, present: str = "") -> Job | None:
    """The job that has been due for longest; None: none is.

    Args:
        present: the server (its system identifier) that is primary now. The log of another one than that of the last
            base backup can be replayed onto nothing: a base backup is due at once. Empty: not known.
    """
    for job in wanted:
        run = memory.runs.get(job.name)
        if job.name == PHYSICAL and present not in ("", memory.base) and run is not None and not run.attempts:
            return job
    times = [(due_at(job, memory.runs[job.name]), job) for job in wanted if job.name in memory.runs]
    ready = [(at, job) for at, job in times if at <= now]
    return min(ready, key=lambda pair: pair[0])[1] if ready else None


def met(wanted: Sequence[Job], memory: Memory, now: datetime) -> Memory:
    """The memory with every job in it, and none that is configured no more; a new one's schedule begins now."""
    runs = {job.name: memory.runs.get(job.name, Run(since=_text(now))) for job in wanted}
    return replace(memory, runs=runs)


def began(memory: Memory, job: Job, now: datetime) -> Memory:
    """The memory while a job runs."""
    return _with(memory, job, replace(memory.runs[job.name], begun=_text(now)))


def finished(memory: Memory, job: Job, code: int, now: datetime, present: str = "") -> Memory:
    """The memory after a run on the server ``present``. One that was in vain leaves the schedule where it was until
    it is given up.
    """
    run = memory.runs[job.name]
    attempts = 0 if code in job.results else run.attempts + 1
    over = attempts in (0, ATTEMPTS)
    after = replace(
        run,
        ended=_text(now),
        code=code,
        attempts=0 if over else attempts,
        since=_text(now) if over else run.since,
    )
    if job.name == PHYSICAL and (code in job.results or over):
        memory = replace(memory, base=present)  # given up: the schedule, or the next change, tries again
    return _with(memory, job, after)


def _with(memory: Memory, job: Job, run: Run) -> Memory:
    return replace(memory, runs={**memory.runs, job.name: run})


def _share(text: str) -> float:
    """A number from 0 to 1 that looks random and is always the same for a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


# --- the file -----------------------------------------------------------------------------------------------


def path_of(directory: Path, cluster: str) -> Path:
    """Where a cluster's memory lies."""
    return directory / f"{cluster}.schedule.json"


def load(path: Path) -> Memory:
    """The memory; empty where there is none yet. Raises `RecordError` where it is damaged, and OSError."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES)
    except FileNotFoundError:
        return Memory()
    return strict_json.decode(Memory, text, layout=FORMAT, key="schedule", what=str(path))


def save(path: Path, memory: Memory) -> None:
    """Replace the memory at once and whole. Raises OSError."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(strict_json.encode(memory, layout=FORMAT, key="schedule", indent=1))
    unfinished.replace(path)
