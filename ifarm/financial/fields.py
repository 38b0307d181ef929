"""Money in tables and in JSON."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db import models
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from ifarm.financial.money import require_currency, rounded


def amount_column(**options: Any) -> Any:
    """An amount; four digits after the point hold the minor units of every currency. ``currency`` is beside it."""
    return models.DecimalField(max_digits=16, decimal_places=4, **options)


def currency_column() -> Any:
    """The currency of every amount in the row, and of its lines."""
    return models.CharField(max_length=3, validators=[require_currency])


class AmountInput(serializers.DecimalField):
    """An amount above zero in the currency that the body names."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_digits=16, decimal_places=4, min_value=Decimal("0.0001"), **options)


class CurrencyInput(serializers.RegexField):
    """A currency of ISO 4217."""

    def __init__(self, **options: Any) -> None:
        super().__init__(r"^[A-Z]{3}$", **options)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        """Only currencies that exist."""
        from django.core.exceptions import ValidationError

        code = super().run_validation(data)
        try:
            require_currency(code)
        except ValidationError as error:
            raise serializers.ValidationError(error.messages) from None
        return code


class MoneyPair(serializers.Serializer):
    """An amount, with as many digits as its currency has, and the currency."""

    amount = serializers.CharField()
    currency = serializers.CharField()


@extend_schema_field(MoneyPair)
class MoneyOutput(serializers.Field):
    """Reads two attributes of a row; the currency's may be its parent's (``sale.currency``)."""

    def __init__(self, amount: str, currency: str = "currency") -> None:
        super().__init__(source="*", read_only=True)
        self.amount, self.currency = amount, currency

    def to_representation(self, row: Any) -> dict[str, str]:
        """The pair."""
        code = row
        for name in self.currency.split("."):
            code = getattr(code, name)
        return {"amount": str(rounded(getattr(row, self.amount), code)), "currency": code}
