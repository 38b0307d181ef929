"""The fault proxy against a tiny echo server: each fault looks to the client as it does in a real network."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from understudy.embedded import FaultProxy

SILENCE = 0.15  # seconds without an answer that count as none


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        try:
            while data := self.request.recv(65536):
                self.request.sendall(data)
        except ConnectionError:
            pass


class EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    with EchoServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with FaultProxy("127.0.0.1", server.server_address[1]) as proxy:
            yield proxy
        server.shutdown()


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


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
        client.settimeout(5)
    return False


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
        assert 0.2 <= time.monotonic() - started < 1
        proxy.delay(0)
        started = time.monotonic()
        ask(client)
        assert time.monotonic() - started < 0.1


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
