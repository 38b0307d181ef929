"""The Node.js application of `node/`: a process with a ledger of what it was promised."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "node"


def install() -> None:
    """`npm ci` from the lock file; the test is skipped where there is no Node.js or no registry."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("Node.js is not installed")
    done = subprocess.run(
        [npm, "ci", "--prefer-offline"], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"npm ci failed: {done.stderr[-300:]}")


class NodeApplication:
    """Runs until it is left; `lines` grows with what it says."""

    def __init__(self, dsn: str, writer: int) -> None:
        self.writer = writer
        self.lines: list[str] = []
        self._grown = threading.Condition()
        self._process = subprocess.Popen(
            ["node", "application.js", str(writer)],
            cwd=FOLDER,
            env={"PATH": os.environ["PATH"], "DATABASE_URL": dsn},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._grown:
                self.lines.append(line.rstrip())
                self._grown.notify_all()

    @property
    def acked(self) -> list[int]:
        return [int(line.split()[1]) for line in self.lines if line.startswith("acked")]

    @property
    def errors(self) -> list[str]:
        return [line for line in self.lines if line.startswith("error")]

    def await_acked(self, more: int) -> None:
        """Wait until so many more rows have been acknowledged."""
        goal = len(self.acked) + more
        with self._grown:
            done = self._grown.wait_for(lambda: len(self.acked) >= goal, timeout=60)
        assert done, f"{len(self.acked)} of {goal} acknowledged; the last lines: {self.lines[-5:]}"

    def __enter__(self) -> NodeApplication:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(25)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)
