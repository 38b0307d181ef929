"""A real HAProxy of one's own, the program of the system's package: for the tests and benches."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from understudy.embedded.daemon import Daemon, Place
from understudy.embedded.postgresql import HOST, free_port

BACKEND = "postgresql"

Configuration = Callable[[int, Path], str]
"""The text of haproxy.cfg, given the port of 127.0.0.1 to listen on and the path of the socket for its runtime API."""


class EmbeddedHaproxy(Daemon):
    """One HAProxy in TCP mode on a free port of 127.0.0.1.

    Args:
        configuration: see `driven` for the usual one.
    """

    def __init__(self, configuration: Configuration) -> None:
        super().__init__("haproxy", free_port())
        self.socket: Path = self.folder / "admin.sock"
        text = configuration(self.port, self.socket)
        self._has_socket = str(self.socket) in text
        self._file = self._write("haproxy.cfg", text)

    def _arguments(self) -> list[str]:
        return ["-db", "-f", str(self._file)]

    def _places(self) -> Sequence[Place]:
        runtime_api: list[Place] = [(socket.AF_UNIX, str(self.socket))] if self._has_socket else []
        return [*super()._places(), *runtime_api]


def driven(servers: Mapping[str, int]) -> Configuration:
    """Driven over the runtime API.

    Args:
        servers: name -> port on 127.0.0.1; each in maintenance at the start, so that nothing passes before it is told.
    """

    def configuration(port: int, socket: Path) -> str:
        lines = [
            "global",
            f"  stats socket {socket} mode 600 level admin",
            "defaults",
            "  mode tcp",
            "  timeout connect 1s",
            # A refused connection is the client's to repeat: HAProxy would repeat it to the same server, 1 s later.
            "  retries 0",
            "  timeout client 1h",
            "  timeout server 1h",
            f"listen {BACKEND}",
            f"  bind {HOST}:{port}",
            *(f"  server {name} {HOST}:{at} disabled" for name, at in servers.items()),
        ]
        return "\n".join(lines) + "\n"

    return configuration
