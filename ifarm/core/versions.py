"""Which version of a row an editor has seen."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ifarm.core.errors import Invalid, StaleVersion, VersionMissing

_ETAG = re.compile(r'"(\d{1,9})"')


@dataclass(frozen=True, slots=True)
class Seen:
    """The version an editor has seen; ``precondition``: named by `If-Match`, not in the body."""

    version: int
    precondition: bool = False

    def require(self, row: Any) -> None:
        """Raises `StaleVersion` where the row (locked by the caller) has another."""
        if row.version != self.version:
            raise StaleVersion(current=row, expected=self.version, precondition=self.precondition)


def seen(if_match: str | None, body: Any) -> Seen:
    """From the header `If-Match: "3"` or the member `version` of the body. Raises `Invalid`, `VersionMissing`."""
    if if_match is not None:
        match = _ETAG.fullmatch(if_match.strip())
        if match is None:
            raise Invalid('If-Match: expected a version in quotes, as in "3".')
        return Seen(int(match[1]), precondition=True)
    version = body.get("version") if isinstance(body, dict) else None
    if isinstance(version, bool) or not isinstance(version, int):
        raise VersionMissing(
            'expected the version you have seen: `If-Match: "3"`, or "version": 3 in the body.'
        )
    return Seen(version)
