"""Files as people and programs write them; what could mean two things, or harm, is refused with words."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook
from openpyxl.cell.rich_text import CellRichText, TextBlock
from openpyxl.cell.text import InlineFont

from ifarm.core.errors import Invalid, Problem, TooLarge
from ifarm.exchange import reading, workbooks
from ifarm.exchange.cells import breeds, day, decimal, moment, names, read_row, text, whole, yes
from ifarm.exchange.columns import COLUMNS
from ifarm.exchange.reading import MOST_ELEMENTS, MOST_ROWS, guarded, read, unguarded
from ifarm.exchange.words import FileType, Kind
from ifarm.exchange.writing import table, template

KNOWN = ("tag_number", "weighed_on", "weight_kg", "name")


def rows_of(body: bytes, required: tuple[str, ...] = ("tag_number",)) -> list[list[str]]:
    return [line.cells for line in read(body, KNOWN, required, "weights").lines]


def workbook(*rows: list[Any], sheet: str = "weights") -> bytes:
    book = Workbook()
    book.active.title = sheet
    for row in rows:
        book.active.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("body", "written"),
    [
        ("tag_number,name\nAT 1,Zoë\n".encode(), "utf-8, separated by commas"),
        ("tag_number,name\r\nAT 1,Zoë\r\n".encode("utf-8-sig"), "utf-8, separated by commas"),
        ("tag_number;name\r\nAT 1;Zoë\r\n".encode("cp1252"), "cp1252, separated by semicolons"),
        ("tag_number\tname\r\nAT 1\tZoë\r\n".encode("utf-16"), "utf-16, separated by tabs"),
        ('\nTag Number ; NAME \n\n"AT 1";"Zoë"\n;\n'.encode(), "utf-8, separated by semicolons"),
    ],
)
def test_a_table_is_found_however_it_was_saved(body: bytes, written: str) -> None:
    sheet = read(body, KNOWN, (), "weights")
    assert (sheet.written, sheet.header) == (written, ["tag_number", "name"])
    assert [line.cells for line in sheet.lines] == [["AT 1", "Zoë"]]


def test_a_workbook_gives_what_a_person_sees() -> None:
    body = workbook(
        ["Tag Number", "weighed_on", "weight_kg", "name"],
        [40000123, date(2024, 2, 1), 412.5, None],
        [],
        ["AT 2", datetime(2024, 2, 1, 14, 30), 400.0, True],  # noqa: DTZ001 - as Excel has them
        ["AT 3", "2024-02-01", "12,5", "x"],
    )
    sheet = read(body, KNOWN, (), "weights")
    assert sheet.type is FileType.XLSX
    assert [(line.number, *line.cells) for line in sheet.lines] == [
        (2, "40000123", "2024-02-01", "412.5"),
        (4, "AT 2", "2024-02-01 14:30:00", "400", "yes"),
        (5, "AT 3", "2024-02-01", "12,5", "x"),
    ]


def test_the_sheet_of_the_name_is_taken() -> None:
    book = Workbook()
    book.active.append(["something else"])
    other = book.create_sheet("Weights")
    other.append(["tag_number"])
    other.append(["AT 1"])
    file = io.BytesIO()
    book.save(file)
    assert rows_of(file.getvalue()) == [["AT 1"]]


def test_a_formula_is_its_value_and_never_carried_out() -> None:
    assert rows_of(workbook(["tag_number", "name"], ["AT 1", "=1+1"])) == [["AT 1"]]  # nobody has computed it


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "expected a header"),
        (b"tag_number,wieght\nAT 1,2\n", "found 'wieght'"),
        (b"tag_number,tag number\nAT 1,2\n", "each column once"),
        (b"name\nx\n", "expected a column tag_number, found none"),
        (b"tag_number,name\nAT 1,2,3\n", "row 2: expected 2 cells, found 3"),
        (b"tag_number\nAT\x00 1\n", "zero bytes"),
        (b'tag_number\n"AT 1\n', "row 2: expected CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "Save it as .xlsx"),
        (b"PK\x03\x04" + bytes(100), "cannot be read"),
        (b"tag_number\n\x81\x8d\xff\n", "UTF-8 or Windows-1252"),
        (b"tag_number\n" + b"x" * 1001, "1000 characters"),
        (b"tag_number" + b"," * 100, "60 columns"),
    ],
)
def test_what_is_no_such_table_is_refused_with_words(body: bytes, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        rows_of(body)


def test_limits_hold_before_anything_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    for many in (MOST_ROWS, MOST_ROWS + 1):
        body = b"tag_number\n" + b"AT 1\n" * many
        if many == MOST_ROWS:
            assert len(rows_of(body)) == many
        else:
            with pytest.raises(TooLarge, match="10000 rows"):
                rows_of(body)
    with pytest.raises(TooLarge, match="20000 lines"):
        rows_of(b"tag_number\n" + b"\n" * 20_001)
    with pytest.raises(TooLarge, match="5242880 bytes"):
        rows_of(b"x" * (5 * 2**20 + 1))
    monkeypatch.setattr(reading, "MOST_ROWS", 2)
    assert len(rows_of(workbook(["tag_number"], ["1"], [], ["2"]))) == 2
    with pytest.raises(TooLarge, match="2 rows"):
        rows_of(workbook(["tag_number"], ["1"], ["2"], ["3"]))


def changed(body: bytes, part: str, change: Callable[[bytes], bytes], **more: str) -> bytes:
    """The same file with another part, and with more of them (by their names without a folder)."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(body)) as old,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        assert part in old.namelist()
        for one in old.infolist():
            content = old.read(one)
            new.writestr(one.filename, change(content) if one.filename == part else content)
        for name, added in more.items():
            new.writestr(f"xl/{name}.xml", added)
    return file.getvalue()


SHEET, TYPES = "xl/worksheets/sheet1.xml", "[Content_Types].xml"
GOOD = workbook(["tag_number"], ["AT 1"])
STRINGS = (
    '<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><si><t>tag_number</t></si>'
    "<si><r><t>AT </t></r><r><t>&a;</t></r></si></sst>"
)


def with_shared_strings(strings: str) -> bytes:
    """As Excel writes it: cells say which of a list of texts they are."""
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    override = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/></Types>'
    cells = b'<sheetData><row r="1"><c r="A1" t="s"><v>0</v></c></row><row r="2"><c r="A2" t="s"><v>1</v></c></row>'
    body = changed(
        GOOD, TYPES, lambda content: content.replace(b"</Types>", override.encode()), sharedStrings=strings
    )
    return changed(
        body, SHEET, lambda content: re.sub(rb"<sheetData>.*(?=</sheetData>)", cells, content, flags=re.S)
    )


def test_texts_may_be_shared() -> None:
    assert rows_of(with_shared_strings(STRINGS.replace("&a;", "1"))) == [["AT 1"]]


def test_a_bomb_is_not_unpacked() -> None:
    bomb = changed(GOOD, SHEET, lambda content: content + b" " * (60 * 2**20))
    assert len(bomb) < 100_000
    with pytest.raises(TooLarge, match="bytes unpacked"):
        rows_of(bomb)
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(201):
            archive.writestr(f"{number}.xml", b"")
    with pytest.raises(TooLarge, match="200 parts"):
        rows_of(many.getvalue())


LAUGHS = '<!DOCTYPE x [<!ENTITY a "1"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize("part", [SHEET, TYPES, "xl/workbook.xml", "xl/styles.xml", "shared"])
def test_entities_are_not_expanded(part: str) -> None:
    def funny(content: bytes) -> bytes:
        return (
            LAUGHS.encode() + content.partition(b"?>")[2] if b"?>" in content else LAUGHS.encode() + content
        )

    body = with_shared_strings(LAUGHS + STRINGS) if part == "shared" else changed(GOOD, part, funny)
    with pytest.raises(Invalid, match="cannot be read"):
        rows_of(body)


def with_cells(cells: str, strings: str = STRINGS.replace("&a;", "1")) -> bytes:
    """A sheet of these rows, with texts to refer to."""
    return changed(
        with_shared_strings(strings),
        SHEET,
        lambda content: re.sub(
            rb"<sheetData>.*(?=</sheetData>)", b"<sheetData>" + cells.encode(), content, flags=re.S
        ),
    )


HEADER = '<row r="1"><c r="A1" t="s"><v>0</v></c></row>'


def test_entities_are_refused_in_any_encoding() -> None:
    def utf_16(content: bytes) -> bytes:
        return f'<?xml version="1.0" encoding="utf-16"?>{LAUGHS}{content.decode()}'.encode("utf-16")

    with pytest.raises(Invalid, match="declares entities"):
        rows_of(changed(GOOD, SHEET, utf_16))


@pytest.mark.parametrize("junk", ["<a/>", "<a b='' c=''/>"])
def test_elements_that_mean_nothing_have_an_end(junk: str) -> None:
    """openpyxl keeps what it does not know, at a hundred bytes of memory for four of the file."""
    with pytest.raises(TooLarge, match="fewer elements"):
        rows_of(with_cells(HEADER + junk * (MOST_ELEMENTS // (junk.count("=") + 1) + 1)))
    assert rows_of(with_cells(HEADER + "<a/>" * 50)) == []


def test_how_a_text_is_pronounced_is_no_part_of_it() -> None:
    spoken = "<si><t>AT</t><rPh sb='0' eb='1'><t>ei ti</t></rPh><r><t> 1</t></r><phoneticPr fontId='1'/></si>"
    strings = f"{STRINGS.partition('<si><r>')[0]}{spoken}</sst>"
    inline = '<row r="3"><c t="inlineStr"><is><t>AT 2</t><rPh sb="0" eb="1"><t>x</t></rPh></is></c></row>'
    body = with_cells(f'{HEADER}<row r="2"><c t="s"><v>1</v></c></row>{inline}', strings)
    assert rows_of(body) == [["AT 1"], ["AT 2"]]


def test_what_looks_like_an_escape_is_none() -> None:
    strings = f"{STRINGS.partition('<si><r>')[0]}<si><t>AT_x005F_x0041_</t></si></sst>"
    assert rows_of(with_cells(f'{HEADER}<row r="2"><c t="s"><v>1</v></c></row>', strings)) == [["AT_x0041_"]]


def test_one_long_text_is_not_written_out_many_times() -> None:
    """A few bytes refer to a text of any length, as often as one likes."""

    def of(length: int, columns: int, rows: int) -> bytes:
        cell = '<c t="s"><v>1</v></c>' * columns
        text = STRINGS.partition("<si><r>")[0] + f"<si><t> {'x' * length}</t></si></sst>"
        header = "".join(f'<c t="str"><v>{name}</v></c>' for name in KNOWN)
        return with_cells(f"<row>{header}</row>" + f"<row>{cell}</row>" * rows, text)

    huge = of(2**20, 4, 10_000)
    assert len(huge) < 100_000
    with pytest.raises(Invalid, match="1000 characters"):
        rows_of(huge)
    with pytest.raises(TooLarge, match="50331648 characters"):
        rows_of(of(1000, 60, 1000))
    assert len(rows_of(of(1000, 4, 10))) == 10


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ('<row r="3"><c><v>1</v></c></row><row r="2"><c><v>1</v></c></row>', "found row 2 after row 3"),
        ('<row r="2"/><row r="2"/>', "found row 2 after row 2"),
        ('<row r="0"/>', "found row 0 after row 1"),
        ('<row r="2"><c r="BI2"><v>1</v></c></row>', "row 2: expected 60 columns at most, found more"),
        ('<row r="2"><c r="ZZ2"><v>1</v></c></row>', "row 2: expected 60 columns at most, found more"),
        ('<row><c r="ZZ2"><v>1</v></c></row>', "expected 60 columns at most, found more"),
        ('<row r="2"><c r="B2"><v>1</v></c></row>', "row 2: expected 1 cells, found 2"),
        ('<row r="x"/>', "cannot be read"),
        ('<row r="1e400"/>', "cannot be read"),
        ('<row r="2"><c r="2"><v>1</v></c></row>', "cannot be read"),
        ('<row r="2"><c r="ZZZZ2"><v>1</v></c></row>', "60 columns at most"),
        ('<row r="2"><c t="s"><v>99</v></c></row>', "cannot be read"),
        ('<row r="2"><c><v>1_</v></c></row>', "cannot be read"),
        (f'<row r="2"><c><v>{"9" * 5000}</v></c></row>', "cannot be read"),
        ('<row r="2"><c t="d"><v>yesterday</v></c></row>', "cannot be read"),
    ],
)
def test_a_sheet_that_contradicts_itself_is_refused(cells: str, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        rows_of(with_cells(HEADER + cells))


def test_a_cell_without_a_value_may_be_anywhere() -> None:
    """Formats reach further than what is written."""
    cells = (
        '<row r="2"><c r="A2"><v>7</v></c><c r="XFD2" s="0"/></row><row r="1048576"><c r="A1048576"/></row>'
    )
    assert rows_of(with_cells(HEADER + cells)) == [["7"]]


def odd_workbook() -> bytes:
    """What people and programs put into cells."""
    book = Workbook()
    sheet = book.active
    sheet.title = "weights"
    sheet.append(list(KNOWN))
    values: list[Any] = [
        *(
            0,
            1,
            -1,
            2.5,
            1e15,
            1e300,
            0.1 + 0.2,
            True,
            False,
            "",
            " x ",
            "007",
            "a\nb",
            "<&>",
            "ä牛\U0001f404",
        ),
        *(date(2024, 2, 29), datetime(2024, 2, 1, 14, 30), datetime(2024, 2, 1), time(6, 30)),  # noqa: DTZ001
        *(timedelta(hours=30), "#N/A", "=1+1", "x" * 1000, None),
    ]
    for place, value in enumerate(values):
        sheet.append(["AT 1", value, values[-1 - place], "end"])
    sheet.append([])
    for style, value in (("0.00%", 0.5), ("dd/mm/yy", 45000), ("dd/mm/yy", -1), ("[h]:mm", 1.5), ("@", 7)):
        sheet.append(["AT 2", value])
        sheet.cell(sheet.max_row, 2).number_format = style
    sheet.append([CellRichText("AT ", TextBlock(InlineFont(b=True), "3")), "merged"])
    sheet.merge_cells(start_row=sheet.max_row, end_row=sheet.max_row, start_column=2, end_column=4)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def test_cells_are_what_a_person_sees_of_odd_ones() -> None:
    body = odd_workbook()
    sheet = load_workbook(io.BytesIO(body), data_only=True)["weights"]
    wanted = [
        (number, [workbooks.written(value) for value in row])
        for number, row in enumerate(sheet.values, 1)
        if number > 1 and any(value is not None for value in row)
    ]
    found = read(body, KNOWN, (), "weights").lines
    width = len(KNOWN)
    assert [(line.number, line.cells + [""] * (width - len(line.cells))) for line in found] == wanted
    assert len(found) > 25


def test_a_row_far_away_costs_nothing() -> None:
    far = changed(
        GOOD, SHEET, lambda content: content.replace(b'r="2"', b'r="1048576"').replace(b'"A2"', b'"A1048576"')
    )
    with pytest.raises(TooLarge, match="lines"):
        rows_of(far)


def test_every_truncation_and_flip_is_refused_or_read() -> None:
    body = workbook(["tag_number"], ["AT 1"])
    for place in range(0, len(body), 97):
        flipped = body[:place] + bytes([body[place] ^ 0xFF]) + body[place + 1 :]
        for broken in (body[:place], flipped):
            try:
                rows_of(broken)
            except Problem as problem:
                assert problem.detail


@pytest.mark.parametrize(
    ("reader", "found", "value"),
    [
        (day, "2024-02-29", date(2024, 2, 29)),
        (moment, "2024-02-01 14:30", datetime(2024, 2, 1, 14, 30)),  # noqa: DTZ001
        (moment, "2024-02-01", datetime(2024, 2, 1)),  # noqa: DTZ001
        (moment, "2024-02-01T14:30:05+01:00", datetime.fromisoformat("2024-02-01T14:30:05+01:00")),
        (decimal(7, 2), "412,5", Decimal("412.5")),
        (decimal(7, 2), "412.50", Decimal("412.5")),
        (decimal(7, 2), "400", Decimal(400)),
        (whole(1000), "007", 7),
        (yes, "YES", True),
        (breeds, "sim:3 HOL:1", [{"code": "SIM", "parts": 3}, {"code": "HOL", "parts": 1}]),
        (breeds, "SIM", [{"code": "SIM", "parts": 1}]),
        (names, "Calves | Milk 1", ["Calves", "Milk 1"]),
    ],
)
def test_what_cells_mean(reader: Any, found: str, value: object) -> None:
    assert reader(found) == value


@pytest.mark.parametrize(
    ("reader", "found"),
    [
        *((day, one) for one in ("01/02/2024", "31.12.2024", "1-2-24", "20240201", "2024-W05-4", "45321")),
        *((day, one) for one in ("2024-02-30", "0024-02-01", "2024-02-01 14:30", "٢٠٢٤-٠٢-٠١")),
        *((moment, one) for one in ("01/02/2024 14:30", "2024-02-01 24:30", "14:30", "2024-13-01 10:00")),
        *((decimal(7, 2), one) for one in ("1,234", "1.234,5", "1 234", "-5", "1e3", "100000", "NaN", "½")),
        *((whole(1000), one) for one in ("1001", "1.000", "-1", "1,0", "²")),
        *((breeds, one) for one in ("SIM:0", "SIM SIM", "SIM;HOL", "TOOLONGS", "SIM:2000")),
        *((names, one) for one in ("|", "a||b", "|".join("abcdefghi"))),
        *((text(5), one) for one in ("abcdef", "a\nb", "#N/A", "a\x07")),
        (yes, "perhaps"),
    ],
)
def test_what_could_mean_two_things_is_refused(reader: Any, found: str) -> None:
    with pytest.raises(ValueError, match=r"^expected "):
        reader(found)


def test_each_flaw_says_where_what_and_what_instead() -> None:
    cells = {"tag_number": " AT 1 ", "weighed_on": "03/04/2024", "weight_kg": ""}
    values, flaws = read_row(COLUMNS[Kind.WEIGHTS], cells)
    assert values == {"tag_number": "AT 1"}
    assert [flaw.plain() for flaw in flaws] == [
        {
            "column": "weighed_on",
            "detail": "expected a date as year-month-day, say 2024-02-01 (or a date cell of a spreadsheet),"
            " found '03/04/2024'.",
            "found": "03/04/2024",
        },
        {"column": "weight_kg", "detail": "expected a value, found nothing.", "found": ""},
    ]


@given(st.text())
def test_guarded_texts_are_no_formulas_and_come_back(found: str) -> None:
    told = guarded(found)
    assert told[:1] not in set("=+-@\t\r\n")
    assert unguarded(told) == found


NASTY = st.text(st.sampled_from("=+-@'\"\t,;|_x0041_ Zoë\u2028<&>"), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(NASTY.filter(lambda one: one == one.strip()), min_size=1, max_size=4), st.sampled_from(FileType)
)
def test_texts_come_back_from_either_file(found: list[str], kind: FileType) -> None:
    with table(["tag_number"], [{"tag_number": one} for one in found], kind, "x") as file:
        body = file.read()
    assert rows_of(body) == [[one] for one in found]
    if kind is FileType.XLSX:
        cells = [cell for (cell,) in load_workbook(io.BytesIO(body)).active.iter_rows(min_row=2)]
        assert {cell.data_type for cell in cells} == {"s"}


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("file_type", FileType)
def test_the_example_of_a_template_is_valid(kind: Kind, file_type: FileType) -> None:
    with template(kind, file_type) as file:
        body = file.read()
    columns = COLUMNS[kind]
    sheet = read(body, [one.name for one in columns], [one.name for one in columns], kind.value)
    assert sheet.header == [one.name for one in columns]
    (line,) = sheet.lines
    _, flaws = read_row(columns, dict(zip(sheet.header, line.cells, strict=False)))
    assert flaws == []


def test_the_notes_say_what_each_column_means() -> None:
    with template(Kind.ANIMALS, FileType.XLSX) as file:
        notes = list(load_workbook(file)["notes"].values)
    assert [row[0] for row in notes[1:]] == [one.name for one in COLUMNS[Kind.ANIMALS]]
    assert next(row for row in notes if row[0] == "sex")[3].startswith("Female, ")
    assert all(row[2] or row[3] for row in notes[1:])
