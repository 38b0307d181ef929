"""Reads of subscriptions."""

from __future__ import annotations

from django.db.models import QuerySet

from ifarm.core.actors import Actor
from ifarm.subscriptions.models import SubscriptionInvoice, UsageMetric
from ifarm.subscriptions.policies import SUBSCRIPTION_INVOICES, USAGE


def list_invoices(actor: Actor) -> QuerySet[SubscriptionInvoice]:
    """What iFarm billed."""
    return SUBSCRIPTION_INVOICES.instances(actor)


def list_usage(actor: Actor) -> QuerySet[UsageMetric]:
    """What was used, by the hour."""
    return USAGE.instances(actor)
