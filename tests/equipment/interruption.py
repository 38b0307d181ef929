"""Commands as processes of their own that get a signal in the middle, and what is left of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from understudy.demo import agent_process


def processes_in(folder: Path) -> list[str]:
    """The command lines of processes that have to do with a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (process / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue  # it has just ended
        if (str(folder) in line or str(folder) in environment) and int(process.name) != os.getpid():
            found.append(line)
    return found


def interrupted(
    program: list[str], environment: dict[str, str], at: str, number: signal.Signals
) -> tuple[int, str]:
    """Run a command, and send it a signal as soon as it has said something. Its exit code, and what it said."""
    with (
        heard(signal.SIGINT),
        subprocess.Popen(
            [*agent_process.PROGRAM, *program],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        assert process.stderr is not None
        alarm = threading.Timer(300, process.kill)
        alarm.start()
        said, sent = "", False
        for line in process.stderr:
            said += line
            if at in line and not sent:
                process.send_signal(number)
                sent = True
        alarm.cancel()
    return process.returncode, said


@contextlib.contextmanager
def heard(number: signal.Signals) -> Iterator[None]:
    """Children begin with the signal's default: the job of a shell's background ignores Ctrl-C, and so would they."""
    before = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(number, before)
