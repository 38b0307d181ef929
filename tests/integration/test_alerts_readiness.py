# ruff: noqa: F811 - fixtures are imported by name
"""Each alert of readiness fires on its real cause, and its end is told: nothing in here says `red` by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.faults.agent_world import Servers, world_of
from tests.integration.conftest import Pair, make_pair
from tests.integration.test_monitor import Hook, hook  # noqa: F401
from tests.unit.test_journal import drill

from understudy.agent.agent import ClusterAgent
from understudy.agent.service import Running
from understudy.backup.keys import write_new
from understudy.backup.manifest import Kind, Level
from understudy.backup.shelf import Shelf
from understudy.config import Config
from understudy.config_alerts import Alerting, Monitor, Route, Severity
from understudy.config_backup import Backup, Destination, Logical, Physical, Secrets
from understudy.engines.postgresql.engine import PostgreSQLEngine
from understudy.lease import boot_now
from understudy.monitor import ready
from understudy.monitor.part import watch
from understudy.readiness import journal, part
from understudy.readiness.journal import Loss, Recovery

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def config_of(pair: Pair, folder: Path, hook: Hook) -> Config:
    (folder / "disk").mkdir()
    write_new(folder / "backup.key")
    return Config(
        (pair.cluster,),
        folder,
        "test",
        (),
        alerting=Alerting(
            monitor=Monitor(every=1.0),
            routes=(Route(name="team", urls=(hook.url,), severity=Severity.WARNING),),
            per_hour=1000,
            clear_after=1.0,
            quiet_start=0.0,
        ),
        backup=Backup(
            destinations=(Destination(name="disk", folder=folder / "disk"),),
            secrets=Secrets(key_file=folder / "backup.key"),
            logical=Logical(schedule="0 3 1 1 *"),
            physical=Physical(),
        ),
    )


@asynccontextmanager
async def watched(pair: Pair, config: Config) -> AsyncIterator[None]:
    """An agent in this process, the look at readiness, and the monitor."""
    async with world_of(pair, config.directory) as world:
        engine, leave = PostgreSQLEngine(pair.cluster, clock=boot_now), asyncio.Event()
        agent = ClusterAgent(pair.cluster, engine, world.witness, config.directory)
        running = Running(config=config, witness=world.witness, agents={pair.cluster.name: agent})
        works = (agent.run(leave), watch(running, leave), part.keep(running, leave))
        tasks = [asyncio.create_task(work) for work in works]
        try:
            yield
        finally:
            leave.set()
            await asyncio.gather(*tasks)
            await engine.close()


@contextmanager
def away(path: Path) -> Iterator[None]:
    hidden = path.rename(path.with_name(f"{path.name}.away"))
    try:
        yield
    finally:
        hidden.rename(path)


def proven(config: Config) -> None:
    shelf = Shelf(config, config.clusters[0])
    assert shelf.verify(shelf.create(Kind.LOGICAL), Level.RESTORE).verdict == "pass"


async def test_each_reason_is_told_on_its_cause_and_its_end(
    server_pair: Servers, tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, "EVERY", 0.2)
    monkeypatch.setattr(ready, "LOOKS", 0.0)
    pair = make_pair(server_pair)
    config = config_of(pair, tmp_path, hook)

    async def heard(*titles: str) -> list[dict[str, Any]]:
        return await asyncio.to_thread(hook.until, *titles)

    async with watched(pair, config):
        titles = (
            "there is no recent backup",
            "no backup was proven lately",
            "log is not safe",
            "log is not archived",
        )
        told = await heard(*titles)
        assert {t["title"].partition("]")[0] for t in told if "log is not safe" in t["title"]} == {
            "[critical"
        }
        await asyncio.to_thread(proven, config)
        await heard("over: there is no recent backup", "over: no backup was proven lately")
        with away(tmp_path / "disk"):
            (told_last, *_) = reversed(await heard("a destination of the backups fails"))
            assert str(tmp_path / "disk") in told_last["message"]
        await heard("over: a destination of the backups fails")
        with away(tmp_path / "backup.key"):
            await heard("the key does not open the backups")
        await heard("over: the key does not open the backups")
        slow = Recovery(detect=1.0, decide=0.0, act=7200.0, verify=1.0, writes=7200.0)
        costly = Loss(acknowledged=400, lost=7, rescued=0, seconds=900.0)
        measured = replace(drill(), cluster=pair.cluster.name, recovery=slow, loss=costly)
        journal.write(tmp_path / "drills", measured)
        await heard("recovering takes too long", "too much would be lost")
        later = (datetime.now(UTC) + timedelta(seconds=1)).isoformat(timespec="seconds")
        better = replace(drill(2), cluster=pair.cluster.name, finished=later)
        journal.write(tmp_path / "drills", better)
        await heard("over: recovering takes too long", "over: too much would be lost")
