"""Bad input and bad days with the agent running: each has a message that says what to do, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from tests.faults.agent_world import PATIENCE, Servers, World, names, replicated, world_of
from tests.faults.interrupted import agents_of
from tests.integration.conftest import FAST, PASSWORD, make_pair

from understudy.embedded import EmbeddedPostgreSQL
from understudy.lease import LeaseFile, Phase
from understudy.model import Failback, RequestKind


async def _told(world: World, text: str) -> None:
    await world.until(lambda _: text in world.story(), f"an event that says {text!r}")


async def test_a_changed_password_is_told_and_is_no_failover(world: World) -> None:
    end_ours = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'understudy'"
    world.pair.sql("a", "ALTER ROLE understudy PASSWORD 'changed'", user="postgres")
    world.pair.sql("a", end_ours, user="postgres")
    try:
        await _told(world, "password authentication failed")
        assert world.state().primary == "a"
        assert "primary_down" not in world.kinds()
        assert PASSWORD not in world.story()
    finally:
        world.pair.sql("a", f"ALTER ROLE understudy PASSWORD '{PASSWORD}'", user="postgres")
    seen = world.kinds().count("node_up")
    await world.until(lambda _: world.kinds().count("node_up") > seen, "the node answers again")


async def test_no_free_connection_is_told_and_is_no_failover(world: World) -> None:
    """All slots of the primary are taken and the agent's own connections are gone: the server is there."""
    limit = int(world.pair.sql("a", "SHOW max_connections")[0][0])
    held: list[psycopg.Connection] = []
    try:
        for _ in range(limit + 1):
            try:
                held.append(world.pair.connect("a", "postgres"))
            except psycopg.OperationalError:
                break
        async with asyncio.timeout(PATIENCE):
            while "refuses the agent" not in world.story():
                held[0].execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'understudy'"
                )
                with suppress(psycopg.OperationalError):  # none is left
                    while True:
                        held.append(world.pair.connect("a", "postgres"))
                with suppress(TimeoutError):  # the agent was faster, and has its connection again
                    async with asyncio.timeout(3):
                        await _told(world, "refuses the agent")
        assert world.state().primary == "a"
        assert "primary_down" not in world.kinds()
    finally:
        for connection in held:
            connection.close()
    await replicated(world, "a", "b", "afterwards")


async def test_both_nodes_down_at_start(servers: Servers, healed: None, tmp_path: Path) -> None:
    pair = make_pair(servers, failback=Failback.MANUAL)
    async with world_of(pair, tmp_path) as world:
        for server in servers.values():
            server.kill()
        world.start_agent()
        await _told(world, "b does not answer either")
        for server in servers.values():
            server.start()
        lease = LeaseFile(tmp_path / f"{world.name}.lease")
        async with asyncio.timeout(PATIENCE):
            while (found := lease.read()) is None or found.phase is not Phase.OPEN:
                await asyncio.sleep(0.01)
        assert found.primary == world.state().primary == "a"
        await replicated(world, "a", "b")


@pytest.mark.parametrize("bytes_", [b"", b"\xff" * 4096, os.urandom(4096)], ids=["empty", "ones", "noise"])
async def test_a_corrupt_lease_file_is_written_anew(world: World, bytes_: bytes) -> None:
    path = world.directory / f"{world.name}.lease"
    with path.open("r+b") as file:
        file.write(bytes_ or b"\0" * 4096)
    async with asyncio.timeout(PATIENCE):
        while (found := LeaseFile(path).read()) is None or found.phase is not Phase.OPEN:
            await asyncio.sleep(0.01)
    assert (found.primary, found.epoch) == ("a", 1)


async def test_a_table_without_a_key_is_named_before_anything_is_set_up(
    servers: Servers, healed: None, tmp_path: Path
) -> None:
    pair = make_pair(servers)
    pair.sql("a", "CREATE TABLE keyless (x int)")
    with pytest.raises(Exception, match=r"keyless.*ADD"):
        async with world_of(pair, tmp_path):
            pass
    assert not (tmp_path / "witness.db").exists()


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 300 MB of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = Path(tempfile.mkdtemp(prefix="understudy-disk-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300m,mode=755", "tmpfs", folder], check=False
    )
    if mounted.returncode:
        folder.rmdir()
        pytest.skip("this machine does not let root mount a file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
    folder.rmdir()


async def test_a_full_disk_on_the_standby_stops_nothing_and_loses_nothing(
    small_disk: Path, servers: Servers, tmp_path: Path
) -> None:
    """Writes go on, moving there is refused, and when there is room again the standby catches up by itself."""
    with EmbeddedPostgreSQL(small_disk / "b", name="b", settings=FAST, die_with_parent=True) as cramped:
        pair = make_pair({"a": servers["a"], "b": cramped}, failback=Failback.MANUAL)
        async with world_of(pair, tmp_path) as world:
            world.start_agent()
            await world.until(lambda _: world.lag_known(), "heartbeats arrive")
            filler = small_disk / "filler"
            with filler.open("wb") as file, pytest.raises(OSError, match="No space"):
                while True:
                    file.write(b"x" * 65536)
                    file.flush()
            world.pair.sql(
                "a", "INSERT INTO item (name) SELECT repeat('y', 900) || g FROM generate_series(1, 20000) g"
            )
            world.pair.sql("a", "INSERT INTO item (name) VALUES ('while full')")
            assert "while full" in names(world, "a")
            await _heartbeat_stands_still(world)
            world.ask(RequestKind.SWITCHOVER, "b")
            state = await world.until(lambda s: bool(s.answer) and s.request is None, "answered")
            if "accepted" in state.answer:  # it was begun before the lag showed: then it is rolled back
                await world.until(lambda s: s.plan is None, "over")
            assert world.state().primary == "a"
            filler.unlink()
            async with asyncio.timeout(PATIENCE):
                while not _answers(
                    world, "b"
                ):  # a server that cannot write its log stops itself, in its own time
                    cramped.start()
                    await asyncio.sleep(0.1)
            await replicated(world, "a", "b", "afterwards")
            assert names(world, "a") == names(world, "b")


def _answers(world: World, node: str) -> bool:
    with suppress(psycopg.OperationalError):
        return world.pair.sql(node, "SELECT true", user="postgres") == [(True,)]
    return False


async def _heartbeat_stands_still(world: World) -> None:
    """The agent sees the standby fall behind (or go down)."""
    lease = LeaseFile(world.directory / f"{world.name}.lease")
    async with asyncio.timeout(PATIENCE):
        while True:
            found = lease.read()
            if found is not None and found.standby_lag >= 1.0:
                return
            if "b missed" in world.story():
                return
            await asyncio.sleep(0.05)


async def test_sighup_reads_the_configuration_again_and_keeps_the_old_one_where_it_is_bad(
    servers: Servers, healed: None, tmp_path: Path
) -> None:
    pair = make_pair(servers, failback=Failback.MANUAL, probe_timeout=0.6)
    async with world_of(pair, tmp_path) as world, agents_of(world) as agents:
        process = agents.start()
        await world.until(lambda _: world.lag_known(), "the agent knows the pair")
        path, log = tmp_path / "understudy.toml", tmp_path / "agents.log"
        good = path.read_text()
        path.write_text("this is no TOML")
        process.send_signal(signal.SIGHUP)
        await world.until(lambda _: "reload_refused" in log.read_text(), "the bad file is refused")
        assert process.poll() is None
        assert PASSWORD not in log.read_text()
        path.write_text(good.replace("probe_timeout = 0.6", "probe_timeout = 0.9"))
        process.send_signal(signal.SIGHUP)
        await world.until(lambda _: world.kinds().count("agent_started") == 2, "it runs with the new one")
        world.ask(RequestKind.SWITCHOVER, "b")
        await world.settled("b")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 60) == 0
        assert world.witness.agent(world.name) is None  # the place was given up
