"""Words of imports and exports."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What a table is about; one row is one animal, one weight, one milking, one movement."""

    ANIMALS = "animals"
    WEIGHTS = "weights"
    MILK = "milk"
    MOVEMENTS = "movements"


class FileType(StrEnum):
    """How a table is written."""

    CSV = "csv"
    XLSX = "xlsx"


CONTENT_TYPES: dict[FileType, str] = {
    FileType.CSV: "text/csv; charset=utf-8",
    FileType.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


class JobState(StrEnum):
    """`REFUSED`: all or nothing was asked for, and a row could not be. `FAILED`: it could not go on; see its error."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


class RowState(StrEnum):
    """What became of a row.

    `READY`: it can be written (a dry run, or a refused job). `KNOWN`: this row of this source was written before.
    `DUPLICATE`: what it says is in the file or in the herd already. `BAD`: it cannot be; its errors say why.
    """

    WAITING = "waiting"
    WRITTEN = "written"
    READY = "ready"
    KNOWN = "known"
    DUPLICATE = "duplicate"
    BAD = "bad"


OPEN: tuple[str, ...] = (JobState.WAITING.value, JobState.RUNNING.value)
"""States of jobs that are not over."""
