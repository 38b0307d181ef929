"""No value of a statement is ever shown, also where it is unclear how far one reaches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.monitor.statements import SHOWN, normalised


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT * FROM a WHERE b = 'x''y' AND c=-12.5e3", "SELECT * FROM a WHERE b = ? AND c=-?"),
        ("SELECT a1, t2.x3 FROM t2 WHERE id = $1", "SELECT a1, t2.x3 FROM t2 WHERE id = ?"),
        ("DELETE FROM t WHERE id IN (1, 2 , 3)", "DELETE FROM t WHERE id IN (?, ...)"),
        ("SELECT pg_sleep(3)", "SELECT pg_sleep(?)"),
        ('SELECT "O\'Brien" FROM "Odd ""Name"', 'SELECT "O\'Brien" FROM "Odd ""Name"'),
        ("SELECT 1 -- it's a secret\n+ 2", "SELECT ? + ?"),
        ("SELECT /* it's */ x", "SELECT x"),
        ("SELECT $$it's$$, $a$ $$ $a$, E'it\\'s', X'1F', b'01'", "SELECT ?, ..."),
        ("CREATE ROLE x PASSWORD 'hunter2'", "CREATE ROLE x PASSWORD ?"),
        ("SELECT 'cut off in the mid", "SELECT ?..."),
        ("SELECT 'a\\' AND x = 'bob'", "SELECT ?..."),
        ("SELECT $$cut off", "SELECT ?..."),
        ("SELECT x /* cut off /* in a */ comment", "SELECT x ?..."),
        ('SELECT "cut off', "SELECT ?..."),
        ("SELECT\x00\x1b[31m 1", "SELECT??[?m ?"),
    ],
)
def test_normalised(statement: str, expected: str) -> None:
    assert normalised(statement) == expected


def test_it_is_one_line_of_a_bounded_length() -> None:
    text = normalised("SELECT\n  " + ", ".join(f"column_{i}" for i in range(1000)))
    assert len(text) == SHOWN
    assert "\n" not in text


SECRET = "s3cr3t"
LITERALS = st.sampled_from(
    [
        f"'{SECRET}'",
        f"'it''s {SECRET}'",
        f"E'\\'{SECRET}'",
        f"$${SECRET}$$",
        f"$q$ '{SECRET} $q$",
        f"'\\' || '{SECRET}'",
    ]
)
OTHERS = st.sampled_from(
    ["SELECT", " a.b ", ", ", " = ", "(", ")", " x1 ", '"C c"', " -- it's\n", " /* it's */ ", "+", "1"]
)


@given(st.lists(st.one_of(LITERALS.map(lambda t: f" {t} "), OTHERS)), st.integers(0, 400))
def test_no_value_is_shown_wherever_the_text_is_cut_off(parts: list[str], cut: int) -> None:
    assert SECRET not in normalised("".join(parts)[:cut])


@given(st.text())
def test_any_text_at_all(text: str) -> None:
    assert normalised(text).isprintable()
    assert normalised(f"SELECT '{text.replace(chr(39), '').replace(chr(92), '')}'") == "SELECT ?"
