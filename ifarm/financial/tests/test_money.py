"""Money: minor units, sums by currency, parts that are the whole."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifarm.core.errors import RuleBroken
from ifarm.financial.money import DIGITS, Money, by_currency, divided, rounded


@pytest.mark.parametrize(
    ("amount", "currency"), [("0.001", "EUR"), ("1.5", "JPY"), ("0.0001", "KWD"), ("1", "XXX"), ("1", "eur")]
)
def test_what_is_no_amount_is_refused(amount: str, currency: str) -> None:
    with pytest.raises(RuleBroken):
        Money(Decimal(amount), currency)


def test_currencies_have_the_digits_of_iso_4217() -> None:
    assert [DIGITS[code] for code in ("EUR", "JPY", "KWD", "ISK", "TND", "INR")] == [2, 0, 3, 0, 3, 2]
    assert all(len(code) == 3 for code in DIGITS)
    assert len(DIGITS) > 150


def test_halves_go_away_from_zero() -> None:
    assert rounded(Decimal("0.125"), "EUR") == Decimal("0.13")
    assert rounded(Decimal("-0.125"), "EUR") == Decimal("-0.13")
    assert rounded(Decimal("2.5"), "JPY") == 3


def test_currencies_are_never_added() -> None:
    moneys = [Money(Decimal(1), "EUR"), Money(Decimal(2), "USD"), Money(Decimal(3), "EUR")]
    assert by_currency(moneys) == {"EUR": 4, "USD": 2}


@given(st.integers(0, 10**9), st.integers(1, 500), st.sampled_from(["EUR", "JPY", "KWD"]))
def test_parts_are_equal_to_a_minor_unit_and_together_the_whole(
    units: int, parts: int, currency: str
) -> None:
    unit = Decimal(1).scaleb(-DIGITS[currency])
    found = divided(Money(units * unit, currency), parts)
    assert len(found) == parts
    assert sum(found) == units * unit
    assert max(found) - min(found) in (0, unit)
    assert all(part == rounded(part, currency) for part in found)
