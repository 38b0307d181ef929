"""The API on a real socket: TLS, and an end to every wait for a client that is slow, silent or one of too many."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs
from tests.equipment.certificates import certificate
from tests.unit.web_world import OPERATOR, World, bearer, world

from understudy.config_api import Api
from understudy.embedded.postgresql import free_port
from understudy.web import connection
from understudy.web.clusters import LISTENERS
from understudy.web.listening import Listening
from understudy.web.serve import serve_api

SOON = 60.0  # seconds


@contextlib.asynccontextmanager
async def served(
    directory: Path, *, leave: asyncio.Event | None = None, **options: object
) -> AsyncIterator[tuple[World, Api, httpx.AsyncClient]]:
    """The API served as the agent does, and a client that trusts its certificate."""
    api = Api(host="127.0.0.1", port=free_port(), **options)  # type: ignore[arg-type]
    leave = leave or asyncio.Event()
    async with world(directory, api) as w, contextlib.AsyncExitStack() as stack:
        kept = stack.enter_context(contextlib.closing(Listening()))
        serving = asyncio.create_task(serve_api(w.running, leave, kept))
        trusted = ssl.create_default_context(cafile=api.tls_cert) if api.tls_cert else False
        scheme = "https" if api.tls_cert else "http"
        try:
            async with httpx.AsyncClient(
                base_url=f"{scheme}://127.0.0.1:{api.port}", verify=trusted, timeout=SOON
            ) as client:
                await listening(api.port)
                yield w, api, client
        finally:
            leave.set()
            await serving


async def listening(port: int) -> None:
    async with asyncio.timeout(SOON):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.01)  # nobody tells when a socket listens


# --- TLS ------------------------------------------------------------------------------------------------------


async def test_tls_and_nothing_else_on_that_port(tmp_path: Path) -> None:
    async with served(tmp_path / "w", operator_token=OPERATOR, **certificate(tmp_path)) as (_, api, client):
        assert (await client.get("/nodes/home/primary")).status_code == 200
        assert (await client.get("/api/v1/clusters")).status_code == 401
        assert (await client.get("/api/v1/clusters", headers=bearer(OPERATOR))).status_code == 200
        async with httpx.AsyncClient() as plain:
            with pytest.raises(httpx.TransportError):
                await plain.get(f"http://127.0.0.1:{api.port}/liveness")
            with pytest.raises(httpx.ConnectError):  # who does not trust the certificate is told so
                await plain.get(f"https://127.0.0.1:{api.port}/liveness")
        assert (await client.get("/liveness")).status_code == 200


@pytest.mark.parametrize("wrong", ["absent", "not a key", "needs a password", "another's"])
async def test_a_certificate_that_cannot_be_used_is_said_once(
    tmp_path: Path, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key with a password must not be asked for at the terminal: the agents would wait for the answer."""
    monkeypatch.setattr("understudy.web.serve._AGAIN", 0.01)
    files = certificate(tmp_path, password=b"hunter2" if wrong == "needs a password" else b"")
    if wrong == "absent":
        files["tls_key"].unlink()
    elif wrong == "not a key":
        files["tls_key"].write_text("nothing")
    elif wrong == "another's":
        (tmp_path / "other").mkdir()
        files["tls_key"] = certificate(tmp_path / "other")["tls_key"]
    api = Api(host="127.0.0.1", port=free_port(), **files)
    leave = asyncio.Event()
    async with world(tmp_path / "w", api) as w:
        with capture_logs() as logs, contextlib.closing(Listening()) as kept:
            serving = asyncio.create_task(serve_api(w.running, leave, kept))
            async with asyncio.timeout(SOON):
                while not logs:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)  # ten more tries
            leave.set()
            await serving
    (line,) = logs
    assert (line["event"], str(files["tls_key"]) in line["error"]) == ("api_not_served", True)


# --- clients that make us wait ----------------------------------------------------------------------------------


async def ended(reader: asyncio.StreamReader) -> bytes:
    """All until the other side ends the connection."""
    async with asyncio.timeout(SOON):
        with contextlib.suppress(ConnectionError):
            return await reader.read(-1)
    return b""


HEAD = b"POST /api/v1/clusters/main/pause HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /liveness HTTP/1.1\r\nX",
        HEAD + b"Content-Length: 100\r\n\r\n{",
        HEAD + b"Content-Length: 99999999\r\n\r\n{",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
        b"GET /liveness HTTP/1.1\r\nHost: localhost\r\n\r\nGET /live",
    ],
    ids=["silent", "header", "body", "long body", "chunks", "second request"],
)
async def test_who_does_not_finish_a_request_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.3)
    async with served(tmp_path) as (_, api, client):
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(begun)

        async def drip() -> None:
            while True:  # a byte now and then is a sign of life to uvicorn
                await asyncio.sleep(0.05)
                writer.write(b"0" if begun else b"")

        dripping = asyncio.create_task(drip())
        try:
            await ended(reader)
        finally:
            dripping.cancel()
            writer.close()
        monkeypatch.setattr(connection, "PATIENCE", SOON)  # for us, however busy this machine is
        assert (await client.get("/liveness")).status_code == 200


async def test_who_takes_no_answer_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.3)
    lost = threading.Event()
    ending = connection.BoundedProtocol.connection_lost

    def told(self: connection.BoundedProtocol, error: Exception | None) -> None:
        ending(self, error)
        lost.set()

    async with served(tmp_path) as (_, api, client):
        with socket.create_connection(("127.0.0.1", api.port)) as deaf:
            monkeypatch.setattr(connection.BoundedProtocol, "connection_lost", told)
            deaf.sendall(b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)
            assert await asyncio.to_thread(lost.wait, SOON)  # the kernel tells only who reads
        monkeypatch.setattr(connection, "PATIENCE", SOON)
        assert (await client.get("/liveness")).status_code == 200


async def test_a_connection_in_use_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is for one request; a balancer that asks on one connection for days is welcome."""
    monkeypatch.setattr(connection, "PATIENCE", 2.0)  # a busy machine may take a second longer than it should
    async with served(tmp_path) as (_, api, _client):
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        for _ in range(8):
            writer.write(b"HEAD /liveness HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with asyncio.timeout(SOON):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.3)  # after it: the first one counts from the connection on
        writer.close()


@pytest.mark.parametrize("tls", [False, True])
async def test_a_connection_too_many_is_closed_unheard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: bool
) -> None:
    """Also where nobody has greeted yet: every connection takes a file descriptor of the agent's."""
    monkeypatch.setattr("understudy.web.listening.MAX_OPEN", 5)
    files = certificate(tmp_path) if tls else {}
    async with served(tmp_path / "w", **files) as (_, api, client):
        # More than five, and then some: one of before may have taken a place, and be gone by the time of the last.
        many = [await asyncio.open_connection("127.0.0.1", api.port) for _ in range(8)]
        waiting = [asyncio.create_task(ended(reader)) for reader, _ in many]
        over, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert {one.result() for one in over} == {b""}
        for _, one in many:
            one.close()
        await asyncio.wait(waiting)
        async with asyncio.timeout(SOON):
            while not await answered(client):  # until it has seen them go
                await asyncio.sleep(0.01)


async def answered(client: httpx.AsyncClient) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return (await client.get("/liveness")).status_code == 200
    return False


Listen = Callable[[], Awaitable[tuple[int, str, str]]]


@contextlib.asynccontextmanager
async def listeners(base_url: httpx.URL) -> AsyncIterator[Listen]:
    """Each call begins one more stream, and says how it was answered; all go on until the end."""
    kept: list[object] = []
    limits = httpx.Limits(max_connections=100)
    async with (
        httpx.AsyncClient(base_url=base_url, limits=limits, timeout=SOON) as many,
        contextlib.AsyncExitStack() as stack,
    ):

        async def listen() -> tuple[int, str, str]:
            answer = await stack.enter_async_context(many.stream("GET", "/api/v1/stream"))
            lines = answer.aiter_lines()
            kept.append(lines)  # its end would be the stream's
            return answer.status_code, await anext(lines, ""), answer.headers.get("retry-after", "")

        yield listen


HEARD = (200, "event: clusters", "")


async def test_a_listener_too_many_is_sent_away(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, _api, client):
        async with listeners(client.base_url) as listen:
            for _ in range(LISTENERS):
                assert await listen() == HEARD
            status, first, again = await listen()
            assert (status, "too many listeners" in first, again) == (503, True, "5")
            assert (await client.get("/nodes/home/primary")).status_code == 200
        async with listeners(client.base_url) as listen, asyncio.timeout(SOON):
            while await listen() != HEARD:  # until the server has seen them go
                await asyncio.sleep(0.01)


async def test_listeners_that_come_at_once_are_not_too_many(tmp_path: Path) -> None:
    """Each was let in before the first of them was counted."""
    async with served(tmp_path) as (_, _api, client), listeners(client.base_url) as listen:
        heard = await asyncio.gather(*(listen() for _ in range(LISTENERS + 20)))
    assert heard.count(HEARD) == LISTENERS


async def test_a_listener_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """The agents wait for the API before they begin anew with another configuration: a stream is ended, not cut off."""
    leave = asyncio.Event()
    async with (
        served(tmp_path, leave=leave) as (_, _api, client),
        client.stream("GET", "/api/v1/stream", timeout=SOON) as answer,
    ):
        lines = answer.aiter_lines()
        assert await anext(lines) == "event: clusters"
        leave.set()
        async for _line in lines:  # to its proper end: httpx.RemoteProtocolError where it is cut off
            pass


async def test_who_connects_during_a_reload_waits(tmp_path: Path) -> None:
    """Refused twice in a row, a load balancer would give every server up."""
    api = Api(host="127.0.0.1", port=free_port())
    async with world(tmp_path, api) as w:
        with contextlib.closing(Listening()) as kept:
            for _ in range(2):
                leave = asyncio.Event()
                serving = asyncio.create_task(serve_api(w.running, leave, kept))
                await listening(api.port)
                leave.set()
                await serving
                reader, writer = await asyncio.open_connection("127.0.0.1", api.port)  # nobody serves
                writer.write(b"HEAD /liveness HTTP/1.1\r\nHost: localhost\r\n\r\n")
                leave = asyncio.Event()
                serving = asyncio.create_task(serve_api(w.running, leave, kept))
                async with asyncio.timeout(SOON):
                    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
                writer.close()
                leave.set()
                await serving
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", api.port)


async def test_another_address_after_a_reload(tmp_path: Path) -> None:
    with contextlib.closing(Listening()) as kept:
        first, second = (Api(host="127.0.0.1", port=free_port()) for _ in range(2))
        for api, gone in ((first, None), (second, first)):
            kept.at(api).close()
            await listening(api.port)
            if gone is not None:
                with pytest.raises(OSError):
                    await asyncio.open_connection("127.0.0.1", gone.port)
