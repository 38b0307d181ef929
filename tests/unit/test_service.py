"""What ends the process of the agents, and what does not: a cluster that cannot begin, a reload that cannot be had."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.unit.web_world import cluster, state

from understudy.agent.service import Running, serve
from understudy.config import Config
from understudy.errors import UnderstudyError
from understudy.model import Cluster
from understudy.witness import SqliteWitness

PATIENCE = 60.0


def unreachable(name: str = "main") -> Cluster:
    """Two nodes that refuse at once: nothing listens on port 1."""
    made = cluster(name)
    dsn = "postgresql://app@127.0.0.1:1/farm"
    nodes = tuple(replace(n, dsn=dsn, admin_dsn=dsn, replication_dsn=dsn) for n in made.nodes)
    return replace(made, nodes=nodes)


class Service:
    """`serve` in this process, with a configuration that the test replaces and a witness that it writes."""

    def __init__(self, directory: Path) -> None:
        self.witness = SqliteWitness(directory / "witness.db")
        self.config = Config((unreachable(),), directory, "test", ())
        self.running: list[Running] = []

    def load(self) -> Config:
        return self.config

    def set_up(self, name: str) -> None:
        self.witness.write(replace(state(), cluster=name), expected=0)

    async def part(self, running: Running, leave: asyncio.Event) -> None:
        self.running.append(running)
        await leave.wait()

    def starts(self, name: str = "main") -> int:
        return sum(event.kind == "agent_started" for event in self.witness.events(name, limit=100))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.02)

    async def reload(self, *names: str) -> None:
        """Read a configuration with these clusters; returns when its agents run."""
        before = len(self.running)
        self.config = replace(self.config, clusters=tuple(unreachable(name) for name in names))
        os.kill(os.getpid(), signal.SIGHUP)
        await self.until(lambda: len(self.running) > before)


@asynccontextmanager
async def serving(service: Service) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(serve(service.load, parts=[service.part]))
    try:
        yield task
        if not task.done():
            os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            await task
    finally:
        task.cancel()
        await asyncio.wait({task})
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(sig)
        service.witness.close()


async def test_a_cluster_that_is_new_and_not_set_up_ends_no_other_agent(tmp_path: Path) -> None:
    """It is told, tried again, and begins by itself once it has been set up."""
    service = Service(tmp_path)
    service.set_up("main")
    with capture_logs() as logs:
        async with serving(service) as task:
            await service.until(lambda: service.starts() == 1)
            await service.reload("main", "new")
            await service.until(lambda: service.starts() == 2)
            await service.until(lambda: any(line["event"] == "agent_not_started" for line in logs))
            assert not task.done()
            assert service.witness.agent("new") is None  # `setup --adopt` refuses where an agent acts
            service.set_up("new")
            await service.until(lambda: service.starts("new") == 1)
    told = [line for line in logs if line["event"] == "agent_not_started"]
    assert [line["cluster"] for line in told] == ["new"]
    assert "run `understudy setup`" in told[0]["error"]


async def test_a_process_of_which_one_cluster_can_begin_does_so(tmp_path: Path) -> None:
    service = Service(tmp_path)
    service.config = replace(service.config, clusters=(unreachable("new"), unreachable()))
    service.set_up("main")
    async with serving(service) as task:
        await service.until(lambda: service.starts() == 1)
        assert not task.done()
        sight = service.running[0].agents["new"].sight
        await service.until(lambda: service.running[0].agents["new"].sight.rule == "not_started")
        assert (sight.acting, sight.state) == (False, None)


async def test_a_process_of_which_no_cluster_can_begin_says_why_and_ends(tmp_path: Path) -> None:
    service = Service(tmp_path)
    service.config = replace(service.config, clusters=(unreachable("new"), unreachable()))
    with pytest.raises(UnderstudyError, match="has not been set up: run `understudy setup`"):
        async with serving(service) as task:
            await asyncio.wait({task}, timeout=PATIENCE)


async def test_nodes_that_were_renamed_are_refused_with_a_clear_line(tmp_path: Path) -> None:
    """The state names nodes that the configuration does not: nothing could be decided about them."""
    service = Service(tmp_path)
    service.set_up("main")
    made = unreachable()
    renamed = replace(made, nodes=(replace(made.nodes[0], name="munich"), made.nodes[1]))
    service.config = replace(service.config, clusters=(renamed,))
    with pytest.raises(UnderstudyError, match=r"expected the nodes .*cloud, home.* found cloud, munich"):
        async with serving(service) as task:
            await asyncio.wait({task}, timeout=PATIENCE)


async def test_a_reload_that_cannot_be_had_changes_nothing(tmp_path: Path) -> None:
    """A state directory that cannot be made, or a lease file of something else: what runs goes on."""
    service = Service(tmp_path)
    service.set_up("main")
    (tmp_path / "file").touch()
    (tmp_path / "new.lease").write_text("not ours")
    good = service.config
    bad = (
        replace(good, directory=tmp_path / "file" / "state"),
        replace(good, clusters=(*good.clusters, unreachable("new"))),
    )
    with capture_logs() as logs:
        async with serving(service) as task:
            await service.until(lambda: service.starts() == 1)
            for number, config in enumerate(bad, start=1):
                service.config = config
                os.kill(os.getpid(), signal.SIGHUP)
                await service.until(lambda n=number: _refusals(logs) == n)
            assert not task.done()
            assert len(service.running) == 1
            assert service.running[0].agents["main"].sight.acting


def _refusals(logs: list[dict[str, object]]) -> int:
    return sum(line["event"] == "reload_refused" for line in logs)
