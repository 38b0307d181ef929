"""Backups beside the agents: scheduled jobs and the archiving of the write-ahead log, each as a process of its own.

Only where the agent acts, so that there is one leader; one job of a cluster at a time. A job may take all memory, or
crash, without the agent noticing more than its exit code.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections import deque
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from understudy.agent.agent import ClusterAgent
from understudy.agent.service import Running
from understudy.backup import schedule
from understudy.backup.schedule import Job, Memory
from understudy.config import mask
from understudy.config_backup import Backup
from understudy.embedded import processes
from understudy.errors import WitnessError
from understudy.strict_json import RecordError
from understudy.witness import Entry

TURN: Final = 1.0
"""Seconds between two looks at the clock, and at whether the agent still acts."""
LIMIT: Final = 24 * 3600.0
"""Seconds after which a job is ended."""
FAREWELL: Final = 20.0
"""Seconds that a process gets to end by itself."""
_RESTART: Final = (5.0, 300.0)
"""Seconds before the archiver is started again: at first, and at most."""
_WORDS: Final = 20
_LINE: Final = 1000
"""Lines of a process that are kept for the log, and bytes of each."""
_NOT_STARTED: Final = 127
"""The shell's exit code for a command that could not be run."""


async def keep(running: Running, leave: asyncio.Event, *, config_file: Path | None) -> None:
    """Run what ``[backup]`` asks for, for every cluster whose agent acts here, until ``leave`` is set."""
    policy = running.config.backup
    if policy is None:
        return
    async with asyncio.TaskGroup() as group:
        for name in running.agents:
            keeper = Keeper(running, name, policy, config_file)
            for work in keeper.works():
                group.create_task(_until(work, leave))


async def _until(work: Coroutine[None, None, None], leave: asyncio.Event) -> None:
    """Until it is to end: what it does then is in its `finally`."""
    task, ending = asyncio.create_task(work), asyncio.create_task(leave.wait())
    try:
        await asyncio.wait([task, ending], return_when=asyncio.FIRST_COMPLETED)
    finally:
        ending.cancel()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Keeper:
    """The jobs and the archiver of one cluster."""

    def __init__(self, running: Running, cluster: str, policy: Backup, config_file: Path | None) -> None:
        self._agent: ClusterAgent = running.agents[cluster]
        self._witness, self._cluster, self._policy = running.witness, cluster, policy
        self._jobs = schedule.jobs(policy)
        self._path = schedule.path_of(running.config.directory, cluster)
        file = ("--config", str(config_file)) if config_file is not None else ()
        self._program = (sys.executable, "-m", "understudy.cli", *file, "--cluster", cluster)
        self._log = structlog.get_logger().bind(cluster=cluster)

    def works(self) -> list[Coroutine[None, None, None]]:
        """What has to be running."""
        found = [self._schedule()] if self._jobs else []
        if self._policy.physical is not None and self._policy.physical.wal:
            found.append(self._archive())
        return found

    # --- jobs -------------------------------------------------------------------------------------------

    async def _schedule(self) -> None:
        memory: Memory | None = None
        while True:
            if not self._agent.sight.acting:
                memory = None  # another process acts, and remembers
            else:
                before = memory if memory is not None else self._load()
                memory = schedule.met(self._jobs, before, datetime.now(UTC))
                if memory != before:
                    self._save(memory)  # from now on a job's time counts, also while no agent runs
                present = self._primary()
                if (job := schedule.next_due(self._jobs, memory, datetime.now(UTC), present)) is not None:
                    memory = await self._run(job, memory, present)
            await asyncio.sleep(TURN)

    def _primary(self) -> str:
        """The system identifier of the primary; empty while it is being changed, or not known."""
        state = self._agent.sight.state
        if state is None or state.plan is not None:
            return ""
        return state.record(state.primary).identity.partition("/")[0]

    async def _run(self, job: Job, memory: Memory, present: str) -> Memory:
        began = datetime.now(UTC)
        memory = self._save(schedule.began(memory, job, began))
        self._log.info("job_begun", job=job.name, message=f"{job.name} begins")
        code, words = await self._process(job.command, limit=LIMIT)
        took = (datetime.now(UTC) - began).total_seconds()
        outcome = "done" if code in job.results else "failed"
        message = f"{job.name} {outcome} with exit code {code} in {took:.0f} s: {words[-1] if words else ''}"
        await self._tell(f"{job.name}_{outcome}", message, took)
        return self._save(schedule.finished(memory, job, code, datetime.now(UTC), present))

    def _load(self) -> Memory:
        try:
            return schedule.load(self._path)
        except (OSError, RecordError) as error:
            self._log.warning(
                "schedule_forgotten", error=str(error), message="runs that were missed stay missed"
            )
            return Memory()

    def _save(self, memory: Memory) -> Memory:
        try:
            schedule.save(self._path, memory)
        except OSError as error:
            self._log.warning(
                "schedule_not_saved", error=str(error), message="a restart may run jobs once more"
            )
        return memory

    async def _tell(self, kind: str, message: str, took: float) -> None:
        """One line of history: alerts and the page read it there."""
        state = self._agent.sight.state
        if state is None:
            return
        entry = Entry(agent="schedule", kind=kind, message=mask(message)[:1000], took=took)
        try:
            await asyncio.to_thread(self._witness.log, self._cluster, epoch=state.epoch, entry=entry)
        except WitnessError as error:
            self._log.warning("history_not_written", error=str(error))

    # --- the write-ahead log ----------------------------------------------------------------------------

    async def _archive(self) -> None:
        pause = _RESTART[0]
        while True:
            if self._agent.sight.acting:
                began = asyncio.get_running_loop().time()
                code, words = await self._process(("backup", "archive"), limit=None)
                lasted = asyncio.get_running_loop().time() - began
                pause = _RESTART[0] if lasted > _RESTART[1] else min(2 * pause, _RESTART[1])
                last = mask(words[-1]) if words else ""
                self._log.error(
                    "archiver_ended", code=code, message=f"started again in {pause:.0f} s: {last}"
                )
                await asyncio.sleep(pause)
            await asyncio.sleep(TURN)

    # --- processes --------------------------------------------------------------------------------------

    async def _process(self, command: tuple[str, ...], *, limit: float | None) -> tuple[int, list[str]]:
        """Run `understudy ...` to its end, to the limit, or until the agent acts no more. Its code and last words."""
        words: deque[str] = deque(maxlen=_WORDS)
        try:
            process = await asyncio.create_subprocess_exec(
                *self._program,
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_us,
            )
        except OSError as error:  # no memory, no process, no file descriptor: the next run may have it
            return _NOT_STARTED, [f"could not be started: {error.strerror or error}"]
        reading = asyncio.create_task(self._read(process, words))
        try:
            end = None if limit is None else asyncio.get_running_loop().time() + limit
            while not reading.done():
                await asyncio.wait([reading], timeout=TURN)
                late = end is not None and asyncio.get_running_loop().time() > end
                if late or not self._agent.sight.acting:
                    words.append("ended: " + ("it took too long" if late else "this agent acts no more"))
                    await _end(process)
            return await process.wait(), list(words)
        finally:
            await _end(process)
            reading.cancel()

    async def _read(self, process: asyncio.subprocess.Process, words: deque[str]) -> None:
        assert process.stdout is not None
        rest = b""
        while chunk := await process.stdout.read(4096):
            *lines, rest = (rest + chunk)[-_LINE * _WORDS :].split(b"\n")
            for line in lines:
                if text := line[:_LINE].decode(errors="replace").strip():
                    words.append(text)
                    self._log.debug("job_said", text=mask(text))


def _die_with_us() -> None:
    processes.die_with_parent(signal.SIGTERM)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End it: politely, after a while by force."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        process.terminate()
    try:
        async with asyncio.timeout(FAREWELL):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
