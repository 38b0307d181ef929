"""A real PostgreSQL server of one's own, for demo and tests: made, started, killed, frozen, thawed, removed.

    with EmbeddedPostgreSQL(Path("build/oak"), name="oak", temporary=True) as server:
        server.prepare("farm", password="...")
        psycopg.connect(server.dsn("app", "farm", "..."))

It listens on 127.0.0.1 only, asks for passwords (SCRAM), and keeps the durability settings of a real server, because
promises about durability are tested on it. Servers outlive the process that started them, as real ones do, unless
`with` or `die_with_parent` says otherwise.

Everything of a server lies in its folder: `data/`, `server.log`, `server.json` (port, major version) and `password`
(of the superuser; readable by the owner only).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self
from urllib.parse import quote

from understudy.embedded import processes, programs, roles
from understudy.embedded.errors import EmbeddedError

HOST = "127.0.0.1"
PORTS = range(20000, 32768)  # below the ports Linux gives to outgoing connections (32768-60999)
RESERVED = 64  # ports that a process keeps for servers that it may start
SUPERUSER = "postgres"
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
READY_POLL_S = 0.005
_reserved: deque[socket.socket] = deque()

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": HOST,
        "unix_socket_directories": "",
        "wal_level": "logical",
        "max_connections": "100",
        "max_wal_senders": "20",
        "max_replication_slots": "20",
        "max_logical_replication_workers": "20",
        "max_sync_workers_per_subscription": "4",
        "max_worker_processes": "24",
        "shared_buffers": "128MB",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        # Shared memory in files of the data folder: a killed server leaves none in /dev/shm.
        "dynamic_shared_memory_type": "mmap",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        # A failing statement is logged without its text, which may hold a password (CREATE SUBSCRIPTION).
        "log_min_error_statement": "panic",
    }
)


class EmbeddedPostgreSQL:
    """One server in one folder.

    Args:
        folder: where everything of this server lies; made by `create`. An existing server there is taken over.
        name: what messages call it.
        port: TCP port on 127.0.0.1; None keeps the one the folder has, or chooses a free one of `PORTS`.
        settings: added to `SETTINGS`, in the words of postgresql.conf; `ALTER SYSTEM` still has the last word.
        major: version of PostgreSQL, one of `programs.FOLDERS`.
        extensions: what it must be able to create: programs of this host are used where the wheel's lack one and
            these have all (`programs.server`).
        temporary: leaving `with` removes the folder.
        die_with_parent: the server stops at once when the *thread* that started it ends, however it ends.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        major: int = 16,
        extensions: Iterable[str] = (),
        temporary: bool = False,
        die_with_parent: bool = False,
    ) -> None:
        self.folder = folder.absolute()
        self.name = name
        self.major = major
        self.data = self.folder / "data"
        self.log = self.folder / "server.log"
        self._wanted_port = port
        self._settings = dict(settings or {})
        self._extensions = frozenset(extensions)
        self._temporary = temporary
        self._die_with_parent = die_with_parent
        self._user = programs.account()
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"EmbeddedPostgreSQL({self.name!r}, {str(self.folder)!r})"

    def __enter__(self) -> Self:
        try:
            self.create()
            self.start()
        except BaseException:  # also Ctrl-C: `with` does not call __exit__ for an unfinished __enter__
            self._leave()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    # What it is

    @property
    def port(self) -> int:
        """The TCP port, the same for the whole life of the folder. Raises `EmbeddedError` before `create`."""
        return int(self._record()["port"])

    @property
    def postmaster_pid(self) -> int | None:
        """The process id of the running server's first process; None while it does not run."""
        if self._process is not None and self._process.poll() is None:
            return self._process.pid
        written = self._pid_file()
        pid = int(written[0]) if written else 0
        return pid if pid in self.pids else None

    @property
    def pids(self) -> set[int]:
        """All processes of this server, also those that a killed postmaster has left behind."""
        return processes.working_in(self.data, "postgres")

    @property
    def running(self) -> bool:
        """Whether the postmaster exists (a frozen one does)."""
        return self.postmaster_pid is not None

    @property
    def bin_folder(self) -> Path:
        """The folder with postgres, initdb and pg_ctl; the wheel's also has psql, pg_dump, pgbench and so on."""
        return programs.server(self.major, self._user, self._extensions)

    def dsn(self, user: str = SUPERUSER, dbname: str = "postgres", password: str | None = None) -> str:
        """A libpq URI. The superuser's password is filled in; anybody else's is left out where it is None."""
        port = self.port
        if password is None and user == SUPERUSER:
            password = (self.folder / "password").read_text()
        secret = f":{quote(password, safe='')}" if password is not None else ""
        return f"postgresql://{quote(user, safe='')}{secret}@{HOST}:{port}/{quote(dbname, safe='')}"

    # Its life

    def create(self) -> None:
        """Make the data folder (about half a second) unless it exists, and write the settings.

        Raises `EmbeddedError` where the folder cannot be used or initdb fails.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._user is not None:
            self._check_reachable(self._user)
        self._keep_port()
        if not self.data.exists():
            self._initialise()
        self._write_settings()

    def start(self, timeout_s: float = 60) -> None:
        """Start the server and return when it accepts connections; nothing to do where it runs.

        After `kill`, waits for processes that are still ending. Raises `EmbeddedError`, with the last lines of the
        server's log, where it is not ready after `timeout_s` seconds.
        """
        if self.running:
            return
        if left := processes.wait_gone(self.pids, timeout_s):
            raise self._error(
                "no process of an earlier run", f"{sorted(left)} still running", "Call kill() first."
            )
        self._forget_dead()
        log_start = self.log.stat().st_size if self.log.exists() else 0
        with processes.unbroken():
            self._process = self._launch()
        try:
            self._await_ready(self._process, time.monotonic() + timeout_s, log_start)
        except BaseException:
            self.kill()
            raise

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast", timeout_s: float = 60) -> None:
        """Stop the server as `pg_ctl stop -m mode` does; a frozen one is thawed for it.

        Raises `EmbeddedError` where a process is left after `timeout_s` seconds: a smart stop waits for its clients,
        and each clean one for subscribers that have not yet received everything.
        """
        postmaster, members = self.postmaster_pid, self.pids
        if postmaster is not None:
            self.thaw()
            processes.send([postmaster], STOP_SIGNALS[mode])
        if left := processes.wait_gone(members, timeout_s):
            found = f"{sorted(left)} still running after {timeout_s:g} s"
            raise self._error(f"a {mode} stop", found, "Stop with mode 'immediate', or kill().")
        self._reap()

    def kill(self, *, whole: bool = True, timeout_s: float = 60) -> None:
        """Kill the server with SIGKILL and return when none of its processes is left.

        With `whole` every process at the same moment, as when the host is lost; else only the postmaster, whose
        children notice and end by themselves (a busy one when its statement is done). Works on a frozen server.
        Raises `EmbeddedError` where a process is left after `timeout_s` seconds.
        """
        postmaster = self.postmaster_pid
        if whole:
            members = processes.stop_all(postmaster, lambda: self.pids)
            processes.send(members, signal.SIGKILL)
        else:
            members = self.pids
            processes.send([postmaster] if postmaster is not None else [], signal.SIGKILL)
        if left := processes.wait_gone(members, timeout_s):
            raise self._error("all processes gone", f"{sorted(left)} still running", "Call kill(whole=True).")
        self._reap()

    def freeze(self) -> None:
        """Stop every process with SIGSTOP, as a host that hangs: the kernel still accepts connections."""
        processes.stop_all(self.postmaster_pid, lambda: self.pids)

    def freeze_postmaster(self) -> None:
        """Stop the postmaster only: nobody can log in any more, while open sessions go on working."""
        if (postmaster := self.postmaster_pid) is not None:
            processes.send([postmaster], signal.SIGSTOP)
            processes.wait_stopped([postmaster])

    def thaw(self) -> None:
        """Let every process go on after `freeze` or `freeze_postmaster`."""
        processes.send(self.pids, signal.SIGCONT)

    def destroy(self) -> None:
        """Kill the server where it runs, and remove its folder. A folder that is not a server's is an error."""
        self.kill()
        if not self.folder.exists():
            return
        self._record()  # raises unless this is the folder of a server
        self._forget_dead()
        shutil.rmtree(self.folder)

    def prepare(self, database: str, *, admin: str = "understudy", app: str = "app", password: str) -> None:
        """Make `database` and the roles of a careful installation: see `roles.prepare`. May be repeated."""
        roles.prepare(self.dsn, database, admin=admin, app=app, password=password)

    def log_tail(self, lines: int = 12, *, since: int = 0) -> str:
        """The last lines of the server's log, of what was written after byte `since`."""
        with contextlib.suppress(FileNotFoundError), self.log.open("rb") as log:
            log.seek(since)
            return programs.last_lines(log.read().decode(errors="replace"), lines)
        return programs.last_lines("")

    # How

    def _error(self, expected: str, found: str, next_step: str) -> EmbeddedError:
        return EmbeddedError(
            f"server {self.name} in {self.folder}", expected=expected, found=found, next_step=next_step
        )

    def _leave(self) -> None:
        try:
            self.stop("fast", timeout_s=5)
        except EmbeddedError:
            self.kill()
        if self._temporary and (self.folder / "server.json").exists():
            self.destroy()

    def _check_reachable(self, user: programs.Account) -> None:
        self.folder.chmod(self.folder.stat().st_mode | 0o111)
        if closed := user.closed_folder(self.folder):
            raise self._error(
                f"a folder that the unprivileged user {user.uid} can reach (PostgreSQL refuses to run as root)",
                f"{closed} closed to it (mode {closed.stat().st_mode & 0o777:o})",
                "Choose another folder, or open that one with chmod o+x.",
            )

    def _record(self) -> dict[str, int]:
        try:
            record: dict[str, int] = json.loads((self.folder / "server.json").read_text())
        except FileNotFoundError:
            raise self._error("a server", "no server.json", "Call create() first.") from None
        return record

    def _keep_port(self) -> None:
        """Write down the port and the version: those wanted, else those the folder has, else a free port."""
        path = self.folder / "server.json"
        known = self._record() if path.exists() else {}
        if known and self.data.exists() and known["major"] != self.major:
            raise self._error(
                f"PostgreSQL {self.major}", f"data of {known['major']}", "Choose another folder."
            )
        port = self._wanted_port or known.get("port") or free_port()
        path.write_text(json.dumps({"port": port, "major": self.major}) + "\n")

    def _initialise(self) -> None:
        """Run initdb in a folder of its own that becomes `data` when all went well."""
        password = secrets.token_urlsafe(24)
        _write_secret(self.folder / "password", password)
        making = Path(tempfile.mkdtemp(prefix="data.", dir=self.folder))
        handover = self.folder / "initdb.password"
        _write_secret(handover, password)
        if self._user is not None:
            for path in (making, handover):
                os.chown(path, self._user.uid, self._user.gid)
        try:
            programs.run(
                self.bin_folder / "initdb",
                f"--pgdata={making}",
                f"--pwfile={handover}",
                f"--username={SUPERUSER}",
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"),
                user=self._user,
            )
            with (making / "postgresql.conf").open("a") as conf:
                conf.write("\ninclude_if_exists = 'embedded.conf'\n")
            making.rename(self.data)
        finally:
            handover.unlink()
            shutil.rmtree(making, ignore_errors=True)

    def _write_settings(self) -> None:
        settings = {**SETTINGS, "port": str(self.port), **self._settings}
        lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in settings.items()]
        path = self.data / "embedded.conf"
        path.write_text("".join(lines))
        if self._user is not None:
            os.chown(path, self._user.uid, self._user.gid)

    def _launch(self) -> subprocess.Popen[bytes]:
        if not self.data.exists():
            raise self._error("a data folder", "none", "Call create() first.")
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [self.bin_folder / "postgres", "-D", self.data],
                user=self._user.uid if self._user else None,
                group=self._user.gid if self._user else None,
                extra_groups=[] if self._user else None,
                cwd="/",
                env=programs.ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for us, not for the server
                preexec_fn=processes.die_with_parent if self._die_with_parent else None,  # noqa: PLW1509
            )

    def _await_ready(self, process: subprocess.Popen[bytes], deadline: float, log_start: int) -> None:
        """Wait for the word `ready` in line 8 of postmaster.pid, as pg_ctl does (src/bin/pg_ctl/pg_ctl.c)."""
        while True:
            written = self._pid_file()
            if len(written) > 7 and int(written[0]) == process.pid and written[7].strip() == "ready":
                return
            ended = process.poll()
            if ended is not None or time.monotonic() > deadline:
                found = f"exit code {ended}" if ended is not None else "that it is still starting"
                tail = self.log_tail(since=log_start)
                next_step = f"The last lines of {self.log}:\n{tail}"
                raise self._error(f"to be ready on port {self.port}", found, next_step)
            time.sleep(READY_POLL_S)

    def _pid_file(self) -> list[str]:
        """The lines of postmaster.pid: 1 the process id, 7 the shared memory, 8 the status; none without a file."""
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _forget_dead(self) -> None:
        """Remove the lock file and the shared memory of a killed server, none of whose processes is left.

        PostgreSQL does so itself unless it takes the old process id for a living postmaster: a zombie whose parent
        does not look, or another process that has been given the same number.
        """
        if len(written := self._pid_file()) > 6:
            processes.remove_shared_memory(int(written[6].split()[1]))
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._process = None


def free_port() -> int:
    """A TCP port of `PORTS` on 127.0.0.1 that is nobody's. Raises `EmbeddedError` if there is none.

    It stays reserved, also while the server that it is for does not run: this process keeps a socket bound to it, until
    it has been asked for `RESERVED` more. Nobody else gets it here; whoever binds it with SO_REUSEADDR, as servers do,
    may listen on it (socket(7)), and until then connecting to it is refused.
    """
    candidates = random.SystemRandom().sample(PORTS, min(200, len(PORTS)))  # whatever a test has seeded
    for port in candidates:
        held = socket.socket()
        try:
            held.bind((HOST, port))  # without SO_REUSEADDR, which would also take what others have reserved
        except OSError:
            held.close()
            continue
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _reserved.append(held)
        if len(_reserved) > RESERVED:
            _reserved.popleft().close()
        return port
    raise EmbeddedError(
        HOST,
        expected=f"a free port in {PORTS.start}-{PORTS.stop - 1}",
        found=f"{len(candidates)} taken ones",
        next_step="Stop servers that nobody needs.",
    )


def _write_secret(path: Path, secret: str) -> None:
    """Write a file that from its first moment only the owner can read."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret)
