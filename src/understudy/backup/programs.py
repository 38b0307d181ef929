"""PostgreSQL's client programs: which one to use, and running one without losing its words or its exit code.

A dump is made and restored by programs of the *server's* major version: a newer pg_dump writes statements that an
older server does not know, an older one refuses. Passwords go through the environment, never among the arguments.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from understudy.backup.source import APPLICATION, CONNECT_S, BackupError, BackupRefused, clean
from understudy.embedded import EmbeddedError, processes
from understudy.embedded import programs as wheels

READ: Final = 2**20
_KEPT_BYTES: Final = 8 * 1024
_TOLD: Final = 1500
_END_S: Final = 20.0
_NO_TLS: Final = "SSL support is not compiled in"


@cache
def program(name: str, major: int) -> Path:
    """PostgreSQL's program ``name`` of version ``major``: the system's, else the wheel's. Raises `BackupRefused`.

    The system's comes first because the wheel's programs know no TLS.
    """
    candidates = [Path(folder.format(major=major)) / name for folder in wheels.HOST_FOLDERS]
    if (found := shutil.which(name)) is not None:
        candidates.append(Path(found))
    if importlib.util.find_spec(wheels.PACKAGE) is not None:
        with contextlib.suppress(EmbeddedError):
            candidates.append(wheels.installation(major, None) / "bin" / name)
    seen = []
    for candidate in candidates:
        if not candidate.is_file():
            continue
        if (version := version_of(candidate)).startswith(str(major)) and int(version.split(".")[0]) == major:
            return candidate
        seen.append(f"{candidate} is {version or 'of unknown version'}")
    raise BackupRefused(
        f"{name}: expected the program of PostgreSQL {major}, the server's version, found"
        f" {'; '.join(seen) or 'none'}; install postgresql-client-{major}"
    )


def version_of(path: Path) -> str:
    """What a program says its version is (``16.14``, ``18beta1``); empty where it does not answer."""
    try:
        done = subprocess.run(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    match = re.search(r"\b(\d+)(?:\.\d+)*(?=\D|$)", done.stdout)
    return match[0] if match is not None and done.returncode == 0 else ""


def command_line(dsn: str, purpose: str, **changes: str) -> tuple[str, dict[str, str]]:
    """A DSN without its password, for a command line, and the environment that holds the password.

    ``changes``: other connection parameters (``dbname``). Raises `BackupRefused` where the DSN holds a secret that
    no variable can carry.
    """
    parameters = dict(conninfo_to_dict(dsn))
    if parameters.get("sslpassword"):
        raise BackupRefused(
            "sslpassword in a DSN would show in the list of processes; keep the client key unencrypted in a file"
            " that only this user can read (mode 600), and leave sslpassword out"
        )
    environment = dict(os.environ) | {"LC_MESSAGES": "C"}
    if (password := parameters.pop("password", None)) is not None:
        environment["PGPASSWORD"] = str(password)
    ours = {"application_name": f"{APPLICATION}/{purpose}"[:63], "connect_timeout": str(CONNECT_S)}
    return make_conninfo("", **{**parameters, **ours, **changes}), environment


class Child:
    """One program that runs. Its stderr is kept (beginning and end), its exit code is always looked at.

    It dies with the thread that started it. ``dsn``: whose password its words must not show. ``account``: as whom it
    runs, in the words of `subprocess.Popen` (``user``, ``group``, ``extra_groups``).
    """

    def __init__(
        self,
        arguments: Sequence[str | Path],
        environment: Mapping[str, str],
        *,
        dsn: str,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        output: bool = True,
        account: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.name = Path(arguments[0]).name
        self._dsn = dsn
        self._ended_by_us = False
        self._words = bytearray()
        try:
            with processes.unbroken():  # a signal is not dropped by the hooks of fork
                self._process = subprocess.Popen(
                    list(arguments),
                    env=dict(environment),
                    stdin=stdin,
                    stdout=subprocess.PIPE if output else subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C is for us; the program is ended by us, in order
                    preexec_fn=_die_with_us,  # noqa: PLW1509
                    **account,
                )
        except OSError as error:
            raise BackupError(f"{self.name}: cannot be started: {error.strerror or error}") from None
        self._reader = threading.Thread(target=self._listen, name=f"{self.name} stderr", daemon=True)
        self._reader.start()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._reader.join()

    @property
    def stdin(self) -> IO[bytes]:
        """Where to write to, for a child with ``stdin=PIPE``."""
        assert self._process.stdin is not None
        return self._process.stdin

    def chunks(self) -> Iterator[bytes]:
        """Its output to the end. Raises `BackupError` where it ends with an error, *after* its last bytes: what is
        read of a program that failed never looks complete."""
        assert self._process.stdout is not None
        while chunk := self._process.stdout.read(READ):
            yield chunk
        self.finish()

    def finish(self) -> None:
        """Wait for its end. Raises `BackupError` with its last words where its exit code is not 0."""
        code = self._process.wait()
        self._reader.join()
        if code != 0:
            raise BackupError(self._failure(code))

    def end(self) -> None:
        """End it where it still runs: first politely, after a while by force."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    @property
    def words(self) -> str:
        """What it said, masked, in one line; the middle of much is left out."""
        text = clean(self._words.decode(errors="replace"), self._dsn)
        return text if len(text) <= _TOLD else f"{text[: _TOLD // 2]} ... {text[-_TOLD // 2 :]}"

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            while chunk := os.read(stream.fileno(), 4096):
                self._words += chunk
                del self._words[_KEPT_BYTES:-_KEPT_BYTES]

    def _failure(self, code: int) -> str:
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        hint = ""
        if _NO_TLS in self.words:
            hint = "; this program knows no TLS: install the client package of the server's version"
        return f"{self.name}: {how}: {self.words or 'it said nothing'}{hint}"


def _die_with_us() -> None:
    processes.die_with_parent(signal.SIGTERM)
