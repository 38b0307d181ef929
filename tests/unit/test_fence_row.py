"""The fence question of a client that renews in the agent's place: bounded, whatever the server does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from understudy.engines.postgresql.fence_row import read_fences

# AuthenticationOk, BackendKeyData, ReadyForQuery ("Message Formats" of PostgreSQL's manual)
_LOGGED_IN = b"R\0\0\0\x08\0\0\0\0" + b"K\0\0\0\x0c\0\0\0\x01\0\0\0\x02" + b"Z\0\0\0\x05I"


class Hangs:
    """A server that takes the login and never says another word, as one whose host stops at that moment."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.accepted: list[socket.socket] = []
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listening.accept()
                self.accepted.append(connection)
                connection.recv(1000)
                connection.sendall(_LOGGED_IN)

    def close(self) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        for one in (self.listening, *self.accepted):
            one.close()


@pytest.fixture
def server() -> Iterator[Hangs]:
    server = Hangs()
    yield server
    server.close()


def test_a_server_that_hangs_is_left_and_not_asked_to_cancel(server: Hangs) -> None:
    """The cancel request would be one more thing to wait for, past the end of the lease that is to be renewed."""
    dsn = f"host=127.0.0.1 port={server.port} user=u dbname=d sslmode=disable gssencmode=disable"
    assert read_fences([dsn, dsn], timeout=2.0) == [None, None]
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as last:
        last.sendall(b"whoever came before is answered before")
        assert last.recv(1000) == _LOGGED_IN
    assert len(server.accepted) == 3
