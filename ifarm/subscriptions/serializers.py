"""Shapes of subscriptions."""

from rest_framework import serializers

from ifarm.core.choices import choices
from ifarm.financial.fields import MoneyOutput
from ifarm.subscriptions.plans import PLANS
from ifarm.subscriptions.words import Metric


class PlanOutput(serializers.Serializer):
    """A plan of the price list."""

    code = serializers.CharField()
    name = serializers.CharField()
    price = MoneyOutput("amount")
    months = serializers.IntegerField()
    animals = serializers.IntegerField()


class PlanInput(serializers.Serializer):
    """Which plan, and how it is paid: the provider's name for the way to pay, never a card's number."""

    plan = serializers.ChoiceField(sorted(PLANS))
    payment_method = serializers.RegexField(r"^pm_[A-Za-z0-9_]{1,110}$")


class SubscriptionOutput(serializers.Serializer):
    """What the tenant has with iFarm."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    status = serializers.CharField()
    plan = serializers.CharField()
    price = MoneyOutput("amount")
    months = serializers.IntegerField()
    trial_ends_at = serializers.DateTimeField()
    next_billing_date = serializers.DateField(allow_null=True)
    ends_with_period = serializers.BooleanField()


class SubscriptionInvoiceOutput(serializers.Serializer):
    """A bill of iFarm to the tenant."""

    id = serializers.UUIDField()
    number = serializers.CharField(source="label")
    issued_on = serializers.DateField()
    description = serializers.CharField()
    amount = MoneyOutput("amount")


class UsageOutput(serializers.Serializer):
    """How much of something in one hour."""

    id = serializers.UUIDField()
    hour = serializers.DateTimeField()
    metric = serializers.ChoiceField(choices(Metric))
    value = serializers.IntegerField()


class ActedOutput(serializers.Serializer):
    """Whether a message of the payment provider changed something; the same again does not."""

    acted = serializers.BooleanField()
