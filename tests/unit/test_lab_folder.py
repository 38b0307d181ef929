"""The folder of a laboratory: gone with it, or with the next one where its process was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from understudy.demo.lab import Lab
from understudy.model import Rpo

KILLED = """
import os, signal
from understudy.demo.lab import Lab
from understudy.model import Rpo
lab = Lab(mode=Rpo.ZERO)
(lab.folder / "a").mkdir()
print(lab.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_laboratory_left_goes_with_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that runs keeps its folder, and so does what nobody knows the owner of."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    running = Lab(mode=Rpo.ZERO)
    unknown = tmp_path / "understudy-lab-unknown"
    unknown.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", KILLED],
        env={"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    left = Path(done.stdout.strip())
    assert done.returncode == -9, done.stderr
    assert left.parent == tmp_path
    assert (left / "a").is_dir()
    following = Lab(mode=Rpo.ZERO)
    assert not left.exists()
    assert sorted(tmp_path.iterdir()) == sorted([running.folder, unknown, following.folder])
    for lab in (running, following):
        lab.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == [unknown]
