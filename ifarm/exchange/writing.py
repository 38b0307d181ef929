"""Tables as files: templates and exports. A file is made whole before any of it is sent.

Texts are guarded against formula injection (`reading.guarded`); dates and numbers are such in Excel.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import IO, Any, Final

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.styles import Font

from ifarm.core.errors import RuleBroken
from ifarm.exchange.cells import Column
from ifarm.exchange.columns import COLUMNS
from ifarm.exchange.reading import guarded
from ifarm.exchange.words import FileType, Kind

MOST_ROWS: Final = {FileType.CSV: 200_000, FileType.XLSX: 20_000}
"""What one request makes in seconds."""
_IN_MEMORY: Final = 2**20
"""Bytes; what is longer goes to the disk meanwhile."""

Row = Mapping[str, Any]
"""Values by the names of columns: texts, dates, decimals, whole numbers; None for nothing."""


def table(columns: Sequence[str], rows: Iterable[Row], kind: FileType, title: str) -> IO[bytes]:
    """A file with a header and the rows, at its begin; it is gone when it is closed. Raises `RuleBroken`: too many."""
    limited = _limited(rows, MOST_ROWS[kind])
    file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - the answer closes it
    try:
        if kind is FileType.CSV:
            _to_csv(file, columns, limited)
        else:
            book = Workbook(write_only=True)
            _to_sheet(book.create_sheet(title), columns, limited)
            book.save(file)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def template(kind: Kind, file_type: FileType) -> IO[bytes]:
    """The header and an example; in Excel also a sheet that says what each column means."""
    columns = COLUMNS[kind]
    names = [column.name for column in columns]
    example = {column.name: column.example for column in columns}
    if file_type is FileType.CSV:
        return table(names, [example], file_type, kind.value)
    book = Workbook(write_only=True)
    _to_sheet(book.create_sheet(kind.value), names, [example])
    _to_sheet(book.create_sheet("notes"), ["column", "needed", "meaning", "words"], map(_note, columns))
    file = io.BytesIO()
    book.save(file)
    file.seek(0)
    return file


def _note(column: Column) -> Row:
    return {
        "column": column.name,
        "needed": "yes" if column.required else "no",
        "meaning": column.meaning,
        "words": ", ".join(column.words),
    }


def _limited(rows: Iterable[Row], most: int) -> Iterator[Row]:
    for number, row in enumerate(rows, 1):
        if number > most:
            raise RuleBroken(f"expected {most} rows at most, found more. Choose a farm, or fewer days.")
        yield row


def _to_csv(file: IO[bytes], columns: Sequence[str], rows: Iterable[Row]) -> None:
    text = io.TextIOWrapper(file, "utf-8-sig", newline="", write_through=True)  # with the mark, for Excel
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_csv_cell(row.get(name)) for name in columns] for row in rows)
    text.detach()


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return guarded(value)
    return (
        value.isoformat()
        if isinstance(value, date)
        else format(value, "f" if isinstance(value, Decimal) else "")
    )


def _to_sheet(sheet: Any, columns: Sequence[str], rows: Iterable[Row]) -> None:
    sheet.freeze_panes = "A2"
    sheet.append([_cell(sheet, name, bold=True) for name in columns])
    for row in rows:
        sheet.append([_cell(sheet, row.get(name)) for name in columns])


def _cell(sheet: Any, value: Any, *, bold: bool = False) -> Any:
    if isinstance(value, str):
        cell = WriteOnlyCell(sheet, ILLEGAL_CHARACTERS_RE.sub("\N{REPLACEMENT CHARACTER}", guarded(value)))
        cell.data_type = "s"  # whatever it looks like
    else:
        cell = WriteOnlyCell(sheet, value)
        if isinstance(value, date):
            cell.number_format = "yyyy-mm-dd"
    if bold:
        cell.font = Font(bold=True)
    return cell
