"""A real PgBouncer of one's own, the program of the system's package: for the tests and benches."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from understudy.embedded.daemon import Daemon
from understudy.embedded.postgresql import HOST, free_port

ADMIN = "console"
SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addr": HOST,
        "unix_socket_dir": "",
        "pool_mode": "transaction",
        "auth_type": "scram-sha-256",
        "admin_users": ADMIN,
        "default_pool_size": "20",
        "ignore_startup_parameters": "extra_float_digits",
    }
)


class EmbeddedPgBouncer(Daemon):
    """One PgBouncer on a free port of 127.0.0.1, in transaction mode.

    Args:
        databases: name that clients ask for -> its entry of ``[databases]`` (``host=... port=... dbname=...``).
        users: who may log in, with plain passwords; PgBouncer logs in to the servers with the same.
        settings: added to `SETTINGS`, in the words of pgbouncer.ini.

    ``databases`` stand in a file of their own, `entries`, which pgbouncer.ini includes.
    """

    def __init__(
        self,
        databases: Mapping[str, str],
        users: Mapping[str, str],
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__("pgbouncer", free_port())
        self._console_password = secrets.token_urlsafe(18)
        known = {**users, ADMIN: self._console_password}
        self._write("userlist.txt", "".join(f'"{name}" "{word}"\n' for name, word in known.items()))
        lines = [f"{name} = {entry}\n" for name, entry in databases.items()]
        self.entries: Path = self._write("databases.ini", "[databases]\n" + "".join(lines))
        words = {
            **SETTINGS,
            "listen_port": str(self.port),
            "auth_file": str(self.folder / "userlist.txt"),
            **settings,
        }
        body = "".join(f"{name} = {value}\n" for name, value in words.items())
        self._ini = self._write("pgbouncer.ini", f"[pgbouncer]\n{body}%include {self.entries}\n")

    def _arguments(self) -> list[str]:
        return [str(self._ini)]

    @property
    def console(self) -> str:
        """A libpq URI of the admin console."""
        return f"postgresql://{ADMIN}:{self._console_password}@{HOST}:{self.port}/pgbouncer"

    def dsn(self, user: str, password: str, database: str) -> str:
        """A libpq URI for clients."""
        return f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@{HOST}:{self.port}/{database}"
