"""pgbench, PostgreSQL's own program, as an application that knows nothing of us; and what it says it was promised."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from understudy.demo.lab import Lab
from understudy.embedded import programs

CLIENTS = 4
RATE = 800  # transactions a second, all clients together: the rate of the writers of `workload`

# pgbench's own transaction, on a history that has a key and says who wrote (see `tpcb`).
SCRIPT = """\\set aid random(1, 100000 * :scale)
\\set bid random(1, :scale)
\\set tid random(1, 10 * :scale)
\\set delta random(-5000, 5000)
\\set seq random(1, 9000000000000000000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime, writer, seq)
VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP, :writer, :seq);
END;
"""
_WRITERS = itertools.count(1000)  # above any writer of `workload`


@dataclass(frozen=True, slots=True)
class Report:
    """What a run of pgbench saw.

    Args:
        writer: marks its rows in pgbench_history.
        acked: transactions that were acknowledged.
        errors: one sentence for each client that was given up, and each failed transaction.
        ends: when each acknowledged transaction ended, in seconds since 1970, in order.
    """

    writer: int
    acked: int
    errors: tuple[str, ...]
    ends: tuple[float, ...]

    def longest_gap_ms(self, began: float, ended: float) -> float:
        """The longest time without an acknowledgement to any client that touches a span (seconds since 1970)."""
        gaps = ((a, b) for a, b in itertools.pairwise(self.ends) if b >= began and a <= ended)
        return 1000 * max((b - a for a, b in gaps), default=0.0)


class Pgbench:
    """One run of so many seconds, in the background. Raises what `subprocess.Popen` does.

    Args:
        dsn: where to; its password is given in the environment, not on the command line.
        folder: for its script and its log; made where it is not there.
    """

    def __init__(self, lab: Lab, dsn: str, folder: Path, *, seconds: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.writer = next(_WRITERS)
        self._log = folder / f"pgbench-{self.writer}"
        script = folder / "transaction.sql"
        script.write_text(SCRIPT)
        parts = urlsplit(dsn)
        user, _, password = parts.netloc.rpartition("@")[0].partition(":")
        where = urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}"))
        arguments = f"--no-vacuum --client={CLIENTS} --jobs=2 --rate={RATE} --time={seconds} --log".split()
        arguments += [f"--log-prefix={self._log}", f"--file={script}"]
        arguments += [f"--define=scale={lab.scale}", f"--define=writer={self.writer}"]
        self._process = subprocess.Popen(
            [lab.servers["a"].bin_folder / "pgbench", *arguments, where],
            env={**programs.ENVIRONMENT, "PGPASSWORD": unquote(password), "HOME": os.devnull},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> None:
        """Let it end now, in order, as when its seconds are over (`handle_sig_alarm` in src/bin/pgbench/pgbench.c)."""
        self._process.send_signal(signal.SIGALRM)

    def report(self) -> Report:
        """Wait until it has ended, and read what it says. Raises RuntimeError where it says nothing."""
        said, complained = self._process.communicate(timeout=120)
        acked = re.search(r"actually processed: (\d+)", said)
        failed = re.search(r"failed transactions: (\d+)", said)
        if acked is None or failed is None:
            raise RuntimeError(f"pgbench ended with {self._process.returncode}: {complained[-1000:]}")
        errors = [line for line in complained.splitlines() if "aborted" in line and "Run was" not in line]
        errors += ["a failed transaction"] * int(failed[1])
        return Report(self.writer, int(acked[1]), tuple(errors), tuple(sorted(self._ends())))

    def _ends(self) -> list[float]:
        """Lines of its logs, one file per thread: client, number, latency, script, seconds, microseconds, lag."""
        lines = [
            line.split()
            for log in self._log.parent.glob(f"{self._log.name}.*")
            for line in log.read_text().splitlines()
        ]
        return [int(words[4]) + int(words[5]) / 1e6 for words in lines]

    def kill(self) -> None:
        """End it at once; nothing to do where it has ended."""
        self._process.kill()
        self._process.wait()
