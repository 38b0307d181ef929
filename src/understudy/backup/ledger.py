"""What was proven of backups that lie in no destination of ours: a file of this host, beside the witness.

It is not authenticated as the lines in a destination are: whoever can change it can change the witness, and read the
key.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from understudy import strict_json
from understudy.backup.manifest import Verification

FORMAT: Final = 1
KEPT: Final = 1000
"""Lines; the oldest go."""
MAX_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lines:
    lines: tuple[Verification, ...]


class Ledger:
    """One file, replaced whole. Who writes holds the lock of verifications (`source.alone`)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def lines(self) -> tuple[Verification, ...]:
        """Oldest first. Raises `RecordError` where the file is damaged, and OSError."""
        try:
            with self._path.open("rb") as file:
                text = file.read(MAX_BYTES)
        except FileNotFoundError:
            return ()
        return strict_json.decode(_Lines, text, layout=FORMAT, key="proofs", what=str(self._path)).lines

    def add(self, line: Verification) -> None:
        """Raises as `lines`."""
        record = _Lines(lines=(*self.lines(), line)[-KEPT:])
        unfinished = self._path.with_suffix(".unfinished")
        unfinished.write_text(strict_json.encode(record, layout=FORMAT, key="proofs"))
        unfinished.replace(self._path)
