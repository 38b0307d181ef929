"""The witness file is locked, read-only or gone while the agent runs: two fence rows keep the writes going."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.faults.agent_world import World
from tests.faults.test_network import Writers, nothing_lost

from understudy.errors import WitnessError
from understudy.lease import boot_now
from understudy.model import RequestKind

Break = Callable[[World], AbstractContextManager[None]]
Log = list[MutableMapping[str, Any]]

_HOLD = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


_STOP = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("held", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
db.execute("COMMIT")
print("gone on", flush=True)
"""


@contextmanager
def locked(world: World) -> Iterator[None]:
    """Another process holds SQLite's write lock and does nothing."""
    arguments = [sys.executable, "-c", _HOLD, world.witness.path]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield
        assert holder.stdin is not None
        holder.stdin.close()


def files(world: World) -> list[Path]:
    return sorted(world.directory.glob("witness.db*"))


@contextmanager
def read_only(world: World) -> Iterator[None]:
    """As on a file system that has turned read-only: writing fails also through files that are open."""

    def protect(flag: str) -> int:
        return subprocess.run(["chattr", flag, *files(world)], check=False, capture_output=True).returncode

    if protect("+i"):
        protect("-i")
        pytest.skip("files cannot be made immutable here (root, chattr and a file system that can)")
    try:
        yield
    finally:
        assert protect("-i") == 0


@contextmanager
def moved_away(world: World) -> Iterator[None]:
    """Gone, and the same files come back."""
    aside = world.directory / "aside"
    aside.mkdir()
    moved = [path.rename(aside / path.name) for path in files(world)]
    try:
        yield
    finally:
        for path in moved:
            path.rename(world.directory / path.name)


@contextmanager
def restored(world: World) -> Iterator[None]:
    """Gone, and a copy of what it was comes back: another file."""
    copy = world.directory / "copy.db"
    with closing(sqlite3.connect(world.witness.path)) as here, closing(sqlite3.connect(copy)) as there:
        here.backup(there)
    for path in files(world):
        path.unlink()
    try:
        yield
    finally:
        copy.rename(world.witness.path)


async def said(log: Log, event: str) -> None:
    async with asyncio.timeout(60):
        while not any(entry["event"] == event for entry in log):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "broken",
    [
        locked,
        pytest.param(read_only, marks=pytest.mark.slow),
        pytest.param(moved_away, marks=pytest.mark.slow),
        pytest.param(restored, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("world", [{"lease_ttl": 3.0}], indirect=True, ids=[""])
async def test_writes_go_on_without_the_witness_and_all_is_well_when_it_is_back(
    world: World, broken: Break
) -> None:
    with Writers(world) as writers, capture_logs() as log:
        await writers.more()
        with broken(world):
            over = boot_now() + 2 * world.pair.cluster.policy.lease_ttl
            await said(log, "witness_down")
            while boot_now() < over:
                await writers.more(10)
            assert not writers.errors
            assert not any(task.done() for task, _, _ in world.running)
        await world.until(lambda s: s.primary == "a", "the witness answers again")
        assert "primary_down" not in world.kinds()
        assert world.state().epoch == 1
        world.ask(RequestKind.SWITCHOVER, "b")
        await world.settled("b")
        await nothing_lost(world, writers)


async def test_a_writer_that_was_stopped_in_the_middle_is_woken(world: World) -> None:
    """Ctrl-Z, or SIGSTOP, at the wrong moment: the lock would stay for as long as that process stands still."""
    arguments = [sys.executable, "-c", _STOP, world.witness.path]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(WitnessError, match=f"process {holder.pid} held its lock while it was stopped"):
            for _ in range(2):  # it may not have stopped yet at the first
                world.witness.release_agent(world.name, "nobody")
        assert holder.stdout.readline() == b"gone on\n"
    world.witness.release_agent(world.name, "nobody")
