"""The fault proxy against a tiny echo server: each fault looks to the client as it does in a real network."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from understudy.embedded import FaultProxy
from understudy.embedded.fault_proxy import WAYS, Side, Way, _Direction

SILENCE = 0.15  # seconds without an answer that count as none
PATIENCE = 60.0  # seconds that an answer may take on a busy machine


class Seen:
    """What the server saw of one connection: its bytes, and how it ended."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.end = ""
        self.ended = threading.Event()


class Echo(socketserver.BaseRequestHandler):
    server: EchoServer

    def handle(self) -> None:
        seen = Seen()
        self.server.seen.append(seen)
        self.server.sockets.append(self.request)
        try:
            while data := self.request.recv(65536):
                seen.got += data
                self.request.sendall(data)
            seen.end = "closed"
        except ConnectionError:
            seen.end = "reset"
        seen.ended.set()


class EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Echo)
        self.seen: list[Seen] = []
        self.sockets: list[socket.socket] = []


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with EchoServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def proxy(server: EchoServer) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", server.server_address[1]) as proxy:
        yield proxy


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE)


def ask(client: socket.socket, text: bytes = b"hello") -> bytes:
    client.sendall(text)
    return client.recv(65536)


def silent(client: socket.socket) -> bool:
    client.sendall(b"anybody?")
    client.settimeout(SILENCE)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(PATIENCE)
    return False


def await_true(condition: Callable[[], bool]) -> None:
    """Poll: the server's thread tells nobody what it has read."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_passes_bytes_both_ways_and_the_end(proxy: FaultProxy) -> None:
    with connect(proxy) as client:
        assert ask(client) == b"hello"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


def test_carries_a_megabyte_unharmed(proxy: FaultProxy) -> None:
    sent = bytes(range(256)) * 4096
    with connect(proxy) as client:
        threading.Thread(target=client.sendall, args=(sent,)).start()
        received = bytearray()
        while len(received) < len(sent):
            received += client.recv(65536)
    assert bytes(received) == sent


def test_refuse_keeps_established_connections_and_the_port(proxy: FaultProxy) -> None:
    with connect(proxy) as client:
        ask(client)
        port = proxy.port
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        assert ask(client) == b"hello"
        proxy.start()
        assert proxy.port == port
        with connect(proxy) as another:
            assert ask(another) == b"hello"


def test_stop_resets_everything_and_start_brings_it_back(proxy: FaultProxy) -> None:
    with connect(proxy) as client:
        ask(client)
        proxy.stop()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.start()
    with connect(proxy) as client:
        assert ask(client) == b"hello"


def test_cut_resets_what_is_open_and_accepts_new(proxy: FaultProxy) -> None:
    with connect(proxy) as client:
        ask(client)
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with connect(proxy) as client:
        assert ask(client) == b"hello"


def test_black_hole_swallows_and_closes_nothing(proxy: FaultProxy) -> None:
    with connect(proxy) as established:
        ask(established)
        proxy.black_hole()
        assert silent(established)
        with connect(proxy) as new:
            assert silent(new)


def test_after_a_black_hole_a_connection_that_lost_bytes_is_reset_and_others_go_on(proxy: FaultProxy) -> None:
    with connect(proxy) as loser, connect(proxy) as quiet:
        ask(loser)
        ask(quiet)
        proxy.black_hole()
        assert silent(loser)
        proxy.pass_through()
        with pytest.raises(ConnectionResetError):
            loser.recv(1)
        assert ask(quiet) == b"hello"


def test_deaf_accepts_and_never_answers(proxy: FaultProxy) -> None:
    with connect(proxy) as established:
        ask(established)
        proxy.deaf()
        with connect(proxy) as new:
            assert silent(new)
        assert ask(established) == b"hello"
        proxy.pass_through()
        with connect(proxy) as later:
            assert ask(later) == b"hello"


def test_delay_is_per_direction_and_ends(proxy: FaultProxy) -> None:
    with connect(proxy) as client:
        ask(client)
        proxy.delay(0.1)
        started = time.monotonic()
        ask(client)
        assert time.monotonic() - started >= 0.2
        proxy.delay(60)
        proxy.delay(0)
        started = time.monotonic()
        ask(client)
        assert time.monotonic() - started < 60, "nothing of it is left"


@pytest.mark.parametrize("passes", WAYS)
def test_one_way_passes_that_way_only_and_is_reset_afterwards(
    proxy: FaultProxy, server: EchoServer, passes: Way
) -> None:
    with connect(proxy) as client:
        ask(client)
        proxy.one_way(passes)
        assert silent(client)
        arrived = b"anybody?" if passes == "to_server" else b""
        await_true(lambda: bytes(server.seen[0].got) == b"hello" + arrived)
        server.sockets[0].sendall(b"news")
        if passes == "to_client":
            assert client.recv(100) == b"news"
        else:
            client.settimeout(SILENCE)
            with pytest.raises(TimeoutError):
                client.recv(1)
        proxy.pass_through()
        client.settimeout(PATIENCE)
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_one_way_to_the_server_the_client_does_not_learn_that_the_server_closed(
    proxy: FaultProxy, server: EchoServer
) -> None:
    with connect(proxy) as client:
        ask(client)
        proxy.one_way("to_server")
        server.sockets[0].shutdown(socket.SHUT_RDWR)
        assert server.seen[0].ended.wait(PATIENCE)
        assert silent(client)
        assert silent(client)


def test_turning_one_way_round_resets_what_lost_bytes(proxy: FaultProxy) -> None:
    with connect(proxy) as client:
        ask(client)
        proxy.one_way("to_server")
        assert silent(client)
        proxy.one_way("to_client")
        with pytest.raises(ConnectionResetError):
            client.recv(1)


@pytest.mark.parametrize("closed", ["client", "server"])
def test_half_open_one_side_ends_and_the_other_is_not_told(
    proxy: FaultProxy, server: EchoServer, closed: Side
) -> None:
    with connect(proxy) as client:
        ask(client)
        proxy.half_open(closed)
        if closed == "client":
            with pytest.raises(ConnectionResetError):
                client.recv(1)
            server.sockets[0].sendall(b"are you there?")
            assert not server.seen[0].ended.wait(SILENCE)
        else:
            assert server.seen[0].ended.wait(PATIENCE)
            assert server.seen[0].end == "reset"
            assert silent(client)
        with connect(proxy) as another:
            assert ask(another) == b"hello"
        proxy.pass_through()
        assert server.seen[0].ended.wait(PATIENCE)


def received(client: socket.socket) -> tuple[bytes, str]:
    """All that comes, and how it ends."""
    got = bytearray()
    try:
        while data := client.recv(65536):
            got += data
    except ConnectionResetError:
        return bytes(got), "reset"
    return bytes(got), "closed"


@pytest.mark.parametrize("count", [0, 1, 7, 8, 99_999])
@pytest.mark.parametrize(("fault", "end"), [("reset_after", "reset"), ("cut_after", "closed")])
def test_exactly_so_many_bytes_to_the_server(
    proxy: FaultProxy, server: EchoServer, count: int, fault: str, end: str
) -> None:
    sent = bytes(range(250)) * 600
    with connect(proxy) as client:
        ask(client)
        bystander = connect(proxy)
        ask(bystander)
        getattr(proxy, fault)(count, "to_server")

        def send() -> None:
            with contextlib.suppress(ConnectionError):
                client.sendall(sent)

        sender = threading.Thread(target=send)
        sender.start()
        assert received(client)[1] == end
        sender.join()
        seen = server.seen[0]
        assert seen.ended.wait(PATIENCE)
        assert bytes(seen.got) == b"hello" + sent[:count]
        assert seen.end == end
        assert ask(bystander) == b"hello"  # once
        bystander.close()


@pytest.mark.parametrize("count", [0, 1, 7, 8, 99_999])
@pytest.mark.parametrize(("fault", "end"), [("reset_after", "reset"), ("cut_after", "closed")])
def test_exactly_so_many_bytes_to_the_client(
    proxy: FaultProxy, server: EchoServer, count: int, fault: str, end: str
) -> None:
    sent = bytes(range(250)) * 600
    with connect(proxy) as client:
        ask(client)
        getattr(proxy, fault)(count, "to_client")

        def send() -> None:
            with contextlib.suppress(ConnectionError):
                server.sockets[0].sendall(sent)

        threading.Thread(target=send).start()
        assert received(client) == (sent[:count], end)
        assert server.seen[0].ended.wait(PATIENCE)
    with connect(proxy) as client:
        assert ask(client) == b"hello"


def test_bytes_are_counted_over_all_connections(proxy: FaultProxy) -> None:
    with connect(proxy) as first, connect(proxy) as second:
        ask(first)
        ask(second)
        proxy.reset_after(7, "to_client")
        assert ask(first) == b"hello"
        second.sendall(b"hello")
        assert received(second) == (b"he", "reset")
        assert ask(first) == b"hello"


@pytest.mark.parametrize("way", WAYS)
def test_slow_is_a_limit_of_one_way_for_all_connections_together(proxy: FaultProxy, way: Way) -> None:
    with connect(proxy) as one, connect(proxy) as other:
        ask(one)
        ask(other)
        proxy.slow(20_000, way)
        started = time.monotonic()
        one.sendall(b"x" * 4000)
        other.sendall(b"y" * 4000)
        for client in (one, other):
            got = 0
            while got < 4000:
                got += len(client.recv(65536))
        assert time.monotonic() - started >= 0.4
        proxy.slow(0.05, way)  # a byte in twenty seconds
        proxy.pass_through()
        started = time.monotonic()
        ask(one)
        assert time.monotonic() - started < 60, "nothing of it is left"


def test_pass_through_releases_what_a_slow_line_holds(proxy: FaultProxy) -> None:
    with connect(proxy) as client:
        ask(client)
        proxy.slow(100)
        client.sendall(b"x" * 4000)
        proxy.pass_through()
        got = bytearray()
        while len(got) < 4000:
            got += client.recv(65536)
    assert bytes(got) == b"x" * 4000


def test_latency_varies_as_its_seed_says_within_its_bounds(server: EchoServer) -> None:
    with FaultProxy("127.0.0.1", server.server_address[1]) as proxy:
        proxy.latency(0.03, jitter=0.03, seed=3, way="to_client")
        source = random.Random(3)
        with connect(proxy) as client:
            for drawn in [0.03 + source.uniform(-0.03, 0.03) for _ in range(6)]:
                started = time.monotonic()
                ask(client)
                assert time.monotonic() - started >= drawn


async def test_a_chunk_is_as_late_as_its_seed_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the end of the bounds and no later; what a busy machine adds is not the proxy's."""
    direction, source = _Direction(), random.Random(3)
    direction.late = (0.03, 0.05, random.Random(3))
    with monkeypatch.context() as stopped:
        stopped.setattr(asyncio.get_running_loop(), "time", lambda: 100.0)
        due = [direction.due() for _ in range(20)]
    assert due == [100.0 + max(0.0, 0.03 + source.uniform(-0.05, 0.05)) for _ in range(20)]
    assert min(due) == 100.0


def test_bytes_stay_in_order_whatever_the_jitter(proxy: FaultProxy) -> None:
    proxy.latency(0.01, jitter=0.01, seed=1)
    sent = b"".join(b"%05d" % number for number in range(400))
    with connect(proxy) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(sent), 50):
            client.sendall(sent[start : start + 50])
            time.sleep(0.001)
        got = bytearray()
        while len(got) < len(sent):
            got += client.recv(65536)
    assert bytes(got) == sent


def test_a_target_that_is_not_there_resets_the_client() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        target = reserved.getsockname()[1]
        with (
            FaultProxy("127.0.0.1", target) as proxy,
            pytest.raises(ConnectionResetError),  # on a busy machine already while connecting
            connect(proxy) as client,
        ):
            client.recv(1)


def test_nothing_is_left_after_the_proxy(proxy: FaultProxy) -> None:
    with FaultProxy("127.0.0.1", proxy.port) as second:
        client = connect(second)
        ask(client)
        second.black_hole()
        silent(client)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    client.close()
    assert sum(thread.name == "fault-proxy" for thread in threading.enumerate()) == 1
    with pytest.raises(ConnectionRefusedError):
        connect(second)
