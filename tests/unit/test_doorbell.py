"""What the agent takes from a datagram, and whose the socket is. Anybody on the host who may write may ring."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

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


def listening(path: Path) -> int:
    """How many sockets are bound to that path, or were before its file was removed."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return sum(line.endswith(f" {path}") for line in lines)


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
    await doorbell.open()
    await doorbell.open()
    await asyncio.sleep(0)  # transports close with the next turn of the loop
    assert listening(doorbell.path) == 1
    doorbell.close()
    await asyncio.sleep(0)
    assert listening(doorbell.path) == 0


async def test_a_path_too_long_for_a_socket_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    made: list[socket.socket] = []

    class Noted(socket.socket):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    with monkeypatch.context() as noted:
        noted.setattr(socket, "socket", Noted)
        with pytest.raises(UnderstudyError, match=r"main\.sock: .*shorter"):
            await Doorbell(folder / "main.sock", lambda _: None).open()
    assert [one.fileno() for one in made] == [-1], "it is closed"
