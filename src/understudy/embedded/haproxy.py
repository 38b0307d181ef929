"""A real HAProxy of one's own, the program of the system's package: for the tests and benches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from understudy.embedded.daemon import Daemon
from understudy.embedded.postgresql import HOST, free_port

BACKEND = "postgresql"


class EmbeddedHaproxy(Daemon):
    """One HAProxy in TCP mode on a free port of 127.0.0.1.

    Args:
        servers: name -> port on 127.0.0.1; each in maintenance at the start, so that nothing passes before it is told.
    """

    def __init__(self, servers: Mapping[str, int]) -> None:
        super().__init__("haproxy", free_port())
        self.socket: Path = self.folder / "admin.sock"
        lines = [
            "global",
            f"  stats socket {self.socket} mode 600 level admin",
            "defaults",
            "  mode tcp",
            "  timeout connect 1s",
            # A refused connection is the client's to repeat: HAProxy would repeat it to the same server, 1 s later.
            "  retries 0",
            "  timeout client 1h",
            "  timeout server 1h",
            f"listen {BACKEND}",
            f"  bind {HOST}:{self.port}",
            *(f"  server {name} {HOST}:{port} disabled" for name, port in servers.items()),
        ]
        self._file = self._write("haproxy.cfg", "\n".join(lines) + "\n")

    def _arguments(self) -> list[str]:
        return ["-db", "-f", str(self._file)]
