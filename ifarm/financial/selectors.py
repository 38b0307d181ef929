"""Reads of money."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db.models import Q, QuerySet, Sum

from ifarm.animals.models import GroupMembership
from ifarm.animals.policies import access_animal
from ifarm.core.actors import Actor
from ifarm.farms.models import Farm
from ifarm.farms.policies import access_farm
from ifarm.financial.models import (
    Contact,
    Expense,
    ExpenseAllocation,
    ExpenseStep,
    Invoice,
    Payment,
    Purchase,
    Sale,
)
from ifarm.financial.money import Money, by_currency, divided
from ifarm.financial.policies import (
    CONTACTS,
    EXPENSE_STEPS,
    EXPENSES,
    INVOICES,
    PAYMENTS,
    PURCHASES,
    SALES,
    access_expense,
    access_invoice,
)
from ifarm.financial.words import ExpenseStatus
from ifarm.production.policies import SUMMARIES

SPENT = (ExpenseStatus.APPROVED, ExpenseStatus.PAID)
"""What counts as spent: a draft is nobody's cost yet."""
KILOGRAMS_PER_LITRE: Final = Decimal("1.03")
"""Of cow's milk; the factor that dairies settle with, in Austria by rule since 2022."""


def list_contacts(actor: Actor) -> QuerySet[Contact]:
    """Contacts, also those out of use."""
    return CONTACTS.instances(actor)


def list_expenses(actor: Actor) -> QuerySet[Expense]:
    """Expenses, with their suppliers."""
    return EXPENSES.instances(actor).select_related("supplier")


def list_steps(actor: Actor, expense_id: UUID) -> QuerySet[ExpenseStep]:
    """The way of an expense. Raises `NotFound`, as all of these."""
    return EXPENSE_STEPS.instances(actor).filter(expense=access_expense(actor, expense_id))


def list_sales(actor: Actor) -> QuerySet[Sale]:
    """Sales, with their buyers."""
    return SALES.instances(actor).select_related("buyer")


def list_purchases(actor: Actor) -> QuerySet[Purchase]:
    """Purchases, with their suppliers."""
    return PURCHASES.instances(actor).select_related("supplier")


def list_invoices(actor: Actor) -> QuerySet[Invoice]:
    """Invoices and credit notes."""
    return INVOICES.instances(actor)


def list_payments(actor: Actor, invoice_id: UUID) -> QuerySet[Payment]:
    """What came for an invoice."""
    return PAYMENTS.instances(actor).filter(invoice=access_invoice(actor, invoice_id))


@dataclass(frozen=True, slots=True)
class Result:
    """What came and went in one currency."""

    currency: str
    sales: Decimal
    purchases: Decimal
    expenses: Decimal
    milk_litres: Decimal

    @property
    def result(self) -> Decimal:
        """What is left."""
        return self.sales - self.purchases - self.expenses

    @property
    def expenses_per_litre(self) -> Decimal | None:
        """All that was spent, for each litre of milk; not rounded to a minor unit. None without milk."""
        return (self.expenses / self.milk_litres).quantize(Decimal("0.0001")) if self.milk_litres else None


def results_of_farm(actor: Actor, farm_id: UUID, first: date, last: date) -> list[Result]:
    """Sales and purchases of animals and expenses that were approved, of the days from ``first`` to ``last``; a row for
    each currency, by its code. Amounts of two currencies are never added.
    """
    return _results(actor, first, last, farm=access_farm(actor, farm_id))


def results_of_farms(actor: Actor, first: date, last: date) -> list[Result]:
    """Those of all the actor's farms together."""
    return _results(actor, first, last)


def _results(actor: Actor, first: date, last: date, **only: Farm) -> list[Result]:
    purchases = PURCHASES.instances(actor).filter(purchase_date__range=(first, last), **only)
    income, costs, bought = (
        earned(actor, first, last, **only),
        spent(actor, first, last, **only),
        _sums(purchases),
    )
    nothing = Decimal(0)
    litres = _litres(actor, first, last, **only)
    return [
        Result(code, income.get(code, nothing), bought.get(code, nothing), costs.get(code, nothing), litres)
        for code in sorted({*income, *bought, *costs})
    ]


def earned(actor: Actor, first: date, last: date, **only: Farm) -> dict[str, Decimal]:
    """What animals were sold for from ``first`` to ``last``, by currency; ``farm=``: of one farm."""
    return _sums(SALES.instances(actor).filter(sale_date__range=(first, last), **only))


def spent(actor: Actor, first: date, last: date, **only: Farm) -> dict[str, Decimal]:
    """Expenses that were approved, from ``first`` to ``last``, by currency; ``farm=``: of one farm."""
    rows = EXPENSES.instances(actor).filter(expense_date__range=(first, last), status__in=SPENT, **only)
    return _sums(rows)


def _sums(rows: QuerySet[Sale] | QuerySet[Purchase] | QuerySet[Expense]) -> dict[str, Decimal]:
    return dict(rows.order_by("currency").values_list("currency").annotate(Sum("amount")))


def _litres(actor: Actor, first: date, last: date, **only: Farm) -> Decimal:
    """Milk of those days, in litres, from the kilograms that are recorded."""
    days = SUMMARIES.instances(actor).filter(day__range=(first, last), **only)
    kilograms = days.aggregate(Sum("milk_kg"))["milk_kg__sum"] or Decimal(0)
    return (kilograms / KILOGRAMS_PER_LITRE).quantize(Decimal("0.01"))


def cost_of_animal(actor: Actor, animal_id: UUID, first: date, last: date) -> dict[str, Decimal]:
    """What was spent for an animal in those days, by currency: its allocations, and its part of those to its groups.

    An allocation to a group is divided equally among the animals that were in it on the day of the expense; minor units
    that do not divide go to the animals that came first, so the parts of all are the whole.
    """
    animal = access_animal(actor, animal_id)
    spent = Q(line__expense__status__in=SPENT, line__expense__expense_date__range=(first, last))
    rows = ExpenseAllocation.objects.filter(spent).select_related("line__expense")
    moneys = [Money(part.amount, part.line.expense.currency) for part in rows.filter(animal_id=animal.id)]
    groups = {membership.group_id for membership in animal.group_memberships.all()}
    shared = list(rows.filter(group_id__in=groups))
    members = list(
        GroupMembership.objects.filter(group_id__in=groups)
        .order_by("starts_on", "id")
        .values_list("group_id", "animal_id", "starts_on", "ends_on")
    )
    for part in shared:
        day = part.line.expense.expense_date
        present = [
            member
            for group, member, starts, ends in members
            if group == part.group_id and starts <= day and (ends is None or day < ends)
        ]
        if animal.id in present:
            whole = Money(part.amount, part.line.expense.currency)
            moneys.append(Money(divided(whole, len(present))[present.index(animal.id)], whole.currency))
    return by_currency(moneys)
