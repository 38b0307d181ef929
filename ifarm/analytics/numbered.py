"""Pages by their number, as the dashboard's documents want them; every other list has `api.pages`.

A page far behind costs the database all rows before it, and an exact count all rows there are: both end at `COUNTED`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.db.models import QuerySet

from ifarm.core.errors import NotFound

SIZE: Final = 20
LARGEST: Final = 100
COUNTED: Final = 10_000
"""Rows. Where there are more, ``count`` says so many, and the rest is in the list with cursors."""


@dataclass(frozen=True, slots=True)
class NumberedPage:
    """One page. ``number`` counts from 1, as ``pages`` does; ``count`` is that of all pages."""

    rows: list[Any]
    number: int
    size: int
    count: int

    @property
    def pages(self) -> int:
        """How many there are; one at least, which may be empty."""
        return max(1, -(-self.count // self.size))


def numbered(rows: QuerySet[Any], number: int, size: int) -> NumberedPage:
    """The page of that number of rows in a whole order. Two queries. Raises `NotFound` past the last page."""
    count = rows.order_by()[:COUNTED].count()
    begin = (number - 1) * size
    if number > 1 and begin >= count:
        raise NotFound(f"page {number} was not found: there are {count} rows. Begin at page 1.")
    return NumberedPage(list(rows[begin : min(begin + size, COUNTED)]), number, size, count)
