"""Expenses: their way, who may decide, what cannot be changed any more; by the services and past them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from ifarm.animals.groups import create_group, join_group
from ifarm.animals.services import create_animal
from ifarm.audit.models import AuditEntry
from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.errors import NotAllowed, NotFound, RuleBroken, StaleVersion
from ifarm.core.models import OutboxEvent
from ifarm.core.tests.factories import make_member, make_owner
from ifarm.core.versions import Seen
from ifarm.farms.services import create_farm
from ifarm.financial.contacts import create_contact
from ifarm.financial.expenses import create_expense, delete_expense, step_expense, update_expense
from ifarm.financial.models import Expense, ExpenseLine, ExpenseStep
from ifarm.financial.policies import access_expense
from ifarm.financial.selectors import cost_of_animal, results_of_farm
from ifarm.financial.words import STEPS, ContactKind, ExpenseStatus

DAY = date(2024, 3, 1)
LINES = [{"category": "feed", "amount": Decimal("20.00")}]
DRAFT, SUBMITTED, APPROVED, REJECTED, PAID = ExpenseStatus


class People:
    """A farm, an owner, a manager and a worker."""

    def __init__(self) -> None:
        self.owner = make_owner()
        self.stack = ExitStack()
        self.stack.enter_context(unit_of_work(self.owner.tenant_id))
        self.farm = create_farm(self.owner, name="Hill")
        self.manager = make_member(self.owner, Role.MANAGER)
        self.worker = make_member(self.owner, Role.WORKER)

    def draft(self, **fields: Any) -> Expense:
        given = {"expense_date": DAY, "currency": "EUR", "description": "Hay", "lines": LINES, **fields}
        return create_expense(self.worker, farm_id=self.farm.id, **given)

    def step(self, actor: Actor, expense: Expense, to: ExpenseStatus, **fields: Any) -> Expense:
        seen = Seen(access_expense(actor, expense.id).version)
        with transaction.atomic():
            return step_expense(actor, expense.id, to=to, seen=seen, **fields)

    def brought_to(self, *way: ExpenseStatus) -> Expense:
        expense = self.draft()
        for to in way:
            actor = self.worker if to is SUBMITTED else self.manager
            more: dict[str, Any] = {"paid_on": timezone.now().date()} if to is PAID else {"reason": "so"}
            expense = self.step(actor, expense, to, **more)
        return expense


@pytest.fixture
def people(db: None) -> Iterator[People]:
    found = People()
    with found.stack:
        yield found


def raw(text: str, *parameters: Any) -> None:
    with connection.cursor() as cursor, transaction.atomic():
        cursor.execute(text, parameters)


def test_the_way_of_an_expense_is_kept(people: People) -> None:
    expense = people.brought_to(SUBMITTED, APPROVED, PAID)
    assert (expense.status, expense.submitted_by, expense.decided_by) == (
        PAID,
        people.worker.id,
        people.manager.id,
    )
    steps = ExpenseStep.objects.filter(expense=expense).order_by("created_at")
    assert [(s.from_status, s.to_status, s.actor_id) for s in steps] == [
        (DRAFT, SUBMITTED, people.worker.id),
        (SUBMITTED, APPROVED, people.manager.id),
        (APPROVED, PAID, people.manager.id),
    ]
    events = OutboxEvent.objects.filter(aggregate_id=expense.id).order_by("id").values_list("type", flat=True)
    assert list(events) == ["expense_submitted", "expense_approved", "expense_paid"]


def test_nobody_decides_their_own(people: People) -> None:
    mine = create_expense(
        people.manager,
        farm_id=people.farm.id,
        expense_date=DAY,
        currency="EUR",
        description="Hay",
        lines=LINES,
    )
    people.step(people.manager, mine, SUBMITTED)
    for to in (APPROVED, REJECTED):
        with pytest.raises(RuleBroken, match="somebody else"):
            people.step(people.manager, mine, to, reason="fine")
    with pytest.raises(NotAllowed):
        people.step(people.worker, mine, APPROVED)
    with pytest.raises(IntegrityError, match="nobody_decides_their_own_expense"):
        raw(
            "UPDATE financial_expense SET status = 'approved', decided_by = submitted_by, decided_at = now()"
            " WHERE id = %s",
            mine.id,
        )
    assert people.step(people.owner, mine, APPROVED).decided_by == people.owner.id


def test_a_decision_is_about_what_was_seen(people: People) -> None:
    expense = people.brought_to(SUBMITTED)
    seen = Seen(expense.version)
    people.step(people.worker, expense, DRAFT)
    expense = access_expense(people.worker, expense.id)
    dearer = [{"category": "feed", "amount": Decimal(2000)}]
    update_expense(people.worker, expense.id, {"lines": dearer}, Seen(expense.version))
    people.step(people.worker, expense, SUBMITTED)
    with pytest.raises(StaleVersion):
        step_expense(people.manager, expense.id, to=APPROVED, seen=seen)


def test_a_rejection_has_a_reason_and_a_payment_a_day(people: People) -> None:
    expense = people.brought_to(SUBMITTED)
    with pytest.raises(RuleBroken, match="reason"):
        people.step(people.manager, expense, REJECTED, reason=" ")
    with pytest.raises(RuleBroken, match="somebody else"):
        people.step(people.manager, expense, DRAFT)
    people.step(people.manager, expense, APPROVED)
    decided_at = access_expense(people.owner, expense.id).decided_at
    for day in (None, decided_at.date() - timedelta(days=1)):
        with pytest.raises(RuleBroken, match="day of payment"):
            people.step(people.manager, expense, PAID, paid_on=day)


def test_a_payment_is_of_a_day_of_the_farm(people: People, clock: Callable[[datetime], None]) -> None:
    """Decided and paid in the evening, where it is the next month already in UTC."""
    people.farm = create_farm(people.owner, name="Vale", timezone="America/New_York")
    clock(datetime(2026, 3, 1, 2, tzinfo=UTC))
    expense = people.brought_to(SUBMITTED, APPROVED)
    with pytest.raises(RuleBroken, match="from 2026-02-28 on, found 2026-02-27"):
        people.step(people.manager, expense, PAID, paid_on=date(2026, 2, 27))
    assert people.step(people.manager, expense, PAID, paid_on=date(2026, 2, 28)).status == PAID


def test_only_a_draft_that_was_never_submitted_is_deleted(people: People) -> None:
    for way in ((SUBMITTED,), (SUBMITTED, REJECTED), (SUBMITTED, APPROVED), (SUBMITTED, DRAFT)):
        expense = people.draft()
        for to in way:
            actor = people.worker if to in (SUBMITTED, DRAFT) else people.manager
            people.step(actor, expense, to, reason="so")
        with pytest.raises(RuleBroken):
            delete_expense(people.worker, expense.id)
    draft = people.draft()
    delete_expense(people.worker, draft.id)
    assert not Expense.objects.filter(pk=draft.id).exists()
    assert AuditEntry.objects.filter(object_id=draft.id, action="deleted").exists()


CONTENT = [
    "UPDATE financial_expense SET amount = amount + 1 WHERE id = %s",
    "UPDATE financial_expense SET currency = 'USD' WHERE id = %s",
    "UPDATE financial_expense SET description = 'a car' WHERE id = %s",
    "UPDATE financial_expense SET supplier_id = gen_random_uuid() WHERE id = %s",
    "DELETE FROM financial_expense WHERE id = %s",
    "DELETE FROM financial_expenseline WHERE expense_id = %s",
    "UPDATE financial_expenseline SET amount = amount + 1 WHERE expense_id = %s",
    "UPDATE financial_expenseallocation SET amount = 1 WHERE line_id IN"
    " (SELECT id FROM financial_expenseline WHERE expense_id = %s)",
    "DELETE FROM financial_expenseallocation WHERE line_id IN"
    " (SELECT id FROM financial_expenseline WHERE expense_id = %s)",
]
PEOPLE = [
    "UPDATE financial_expense SET decided_by = gen_random_uuid() WHERE id = %s",
    "UPDATE financial_expense SET submitted_by = gen_random_uuid() WHERE id = %s",
    "UPDATE financial_expense SET decided_at = now() - interval '1 day' WHERE id = %s",
    "UPDATE financial_expense SET status = 'rejected' WHERE id = %s",
    "UPDATE financial_expense SET status = 'draft', submitted_by = NULL, submitted_at = NULL, decided_by = NULL,"
    " decided_at = NULL, paid_on = NULL WHERE id = %s",
]


@pytest.mark.parametrize(
    "way", [(SUBMITTED,), (SUBMITTED, APPROVED), (SUBMITTED, REJECTED), (SUBMITTED, APPROVED, PAID)]
)
def test_the_database_refuses_changes_past_the_services(
    people: People, way: tuple[ExpenseStatus, ...]
) -> None:
    cow = create_animal(
        people.owner, farm_id=people.farm.id, tag_number="AT 1", animal_type="Cattle", sex="Female"
    )
    part = {"animal_id": cow.id, "amount": Decimal(5)}
    expense = people.draft(lines=[{**LINES[0], "allocations": [part]}])
    for to in way:
        actor = people.worker if to is SUBMITTED else people.manager
        more: dict[str, Any] = {"paid_on": timezone.now().date()} if to is PAID else {"reason": "so"}
        people.step(actor, expense, to, **more)
    for attempt in CONTENT + (PEOPLE if APPROVED in way else []):
        with pytest.raises(IntegrityError, match=r"draft|does not"):
            raw(attempt, expense.id)
    with pytest.raises(IntegrityError, match="draft"), transaction.atomic():
        ExpenseLine(expense=expense, position=9, category="feed", amount=1).save(force_insert=True)
    with pytest.raises(IntegrityError, match="draft"), transaction.atomic():
        again = access_expense(people.owner, expense.id)
        again.pk = uuid4()
        again.save(force_insert=True)


def test_a_history_is_only_added_to(people: People) -> None:
    expense = people.brought_to(SUBMITTED)
    raw("DELETE FROM financial_expensestep")
    raw("UPDATE financial_expensestep SET to_status = 'approved'")
    assert [step.to_status for step in ExpenseStep.objects.filter(expense=expense)] == [SUBMITTED]


def test_lines_add_up_and_are_for_what_is_there(people: People) -> None:
    farm = people.farm
    cow = create_animal(people.owner, farm_id=farm.id, tag_number="AT 1", animal_type="Cattle", sex="Female")
    part = {"animal_id": cow.id, "amount": Decimal(15)}
    lines = [{**LINES[0], "allocations": [part]}, {"category": "water", "amount": Decimal("0.50")}]
    assert people.draft(lines=lines).amount == Decimal("20.50")
    for wrong, message in (
        ([], "a line or more"),
        ([{**LINES[0], "allocations": [part, part]}], "up to 20.00"),
        ([{**LINES[0], "allocations": [{"amount": Decimal(1)}]}], "found 0"),
        ([{"category": "feed", "amount": Decimal("0.001")}], "2 digits"),
    ):
        with pytest.raises(RuleBroken, match=message), transaction.atomic():
            people.draft(lines=wrong)
    with pytest.raises(NotFound), transaction.atomic():
        people.draft(lines=[{**LINES[0], "allocations": [{"animal_id": uuid4(), "amount": Decimal(1)}]}])
    buyer = create_contact(people.owner, kind=ContactKind.BUYER.value, name="Dairy")
    with pytest.raises(RuleBroken, match="expected a supplier or vet"), transaction.atomic():
        people.draft(supplier_id=buyer.id)


def test_what_an_animal_costs(people: People) -> None:
    farm, owner = people.farm, people.owner
    cows = [
        create_animal(
            owner,
            farm_id=farm.id,
            tag_number=f"AT {n}",
            animal_type="Cattle",
            sex="Female",
            birth_date=date(2022, 1, 1),
        )
        for n in range(3)
    ]
    group = create_group(owner, farm_id=farm.id, name="Milking", kind="Milking")
    for cow in cows:
        join_group(owner, group.id, animal_id=cow.id, starts_on=date(2024, 1, 1))
    parts = [
        {"group_id": group.id, "amount": Decimal("10.00")},
        {"animal_id": cows[0].id, "amount": Decimal("1.00")},
    ]
    expense = people.draft(lines=[{**LINES[0], "allocations": parts}])
    year = (date(2024, 1, 1), date(2024, 12, 31))
    assert cost_of_animal(owner, cows[0].id, *year) == {}  # nobody has approved it
    assert results_of_farm(owner, farm.id, *year) == []
    people.step(people.worker, expense, SUBMITTED)
    people.step(people.manager, expense, APPROVED)
    costs = [cost_of_animal(owner, cow.id, *year).get("EUR") for cow in cows]
    assert costs == [Decimal("4.34"), Decimal("3.33"), Decimal("3.33")]
    dollars = people.draft(currency="USD", lines=[{**LINES[0], "allocations": parts[1:]}])
    people.step(people.worker, dollars, SUBMITTED)
    people.step(people.manager, dollars, APPROVED)
    assert cost_of_animal(owner, cows[0].id, *year) == {"EUR": Decimal("4.34"), "USD": Decimal("1.00")}
    rows = results_of_farm(owner, farm.id, *year)
    assert [(row.currency, row.expenses, row.result) for row in rows] == [
        (code, Decimal(20), Decimal(-20)) for code in ("EUR", "USD")
    ]
    assert cost_of_animal(owner, cows[0].id, date(2025, 1, 1), date(2025, 12, 31)) == {}


class OneExpense(RuleBasedStateMachine):
    """One expense, four people, any order of steps and changes; the model knows where it is and who submitted it."""

    def __init__(self) -> None:
        super().__init__()
        self.people = People()
        people = self.people
        self.actors = [
            people.owner,
            people.manager,
            people.worker,
            make_member(people.owner, Role.ACCOUNTANT),
        ]
        self.id: UUID = people.draft().id
        self.status, self.steps, self.amount = DRAFT, 0, Decimal(20)
        self.submitter: UUID | None = None

    def teardown(self) -> None:
        self.people.stack.close()

    @rule(who=st.integers(0, 3), to=st.sampled_from(list(ExpenseStatus)), reason=st.sampled_from(["", "so"]))
    def step(self, who: int, to: ExpenseStatus, reason: str) -> None:
        actor = self.actors[who]
        decides = actor.role in (Role.OWNER, Role.MANAGER)
        mine = self.submitter == actor.id
        may = {
            DRAFT: self.status is REJECTED or mine,
            SUBMITTED: True,
            APPROVED: decides and not mine,
            REJECTED: decides and not mine and reason != "",
            PAID: actor.role is not Role.WORKER,
        }[to] and to in STEPS[self.status]
        try:
            expense = access_expense(actor, self.id)
            day = datetime.now(UTC).date() if to is PAID else None
            with transaction.atomic():
                step_expense(actor, self.id, to=to, seen=Seen(expense.version), reason=reason, paid_on=day)
        except (RuleBroken, NotAllowed):
            assert not may
            return
        assert may
        self.status, self.steps = to, self.steps + 1
        self.submitter = actor.id if to is SUBMITTED else None if to is DRAFT else self.submitter

    @rule(who=st.integers(0, 3), amount=st.integers(1, 50))
    def change(self, who: int, amount: int) -> None:
        actor = self.actors[who]
        lines = [{"category": "feed", "amount": Decimal(amount)}]
        try:
            with transaction.atomic():
                seen = Seen(access_expense(actor, self.id).version)
                update_expense(actor, self.id, {"lines": lines}, seen)
        except RuleBroken:
            assert self.status is not DRAFT
            return
        assert self.status is DRAFT
        self.amount = Decimal(amount)

    @invariant()
    def the_row_the_lines_and_the_history_agree(self) -> None:
        expense = access_expense(self.people.owner, self.id)
        assert (expense.status, expense.submitted_by, expense.amount) == (
            self.status,
            self.submitter,
            self.amount,
        )
        assert sum(line.amount for line in expense.lines.all()) == expense.amount
        assert (expense.decided_by is None) is (self.status in (DRAFT, SUBMITTED))
        assert expense.decided_by is None or expense.decided_by != expense.submitted_by
        way = list(expense.steps.order_by("created_at").values_list("from_status", "to_status"))
        assert len(way) == self.steps
        assert [before for before, _ in way] == [DRAFT, *(after for _, after in way)][: len(way)]


@pytest.mark.django_db
def test_expenses_in_any_order() -> None:
    few = settings(
        max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(OneExpense, settings=few)
