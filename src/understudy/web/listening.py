"""The socket that the API listens on. It outlives a reload: who connects meanwhile waits a moment and is not refused.

A load balancer that is refused twice in a row would take every server for lost, and end the sessions of all clients.
"""

from __future__ import annotations

import socket

from understudy.config_api import Api


class Listening:
    """At most one socket, for as long as the address is the same."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._at: tuple[str, int] | None = None

    def at(self, api: Api) -> socket.socket:
        """A handle of its own on the socket, which its user closes. Raises OSError where the address cannot be had."""
        if self._socket is None or self._at != (api.host, api.port):
            self.close()
            self._socket, self._at = _listen(api), (api.host, api.port)
        return self._socket.dup()

    def close(self) -> None:
        """Listen no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _listen(api: Api) -> socket.socket:
    family = socket.AF_INET6 if ":" in api.host else socket.AF_INET
    listening = socket.create_server((api.host, api.port), family=family, backlog=256)
    # Connections inherit it. asyncio sets it only where the socket names its protocol, which this one does not;
    # without it each answer on a kept connection waits 40 ms for an acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
