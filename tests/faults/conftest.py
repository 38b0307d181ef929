"""Two servers that may be hurt, and a pair on them with an agent running."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from tests.faults.agent_world import Servers, World, world_of
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
            await world.until(lambda _: world.lag_known(), "heartbeats arrive")
        yield world


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--table", type=Path, help="write the table of interrupted steps to this file")


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> Iterator[Callable[..., None]]:
    """Collects the outcome of each cell; written as one table per mode and plan where `--table` asks for it."""
    cells: dict[tuple[str, str], dict[str, dict[str, str]]] = {}

    def outcome(rpo: str, kind: str, step: str, fault: str, text: str) -> None:
        cells.setdefault((rpo, kind), {}).setdefault(step, {})[fault] = text

    yield outcome
    path = pytestconfig.getoption("--table")
    if path is not None and cells:
        path.write_text(_as_markdown(cells))


def _as_markdown(cells: dict[tuple[str, str], dict[str, dict[str, str]]]) -> str:
    parts = [
        "# Every step, interrupted",
        "",
        "Written by `pytest -m '' tests/faults/test_interrupted.py --table FILE`: real servers, real agent processes. "
        "A cell says who was primary, at which epoch, when everything was at rest again: nothing acknowledged was "
        "lost or doubled, both nodes were equal by checksum. An empty cell did not run or failed.",
    ]
    for (rpo, kind), rows in cells.items():
        faults = sorted({fault for row in rows.values() for fault in row})
        parts += ["", f"## {kind}, rpo = {rpo}", "", "| step | " + " | ".join(faults) + " |"]
        parts.append("|---" * (len(faults) + 1) + "|")
        parts += [
            f"| `{step}` | " + " | ".join(row.get(f, "") for f in faults) + " |" for step, row in rows.items()
        ]
    return "\n".join(parts) + "\n"
