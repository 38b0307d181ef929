"""What a writer knows by itself: one line per transaction, in a file of its own, never asked of the database.

A record is 40 bytes, appended by one write(2): a writer that is killed leaves whole records, and the number of
transactions so far is the size of the file divided by 40.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

_RECORD = struct.Struct("<QQqqBBBxI")  # epoch, seq, began, ended, status, node, settled, writer
SIZE = _RECORD.size


class Status(IntEnum):
    """How a transaction ended for the writer. IN_DOUBT: `CommitInDoubt`; it is not repeated."""

    ACKED = 1
    IN_DOUBT = 2
    FAILED = 3


class Entry(NamedTuple):
    """One transaction of one writer.

    Args:
        began, ended: nanoseconds of CLOCK_MONOTONIC (one clock for all processes of a host): when its last
            attempt began on the node, and when the writer was told how it ended.
        node: position of the node in the cluster; `epoch`: the one its connection was opened under.
        settled: the commit had been in doubt and was found by its token after a change of primary.
    """

    writer: int
    seq: int
    status: Status
    node: int
    epoch: int
    began: int
    ended: int
    settled: bool = False


class Ledger:
    """The ledger of one writer, open for appending."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def add(self, entry: Entry) -> None:
        """Append one entry; it is with the operating system when this returns."""
        record = _RECORD.pack(
            entry.epoch,
            entry.seq,
            entry.began,
            entry.ended,
            entry.status,
            entry.node,
            entry.settled,
            entry.writer,
        )
        os.write(self._file, record)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class Reader:
    """Reads a folder of ledgers as they grow."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._offsets = dict.fromkeys(paths, 0)

    def new(self) -> list[Entry]:
        """The entries since the last call, oldest first."""
        found: list[Entry] = []
        for path, offset in self._offsets.items():
            entries = list(read(path, offset))
            self._offsets[path] = offset + len(entries) * SIZE
            found += entries
        return sorted(found, key=lambda entry: entry.ended)


def read(path: Path, offset: int = 0) -> Iterator[Entry]:
    """The whole records of a ledger from a byte offset on; none where there is no file yet."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return
    for record in _RECORD.iter_unpack(data[: len(data) // SIZE * SIZE]):
        epoch, seq, began, ended, status, node, settled, writer = record
        yield Entry(writer, seq, Status(status), node, epoch, began, ended, bool(settled))
