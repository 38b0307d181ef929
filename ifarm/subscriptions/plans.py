"""The price list. It is code: nobody but a release changes it. A subscription keeps the price it was concluded at."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from ifarm.core.errors import NotFound
from ifarm.financial.money import Money


@dataclass(frozen=True, slots=True)
class Plan:
    """What can be chosen. ``months``: the length of a period; ``animals``: what it is meant for, told, not enforced."""

    code: str
    name: str
    price: Money
    months: int
    animals: int

    @property
    def amount(self) -> Decimal:
        """Of the price."""
        return self.price.amount

    @property
    def currency(self) -> str:
        """Of the price."""
        return self.price.currency


PLANS: Final = {
    plan.code: plan
    for plan in (
        Plan("family", "Family farm, monthly", Money(Decimal("19.00"), "EUR"), 1, 200),
        Plan("family-year", "Family farm, yearly", Money(Decimal("190.00"), "EUR"), 12, 200),
        Plan("herd", "Herd, monthly", Money(Decimal("79.00"), "EUR"), 1, 5_000),
        Plan("herd-year", "Herd, yearly", Money(Decimal("790.00"), "EUR"), 12, 5_000),
    )
}


def plan_of(code: str) -> Plan:
    """Raises `NotFound`."""
    if code not in PLANS:
        raise NotFound(f"plan {code} was not found. There are {', '.join(sorted(PLANS))}.")
    return PLANS[code]
