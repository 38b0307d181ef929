"""An agent as a real process: `understudy run`, in a session of its own, that can be killed and frozen."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from understudy.embedded import processes

# The interpreter that runs us, whatever is first on PATH.
PROGRAM = (sys.executable, "-m", "understudy.cli")


def run(config: Path, *arguments: str) -> str:
    """Run `understudy ...` to its end and return what it printed. Raises RuntimeError with its words otherwise."""
    process: subprocess.Popen[str] | None = None
    try:
        with processes.unbroken():
            process = subprocess.Popen(
                [*PROGRAM, *arguments],
                env=environment(config),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=processes.die_with_parent,  # noqa: PLW1509
            )
        printed, errors = process.communicate()
    except BaseException:  # Ctrl-C too: it would go on, and nobody would wait for it
        if process is not None:
            process.kill()
            process.wait()
        raise
    if process.returncode != 0:
        said = (errors or printed).strip()
        raise RuntimeError(f"understudy {' '.join(arguments)} ended with {process.returncode}:\n{said}")
    return printed


def environment(config: Path) -> dict[str, str]:
    """Our environment without anybody's databases or policies, and with this configuration."""
    foreign = ("UNDERSTUDY_", "DATABASE_", "DB_", "PRIMARY_DB_", "SUPABASE_", "PG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {"UNDERSTUDY_CONFIG": str(config)}


class AgentProcess:
    """One agent. ``log`` gets what it prints; ``options``: further ones of `understudy run`."""

    def __init__(self, config: Path, log: Path, *options: str) -> None:
        self._config, self.log, self._options = config, log, options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs (a frozen one does)."""
        if self._process is not None and self._process.poll() is None:
            return self._process.pid
        return None

    def start(self) -> None:
        """Start it; nothing to do where it runs. When it acts, the witness says so."""
        if self.pid is not None:
            return
        with self.log.open("ab") as log, processes.unbroken():
            self._process = subprocess.Popen(
                [*PROGRAM, "run", *self._options],
                env=environment(self._config),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for us, not for the agent
                preexec_fn=processes.die_with_parent,  # noqa: PLW1509
            )

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory runs out."""
        self._send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None

    def stop(self, timeout: float = 15.0) -> None:
        """SIGTERM and wait; one that does not end in ``timeout`` seconds is killed."""
        self.thaw()
        self._send(signal.SIGTERM)
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        self.kill()

    def freeze(self) -> None:
        """SIGSTOP: it still exists and does nothing."""
        self._send(signal.SIGSTOP)
        if self.pid is not None:
            processes.wait_stopped([self.pid])

    def thaw(self) -> None:
        """SIGCONT."""
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        if self.pid is not None:
            processes.send([self.pid], number)
