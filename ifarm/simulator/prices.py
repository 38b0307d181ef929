"""What animals are worth: a few dated prices, each with its source (`prices.csv`)."""

from __future__ import annotations

import csv
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from ifarm.simulator.rates import DRESSING

CURRENCY: Final = "EUR"


class Price(NamedTuple):
    """One price on one day."""

    what: str
    day: date
    amount: Decimal
    currency: str
    per: str
    source: str


@cache
def known() -> tuple[Price, ...]:
    """All prices."""
    with Path(__file__).with_name("prices.csv").open(newline="", encoding="utf-8") as file:
        return tuple(
            Price(
                row["what"],
                date.fromisoformat(row["day"]),
                Decimal(row["amount"]),
                row["currency"],
                row["per"],
                row["source"],
            )
            for row in csv.DictReader(file)
        )


@cache
def per_kg(what: str) -> float:
    """The newest price of something, for one kilogram."""
    newest = max((one for one in known() if one.what == what), key=lambda one: one.day)
    return float(newest.amount) / 100


def live(kilograms: float, what: str = "heifer R3") -> Decimal:
    """What an animal of this weight is worth by its carcass, in `CURRENCY`."""
    return Decimal(round(kilograms * DRESSING * per_kg(what)))
