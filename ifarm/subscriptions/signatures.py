"""Signatures of the provider's messages: who sent it, and when.

The header is ``t=<seconds since 1970>,v1=<HMAC-SHA256 of "t.body" in hex>``; several ``v1`` are allowed, and several
secrets, so that a secret can be replaced without a gap. The form is that of Stripe's webhooks
(https://docs.stripe.com/webhooks#verify-manually), so a provider's adapter has little to do.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from typing import Final

HEADER: Final = "Payment-Signature"
TOLERANCE_SECONDS: Final = 300
"""How far the sender's clock and the way may differ; what is older is a replay."""
_PARTS: Final = 10


class BadSignature(Exception):
    """A message that is not the provider's, or not of now."""


def sign(secret: str, body: bytes, at: int) -> str:
    """The header's value."""
    return f"t={at},v1={_digest(secret, body, str(at))}"


def verify(secrets: Collection[str], header: str, body: bytes, now: float) -> None:
    """Raises `BadSignature`. Without a secret nothing is believed."""
    pairs = [part.strip().partition("=") for part in header.split(",")[:_PARTS]]
    times = [value for name, _, value in pairs if name == "t"]
    given = [value for name, _, value in pairs if name == "v1"]
    if len(times) != 1 or not (times[0].isascii() and times[0].isdigit() and len(times[0]) <= 12):
        raise BadSignature("expected one time in the signature, found another number of them")
    if abs(now - int(times[0])) > TOLERANCE_SECONDS:
        raise BadSignature(f"expected a message of the last {TOLERANCE_SECONDS} seconds, found another")
    wanted = [_digest(secret, body, times[0]) for secret in secrets]
    matches = [
        hmac.compare_digest(one.encode(), other.encode("utf-8", "replace"))
        for one in wanted
        for other in given
    ]
    if not any(matches):
        raise BadSignature("expected a signature by one of our secrets, found none")


def _digest(secret: str, body: bytes, time: str) -> str:
    return hmac.new(secret.encode(), time.encode() + b"." + body, hashlib.sha256).hexdigest()
