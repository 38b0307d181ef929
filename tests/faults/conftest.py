"""Two servers that may be hurt, and a pair on them with an agent running."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.faults.agent_world import Servers, World, lag_known, world_of
from tests.integration.conftest import FAST, make_pair

from understudy.model import Failback, Rpo


@pytest.fixture(scope="module")
def servers(module_server_factory) -> Servers:
    """Two servers that the tests of this module may hurt; each test finds them running."""
    return {name: module_server_factory(name, settings=FAST, die_with_parent=True) for name in ("a", "b")}


@pytest.fixture
def healed(servers: Servers) -> Iterator[None]:
    """Whatever the test did to the servers, the next one finds them running."""
    yield
    for server in servers.values():
        server.thaw()
        if not server.running:
            server.start()


@pytest.fixture
async def world(request, servers: Servers, healed: None, tmp_path: Path) -> AsyncIterator[World]:
    """A pair in the mode the test asks for (`bounded` by default), with one agent running."""
    policy = {"rpo": Rpo.BOUNDED, "failback": Failback.MANUAL, "probe_timeout": 0.6}
    policy |= getattr(request, "param", {})
    pair = make_pair(servers, **policy)
    async with world_of(pair, tmp_path) as world:
        world.start_agent()
        if policy["rpo"] is Rpo.ZERO:
            await world.until(lambda s: s.in_sync, "in sync")
        else:
            await world.until(lambda _: lag_known(world), "heartbeats arrive")
        yield world
