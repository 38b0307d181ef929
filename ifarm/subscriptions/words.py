"""Words of subscriptions."""

from __future__ import annotations

from enum import StrEnum


class SubscriptionStatus(StrEnum):
    """What a tenant has with us. Trial → active or expired; active ⇄ past due; active → cancelled."""

    TRIAL = "trial"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class ChargeStatus(StrEnum):
    """One charge: pending → succeeded, or failed; failed → pending with the next try."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Metric(StrEnum):
    """What is counted for each hour."""

    ANIMALS = "animals"
    CHANGES = "changes"
    MEMBERS = "members"
