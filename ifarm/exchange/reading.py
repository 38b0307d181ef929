"""Files as tables of texts: CSV as spreadsheets and instruments write it, and XLSX. Each file is untrusted.

Limits hold before anything is unpacked: bytes, unpacked bytes, rows, columns. The size anchor is NAIT's 10,000 tags in
a file (OSPRI, NAIT CSV overview).
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ifarm.core.errors import Invalid, Problem, TooLarge
from ifarm.exchange.words import FileType
from ifarm.exchange.workbooks import Limits, rows_of

MOST_BYTES: Final = 5 * 2**20
MOST_ROWS: Final = 10_000
"""Rows with something in them, besides the header."""
MOST_LINES: Final = 2 * MOST_ROWS
"""With the empty ones."""
MOST_COLUMNS: Final = 60
MOST_UNPACKED_BYTES: Final = 48 * 2**20
"""Of all parts of an XLSX file together; 10,000 rows of 20 columns need about 15 MiB."""
MOST_PARTS: Final = 200
MOST_CELL: Final = 1000
"""Characters in one cell."""
MOST_ELEMENTS: Final = 4_000_000
"""Of XML with their attributes; openpyxl takes about 100 bytes of memory for one. 10,000 rows of 20 columns have 1.3
million."""
_LIMITS: Final = Limits(MOST_LINES, MOST_COLUMNS, MOST_CELL, MOST_UNPACKED_BYTES, MOST_ELEMENTS)
_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_SEPARATORS: Final = (",", ";", "\t")
_GUARDED: Final = "=+-@\t\r\n＝＋－＠"


@dataclass(frozen=True, slots=True)
class Line:
    """One row: its number in the file (the header's is 1 where it is the first line), and a text for each column."""

    number: int
    cells: list[str]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A file's content. ``written``: how it was read, for people (encoding and separator, or the sheet's name)."""

    type: FileType
    written: str
    header: list[str]
    lines: list[Line]


def read(body: bytes, known: Collection[str], required: Collection[str], sheet: str) -> Sheet:
    """The table in a file. ``sheet``: the name of the sheet to take where there is one of that name, else the first.

    Raises `TooLarge`; `Invalid` for what is no table, or one with other columns.
    """
    if len(body) > MOST_BYTES:
        raise TooLarge(f"expected a file of {MOST_BYTES} bytes at most, found {len(body)}. Send it in parts.")
    if body.startswith(_OLE):
        raise Invalid("expected CSV or XLSX, found an old or an encrypted Excel file. Save it as .xlsx.")
    if body.startswith(_ZIP):
        kind, (written, rows) = FileType.XLSX, _workbook(body, sheet)
    else:
        kind, (written, rows) = FileType.CSV, _csv(body, known)
    return _sheet(kind, written, rows, known, required)


def _sheet(
    kind: FileType,
    written: str,
    rows: Iterable[tuple[int, list[str]]],
    known: Collection[str],
    required: Collection[str],
) -> Sheet:
    header: list[str] | None = None
    lines: list[Line] = []
    for number, cells in rows:
        if number > MOST_LINES:
            raise TooLarge(f"expected {MOST_LINES} lines at most, found more. Send them in several files.")
        while cells and not cells[-1]:
            cells.pop()
        if not cells:
            continue
        if header is None:
            header = _header(cells, known, required)
            continue
        if len(cells) > len(header):
            raise Invalid(f"row {number}: expected {len(header)} cells, found {len(cells)}.")
        if any(len(cell) > MOST_CELL for cell in cells):
            raise Invalid(
                f"row {number}: expected cells of {MOST_CELL} characters at most, found a longer one."
            )
        if len(lines) == MOST_ROWS:
            raise TooLarge(f"expected {MOST_ROWS} rows at most, found more. Send them in several files.")
        lines.append(Line(number, [unguarded(cell) for cell in cells]))
    if header is None:
        raise Invalid("expected a header and rows, found nothing.")
    return Sheet(kind, written, header, lines)


def column_name(found: str) -> str:
    """As it is in `columns`: lower case, with underscores for spaces."""
    return "_".join(found.strip().lower().split())


def _header(cells: Sequence[str], known: Collection[str], required: Collection[str]) -> list[str]:
    header = [column_name(cell) for cell in cells]
    strange = [name for name in header if name not in known]
    if strange:
        raise Invalid(
            f"header: expected columns of {', '.join(known)}, found {strange[0][:80]!r}. Remove or rename it.",
            columns=sorted(set(strange)),
        )
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise Invalid(f"header: expected each column once, found {twice[0]} again.", columns=twice)
    if missing := [name for name in required if name not in header]:
        raise Invalid(f"header: expected a column {missing[0]}, found none.", columns=missing)
    return header


def guarded(text: str) -> str:
    """A text that no spreadsheet takes for a formula: one apostrophe before those that begin like one.

    Source: OWASP, CSV Injection. `unguarded` takes it away; a text that has apostrophes of its own keeps them.
    """
    bare = text.lstrip("'")
    return f"'{text}" if bare and bare[0] in _GUARDED else text


def unguarded(text: str) -> str:
    """What `guarded` was given."""
    bare = text.lstrip("'")
    return text[1:] if text.startswith("'") and bare and bare[0] in _GUARDED else text


def _csv(body: bytes, known: Collection[str]) -> tuple[str, Iterable[tuple[int, list[str]]]]:
    encoding, text = _decoded(body)
    if "\0" in text:
        raise Invalid("expected a text, found zero bytes. Save the table as CSV (UTF-8) or XLSX.")
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(_SEPARATORS, key=lambda one: _recognised(first, one, known))
    return f"{encoding}, separated by {_NAMES[separator]}", _csv_rows(text, separator)


_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}


def _recognised(line: str, separator: str, known: Collection[str]) -> int:
    return sum(column_name(cell) in known for cell in next(csv.reader([line], delimiter=separator), []))


def _decoded(body: bytes) -> tuple[str, str]:
    """By its byte order mark; else UTF-8 if it is, else what Windows writes in western Europe."""
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            return encoding.removesuffix("-sig"), body.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise Invalid("expected a text in UTF-8 or Windows-1252, found another. Save the table as CSV (UTF-8).")


def _csv_rows(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    number = 0
    try:
        for number, cells in enumerate(reader, 1):
            if len(cells) > MOST_COLUMNS:
                raise Invalid(f"row {number}: expected {MOST_COLUMNS} columns at most, found {len(cells)}.")
            yield number, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise Invalid(f"row {number + 1}: expected CSV, found something else ({error}).") from None


def _workbook(body: bytes, sheet: str) -> tuple[str, Iterable[tuple[int, list[str]]]]:
    try:
        _require_small(body)
        name, rows = rows_of(body, sheet, _LIMITS)
    except Problem:
        raise
    except Exception as error:  # noqa: BLE001 - of zipfile, zlib, expat and openpyxl, whose list has no end
        raise Invalid(
            f"expected an Excel file, found one that cannot be read ({type(error).__name__})."
        ) from None
    return f"sheet {name!r}", rows


def _require_small(body: bytes) -> None:
    """A part never unpacks to more than its entry says: `zipfile` reads no further."""
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        parts = archive.infolist()
        unpacked = sum(part.file_size for part in parts)
    if len(parts) > MOST_PARTS or unpacked > MOST_UNPACKED_BYTES:
        raise TooLarge(
            f"expected an Excel file of {MOST_PARTS} parts and {MOST_UNPACKED_BYTES} bytes unpacked at most,"
            f" found {len(parts)} and {unpacked}."
        )
