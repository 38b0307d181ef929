"""Messages of the payment provider: signed, of now, and each with one effect."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from ifarm.audit import writes
from ifarm.core.context import unit_of_work
from ifarm.core.errors import Invalid
from ifarm.permissions.services import job_actor
from ifarm.subscriptions.billing import locked, settle
from ifarm.subscriptions.models import ProviderEvent
from ifarm.subscriptions.provider import Answer, Outcome

LARGEST: Final = 64 * 1024
"""Bytes of a message."""
_OUTCOMES = {"payment.succeeded": Outcome.SUCCEEDED, "payment.failed": Outcome.FAILED}


@dataclass(frozen=True, slots=True)
class Message:
    """What a provider tells about one charge. ``key`` names the try."""

    event_id: str
    type: str
    tenant_id: UUID
    charge_id: UUID
    key: str
    reference: str
    failure: str


def parse(body: bytes) -> Message:
    """Of a body whose signature was verified. Raises `Invalid`."""
    try:
        found: Any = json.loads(body)
        texts = {name: found[name] for name in ("id", "type", "key", "reference", "failure")}
        ids = UUID(found["tenant_id"]), UUID(found["charge_id"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Invalid(f"expected a message about a charge, found another ({type(error).__name__}).") from None
    if not all(isinstance(text, str) and len(text) <= 120 for text in texts.values()) or not texts["id"]:
        raise Invalid("expected texts of up to 120 characters and an id, found others.")
    return Message(texts["id"], texts["type"], *ids, texts["key"], texts["reference"], texts["failure"])


def receive(message: Message, now: datetime) -> bool:
    """Act upon a message; False where this was done before, or where it is of no concern to us.

    Two deliveries at once wait for each other at the subscription's row. Raises `NotFound` for a charge that is not
    there: the provider sends it again.
    """
    if message.type not in _OUTCOMES:
        return False
    with unit_of_work(message.tenant_id):
        _, charge = locked(message.charge_id)
        if ProviderEvent.objects.filter(event_id=message.event_id).exists():
            return False
        event = ProviderEvent(event_id=message.event_id, type=message.type, charge=charge)
        writes.insert(job_actor(message.tenant_id), event)
        answer = Answer(_OUTCOMES[message.type], message.reference, message.failure)
        settle(message.tenant_id, charge.id, key=message.key, answer=answer, now=now)
        return True
