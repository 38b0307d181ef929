"""Words of money on a farm."""

from __future__ import annotations

from enum import StrEnum


class ContactKind(StrEnum):
    """What somebody is to the farm."""

    BUYER = "buyer"
    SUPPLIER = "supplier"
    VET = "vet"


class ExpenseStatus(StrEnum):
    """Where an expense is on its way."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    APPROVED = "approved"
    REJECTED = "rejected"
    PAID = "paid"


class ExpenseCategory(StrEnum):
    """What was bought: the direct costs and overheads of farm accounts, after the inputs of the EU's
    farm return (Commission Implementing Regulation (EU) 2015/220, annex VIII, table H)."""

    FEED = "feed"
    VETERINARY = "veterinary"
    BREEDING = "breeding"
    LIVESTOCK_SERVICES = "livestock_services"
    CROPS = "crops"
    LABOUR = "labour"
    CONTRACT_WORK = "contract_work"
    MACHINERY = "machinery"
    BUILDINGS = "buildings"
    ENERGY = "energy"
    WATER = "water"
    INSURANCE = "insurance"
    RENT = "rent"
    TRANSPORT = "transport"
    OTHER = "other"


class InvoiceKind(StrEnum):
    """An invoice, or the note that takes one back."""

    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"


class InvoiceStatus(StrEnum):
    """What is left to do about it. A credit note is closed from the start."""

    OPEN = "open"
    PAID = "paid"
    CREDITED = "credited"


class PaymentMethod(StrEnum):
    """How money came."""

    TRANSFER = "transfer"
    CARD = "card"
    CASH = "cash"
    CHEQUE = "cheque"
    OTHER = "other"


STEPS: dict[ExpenseStatus, frozenset[ExpenseStatus]] = {
    ExpenseStatus.DRAFT: frozenset({ExpenseStatus.SUBMITTED}),
    ExpenseStatus.SUBMITTED: frozenset({ExpenseStatus.APPROVED, ExpenseStatus.REJECTED, ExpenseStatus.DRAFT}),
    ExpenseStatus.REJECTED: frozenset({ExpenseStatus.DRAFT}),
    ExpenseStatus.APPROVED: frozenset({ExpenseStatus.PAID}),
    ExpenseStatus.PAID: frozenset(),
}
"""Where each status leads; the trigger `expense_guard` (migration 0002) has the same table. Back to draft: taken back
by who submitted it, or worked over after a rejection."""
