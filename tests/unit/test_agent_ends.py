"""What must not end an agent, and what it leaves behind when it ends."""

from __future__ import annotations

import asyncio
import fcntl
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.unit.web_world import cluster, state, world

from understudy.agent.agent import ClusterAgent
from understudy.errors import Unreachable
from understudy.lease import boot_now
from understudy.witness import SqliteWitness


class Silent:
    """An engine whose nodes do not answer."""

    async def probe(self, node: str, **_: object) -> None:
        raise Unreachable(f"{node}: silent")


async def test_a_lease_file_that_somebody_keeps_locked_is_told_and_tried_again(tmp_path: Path) -> None:
    """After `publish`, say: the change is made, and a failure of the renewal that follows must not hide it."""
    async with world(tmp_path) as w:
        agent = w.agent
        agent._read_at = boot_now()
        with (tmp_path / "main.lease").open() as stopped:
            fcntl.flock(stopped, fcntl.LOCK_EX)
            agent._renew_lease()
        assert agent._lease.read() is None
        agent._renew_lease()
        assert agent._lease.read() is not None


async def test_it_ends_well_while_the_witness_is_away(tmp_path: Path) -> None:
    """Else a SIGHUP at that moment would end the agents of all clusters, and with them the whole process."""
    made = replace(cluster(), policy=replace(cluster().policy, probe_interval=0.2))
    witness = SqliteWitness(tmp_path / "witness.db")
    witness.write(state(), expected=0)
    engine: Any = Silent()
    agent, stop = ClusterAgent(made, engine, witness, tmp_path), asyncio.Event()
    running = asyncio.create_task(agent.run(stop))
    try:
        async with asyncio.timeout(60):
            while not witness.events("main", limit=1):  # "agent_started": it goes round
                await asyncio.sleep(0.01)
            assert (tmp_path / "main.sock").exists()
            (tmp_path / "witness.db").rename(tmp_path / "away")
            stop.set()
            await running
    finally:
        running.cancel()
        await asyncio.wait({running})
        witness.close()
    assert not (tmp_path / "main.sock").exists()
    assert agent._lease._map is None
