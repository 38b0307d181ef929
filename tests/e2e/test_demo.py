"""`understudy demo --once --json` as a stranger runs it: its keys, its promises, and that it leaves nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from understudy.demo.application import Bank, Books
from understudy.demo.audit import Row
from understudy.demo.lab import Lab
from understudy.demo.story import tell
from understudy.model import Rpo

KEYS = {
    "mode",
    "fault",
    "acked",
    "lost",
    "doubled",
    "errors",
    "outage_ms",
    "failback_stall_ms",
    "failback_errors",
    "rescued",
    "invariant_ok",
    "checksums_equal",
}
DEMO = [sys.executable, "-m", "understudy.cli", "demo", "--once", "--json", "--scale", "2"]


def started_by(temporary: Path) -> list[str]:
    """Command lines of the processes that belong to a run: its folder is in their directory, or their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or entry.name == str(os.getpid()):
            continue
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            mine = str(temporary) in str((entry / "cwd").readlink())
            mine = mine or str(temporary).encode() in (entry / "environ").read_bytes()
        except OSError:
            continue  # it ended meanwhile
        if mine and state != "Z":
            found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


@pytest.fixture
def temporary() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="understudy-e2e-"))
    folder.chmod(0o711)
    yield folder
    for programs in folder.glob(
        "understudy-postgresql-*"
    ):  # made once per TMPDIR and kept, see embedded/programs.py
        shutil.rmtree(programs)
    folder.rmdir()  # fails where anything else is left


def environment(temporary: Path) -> dict[str, str]:
    return os.environ | {"TMPDIR": str(temporary)}


def check(mode: str, fault: str, temporary: Path) -> None:
    done = subprocess.run(
        [*DEMO, "--mode", mode, "--fault", fault],
        env=environment(temporary),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result.keys() == KEYS
    assert (result["mode"], result["fault"]) == (mode, fault)
    assert result["acked"] > 100
    assert (result["lost"], result["doubled"], result["failback_errors"]) == (0, 0, 0)
    assert result["errors"] == 0  # exactly_once settles what is in doubt
    assert result["invariant_ok"] is True
    assert result["checksums_equal"] is True
    for measured in ("outage_ms", "failback_stall_ms"):  # on a busy machine, they may take their time
        assert 0 < result[measured] < 60_000
    assert started_by(temporary) == []


@pytest.mark.timeout(300)
def test_a_killed_primary_in_zero_mode(temporary: Path) -> None:
    check("zero", "kill", temporary)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("mode", "fault"), [("zero", "freeze"), ("bounded", "kill"), ("bounded", "freeze")])
def test_other_modes_and_faults(mode: str, fault: str, temporary: Path) -> None:
    check(mode, fault, temporary)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_in_the_middle_it_leaves_nothing(number: signal.Signals, temporary: Path) -> None:
    demo = subprocess.Popen(
        [*DEMO, "--fault", "freeze"], env=environment(temporary), stderr=subprocess.PIPE, text=True
    )
    assert demo.stderr is not None
    for line in demo.stderr:
        if "SIGSTOP" in line:
            break
    time.sleep(0.2)  # in the middle of the failover, with a frozen server
    demo.send_signal(number)
    demo.communicate(timeout=60)
    assert demo.returncode != 0
    assert started_by(temporary) == []


class Forgetful(Bank):
    """Has lost its newest row by the time of the audit, says its sums are wrong, and lets strangers write."""

    def rows(self, connection: psycopg.Connection) -> list[Row]:
        return super().rows(connection)[:-1]

    def books(self, lab: Lab) -> Books:
        return replace(super().books(lab), equal=False)

    def stray(self, connection: psycopg.Connection) -> None:
        """Nothing, which is not refused."""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_broken_promise_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert tell(Forgetful(1), mode=Rpo.ZERO, faults=["kill"], json=True) is False
    out, err = capsys.readouterr()
    assert json.loads(out)["lost"] == 1
    told = " ".join(err.split())
    for broken in ("1 (one writer)", "2 (nothing lost): 1 ", "TPC-B sums differ"):
        assert broken in told
    assert "All promises held" not in told
