"""A foreign server program of the system, run unprivileged in a folder of its own: for the tests and benches."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from understudy.embedded import processes, programs
from understudy.embedded.errors import EmbeddedError

READY_POLL_S = 0.005

Place = tuple[socket.AddressFamily, tuple[str, int] | str]
"""A family of addresses, and an address of it."""


def find(program: str) -> Path:
    """The program on PATH or in /usr/sbin, where Debian puts servers. Raises `EmbeddedError` where it is not.

    A path is taken as it is, if there is a program.
    """
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(program, path=places)
    if found is None:
        raise EmbeddedError(
            program,
            expected="the program on PATH or in /usr/sbin",
            found="none",
            next_step=f"Install it: `make peers`, or as root `apt-get install {program}`.",
        )
    return Path(found)


class Daemon:
    """One process of one program. It ends when the *thread* that started it ends, and its folder goes with `with`.

    Children write the files of their configuration with `_write`, and say with `_arguments` how it is started.

    Args:
        program: its name, as `find` finds it, or its path.
        port: the TCP port on 127.0.0.1 that it listens on when it is ready.

    A program that listens in several places begins in one after another: a child names them all in `_places`.
    """

    def __init__(self, program: str, port: int) -> None:
        self.program, self.port = find(program), port
        self._user = programs.account()
        self.folder = Path(tempfile.mkdtemp(prefix=f"understudy-{self.program.name}-"))
        self.log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        if self._user is not None:
            os.chown(self.folder, self._user.uid, self._user.gid)

    def _arguments(self) -> list[str]:
        """What follows the program's name on its command line."""
        raise NotImplementedError

    def _places(self) -> Sequence[Place]:
        """Where it listens once it is ready."""
        return [(socket.AF_INET, ("127.0.0.1", self.port))]

    def _write(self, name: str, text: str) -> Path:
        """Write a file that only the program's user can read."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(text)
        if self._user is not None:
            os.chown(path, self._user.uid, self._user.gid)
        return path

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:  # also Ctrl-C: `with` does not call __exit__ for an unfinished __enter__
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pid(self) -> int | None:
        """The process id while it runs (a frozen one does)."""
        if self._process is not None and self._process.poll() is None:
            return self._process.pid
        return None

    def start(self, timeout_s: float = 60) -> None:
        """Start it and return when it accepts connections; nothing to do where it runs. Raises `EmbeddedError`."""
        if self.pid is not None:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self.program, *self._arguments()],
                user=self._user.uid if self._user else None,
                group=self._user.gid if self._user else None,
                extra_groups=[] if self._user else None,
                cwd="/",
                env=programs.ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=functools.partial(processes.die_with_parent, signal.SIGTERM),  # noqa: PLW1509
            )
        self._await_ready(time.monotonic() + timeout_s)

    def _await_ready(self, deadline: float) -> None:
        while True:
            if all(_accepts(family, address) for family, address in self._places()):
                return
            if self.pid is None or time.monotonic() > deadline:
                lines = programs.last_lines(self.log.read_text(errors="replace"))
                self.kill()
                raise EmbeddedError(
                    str(self.program),
                    expected=f"to listen at {', '.join(str(address) for _, address in self._places())}",
                    found="that it does not",
                    next_step=f"Its last lines:\n{lines}",
                )
            time.sleep(READY_POLL_S)  # no event tells when another process begins to listen

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone; nothing to do where it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """SIGSTOP: the kernel still accepts connections, nobody answers."""
        if (pid := self.pid) is not None:
            processes.send([pid], signal.SIGSTOP)
            processes.wait_stopped([pid])

    def thaw(self) -> None:
        """SIGCONT."""
        if (pid := self.pid) is not None:
            processes.send([pid], signal.SIGCONT)


def _accepts(family: socket.AddressFamily, address: tuple[str, int] | str) -> bool:
    """Somebody accepts a connection there."""
    with socket.socket(family) as probe:
        probe.settimeout(1)
        return probe.connect_ex(address) == 0
