"""The rows of an Excel file, read as a stream, so that what a hostile file can make of them has bounds.

What a workbook consists of (its parts, sheets and formats) openpyxl reads, behind defusedxml. The two parts that grow
with the table, its texts and its cells, are read here: openpyxl makes a tree and several objects of each cell, and goes
through a sheet twice. Source: ECMA-376, part 1, 18.3.1 (sheets) and 18.4 (shared strings).
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import IO, Any, Final
from xml.parsers import expat

from openpyxl.reader.excel import ExcelReader
from openpyxl.styles.stylesheet import apply_stylesheet
from openpyxl.utils import column_index_from_string
from openpyxl.utils.datetime import from_excel, from_ISO8601
from openpyxl.xml.constants import SHARED_STRINGS, SHEET_MAIN_NS

from ifarm.core.errors import Invalid, TooLarge

_AT_ONCE: Final = 2**16
"""Bytes of XML between two looks at what was found."""
_DEEPEST: Final = 100
"""Elements in one another; expat holds each that is open."""
_ROW, _CELL, _VALUE, _TEXT, _ITEM, _PHONETIC = (
    f"{SHEET_MAIN_NS} {name}" for name in ("row", "c", "v", "t", "si", "rPh")
)
_POINT = re.compile("[.eE]")
_Start = Callable[[dict[str, str]], None]
_End = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a sheet may have at most: lines with the empty ones, columns, characters in a cell and in all of them."""

    lines: int
    columns: int
    cell: int
    characters: int


@dataclass(frozen=True, slots=True)
class _Formats:
    """Which styles of cells show a number as a time or a span of time, counted from which day."""

    epoch: datetime
    times: Collection[int]
    spans: Collection[int]


def rows_of(body: bytes, wanted: str, limits: Limits) -> tuple[str, list[tuple[int, list[str]]]]:
    """The name of the sheet ``wanted`` (else of the first), and its rows with something in them, by their numbers.

    Formulas are what they were when the file was saved; nothing is carried out. Raises `TooLarge` and `Invalid`; for
    what is no such file, whatever zipfile, expat and openpyxl raise.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of styles and extensions that do not matter here
        book = ExcelReader(io.BytesIO(body), read_only=True, data_only=True, keep_links=False)
        book.read_manifest()
        book.read_workbook()
        apply_stylesheet(book.archive, book.wb)
    name, part = _chosen(book, wanted)
    formats = _Formats(book.wb.epoch, book.wb._date_formats, book.wb._timedelta_formats)
    with book.archive, book.archive.open(part) as cells:
        return name, list(_Rows(_strings(book), formats, limits).read(cells))


def _chosen(book: Any, wanted: str) -> tuple[str, str]:
    visible = [
        (one.name, relation.target)
        for one, relation in book.parser.find_sheets()
        if one.state == "visible"
        and "chartsheet" not in relation.Type
        and relation.target in book.valid_files
    ]
    if not visible:
        raise Invalid("expected a sheet with a table, found none.")
    return next((one for one in visible if one[0].lower() == wanted), visible[0])


def _strings(book: Any) -> list[str]:
    """The texts that cells refer to by their numbers."""
    part = book.package.find(SHARED_STRINGS)
    if part is None:
        return []
    with book.archive.open(part.PartName[1:]) as source:
        return list(_Strings().read(source))


class _Part:
    """One part of the file: handlers, by the names of elements, take what is written from ``text`` to ``found``."""

    def __init__(self, starts: Mapping[str, _Start], ends: Mapping[str, _End]) -> None:
        self.found: list[Any] = []
        self.text: list[str] = []
        self._depth = self._spoken = 0
        listen, ignore = self._listen, self._ignore
        self._starts = {**starts, _VALUE: listen, _TEXT: listen, _PHONETIC: self._begin_spoken}
        self._ends = {**ends, _VALUE: ignore, _TEXT: ignore, _PHONETIC: self._end_spoken}
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = _no_document_type
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end

    def read(self, source: IO[bytes]) -> Iterator[Any]:
        """What is found, while the source is read. Raises ExpatError, and what the handlers raise."""
        end = False
        while not end:
            chunk = source.read(_AT_ONCE)
            end = not chunk
            self._parser.Parse(chunk, end)
            yield from self.found
            self.found.clear()

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise Invalid("expected an Excel file, found one that cannot be read (elements in one another).")
        if (handler := self._starts.get(name)) is not None:
            handler(attributes)

    def _end(self, name: str) -> None:
        self._depth -= 1
        if (handler := self._ends.get(name)) is not None:
            handler()

    def _listen(self, _: object) -> None:
        self._parser.CharacterDataHandler = self.text.append

    def _ignore(self) -> None:
        self._parser.CharacterDataHandler = None

    def _begin_spoken(self, _: object) -> None:
        """How a text is pronounced, which is no part of it."""
        self._spoken = len(self.text)

    def _end_spoken(self) -> None:
        del self.text[self._spoken :]


def _no_document_type(*_: object) -> None:
    """Without one there are no entities, which could grow or lead elsewhere."""
    raise Invalid("expected an Excel file, found one that cannot be read (it has a document type).")


class _Strings(_Part):
    def __init__(self) -> None:
        super().__init__({_ITEM: self._begin}, {_ITEM: self._item})

    def _begin(self, _: object) -> None:
        self.text.clear()

    def _item(self) -> None:
        self.found.append("".join(self.text).replace("_x005F_", "_").strip())  # as `_x0041_` is written


class _Rows(_Part):
    """Finds (number, texts of the cells). What is left out in the file counts: rows and cells know their places."""

    def __init__(self, strings: Sequence[str], formats: _Formats, limits: Limits) -> None:
        super().__init__(
            {_ROW: self._begin_row, _CELL: self._begin_cell}, {_CELL: self._end_cell, _ROW: self._end_row}
        )
        self._strings, self._formats, self._limits = strings, formats, limits
        self._number, self._column, self._characters = 0, 0, 0
        self._cells: list[str] = []
        self._kind, self._style = "n", 0

    def _begin_row(self, attributes: dict[str, str]) -> None:
        before, self._number = self._number, int(float(attributes.get("r", self._number + 1)))
        if self._number <= before:
            raise Invalid(f"expected rows in order, found row {self._number} after row {before}.")
        self._cells, self._column = [], 0

    def _begin_cell(self, attributes: dict[str, str]) -> None:
        place = attributes.get("r")
        if place is None:
            self._column += 1
        else:
            self._column = column_index_from_string(place.rstrip("0123456789"))
        self._kind, self._style = attributes.get("t", "n"), int(attributes.get("s", 0))
        self.text.clear()

    def _end_cell(self) -> None:
        if not self.text:
            return
        text = self._meaning("".join(self.text)).strip()
        if not text:
            return
        self._require_within_limits(text)
        cells = self._cells
        cells += [""] * (self._column - len(cells))
        cells[self._column - 1] = text

    def _require_within_limits(self, text: str) -> None:
        limits, row = self._limits, f"row {self._number}: expected"
        self._characters += len(text)
        if self._number > limits.lines:
            raise TooLarge(f"expected {limits.lines} lines at most, found more. Send them in several files.")
        if self._column > limits.columns:
            raise Invalid(f"{row} {limits.columns} columns at most, found {self._column}.")
        if len(text) > limits.cell:
            raise Invalid(f"{row} cells of {limits.cell} characters at most, found a longer one.")
        if self._characters > limits.characters:
            raise TooLarge(
                f"expected {limits.characters} characters at most, found more. Send them in several files."
            )

    def _end_row(self) -> None:
        if self._cells:
            self.found.append((self._number, self._cells))

    def _meaning(self, text: str) -> str:
        """What a person sees in a cell, but for the format of numbers and times."""
        kind = self._kind
        if kind == "s":
            return self._strings[int(text)]
        if kind == "n":
            return _written(self._of_number(float(text) if _POINT.search(text) else int(text)))
        if kind == "b":
            return _written(bool(int(text)))
        if kind == "d":
            return _written(from_ISO8601(text))
        return text

    def _of_number(self, number: float) -> Any:
        if self._style not in self._formats.times:
            return number
        try:
            return from_excel(number, self._formats.epoch, timedelta=self._style in self._formats.spans)
        except (OverflowError, ValueError):
            return "#VALUE!"


def _written(value: object) -> str:
    """A value as a person would write it: dates by year, numbers without an exponent or a needless zero."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "seconds")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value)
