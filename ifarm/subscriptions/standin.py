"""A stand-in for a payment provider, for development and tests. It takes no money.

It does what a provider does, in this process: one payment for each idempotency key, and a signed message about each
outcome to our webhook. What a payment method does is in its name: `pm_ok`, `pm_declined`, `pm_later` (the outcome comes
by message only), `pm_lost` (the money is taken, and the answer is lost).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from uuid import uuid4

from ifarm.core.encoding import plain
from ifarm.subscriptions.provider import Answer, Order, Outcome, ProviderUnavailable
from ifarm.subscriptions.signatures import HEADER, sign

Deliver = Callable[[bytes, Mapping[str, str]], int]
"""Posts a body with headers to the webhook; gives the status of the answer."""


@dataclass(slots=True)
class StandIn:
    """The payments it has taken, by key, and the messages it has still to deliver."""

    secret: str = "only-for-development"  # noqa: S105
    payments: dict[str, Answer] = field(default_factory=dict)
    asked: list[Order] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def charge(self, order: Order) -> Answer:
        """As `PaymentProvider`. Raises `ProviderUnavailable` for `pm_lost`, the first time."""
        with self._lock:
            self.asked.append(order)
            known = self.payments.get(order.key)
            if known is None:
                known = self.payments[order.key] = self._taken(order)
                self.messages.append(self._message(order, known))
                if order.payment_method == "pm_lost":
                    raise ProviderUnavailable("the connection was lost")
        return Answer(Outcome.PENDING) if order.payment_method == "pm_later" else known

    @staticmethod
    def _taken(order: Order) -> Answer:
        if order.payment_method == "pm_declined":
            return Answer(Outcome.FAILED, failure="card_declined")
        return Answer(Outcome.SUCCEEDED, reference=f"pay_{uuid4().hex}")

    @staticmethod
    def _message(order: Order, answer: Answer) -> bytes:
        told = {
            "id": f"evt_{uuid4().hex}",
            "type": f"payment.{answer.outcome}",
            "tenant_id": order.tenant_id,
            "charge_id": order.charge_id,
            "key": order.key,
            "reference": answer.reference,
            "failure": answer.failure,
        }
        return json.dumps(plain(told)).encode()

    def deliver(self, post: Deliver) -> list[int]:
        """Send every message that waits; one that is not answered with 2xx stays. Gives the answers."""
        waiting, self.messages = self.messages, []
        answers = []
        for body in waiting:
            headers = {HEADER: sign(self.secret, body, int(time.time())), "Content-Type": "application/json"}
            answers.append(post(body, headers))
            if not 200 <= answers[-1] < 300:
                self.messages.append(body)
        return answers
