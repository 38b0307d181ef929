"""The doorbell: a datagram socket on which clients say that they saw an error or that something was asked for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from pathlib import Path

from understudy.errors import UnderstudyError

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
        self._bound: tuple[int, int] | None = None

    async def open(self) -> None:
        """Bind the socket, replacing a leftover of an agent that died. Raises UnderstudyError."""
        self.close()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self.path.unlink(missing_ok=True)
            sock.setblocking(False)
            sock.bind(str(self.path))
            self.path.chmod(0o660)
            self._bound = _file_at(self.path)
        except OSError as error:
            sock.close()
            raise UnderstudyError(
                f"{self.path}: the doorbell cannot be opened: {error.strerror or error}; give the agent's user write "
                "access to the state directory, and that directory a shorter name where the path has 108 bytes or more"
            ) from error
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: _Protocol(self._rung), sock=sock)

    def close(self) -> None:
        """Stop listening and remove the socket, unless another agent has taken its place."""
        if self._transport is None:
            return
        if _file_at(self.path) == self._bound:  # while ours is open nobody else's has its number
            self.path.unlink(missing_ok=True)
        self._transport.close()
        self._transport = None


def _file_at(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def ring(path: Path) -> None:
    """Ring an agent's doorbell. Best effort: where nobody listens there is nobody to hurry."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.setblocking(False)
        sock.sendto(b"look", str(path))
