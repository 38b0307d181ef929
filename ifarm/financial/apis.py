"""Routes of contacts and expenses, and the reports of a farm."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from rest_framework import serializers

from ifarm.api.pages import Order
from ifarm.api.views import TenantView, operation
from ifarm.core.versions import Seen
from ifarm.financial import contacts, expenses, schedule, selectors
from ifarm.financial.filters import ContactFilters, ExpenseFilters
from ifarm.financial.invoices import today_of_tenant
from ifarm.financial.models import Contact, Expense, ExpenseStep
from ifarm.financial.money import Money
from ifarm.financial.policies import (
    CONTACTS,
    EXPENSE_STEPS,
    EXPENSES,
    SALES,
    access_contact,
    access_expense,
)
from ifarm.financial.serializers import (
    ContactChange,
    ContactInput,
    ContactOutput,
    CostsOutput,
    ExpenseChange,
    ExpenseDetail,
    ExpenseInput,
    ExpenseOutput,
    ResultsOutput,
    ScheduleOutput,
    StepInput,
    StepOutput,
)
from ifarm.financial.words import ExpenseStatus


class ContactsApi(TenantView):
    """Buyers, suppliers and vets."""

    @operation(
        CONTACTS,
        "view",
        output=ContactOutput,
        order=Order(Contact, "name", "modified_at", "created_at"),
        filters=ContactFilters,
    )
    def get(self) -> QuerySet[Contact]:
        """All contacts of the tenant."""
        return selectors.list_contacts(self.actor)

    @operation(CONTACTS, "add", input=ContactInput, output=ContactOutput, status=201)
    def post(self, data: Mapping[str, Any]) -> Contact:
        """A new contact."""
        return contacts.create_contact(self.actor, **data)


class ContactApi(TenantView):
    """One contact."""

    @operation(CONTACTS, "view", output=ContactOutput)
    def get(self, contact_id: UUID) -> Contact:
        """Look at it."""
        return access_contact(self.actor, contact_id)

    @operation(CONTACTS, "change", input=ContactChange, output=ContactOutput, versioned=True)
    def patch(self, contact_id: UUID, data: Mapping[str, Any], seen: Seen) -> Contact:
        """Change it; invoices keep what they said."""
        return contacts.update_contact(self.actor, contact_id, data, seen)


class ExpensesApi(TenantView):
    """All expenses."""

    @operation(
        EXPENSES,
        "view",
        output=ExpenseOutput,
        order=Order(Expense, "expense_date", "modified_at", "created_at"),
        filters=ExpenseFilters,
    )
    def get(self) -> QuerySet[Expense]:
        """Expenses of the actor's farms, without their lines."""
        return selectors.list_expenses(self.actor)

    @operation(EXPENSES, "add", input=ExpenseInput, output=ExpenseDetail, status=201)
    def post(self, data: Mapping[str, Any]) -> Expense:
        """A new draft."""
        return expenses.create_expense(self.actor, **data)


class ExpenseApi(TenantView):
    """One expense."""

    @operation(EXPENSES, "view", output=ExpenseDetail)
    def get(self, expense_id: UUID) -> Expense:
        """Look at it, with its lines."""
        return access_expense(self.actor, expense_id)

    @operation(EXPENSES, "change", input=ExpenseChange, output=ExpenseDetail, versioned=True)
    def patch(self, expense_id: UUID, data: Mapping[str, Any], seen: Seen) -> Expense:
        """Change a draft."""
        return expenses.update_expense(self.actor, expense_id, data, seen)

    @operation(EXPENSES, "delete")
    def delete(self, expense_id: UUID) -> None:
        """Remove a draft that was never submitted."""
        expenses.delete_expense(self.actor, expense_id)


class ExpenseStepsApi(TenantView):
    """The way of one expense: draft, submitted, approved or rejected, paid."""

    @operation(EXPENSE_STEPS, "view", output=StepOutput, order=Order(ExpenseStep, "created_at"))
    def get(self, expense_id: UUID) -> QuerySet[ExpenseStep]:
        """Who brought it from where to where, when and why."""
        return selectors.list_steps(self.actor, expense_id)

    @operation(EXPENSE_STEPS, "add", input=StepInput, output=ExpenseDetail, versioned=True, status=201)
    def post(self, expense_id: UUID, data: Mapping[str, Any], seen: Seen) -> Expense:
        """The next step: submit, take back, approve, reject, pay. Each needs a right of its own."""
        to = ExpenseStatus(data["to"])
        return expenses.step_expense(self.actor, expense_id, **{**data, "to": to}, seen=seen)


class PeriodInput(serializers.Serializer):
    """`?first=2026-01-01&last=2026-12-31`, both included; without: this year up to today."""

    first = serializers.DateField(required=False)
    last = serializers.DateField(required=False)


class ReportView(TenantView):
    """Base of reports about some days."""

    def period(self, asked: Mapping[str, date]) -> tuple[date, date]:
        """The days that were asked for."""
        last = asked.get("last") or today_of_tenant()
        return asked.get("first") or date(last.year, 1, 1), last


class ScheduleApi(ReportView):
    """The livestock schedule of a farm."""

    @operation(SALES, "view", output=ScheduleOutput, query=PeriodInput)
    def get(self, farm_id: UUID, asked: Mapping[str, date]) -> schedule.Schedule:
        """Opening, what came, what went, closing; by class of animals."""
        return schedule.livestock_schedule(self.actor, farm_id, *self.period(asked))


class ResultsApi(ReportView):
    """What a farm earned and spent."""

    @operation(SALES, "view", output=ResultsOutput, query=PeriodInput)
    def get(self, farm_id: UUID, asked: Mapping[str, date]) -> dict[str, Any]:
        """Sales, purchases and approved expenses, in each currency."""
        first, last = self.period(asked)
        results = selectors.results_of_farm(self.actor, farm_id, first, last)
        return {"first": first, "last": last, "results": results}


class CostsApi(ReportView):
    """What an animal has cost."""

    @operation(EXPENSES, "view", output=CostsOutput, query=PeriodInput)
    def get(self, animal_id: UUID, asked: Mapping[str, date]) -> dict[str, Any]:
        """Its own allocations and its part of those to its groups, in each currency."""
        first, last = self.period(asked)
        sums = selectors.cost_of_animal(self.actor, animal_id, first, last)
        costs = [Money(amount, currency) for currency, amount in sorted(sums.items())]
        return {"first": first, "last": last, "costs": costs}
