"""The port to whoever takes payments. What goes out and comes in is here; how, in the provider that is configured."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string


class Outcome(StrEnum):
    """What the provider says of a try. Pending: a message will follow."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Order:
    """Take this amount once for this key, however often it is asked. The ids come back in every message about it."""

    key: str
    tenant_id: UUID
    charge_id: UUID
    payment_method: str
    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an order; ``reference`` is the provider's name for the payment."""

    outcome: Outcome
    reference: str = ""
    failure: str = ""


class ProviderUnavailable(Exception):
    """The provider gave no answer: the money may have been taken or not. Asking again with the same key is harmless."""


class PaymentProvider(Protocol):
    """A provider."""

    def charge(self, order: Order) -> Answer:
        """Take the money, within seconds. Raises `ProviderUnavailable`."""


TIMEOUT_SECONDS: Final = 10
"""How long a provider may take to answer."""


def configured() -> PaymentProvider:
    """The provider of the setting `PAYMENT_PROVIDER`, the dotted name of a class without arguments.

    Raises ImproperlyConfigured where there is none.
    """
    if not settings.PAYMENT_PROVIDER:
        raise ImproperlyConfigured(
            "expected IFARM_PAYMENT_PROVIDER (the dotted name of a class), found nothing. Nothing was charged."
        )
    provider: PaymentProvider = import_string(settings.PAYMENT_PROVIDER)()
    return provider
