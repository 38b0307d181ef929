"""Counting: what writers were told, against what the databases and the rescue files hold. Times in milliseconds."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from understudy.demo.ledger import Entry, Status

Row = tuple[int, int]
"""(writer, seq): the name of one transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What became of the transactions.

    Args:
        acked: acknowledged to a writer.
        absent: acknowledged, not on the present primary.
        unaccounted: acknowledged, neither there nor in the rescue files.
        doubled: applied more than once (copies beyond the first).
        rescued: transactions in the rescue files.
        in_doubt, failed: what writers were told instead of an acknowledgement.
        two_writers: acknowledgements of what a node began after one of its successor.
    """

    acked: int
    absent: int
    unaccounted: int
    doubled: int
    rescued: int
    in_doubt: int
    failed: int
    two_writers: int

    @property
    def errors(self) -> int:
        """What writers saw as an error."""
        return self.in_doubt + self.failed


def count(entries: Iterable[Entry], present: Iterable[Row], rescued: Iterable[Row]) -> Count:
    """Count. ``present`` are the rows of the present primary, ``rescued`` those of the rescue files."""
    entries = list(entries)
    rows, saved = Counter(present), set(rescued)
    acked = {(e.writer, e.seq) for e in entries if e.status is Status.ACKED}
    absent = acked - rows.keys()
    statuses = Counter(entry.status for entry in entries)
    return Count(
        acked=len(acked),
        absent=len(absent),
        unaccounted=len(absent - saved),
        doubled=sum(times - 1 for times in rows.values()),
        rescued=len(saved),
        in_doubt=statuses[Status.IN_DOUBT],
        failed=statuses[Status.FAILED],
        two_writers=two_writers(entries),
    )


def oldest_lost(entries: Iterable[Entry], kept: Iterable[Row]) -> int | None:
    """When (CLOCK_MONOTONIC, ns) the oldest transaction was acknowledged that nobody has kept. None: there is none."""
    saved = set(kept)
    lost = (e.ended for e in entries if e.status is Status.ACKED and (e.writer, e.seq) not in saved)
    return min(lost, default=None)


def two_writers(entries: Iterable[Entry]) -> int:
    """Acknowledgements of work that a node took on after another node had given one at a newer epoch.

    Only the beginning tells: a commit from before the change may come to be noted after it, by a process that had no
    turn for a while, or because it had been in doubt and was found by its token (`Entry.settled`).
    """
    newest: tuple[int, int, int] | None = None  # epoch, node, first acknowledgement
    found = 0
    for entry in sorted((e for e in entries if e.status is Status.ACKED), key=lambda e: e.ended):
        if newest is None or entry.epoch > newest[0]:
            if not entry.settled:
                newest = (entry.epoch, entry.node, entry.ended)
        elif entry.epoch < newest[0] and entry.node != newest[1]:
            found += entry.began >= newest[2]
    return found


def rows(connection: psycopg.Connection) -> list[Row]:
    """Every transaction that this node holds."""
    return [
        (int(writer), int(seq))
        for writer, seq in connection.execute("SELECT writer, seq FROM pgbench_history").fetchall()
    ]


def rescued_rows(folder: Path) -> list[Row]:
    """The transactions in all rescue folders beneath ``folder``."""
    rows = rescued_inserts(folder, "public", "pgbench_history")
    return [(int(row["writer"]), int(row["seq"])) for row in rows]


def rescued_inserts(folder: Path, schema: str, table: str) -> Iterator[Mapping[str, str]]:
    """The rows that were inserted into a table, from all rescue folders beneath ``folder``; values are texts."""
    for changes in sorted(folder.glob("*/changes.jsonl")):
        with changes.open(encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                if (record["schema"], record["table"], record["op"]) == (schema, table, "insert"):
                    yield record["new"]


# --- times --------------------------------------------------------------------------------------------------


def outage_ms(entries: Iterable[Entry], fault: int) -> float | None:
    """From the last acknowledgement before the fault's effect to the first after it, over all writers.

    With a change of primary: from the last one of the former epoch to the first one of the next. Without: the
    longest gap since the fault. None: nobody was acknowledged anything afterwards.

    Args:
        fault: when the fault began (CLOCK_MONOTONIC, ns).
    """
    acks = sorted((e for e in entries if e.status is Status.ACKED and not e.settled), key=lambda e: e.ended)
    before = [e for e in acks if e.ended <= fault]
    after = [e for e in acks if e.ended > fault]
    if not before or not after:
        return None
    epoch = before[-1].epoch
    new = [e.ended for e in after if e.epoch > epoch]
    if new:
        old = [e.ended for e in acks if e.epoch <= epoch and e.ended < new[0]]
        return (new[0] - old[-1]) / 1e6
    return longest_gap_ms(acks, before[-1].ended, after[-1].ended)


def longest_gap_ms(entries: Iterable[Entry], start: int, end: int) -> float:
    """The longest time without an acknowledgement to anybody that overlaps ``start`` to ``end`` (ns).

    The edges count: a silence that began before ``start`` is measured whole; one that is still going on at
    ``end`` is measured to the next acknowledgement, or to ``end`` where there was none.
    """
    acks = sorted(e.ended for e in entries if e.status is Status.ACKED)
    before = [t for t in acks if t <= start][-1:]
    after = [t for t in acks if t >= end][:1]
    points = [*(before or [start]), *(t for t in acks if start < t < end), *(after or [end])]
    return max((later - earlier) / 1e6 for earlier, later in itertools.pairwise(points))


def between(entries: Iterable[Entry], start: int, end: int) -> list[Entry]:
    """The entries that ended in that time (ns)."""
    return [entry for entry in entries if start <= entry.ended <= end]


def errors_of(entries: Sequence[Entry]) -> int:
    """How many did not end in an acknowledgement."""
    return sum(entry.status is not Status.ACKED for entry in entries)
