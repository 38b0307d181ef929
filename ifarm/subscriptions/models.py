"""What a tenant pays for iFarm itself."""

from __future__ import annotations

from datetime import date
from typing import ClassVar

from django.db import models
from django.db.models import Q

from ifarm.core.choices import choices
from ifarm.core.models import TenantForeignKey, TenantModel, VersionedModel
from ifarm.financial.fields import amount_column, currency_column
from ifarm.subscriptions.periods import months_later
from ifarm.subscriptions.words import ChargeStatus, Metric, SubscriptionStatus


class Subscription(VersionedModel):
    """The one subscription of a tenant; its row lock is taken by whoever bills, settles or changes it.

    Args:
        plan: a code of the price list; empty while only tried.
        amount: of one period, as it was when the plan was chosen; with ``currency`` and ``months``.
        payment_method: the provider's name for it; never a card's number.
        anchor_date: the first day of period ``anchor_period``.
        next_period: the number of the next period to charge, from 0; periods are charged in advance, in order.
        next_billing_date: the first day of that period.
        ends_with_period: cancelled, and running to the end of what is paid.
    """

    status = models.CharField(
        max_length=9, choices=choices(SubscriptionStatus), default=SubscriptionStatus.TRIAL.value
    )
    trial_ends_at = models.DateTimeField()
    plan = models.CharField(max_length=20, blank=True, default="")
    amount = amount_column(default=0)
    currency = currency_column()
    months = models.PositiveSmallIntegerField(default=1)
    payment_method = models.CharField(max_length=120, blank=True, default="")
    anchor_date = models.DateField(null=True, blank=True)
    anchor_period = models.PositiveIntegerField(default=0)
    next_period = models.PositiveIntegerField(default=0)
    next_billing_date = models.DateField(null=True, blank=True)
    ends_with_period = models.BooleanField(default=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant"],
                name="one_subscription_per_tenant",
                violation_error_message="This tenant has a subscription already.",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=[SubscriptionStatus.ACTIVE.value, SubscriptionStatus.PAST_DUE.value])
                | (~Q(plan="") & Q(anchor_date__isnull=False, next_billing_date__isnull=False)),
                name="what_runs_has_a_plan",
            ),
        ]

    def first_day(self, period: int) -> date:
        """The first day of a period, from ``anchor_period`` on."""
        assert self.anchor_date is not None
        return months_later(self.anchor_date, (period - self.anchor_period) * self.months)


class Charge(VersionedModel):
    """What is to be paid for one period; there is never a second for the same.

    ``failures`` is part of the key that the provider gets: as long as the outcome of a try is not known, each
    repetition has the same key and cannot take money twice; a try that was refused is over, and the next has another.
    What was asked with a key does not change: ``payment_method`` is that of the present try.
    """

    subscription = TenantForeignKey(Subscription, related_name="charges")
    period = models.PositiveIntegerField()
    first_day = models.DateField()
    last_day = models.DateField()
    plan = models.CharField(max_length=20)
    amount = amount_column()
    currency = currency_column()
    status = models.CharField(max_length=9, choices=choices(ChargeStatus), default=ChargeStatus.PENDING.value)
    payment_method = models.CharField(max_length=120)
    failures = models.PositiveSmallIntegerField(default=0)
    failure = models.CharField(max_length=80, blank=True, default="")
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    reference = models.CharField(max_length=120, blank=True, default="")
    paid_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["subscription", "period"], name="one_charge_per_period"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="charge_amount_positive"),
            models.CheckConstraint(
                condition=Q(status=ChargeStatus.SUCCEEDED.value, paid_at__isnull=False)
                | (~Q(status=ChargeStatus.SUCCEEDED.value) & Q(paid_at=None)),
                name="charge_paid_once_it_succeeded",
            ),
        ]

    @property
    def key(self) -> str:
        """The provider's idempotency key of the present try."""
        return f"{self.id}:{self.failures}"


class SubscriptionInvoice(TenantModel):
    """The bill for a charge that was paid; numbers count from 1 without a gap for each tenant and year.

    A series for each customer is a series in the sense of Directive 2006/112/EC, article 226 (2).
    """

    append_only = True

    charge = TenantForeignKey(Charge, related_name="+")
    year = models.PositiveSmallIntegerField()
    number = models.PositiveIntegerField()
    issued_on = models.DateField()
    description = models.CharField(max_length=200)
    amount = amount_column()
    currency = currency_column()

    class Meta:
        verbose_name = "subscription invoice"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["charge"], name="one_invoice_per_charge"),
            models.UniqueConstraint(
                fields=["tenant", "year", "number"], name="subscription_invoice_numbers_differ"
            ),
        ]

    @property
    def label(self) -> str:
        """The series, which is the customer's, the year and the number."""
        return f"IF-{self.tenant_id.hex.upper()}-{self.year}-{self.number:04}"


class TrialNotice(TenantModel):
    """Somebody was told that a trial ends in ``days_left`` days; once for each milestone."""

    append_only = True

    subscription = TenantForeignKey(Subscription, related_name="notices")
    days_left = models.PositiveSmallIntegerField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["subscription", "days_left"], name="one_notice_per_milestone")
        ]


class ProviderEvent(TenantModel):
    """A message of the payment provider that was acted upon: the same one again does nothing."""

    append_only = True

    event_id = models.CharField(max_length=120)
    type = models.CharField(max_length=60)
    charge = TenantForeignKey(Charge, related_name="+")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "event_id"], name="one_effect_per_event")
        ]


class UsageMetric(TenantModel):
    """How much of something a tenant had or did in one hour (its first moment, in UTC)."""

    hour = models.DateTimeField()
    metric = models.CharField(max_length=12, choices=choices(Metric))
    value = models.PositiveBigIntegerField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "hour", "metric"], name="one_value_per_hour")
        ]
