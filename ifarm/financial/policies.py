"""Rights on money. Vets see none of it; workers see and record expenses only."""

from __future__ import annotations

from uuid import UUID

from ifarm.core.actors import BOOKKEEPERS, LEADERS, STOCKKEEPERS, Actor, Role
from ifarm.core.policies import Policy
from ifarm.financial.models import (
    Contact,
    Expense,
    ExpenseStep,
    Invoice,
    Payment,
    Purchase,
    Sale,
)

SPENDERS = STOCKKEEPERS | BOOKKEEPERS
READERS = BOOKKEEPERS | {Role.READ_ONLY}

CONTACTS = Policy(Contact, farm=None, add=SPENDERS, change=SPENDERS)
EXPENSES = Policy(
    Expense,
    farm="farm_id",
    view=SPENDERS | READERS,
    add=SPENDERS,
    change=SPENDERS,
    delete=SPENDERS,
    approve=LEADERS,
    pay=BOOKKEEPERS,
)
EXPENSE_STEPS = Policy(ExpenseStep, farm="expense__farm_id", view=SPENDERS | READERS, add=SPENDERS)
SALES = Policy(Sale, farm="farm_id", view=READERS, add=LEADERS)
PURCHASES = Policy(Purchase, farm="farm_id", view=READERS, add=LEADERS)
INVOICES = Policy(Invoice, farm="farm_id", view=READERS, add=BOOKKEEPERS, credit=BOOKKEEPERS)
PAYMENTS = Policy(Payment, farm="invoice__farm_id", view=READERS, add=BOOKKEEPERS)


def access_contact(actor: Actor, contact_id: UUID, *, lock: bool = False) -> Contact:
    """One contact. Raises `NotFound`."""
    return CONTACTS.access(actor, contact_id, lock=lock)


def access_expense(actor: Actor, expense_id: UUID, *, lock: bool = False) -> Expense:
    """One expense. Raises `NotFound`."""
    return EXPENSES.access(actor, expense_id, lock=lock)


def access_sale(actor: Actor, sale_id: UUID) -> Sale:
    """One sale. Raises `NotFound`."""
    return SALES.access(actor, sale_id)


def access_purchase(actor: Actor, purchase_id: UUID) -> Purchase:
    """One purchase. Raises `NotFound`."""
    return PURCHASES.access(actor, purchase_id)


def access_invoice(actor: Actor, invoice_id: UUID, *, lock: bool = False) -> Invoice:
    """One invoice. Raises `NotFound`."""
    return INVOICES.access(actor, invoice_id, lock=lock)
