"""The doorbell: a datagram socket on which clients say that they saw an error or that something was asked for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from pathlib import Path

_LONGEST = 4096
"""Bytes of a datagram that are read; those of clients have some hundred."""
_MOST = 1_000_000
"""Commits in doubt that one datagram may report."""


class _Protocol(asyncio.DatagramProtocol):
    def __init__(self, rung: Callable[[int], None]) -> None:
        self._rung = rung

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Whoever rings gets a fresh look at every node, whatever is said."""
        self._rung(doubts_in(data))


def doubts_in(data: bytes) -> int:
    """How many commits in doubt a client's datagram reports; 0 where it is about something else."""
    if len(data) > _LONGEST:
        return 0
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        return 0
    count = said.get("in_doubt") if isinstance(said, dict) else None
    return count if type(count) is int and 0 < count <= _MOST else 0


class Doorbell:
    """Listens on a Unix datagram socket; every datagram calls ``rung`` in the event loop, with the number of commits in
    doubt that it reports."""

    def __init__(self, path: Path, rung: Callable[[int], None]) -> None:
        self.path, self._rung = path, rung
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self) -> None:
        """Bind the socket, replacing a leftover of an agent that died. Raises OSError."""
        self.path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(str(self.path))
        self.path.chmod(0o660)
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: _Protocol(self._rung), sock=sock)

    def close(self) -> None:
        """Stop listening and remove the socket."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None
            self.path.unlink(missing_ok=True)


def ring(path: Path) -> None:
    """Ring an agent's doorbell. Best effort: where nobody listens there is nobody to hurry."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.setblocking(False)
        sock.sendto(b"look", str(path))
