"""What is written in a cell, and what it means. One form for each value: what could mean two things is refused.

Each reader takes the trimmed text of a cell that is not empty and gives its value; a ValueError says what it expected.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

Reader = Callable[[str], Any]

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(Z|[+-][0-9]{2}:?[0-9]{2})?"
)
_NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)?")
_BREED = re.compile(r"([A-Za-z0-9]{1,6})(?::([0-9]{1,4}))?")
_ERRORS = frozenset({"#N/A", "#REF!", "#NAME?", "#VALUE!", "#DIV/0!", "#NULL!", "#NUM!"})
_YES, _NO = frozenset({"yes", "true", "1"}), frozenset({"no", "false", "0"})
OLDEST: Final = 1900
"""Years before are slips of the pen."""


def text(longest: int) -> Reader:
    """A short text without line breaks."""

    def read(found: str) -> str:
        if len(found) > longest or not found.isprintable() or found in _ERRORS:
            raise ValueError(f"expected a text of up to {longest} printable characters")
        return found

    return read


def day(found: str) -> date:
    """``2024-02-01`` (or a date cell of a spreadsheet); nothing where day and month could be exchanged."""
    if not _DAY.fullmatch(found):
        raise ValueError(
            "expected a date as year-month-day, say 2024-02-01 (or a date cell of a spreadsheet)"
        )
    try:
        value = date.fromisoformat(found)
    except ValueError:
        value = date.min
    if value.year < OLDEST:
        raise ValueError(f"expected a date that exists, from the year {OLDEST} on")
    return value


def moment(found: str) -> datetime:
    """``2024-02-01 14:30``, on the clock of the animal's farm; with ``Z`` or ``+01:00``, on that one.

    A day alone is its begin.
    """
    if _DAY.fullmatch(found):
        return datetime.combine(day(found), datetime.min.time())
    parts = _MOMENT.fullmatch(found)
    if parts is None:
        raise ValueError("expected a time as 2024-02-01 14:30, or a date")
    day(parts[1])
    try:
        return datetime.fromisoformat(f"{parts[1]}T{parts[2]}{parts[3] or ''}")
    except ValueError:
        raise ValueError("expected a time of day from 00:00 to 23:59") from None


def decimal(digits: int, places: int) -> Reader:
    """A number above or of nothing, with a point or a comma before its decimals; no thousands are marked."""
    wanted = f"expected a number with up to {digits - places} digits and {places} decimals, say 12.5"

    def read(found: str) -> Decimal:
        if not _NUMBER.fullmatch(found):
            raise ValueError(wanted)
        value = Decimal(found.replace(",", "."))
        _, figures, exponent = value.normalize().as_tuple()
        assert isinstance(exponent, int)  # of a number, not of NaN
        if -exponent > places or len(figures) + exponent > digits - places:
            raise ValueError(wanted)
        return value

    return read


def whole(largest: int) -> Reader:
    """A whole number in figures alone."""

    def read(found: str) -> int:
        if not found.isascii() or not found.isdigit() or len(found) > 12 or int(found) > largest:
            raise ValueError(f"expected a whole number up to {largest}, in figures alone")
        return int(found)

    return read


def word(words: type[StrEnum]) -> Reader:
    """One of a few words, in upper or lower case."""
    known = {one.value.lower(): one.value for one in words}

    def read(found: str) -> str:
        value = known.get(found.lower())
        if value is None:
            raise ValueError(f"expected one of {', '.join(known.values())}")
        return str(value)

    return read


def currency(found: str) -> str:
    """Three capital letters of ISO 4217."""
    if not re.fullmatch(r"[A-Z]{3}", found):
        raise ValueError("expected a currency in three capital letters, say EUR")
    return found


def yes(found: str) -> bool:
    """``yes`` or ``no``."""
    if found.lower() not in _YES | _NO:
        raise ValueError("expected yes or no")
    return found.lower() in _YES


def breeds(found: str) -> list[dict[str, Any]]:
    """``SIM``, or the parts of several: ``SIM:3 HOL:1``."""
    parts = [_BREED.fullmatch(one) for one in found.split()]
    if not 1 <= len(parts) <= 16 or None in parts:
        raise ValueError("expected the code of a breed, or parts of several, say SIM:3 HOL:1")
    read = {one[1].upper(): int(one[2] or 1) for one in parts if one is not None}
    if len(read) < len(parts) or not all(1 <= number <= 1024 for number in read.values()):
        raise ValueError("expected each breed once, with 1 to 1024 parts")
    return [{"code": code, "parts": number} for code, number in read.items()]


def names(found: str) -> list[str]:
    """Several names, with ``|`` between them."""
    read = [one.strip() for one in found.split("|")]
    if not all(read) or not found.isprintable() or len(read) > 8:
        raise ValueError("expected up to 8 names with | between them")
    return read


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its name (with the unit), what may be in it, an example, and words for people."""

    name: str
    read: Reader
    meaning: str
    example: str
    required: bool = False
    words: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with one cell, or with a row (no ``column``). ``detail``: what was expected, and what was found."""

    column: str
    detail: str
    found: str = ""

    def plain(self) -> dict[str, str]:
        """For JSON."""
        return {"column": self.column, "detail": self.detail, "found": self.found}


def read_row(columns: Collection[Column], cells: Mapping[str, str]) -> tuple[dict[str, Any], list[Flaw]]:
    """The values of a row by the names of its columns (without those that are empty), and its flaws."""
    values: dict[str, Any] = {}
    flaws = []
    for column in columns:
        found = cells.get(column.name, "").strip()
        if not found:
            if column.required:
                flaws.append(Flaw(column.name, "expected a value, found nothing."))
            continue
        try:
            values[column.name] = column.read(found)
        except ValueError as error:
            flaws.append(Flaw(column.name, f"{error}, found {found[:80]!r}.", found[:80]))
    return values, flaws
