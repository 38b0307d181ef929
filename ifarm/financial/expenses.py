"""Expenses: what they are for, and their way from draft to paid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.utils import timezone

from ifarm.animals.policies import ANIMALS, GROUPS
from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import NotFound, RuleBroken
from ifarm.core.events import record_event
from ifarm.core.policies import Policy
from ifarm.core.versions import Seen
from ifarm.farms.policies import access_farm
from ifarm.financial.contacts import contact_of
from ifarm.financial.models import Expense, ExpenseAllocation, ExpenseLine, ExpenseStep
from ifarm.financial.money import Money
from ifarm.financial.policies import EXPENSES, access_expense
from ifarm.financial.words import STEPS, ContactKind, ExpenseStatus
from ifarm.permissions.services import JOB

Lines = Sequence[Mapping[str, Any]]
"""Each {category, description, amount, allocations: [{animal_id or group_id, amount}]}."""

_RIGHTS = {
    ExpenseStatus.SUBMITTED: "change",
    ExpenseStatus.DRAFT: "change",
    ExpenseStatus.APPROVED: "approve",
    ExpenseStatus.REJECTED: "approve",
    ExpenseStatus.PAID: "pay",
}


def create_expense(
    actor: Actor,
    *,
    farm_id: UUID,
    expense_date: date,
    currency: str,
    lines: Lines,
    supplier_id: UUID | None = None,
    **fields: Any,
) -> Expense:
    """A new draft. Raises `NotFound` for a strange farm, contact, animal, group; `RuleBroken` where sums do not fit."""
    with unit_of_work():
        expense = Expense(
            farm=access_farm(actor, farm_id),
            supplier=_supplier(actor, supplier_id),
            expense_date=expense_date,
            currency=currency,
            amount=_checked_sum(actor, lines, currency),
            **fields,
        )
        writes.insert(actor, expense)
        _add_lines(actor, expense, lines, before=None)
        return expense


def update_expense(actor: Actor, expense_id: UUID, changes: Mapping[str, Any], seen: Seen) -> Expense:
    """Change a draft; ``lines`` replaces all of them. Raises `StaleVersion`, `RuleBroken` for what is no draft."""
    with unit_of_work():
        expense = access_expense(actor, expense_id, lock=True)
        seen.require(expense)
        _require_draft(expense)
        fields = dict(changes)
        lines: Lines = fields.pop("lines", None) or _as_given(expense)
        if "supplier_id" in fields:
            fields["supplier"] = _supplier(actor, fields.pop("supplier_id"))
        currency = fields.get("currency", expense.currency)
        fields["amount"] = _checked_sum(actor, lines, currency)
        if "lines" in changes:
            before = _as_given(expense)
            expense.lines.all().delete()
            _add_lines(actor, expense, lines, before=before)
        return writes.update(actor, expense, fields)


def delete_expense(actor: Actor, expense_id: UUID) -> None:
    """Remove a draft that was never submitted. Once submitted, its history stays. Raises `RuleBroken`."""
    with unit_of_work():
        expense = access_expense(actor, expense_id, lock=True)
        _require_draft(expense)
        if expense.steps.exists():
            raise RuleBroken("expected a draft without a history, found one that was submitted before.")
        writes.delete(actor, expense)


def step_expense(
    actor: Actor,
    expense_id: UUID,
    *,
    to: ExpenseStatus,
    seen: Seen,
    reason: str = "",
    paid_on: date | None = None,
) -> Expense:
    """Bring an expense one step on its way (`STEPS`), and add to its history.

    Submitting needs the right to change, deciding the right to approve, and to be somebody else than who submitted;
    a rejection needs a reason, a payment its day. Only who submitted takes it back. Raises `NotAllowed`, `RuleBroken`,
    `StaleVersion`: a decision is about the version that was seen.
    """
    with unit_of_work():
        expense = access_expense(actor, expense_id, lock=True)
        EXPENSES.require(actor, _RIGHTS[to])
        seen.require(expense)
        before = ExpenseStatus(expense.status)
        if to not in STEPS[before]:
            ways = " or ".join(sorted(STEPS[before])) or "nothing"
            raise RuleBroken(f"{before} leads to {ways}, found {to}.")
        if actor.id == JOB:
            raise RuleBroken("expected a person to decide about an expense, found a job.")
        changes = {"status": to.value, **_people(actor, expense, to, reason, paid_on)}
        expense = writes.update(actor, expense, changes, reason=reason)
        step = ExpenseStep(
            expense=expense, from_status=before.value, to_status=to.value, actor_id=actor.id, reason=reason
        )
        writes.insert(actor, step)
        event = "taken_back" if to is ExpenseStatus.DRAFT else to.value
        money = {"amount": expense.amount, "currency": expense.currency}
        record_event(f"expense_{event}", expense, farm_id=expense.farm_id, **money)
        return expense


def _people(
    actor: Actor, expense: Expense, to: ExpenseStatus, reason: str, paid_on: date | None
) -> dict[str, Any]:
    """What a step writes down about who and when."""
    now = timezone.now()
    if to is ExpenseStatus.SUBMITTED:
        return {"submitted_by": actor.id, "submitted_at": now}
    if to is ExpenseStatus.DRAFT:
        if expense.status == ExpenseStatus.SUBMITTED and expense.submitted_by != actor.id:
            raise RuleBroken("expected who submitted the expense to take it back, found somebody else.")
        return {"submitted_by": None, "submitted_at": None, "decided_by": None, "decided_at": None}
    if to is ExpenseStatus.PAID:
        decided_on = expense.farm.day_of(expense.decided_at)
        if paid_on is None or paid_on < decided_on:
            raise RuleBroken(f"expected the day of payment, from {decided_on} on, found {paid_on}.")
        return {"paid_on": paid_on}
    if expense.submitted_by == actor.id:
        raise RuleBroken("expected somebody else than who submitted the expense to decide it.")
    if to is ExpenseStatus.REJECTED and not reason.strip():
        raise RuleBroken("expected a reason for the rejection, found none.")
    return {"decided_by": actor.id, "decided_at": now}


def _supplier(actor: Actor, supplier_id: UUID | None) -> Any:
    if supplier_id is None:
        return None
    return contact_of(actor, supplier_id, ContactKind.SUPPLIER, ContactKind.VET)


def _require_draft(expense: Expense) -> None:
    if expense.status != ExpenseStatus.DRAFT:
        raise RuleBroken(f"expected a draft, found an expense that is {expense.status}.")


def _checked_sum(actor: Actor, lines: Lines, currency: str) -> Decimal:
    """The amount of the expense. Two questions to the database, however many lines there are."""
    if not lines:
        raise RuleBroken("expected a line or more, found none.")
    whole = Decimal(0)
    wanted: dict[str, set[UUID]] = {"animal_id": set(), "group_id": set()}
    for number, line in enumerate(lines, 1):
        amount = Money(line["amount"], currency).amount
        whole += amount
        given = line.get("allocations", ())
        if sum((Money(part["amount"], currency).amount for part in given), Decimal(0)) > amount:
            raise RuleBroken(f"line {number}: expected allocations up to {amount}, found more.")
        for part in given:
            named = [name for name in wanted if part.get(name) is not None]
            if len(named) != 1:
                raise RuleBroken(
                    f"line {number}: expected one animal or one group for each allocation, found {len(named)}."
                )
            wanted[named[0]].add(part[named[0]])
    _require_known(actor, ANIMALS, wanted["animal_id"])
    _require_known(actor, GROUPS, wanted["group_id"])
    return whole


def _require_known(actor: Actor, policy: Policy[Any], ids: set[UUID]) -> None:
    if not ids:
        return
    known = set(policy.instances(actor).filter(id__in=ids).values_list("id", flat=True))
    if missing := sorted(ids - known):
        raise NotFound(f"{policy.model._meta.verbose_name} {missing[0]} was not found.")


def _as_given(expense: Expense) -> list[dict[str, Any]]:
    rows = expense.lines.order_by("position").prefetch_related("allocations")
    return [
        {
            "category": line.category,
            "description": line.description,
            "amount": line.amount,
            "allocations": [
                {"animal_id": part.animal_id, "group_id": part.group_id, "amount": part.amount}
                for part in line.allocations.all()
            ],
        }
        for line in rows
    ]


def _add_lines(actor: Actor, expense: Expense, lines: Lines, *, before: Any) -> None:
    rows, parts = [], []
    for number, line in enumerate(lines, 1):
        fields = {name: line[name] for name in ("category", "description", "amount") if name in line}
        row = ExpenseLine(expense=expense, position=number, **fields)
        row.clean_fields(exclude={"expense", "tenant"})
        rows.append(row)
        parts += [
            ExpenseAllocation(
                line=row,
                animal_id=part.get("animal_id"),
                group_id=part.get("group_id"),
                amount=part["amount"],
            )
            for part in line.get("allocations", ())
        ]
    ExpenseLine.objects.bulk_create(rows)
    ExpenseAllocation.objects.bulk_create(parts)
    writes.record(actor, "lines_set", expense, {"lines": [before, lines]})
