"""A signal that comes while a process is started: neither it nor the process is lost."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from understudy.embedded import processes

START = """
import os, signal, subprocess, sys
from understudy.embedded import processes

def leave(number, frame):
    raise SystemExit(7)

def once():
    if signals:
        signal.raise_signal(signals.pop())

signals = [signal.Signals[sys.argv[1]]]
signal.signal(signals[0], leave)
os.register_at_fork(after_in_parent=once)  # as the standard library's `logging` does
child = None
try:
    with processes.unbroken():
        child = subprocess.Popen(["sleep", "60"], preexec_fn=processes.die_with_parent)
finally:
    print(child is not None)
    child.kill()
    child.wait()
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_it_is_heard_when_the_process_is_known(number: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START, number], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "True\n", "")


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with processes.unbroken():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_handlers_are_as_they_were_also_after_an_error() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(OSError, match="no such program"), processes.unbroken():
        raise OSError("no such program")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
