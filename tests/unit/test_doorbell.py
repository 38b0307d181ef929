"""What the agent takes from a datagram, and whose the socket is. Anybody on the host who may write may ring."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from understudy.agent.doorbell import Doorbell, doubts_in, ring
from understudy.errors import UnderstudyError


def test_commits_in_doubt_are_counted() -> None:
    assert doubts_in(b'{"in_doubt": 3}') == 3


@pytest.mark.parametrize(
    "data",
    [
        b"look",
        b"",
        b"\xff\xfe",
        b"[1]",
        b'{"node": "a", "epoch": 1, "error": "in_doubt"}',
        b'{"in_doubt": true}',
        b'{"in_doubt": 1.5}',
        b'{"in_doubt": "1"}',
        b'{"in_doubt": 0}',
        b'{"in_doubt": -1}',
        b'{"in_doubt": 1e9999}',
        b'{"in_doubt": 10000000}',
        b"[" * 4000,
        json.dumps({"in_doubt": 1, "more": "x" * 5000}).encode(),
    ],
)
def test_anything_else_only_rings(data: bytes) -> None:
    assert doubts_in(data) == 0


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_an_agent_that_was_superseded_leaves_its_successors_doorbell_alone(tmp_path: Path) -> None:
    rung = asyncio.Event()
    former = Doorbell(tmp_path / "main.sock", lambda _: None)
    successor = Doorbell(tmp_path / "main.sock", lambda _: rung.set())
    await former.open()
    await successor.open()
    former.close()
    ring(tmp_path / "main.sock")
    async with asyncio.timeout(60):
        await rung.wait()
    successor.close()
    assert not (tmp_path / "main.sock").exists()


async def test_opened_again_it_has_one_socket(tmp_path: Path) -> None:
    """An agent that loses its place and gets it back."""
    doorbell = Doorbell(tmp_path / "main.sock", lambda _: None)
    before = descriptors()
    await doorbell.open()
    await doorbell.open()
    doorbell.close()
    await asyncio.sleep(0)  # transports close with the next turn of the loop
    assert descriptors() == before


async def test_a_path_too_long_for_a_socket_is_told_with_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    before = descriptors()
    with pytest.raises(UnderstudyError, match=r"main\.sock: .*shorter"):
        await Doorbell(folder / "main.sock", lambda _: None).open()
    assert descriptors() == before
