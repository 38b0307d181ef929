"""The monitor beside an agent: what it reads of the history is told, whatever happens to the witness meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.web_world import World, world

from understudy.config_alerts import Alerting
from understudy.errors import WitnessError
from understudy.monitor.delivery import Courier
from understudy.monitor.edges import EdgePolicy, Edges
from understudy.monitor.memory import Memory
from understudy.monitor.part import Watcher
from understudy.witness import Entry


def watcher(w: World) -> Watcher:
    return Watcher(w.running, w.running.config.cluster("main"), Alerting(), w.agent, Courier([]))


async def test_news_that_could_not_be_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as w:
        part, memory = watcher(w), Memory(edges=Edges(policy=EdgePolicy(), started=0.0), last_event=None)
        w.witness.log("main", epoch=3, entry=Entry(agent="t", kind="agent_started", message="x"))
        assert await part._news(memory) == []
        for kind in ("primary_down", "step:publish"):
            w.witness.log("main", epoch=4, entry=Entry(agent="t", kind=kind, message="x"))
        read = w.witness.events

        def breaks(cluster: str, *, limit: int, after: int = 0) -> object:
            if limit > 1:
                raise WitnessError("disk I/O error")
            return read(cluster, limit=limit, after=after)

        with monkeypatch.context() as trouble:
            trouble.setattr(w.witness, "events", breaks)
            assert await part._news(memory) == []
        assert [notice.title for notice in await part._news(memory)] == ["failover: x"]
        assert await part._news(memory) == []
