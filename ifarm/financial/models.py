"""Money that comes and goes: contacts, expenses with approval, sales, purchases, invoices, payments.

One document is in one currency: its lines have amounts in the currency of the document.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower

from ifarm.animals.models import Animal, AnimalGroup, Movement
from ifarm.core.choices import choices
from ifarm.core.models import RecordModel, TenantForeignKey, TenantModel, VersionedModel
from ifarm.farms.models import Farm
from ifarm.financial.fields import amount_column, currency_column
from ifarm.financial.words import (
    ContactKind,
    ExpenseCategory,
    ExpenseStatus,
    InvoiceKind,
    InvoiceStatus,
    PaymentMethod,
)


class Contact(VersionedModel):
    """Somebody the tenant buys from, sells to or is advised by."""

    kind = models.CharField(max_length=8, choices=choices(ContactKind))
    name = models.CharField(max_length=120)
    email = models.EmailField(blank=True, default="")
    phone = models.CharField(max_length=40, blank=True, default="")
    address = models.CharField(max_length=300, blank=True, default="")
    tax_number = models.CharField(max_length=40, blank=True, default="")
    is_active = models.BooleanField(default=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                "tenant",
                "kind",
                Lower("name"),
                name="contact_names_differ",
                violation_error_message="There is a contact of this kind and name already.",
            )
        ]

    def __str__(self) -> str:
        return self.name


class Expense(RecordModel):
    """Something bought. ``amount`` is the sum of the lines, before it is submitted and ever after.

    Whoever decides is not who submitted, and what was approved never changes: the services say so, and the database
    (the constraints here, the triggers of migration 0002).
    """

    farm = TenantForeignKey(Farm, related_name="+")
    supplier = TenantForeignKey(Contact, null=True, blank=True, related_name="+")
    expense_date = models.DateField()
    description = models.CharField(max_length=300)
    receipt_number = models.CharField(max_length=60, blank=True, default="")
    amount = amount_column()
    currency = currency_column()
    status = models.CharField(max_length=9, choices=choices(ExpenseStatus), default=ExpenseStatus.DRAFT.value)
    submitted_by = models.UUIDField(null=True, blank=True, editable=False)
    submitted_at = models.DateTimeField(null=True, blank=True, editable=False)
    decided_by = models.UUIDField(null=True, blank=True, editable=False)
    decided_at = models.DateTimeField(null=True, blank=True, editable=False)
    paid_on = models.DateField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [
            models.Index("tenant", "expense_date", "id", name="expenses_by_day"),
            models.Index("farm", "expense_date", name="expenses_of_a_farm"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(amount__gt=0),
                name="expense_amount_positive",
                violation_error_message="An expense is more than nothing.",
            ),
            models.CheckConstraint(
                condition=Q(decided_by=None) | ~Q(decided_by=F("submitted_by")),
                name="nobody_decides_their_own_expense",
                violation_error_message="Somebody else than who submitted an expense decides it.",
            ),
            models.CheckConstraint(
                condition=Q(
                    status=ExpenseStatus.DRAFT.value,
                    submitted_by=None,
                    submitted_at=None,
                    decided_by=None,
                    decided_at=None,
                )
                | Q(
                    status=ExpenseStatus.SUBMITTED.value,
                    submitted_by__isnull=False,
                    submitted_at__isnull=False,
                    decided_by=None,
                    decided_at=None,
                )
                | Q(
                    status__in=[
                        ExpenseStatus.APPROVED.value,
                        ExpenseStatus.REJECTED.value,
                        ExpenseStatus.PAID.value,
                    ],
                    submitted_by__isnull=False,
                    submitted_at__isnull=False,
                    decided_by__isnull=False,
                    decided_at__isnull=False,
                ),
                name="expense_status_has_its_people",
                violation_error_message="An expense names who submitted and who decided it, and when, once they did.",
            ),
            models.CheckConstraint(
                condition=Q(status=ExpenseStatus.PAID.value, paid_on__isnull=False)
                | (~Q(status=ExpenseStatus.PAID.value) & Q(paid_on=None)),
                name="expense_paid_on_a_day",
                violation_error_message="An expense that was paid has the day of payment, no other has.",
            ),
        ]


class ExpenseLine(TenantModel):
    """One thing on the receipt."""

    expense = TenantForeignKey(Expense, models.CASCADE, related_name="lines")
    position = models.PositiveSmallIntegerField()
    category = models.CharField(max_length=20, choices=choices(ExpenseCategory))
    description = models.CharField(max_length=200, blank=True, default="")
    amount = amount_column()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["expense", "position"], name="one_expense_line_per_position"),
            models.CheckConstraint(
                condition=Q(amount__gt=0),
                name="expense_line_amount_positive",
                violation_error_message="A line is more than nothing.",
            ),
        ]


class ExpenseAllocation(TenantModel):
    """How much of a line was for one animal or one group. What is allocated to nobody is the farm's."""

    line = TenantForeignKey(ExpenseLine, models.CASCADE, related_name="allocations")
    animal = TenantForeignKey(Animal, null=True, blank=True, related_name="+")
    group = TenantForeignKey(AnimalGroup, null=True, blank=True, related_name="+")
    amount = amount_column()

    class Meta:
        indexes: ClassVar = [models.Index("animal", name="allocations_to_an_animal")]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(animal=None, group__isnull=False) | Q(animal__isnull=False, group=None),
                name="allocated_to_one_animal_or_group",
                violation_error_message="A part is for one animal or for one group.",
            ),
            models.CheckConstraint(
                condition=Q(amount__gt=0),
                name="allocation_amount_positive",
                violation_error_message="A part is more than nothing.",
            ),
        ]


class ExpenseStep(TenantModel):
    """One step of an expense on its way: who, when, from where, to where, why."""

    append_only = True

    expense = TenantForeignKey(Expense, related_name="steps")
    from_status = models.CharField(max_length=9, choices=choices(ExpenseStatus))
    to_status = models.CharField(max_length=9, choices=choices(ExpenseStatus))
    actor_id = models.UUIDField()
    reason = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        verbose_name = "step"
        indexes: ClassVar = [models.Index("expense", "created_at", name="steps_of_an_expense")]


class Sale(RecordModel):
    """Animals sold to a buyer. Never changed: an animal that comes back arrives again, an invoice is credited."""

    append_only = True

    farm = TenantForeignKey(Farm, related_name="+")
    buyer = TenantForeignKey(Contact, related_name="+")
    sale_date = models.DateField()
    amount = amount_column()
    currency = currency_column()
    note = models.CharField(max_length=300, blank=True, default="")

    class Meta:
        indexes: ClassVar = [
            models.Index("tenant", "sale_date", "id", name="sales_by_day"),
            models.Index("farm", "sale_date", name="sales_of_a_farm"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(amount__gt=0),
                name="sale_amount_positive",
                violation_error_message="A sale is for more than nothing.",
            ),
        ]


class SaleLine(TenantModel):
    """One animal of a sale, its price and the movement by which it left."""

    append_only = True

    sale = TenantForeignKey(Sale, related_name="lines")
    animal = TenantForeignKey(Animal, related_name="+")
    movement = TenantForeignKey(Movement, related_name="+")
    amount = amount_column()
    weight_kg = models.DecimalField(max_digits=7, decimal_places=2, null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["sale", "animal"],
                name="one_sale_line_per_animal",
                violation_error_message="An animal is sold once in a sale.",
            ),
            models.UniqueConstraint(fields=["movement"], name="one_sale_line_per_movement"),
            models.CheckConstraint(
                condition=Q(amount__gte=0),
                name="sale_line_amount_not_negative",
                violation_error_message="A price is nothing or more.",
            ),
        ]


class Purchase(RecordModel):
    """Animals bought from a supplier. Never changed, as a sale."""

    append_only = True

    farm = TenantForeignKey(Farm, related_name="+")
    supplier = TenantForeignKey(Contact, related_name="+")
    purchase_date = models.DateField()
    amount = amount_column()
    currency = currency_column()
    note = models.CharField(max_length=300, blank=True, default="")

    class Meta:
        indexes: ClassVar = [
            models.Index("tenant", "purchase_date", "id", name="purchases_by_day"),
            models.Index("farm", "purchase_date", name="purchases_of_a_farm"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(amount__gt=0),
                name="purchase_amount_positive",
                violation_error_message="A purchase is for more than nothing.",
            ),
        ]


class PurchaseLine(TenantModel):
    """One animal of a purchase, its price and the movement by which it came."""

    append_only = True

    purchase = TenantForeignKey(Purchase, related_name="lines")
    animal = TenantForeignKey(Animal, related_name="+")
    movement = TenantForeignKey(Movement, related_name="+")
    amount = amount_column()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["purchase", "animal"],
                name="one_purchase_line_per_animal",
                violation_error_message="An animal is bought once in a purchase.",
            ),
            models.UniqueConstraint(fields=["movement"], name="one_purchase_line_per_movement"),
            models.CheckConstraint(
                condition=Q(amount__gte=0),
                name="purchase_line_amount_not_negative",
                violation_error_message="A price is nothing or more.",
            ),
        ]


class Invoice(VersionedModel):
    """A bill to a buyer, or the credit note that takes one back. Issued once, never changed, never deleted.

    ``number`` counts from 1 without a gap for each tenant and year. The buyer's name, address and tax number are as
    they were that day. Source: Council Directive 2006/112/EC, articles 219 (what amends an invoice is one itself) and
    226 (a sequential number; date; names; per rate the taxable amount, the rate and the tax).
    """

    kind = models.CharField(max_length=11, choices=choices(InvoiceKind), default=InvoiceKind.INVOICE.value)
    year = models.PositiveSmallIntegerField()
    number = models.PositiveIntegerField()
    farm = TenantForeignKey(Farm, related_name="+")
    buyer = TenantForeignKey(Contact, related_name="+")
    sale = TenantForeignKey(Sale, null=True, blank=True, related_name="+")
    credits = TenantForeignKey("financial.Invoice", null=True, blank=True, related_name="+")
    buyer_name = models.CharField(max_length=120)
    buyer_address = models.CharField(max_length=300, blank=True, default="")
    buyer_tax_number = models.CharField(max_length=40, blank=True, default="")
    issued_on = models.DateField()
    due_on = models.DateField()
    net_amount = amount_column()
    vat_amount = amount_column()
    gross_amount = amount_column()
    paid_amount = amount_column(default=0)
    currency = currency_column()
    status = models.CharField(max_length=8, choices=choices(InvoiceStatus), default=InvoiceStatus.OPEN.value)

    class Meta:
        indexes: ClassVar = [models.Index("tenant", "issued_on", "id", name="invoices_by_day")]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "year", "number"], name="invoice_numbers_differ"),
            models.UniqueConstraint(
                fields=["sale"],
                condition=Q(kind=InvoiceKind.INVOICE.value)
                & ~Q(status=InvoiceStatus.CREDITED.value)
                & Q(sale__isnull=False),
                name="one_invoice_per_sale",
                violation_error_message="This sale has an invoice already; credit it first.",
            ),
            models.UniqueConstraint(
                fields=["credits"],
                condition=Q(credits__isnull=False),
                name="one_credit_note_per_invoice",
                violation_error_message="This invoice was credited already.",
            ),
            models.CheckConstraint(
                condition=Q(paid_amount__gte=0, paid_amount__lte=F("gross_amount")),
                name="no_invoice_is_overpaid",
                violation_error_message="A payment is at most what is open.",
            ),
            models.CheckConstraint(
                condition=Q(gross_amount=F("net_amount") + F("vat_amount")), name="invoice_adds_up"
            ),
            models.CheckConstraint(
                condition=Q(due_on__gte=F("issued_on")),
                name="invoice_due_after_issue",
                violation_error_message="An invoice is due on the day it is issued or later.",
            ),
        ]

    def __str__(self) -> str:
        return self.label

    @property
    def label(self) -> str:
        """The number as people write it: 2026-00017."""
        return f"{self.year}-{self.number:05}"


class InvoiceLine(TenantModel):
    """One line of an invoice, with its own rate of value added tax, rounded to the minor unit in each line."""

    append_only = True

    invoice = TenantForeignKey(Invoice, related_name="lines")
    position = models.PositiveSmallIntegerField()
    description = models.CharField(max_length=200)
    net_amount = amount_column()
    vat_rate_percent = models.DecimalField(max_digits=5, decimal_places=2)
    vat_amount = amount_column()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["invoice", "position"], name="one_invoice_line_per_position"),
            models.CheckConstraint(
                condition=Q(vat_rate_percent__gte=0, vat_rate_percent__lte=100),
                name="vat_rate_is_a_rate",
                violation_error_message="A rate of value added tax is from 0 to 100 percent.",
            ),
        ]


class Payment(RecordModel):
    """Money that came for an invoice."""

    append_only = True

    invoice = TenantForeignKey(Invoice, related_name="payments")
    paid_on = models.DateField()
    amount = amount_column()
    currency = currency_column()
    method = models.CharField(
        max_length=8, choices=choices(PaymentMethod), default=PaymentMethod.TRANSFER.value
    )
    reference = models.CharField(max_length=120, blank=True, default="")

    class Meta:
        indexes: ClassVar = [models.Index("invoice", "paid_on", name="payments_of_an_invoice")]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(amount__gt=0),
                name="payment_amount_positive",
                violation_error_message="A payment is more than nothing.",
            ),
        ]
