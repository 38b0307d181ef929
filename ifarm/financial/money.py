"""Money: an amount with its currency, exact to the currency's minor unit. Amounts of two currencies are never added.

Source of the minor units: ISO 4217, list one (maintained by SIX). Units of account that nobody pays with are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from django.core.exceptions import ValidationError

from ifarm.core.errors import RuleBroken

_WITHOUT = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_TWO = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF"
    " CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG"
    " HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU"
    " MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR"
    " SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES"
    " WST XCD YER ZAR ZMW"
)
_THREE = "BHD IQD JOD KWD LYD OMR TND"
DIGITS: Final = {
    code: digits for digits, codes in ((0, _WITHOUT), (2, _TWO), (3, _THREE)) for code in codes.split()
}
"""How many digits after the point each currency has."""


@dataclass(frozen=True, slots=True)
class Money:
    """An amount of one currency. Raises `RuleBroken` for an unknown currency and for parts of a minor unit."""

    amount: Decimal
    currency: str

    def __post_init__(self) -> None:
        if self.amount != rounded(self.amount, self.currency):
            raise RuleBroken(
                f"expected an amount with {DIGITS[self.currency]} digits after the point ({self.currency}),"
                f" found {self.amount.normalize():f}."
            )


def require_currency(code: str) -> None:
    """For fields. Raises ValidationError."""
    if code not in DIGITS:
        raise ValidationError(f"Expected a currency of ISO 4217, found {code!r}.")


def rounded(amount: Decimal, currency: str) -> Decimal:
    """To the minor unit, halves away from zero (as invoices are). Raises `RuleBroken` for an unknown currency."""
    if currency not in DIGITS:
        raise RuleBroken(f"expected a currency of ISO 4217, found {currency!r}.")
    return amount.quantize(Decimal(1).scaleb(-DIGITS[currency]), ROUND_HALF_UP)


def divided(whole: Money, parts: int) -> list[Decimal]:
    """As equal parts as minor units allow, the larger ones first; together they are the whole.

    Raises ValueError for less than one part.
    """
    if parts < 1:
        raise ValueError(f"expected one part or more, found {parts}")
    unit = Decimal(1).scaleb(-DIGITS[whole.currency])
    each, over = divmod(int(whole.amount / unit), parts)
    return [(each + (number < over)) * unit for number in range(parts)]


def by_currency(moneys: Iterable[Money]) -> dict[str, Decimal]:
    """The sum in each currency."""
    sums: dict[str, Decimal] = {}
    for money in moneys:
        sums[money.currency] = sums.get(money.currency, Decimal(0)) + money.amount
    return sums
