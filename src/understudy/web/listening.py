"""The socket that the API listens on. It outlives a reload: who connects meanwhile waits a moment and is not refused.

A load balancer that is refused twice in a row would take every server for lost, and end the sessions of all clients.
"""

from __future__ import annotations

import socket
from typing import Any
from weakref import WeakSet

from understudy.config_api import Api

MAX_OPEN = 512
"""Connections, those in the middle of TLS's greeting included; one more is closed unheard. Each takes a file descriptor
of the agent's process, which must have some left to fail over with."""


class Listening:
    """At most one socket, for as long as the address is the same."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._at: tuple[str, int] | None = None

    def at(self, api: Api) -> socket.socket:
        """A handle of its own on the socket, which its user closes. It counts its own connections.

        Raises OSError where the address cannot be had.
        """
        if self._socket is None or self._at != (api.host, api.port):
            self.close()
            self._socket, self._at = _listen(api), (api.host, api.port)
        return self._socket.dup()

    def close(self) -> None:
        """Listen no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _Bounded(socket.socket):
    """A listening socket that accepts at most so many connections at a time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._accepted: WeakSet[socket.socket] = WeakSet()

    def accept(self) -> tuple[socket.socket, Any]:
        connection, address = super().accept()
        if sum(one.fileno() != -1 for one in self._accepted) >= MAX_OPEN:
            connection.close()
            raise BlockingIOError("as many connections as there may be")
        self._accepted.add(connection)
        return connection, address


def _listen(api: Api) -> socket.socket:
    family = socket.AF_INET6 if ":" in api.host else socket.AF_INET
    made = socket.create_server((api.host, api.port), family=family, backlog=256)
    listening = _Bounded(made.family, made.type, made.proto, fileno=made.detach())
    # Connections inherit it. asyncio sets it only where the socket names its protocol, which this one does not;
    # without it each answer on a kept connection waits 40 ms for an acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
