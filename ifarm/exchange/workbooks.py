"""The rows of an Excel file, as openpyxl reads them behind defusedxml, with bounds to what a hostile one makes of it.

openpyxl keeps each element of a part that it does not know, invents the rows that are left out, and gives a shared
text as often as cells refer to it. So elements are counted before it begins, and rows and characters while it reads.
"""

from __future__ import annotations

import contextlib
import io
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import IO, Any, Final
from xml.parsers import expat

import openpyxl
from openpyxl.utils import get_column_letter

from ifarm.core.errors import Invalid, TooLarge

_LAST_ROW: Final = 2**20
"""Of any sheet. Source: Excel specifications and limits (Microsoft)."""
_AT_ONCE: Final = 2**16
"""Bytes of XML between two looks at what was counted."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may have at most: lines with the empty ones, columns, characters in a cell and in all of them.

    ``elements``: of XML, in all of its parts together, with their attributes.
    """

    lines: int
    columns: int
    cell: int
    characters: int
    elements: int


def rows_of(body: bytes, wanted: str, limits: Limits) -> tuple[str, list[tuple[int, list[str]]]]:
    """The name of the sheet ``wanted`` (else of the first), and its rows with something in them, by their numbers.

    Formulas are what they were when the file was saved; nothing is carried out. Raises `TooLarge` and `Invalid`; for
    what is no such file, whatever zipfile and openpyxl raise.
    """
    _look_through(body, limits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of styles and extensions that do not matter here
        book = openpyxl.load_workbook(io.BytesIO(body), read_only=True, data_only=True, keep_links=False)
    sheets = [one for one in book.worksheets if one.sheet_state == "visible"]
    chosen = next((one for one in sheets if one.title.lower() == wanted), sheets[0] if sheets else None)
    if chosen is None:
        raise Invalid("expected a sheet with a table, found none.")
    chosen.reset_dimensions()  # what the file says of its size may be wrong
    return chosen.title, list(_rows(chosen, limits))


def _look_through(body: bytes, limits: Limits) -> None:
    """Raises `TooLarge` and `Invalid`. What is no XML is no matter here: openpyxl does not read it, or refuses it."""
    left = limits.elements
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        for name in archive.namelist():
            part = _Part(left, limits.columns)
            with archive.open(name) as source, contextlib.suppress(expat.ExpatError):
                part.look_through(source)
            left = part.left


class _Part:
    """One part of the file, before openpyxl reads it. ``left``: how many elements there may still be."""

    def __init__(self, left: int, columns: int) -> None:
        self.left = left
        self._row, self._columns = 0, columns
        self._last = _place(get_column_letter(columns))
        self._far = False  # in a cell of a later column
        self._parser = expat.ParserCreate()
        self._parser.ordered_attributes = True
        self._parser.StartElementHandler = self._begin
        self._parser.EntityDeclHandler = _no_entities

    def look_through(self, source: IO[bytes]) -> None:
        """Raises `TooLarge`, `Invalid`, and ExpatError for what is no XML."""
        while chunk := source.read(_AT_ONCE):
            self._parser.Parse(chunk)
            if self.left < 0:
                raise TooLarge(
                    "expected an Excel file with fewer elements, found too many. Send it in several files."
                )

    def _begin(self, name: str, attributes: Sequence[str]) -> None:
        self.left -= 1 + len(attributes) // 2
        if name in ("row", "c"):
            where = attributes[attributes.index("r") + 1] if "r" in attributes[::2] else ""
            if name == "c":
                self._far = _place(where.rstrip("0123456789")) > self._last
            elif where:
                self._in_order(where)
        elif self._far and name in ("v", "t"):
            problem = f"expected {self._columns} columns at most, found more"
            raise Invalid(f"row {self._row}: {problem}." if self._row else f"{problem}.")

    def _in_order(self, number: str) -> None:
        """What is not, openpyxl would leave out."""
        before, self._row = self._row, int(float(number))
        if self._row <= before:
            raise Invalid(f"expected rows in order, found row {self._row} after row {before}.")


def _place(letters: str) -> tuple[int, str]:
    """What orders the names of columns: A, Z, AA, BH."""
    return len(letters), letters


def _no_entities(*_: object) -> None:
    """They could grow, or lead elsewhere."""
    raise Invalid("expected an Excel file, found one that cannot be read (it declares entities).")


def _rows(sheet: Any, limits: Limits) -> Iterator[tuple[int, list[str]]]:
    characters = 0
    rows = sheet.iter_rows(max_row=_LAST_ROW, max_col=limits.columns + 1, values_only=True)
    for number, values in enumerate(rows, 1):
        if values.count(None) == len(values):
            continue
        used = next(place for place in range(len(values), 0, -1) if values[place - 1] is not None)
        _require_within_limits(number, values[:used], limits)
        cells = [written(value) for value in values[:used]]
        characters += sum(map(len, cells))
        if characters > limits.characters:
            raise TooLarge(
                f"expected {limits.characters} characters at most, found more. Send them in several files."
            )
        if any(cells):
            yield number, cells


def _require_within_limits(number: int, values: Sequence[object], limits: Limits) -> None:
    if number > limits.lines:
        raise TooLarge(f"expected {limits.lines} lines at most, found more. Send them in several files.")
    if len(values) > limits.columns:
        raise Invalid(f"row {number}: expected {limits.columns} columns at most, found more.")
    long = [value for value in values if isinstance(value, str) and len(value) > limits.cell]
    if any(len(value.strip()) > limits.cell for value in long):
        raise Invalid(
            f"row {number}: expected cells of {limits.cell} characters at most, found a longer one."
        )


def written(value: object) -> str:
    """A cell as a person would write it: dates by year, numbers without an exponent or a needless zero."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "seconds")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value).strip()
