"""A node whose name nobody resolves: whoever dials it gives up in time, and nobody else waits for that."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.unit.test_renewal import CLUSTER

from understudy.engines.postgresql.fence_row import read_fences
from understudy.engines.postgresql.names import resolved
from understudy.engines.postgresql.sessions import connect
from understudy.errors import Unreachable

GONE = "host=gone.example dbname=d user=u"


class Silent:
    """Name servers that do not answer, until they are released."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.released = threading.Event()

    def getaddrinfo(self, host: str, *_: object, **__: object) -> list[Any]:
        self.asked.append(host)
        self.released.wait(100)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Silent]:
    found = Silent()
    monkeypatch.setattr(socket, "getaddrinfo", found.getaddrinfo)
    yield found
    found.released.set()


async def test_dialling_it_again_and_again_leaves_threads_for_the_witness(silent: Silent) -> None:
    """asyncio has at most 32 of them."""
    for _ in range(40):
        with pytest.raises(Unreachable, match=r"^a: no answer within 0\.01 s"):
            await connect(CLUSTER, "a", GONE, "test", within=0.01, statement=1.0)
    async with asyncio.timeout(60):
        assert await asyncio.to_thread(lambda: "done") == "done"
    assert silent.asked == ["gone.example"]
    silent.released.set()


async def test_an_unknown_name_is_said_and_asked_for_again(silent: Silent) -> None:
    silent.released.set()
    for _ in range(2):
        with pytest.raises(
            Unreachable, match=r"^a: could not connect: failed to resolve host 'gone\.example'"
        ):
            await connect(CLUSTER, "a", GONE, "test", within=60.0, statement=1.0)
    assert silent.asked == ["gone.example"] * 2


async def test_every_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def two(*_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 0)) for each in ("127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    assert await resolved({"host": "db.example", "port": "5433", "user": "u"}) == {
        "host": "db.example,db.example",
        "hostaddr": "127.0.0.2,127.0.0.1",
        "port": "5433",  # of all of them
        "user": "u",
    }


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"host": "/tmp"},
        {"host": "::1"},
        {"host": "10.0.0.1"},
        {"host": "a,b"},
        {"host": "x", "hostaddr": "::1"},
    ],
)
async def test_what_is_no_single_name_is_left_as_it_is(given: dict[str, str], silent: Silent) -> None:
    assert await resolved(given) == given
    assert silent.asked == []


def test_a_client_that_renews_does_not_wait_for_a_name(silent: Silent) -> None:
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.extend(read_fences([GONE], timeout=0.1)))
    asking.start()
    asking.join(60)
    assert answers == [None]
    silent.released.set()
