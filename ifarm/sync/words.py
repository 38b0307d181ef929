"""What became of an operation."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """The first three are final: the same operation gets the same answer again. The others may be sent again."""

    DONE = "done"
    REFUSED = "refused"
    CONFLICT = "conflict"
    SKIPPED = "skipped"
    FAILED = "failed"


FINAL = frozenset({Outcome.DONE, Outcome.REFUSED, Outcome.CONFLICT})
