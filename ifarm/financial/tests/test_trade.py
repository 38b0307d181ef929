"""Sales, purchases, invoices and payments; the livestock schedule of whatever has happened."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from ifarm.animals.models import Animal
from ifarm.animals.movements import move_animal
from ifarm.animals.policies import access_animal
from ifarm.animals.services import create_animal
from ifarm.animals.words import ArrivalReason, DepartureReason, MovementKind, Status
from ifarm.audit.models import AuditEntry
from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.errors import NotFound, RuleBroken
from ifarm.core.tests.factories import make_member, make_owner
from ifarm.core.tests.threads import in_thread
from ifarm.core.versions import Seen
from ifarm.farms.services import create_farm
from ifarm.financial.contacts import create_contact, update_contact
from ifarm.financial.expenses import create_expense, step_expense
from ifarm.financial.invoices import credit_invoice, invoice_sale, issue_invoice, record_payment
from ifarm.financial.models import Invoice, Payment, Purchase, Sale
from ifarm.financial.policies import access_invoice
from ifarm.financial.schedule import livestock_schedule
from ifarm.financial.selectors import results_of_farm
from ifarm.financial.trade import record_purchase, record_sale
from ifarm.financial.words import ContactKind, ExpenseStatus
from ifarm.health.tests.examples import make_medicine, make_treatment
from ifarm.health.withdrawal import InWithdrawal
from ifarm.production.models import DailySummary

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
DAY = date(2024, 3, 1)


class Market:
    """A farm, somebody who buys and somebody who sells."""

    def __init__(self) -> None:
        self.owner: Actor = make_owner()
        with unit_of_work(self.owner.tenant_id):
            self.farm = create_farm(self.owner, name="Hill", timezone="Europe/Vienna")
            self.buyer = create_contact(
                self.owner, kind=ContactKind.BUYER.value, name="Dairy", address="Market 1"
            )
            self.supplier = create_contact(self.owner, kind=ContactKind.SUPPLIER.value, name="Mill")

    def cow(self, tag: str, **fields: Any) -> Animal:
        given = {"animal_type": "Cattle", "sex": "Female", "birth_date": date(2020, 1, 1), **fields}
        return create_animal(self.owner, farm_id=self.farm.id, tag_number=tag, **given)

    def sell(self, *ids: UUID, price: str = "100.00", currency: str = "EUR", **fields: Any) -> Sale:
        lots = [{"animal_ids": list(ids), "price": Decimal(price)}]
        given = {"sold_at": NOON, "lots": lots, **fields}
        return record_sale(
            self.owner, farm_id=self.farm.id, buyer_id=self.buyer.id, currency=currency, **given
        )

    def buy(self, *animals: dict[str, Any], **fields: Any) -> Purchase:
        given = {"bought_at": NOON, "animals": animals, "currency": "EUR", **fields}
        return record_purchase(self.owner, farm_id=self.farm.id, supplier_id=self.supplier.id, **given)

    def bill(self, **fields: Any) -> Invoice:
        lines = [{"description": "Milk", "net_amount": Decimal("100.00"), "vat_rate_percent": Decimal(10)}]
        given = {"issued_on": DAY, "due_on": DAY, "currency": "EUR", "lines": lines, **fields}
        return issue_invoice(self.owner, farm_id=self.farm.id, buyer_id=self.buyer.id, **given)

    def pay(self, invoice: Invoice, amount: str, currency: str = "EUR") -> Payment:
        with transaction.atomic():
            return record_payment(
                self.owner, invoice.id, amount=Decimal(amount), currency=currency, paid_on=DAY
            )


@pytest.fixture
def market(db: None) -> Iterator[Market]:
    found = Market()
    with unit_of_work(found.owner.tenant_id):
        yield found


def test_a_sale_takes_the_animals_away(market: Market) -> None:
    cows = [market.cow(f"AT {n}") for n in range(3)]
    sale = market.sell(*(cow.id for cow in cows))
    assert (sale.amount, sale.sale_date) == (Decimal(100), DAY)
    lines = sale.lines.order_by("id")
    assert sorted(line.amount for line in lines) == [Decimal("33.33"), Decimal("33.33"), Decimal("33.34")]
    for line in lines:
        assert access_animal(market.owner, line.animal_id).status == Status.OFF_FARM
        assert (line.movement.kind, line.movement.reason) == ("Departure", "Sale")
        assert line.movement.counterpart == "Dairy"


def test_a_sale_that_fails_leaves_nothing(market: Market) -> None:
    here, gone = market.cow("AT 1"), market.cow("AT 2")
    market.sell(gone.id)
    with pytest.raises(RuleBroken, match="OffFarm"), transaction.atomic():
        market.sell(here.id, gone.id, sold_at=NOON + timedelta(days=1))
    assert access_animal(market.owner, here.id).status == Status.ALIVE
    assert Sale.objects.count() == 1


def test_what_cannot_be_sold(market: Market) -> None:
    cow = market.cow("AT 1")
    other = create_farm(market.owner, name="Vale")
    far = create_animal(market.owner, farm_id=other.id, tag_number="AT 9", animal_type="Cattle", sex="Female")
    for wrong, error, message in (
        ({"lots": []}, RuleBroken, "an animal or more"),
        ({"lots": [{"animal_ids": [cow.id, cow.id], "price": Decimal(1)}]}, RuleBroken, "twice"),
        ({"lots": [{"animal_ids": [far.id], "price": Decimal(1)}]}, RuleBroken, "of another"),
        ({"reason": DepartureReason.AGE}, RuleBroken, "reason of"),
        ({"lots": [{"animal_ids": [cow.id], "price": Decimal("1.001")}]}, RuleBroken, "2 digits"),
        ({"currency": "XXX"}, RuleBroken, "ISO 4217"),
        ({"buyer_id": market.supplier.id}, RuleBroken, "expected a buyer"),
        ({"farm_id": market.buyer.id}, NotFound, "farm"),
    ):
        given: dict[str, Any] = {
            "farm_id": market.farm.id,
            "buyer_id": market.buyer.id,
            "currency": "EUR",
            "sold_at": NOON,
            "lots": [{"animal_ids": [cow.id], "price": Decimal(1)}],
            **wrong,
        }
        with pytest.raises(error, match=message), transaction.atomic():
            record_sale(market.owner, **given)


def test_a_purchase_brings_new_animals_and_known_ones(market: Market) -> None:
    known = market.cow("AT 1")
    market.sell(known.id)
    new = {"tag_number": "AT 2", "animal_type": "Cattle", "sex": "Male"}
    later = NOON + timedelta(days=30)
    purchase = market.buy(
        {"animal": new, "price": Decimal("1200.50")},
        {"animal_id": known.id, "price": Decimal("90.00")},
        bought_at=later,
    )
    assert purchase.amount == Decimal("1290.50")
    for line in purchase.lines.all():
        assert access_animal(market.owner, line.animal_id).status == Status.ALIVE
        movement = line.movement
        assert (movement.kind, movement.reason, movement.counterpart) == ("Arrival", "Purchase", "Mill")
    for wrong in ({}, {"animal_id": known.id, "animal": new}):
        with pytest.raises(RuleBroken, match="not both"), transaction.atomic():
            market.buy({**wrong, "price": Decimal(1)}, bought_at=later)
    assert Purchase.objects.count() == 1


def test_an_animal_in_withdrawal_is_sold_with_a_reason_only(market: Market) -> None:
    cow = market.cow("AT 1")
    medicine = make_medicine(market.owner)
    make_treatment(market.owner, cow.id, medicine, (NOON - timedelta(days=2), 10))
    with pytest.raises(InWithdrawal), transaction.atomic():
        market.sell(cow.id)
    assert Sale.objects.count() == 0
    sale = market.sell(cow.id, override_reason="to another farm, the buyer knows")
    assert sale.lines.count() == 1
    overridden = AuditEntry.objects.filter(action="withdrawal_overridden", object_id=cow.id)
    assert [entry.reason for entry in overridden] == ["to another farm, the buyer knows"]


def test_expenses_for_each_litre(market: Market) -> None:
    owner, farm = market.owner, market.farm
    boss = make_member(owner, Role.MANAGER)
    DailySummary(
        farm=farm,
        day=DAY,
        production_type="milk",
        records=1,
        milk_kg=Decimal("103.00"),
        eggs_count=0,
        eggs_broken_count=0,
        **dict.fromkeys(
            ("sampled_milk_kg", "fat_kg", "protein_milk_kg", "protein_kg", "wool_kg", "carcass_kg"), 0
        ),
    ).save(force_insert=True)
    lines = [{"category": "feed", "amount": Decimal("45.00")}]
    expense = create_expense(
        owner, farm_id=farm.id, expense_date=DAY, currency="EUR", description="Hay", lines=lines
    )
    step_expense(owner, expense.id, to=ExpenseStatus.SUBMITTED, seen=Seen(1))
    step_expense(boss, expense.id, to=ExpenseStatus.APPROVED, seen=Seen(2))
    (row,) = results_of_farm(owner, farm.id, DAY, DAY)
    assert (row.milk_litres, row.expenses_per_litre) == (Decimal("100.00"), Decimal("0.4500"))


def test_results_are_by_currency(market: Market) -> None:
    market.sell(market.cow("AT 1").id, price="10.00")
    market.sell(market.cow("AT 2").id, price="7", currency="JPY")
    new = {"tag_number": "AT 3", "animal_type": "Cattle", "sex": "Male"}
    market.buy({"animal": new, "price": Decimal(4)})
    rows = results_of_farm(market.owner, market.farm.id, DAY, DAY)
    assert [(row.currency, row.result) for row in rows] == [("EUR", Decimal(6)), ("JPY", Decimal(7))]


def test_the_bill_of_a_sale(market: Market) -> None:
    cows = [market.cow(f"AT {n}") for n in range(2)]
    sale = market.sell(*(cow.id for cow in cows), price="100.01")
    bill = invoice_sale(
        market.owner, sale.id, vat_rate_percent=Decimal(13), issued_on=DAY, due_on=DAY + timedelta(days=14)
    )
    assert bill.label == "2024-00001"
    # 50.01 and 50.00: the tax is rounded in each line, 6.5013 to 6.50
    assert (bill.net_amount, bill.vat_amount) == (Decimal("100.01"), Decimal("13.00"))
    assert bill.gross_amount == sum(line.net_amount + line.vat_amount for line in bill.lines.all())
    with pytest.raises(IntegrityError, match="one_invoice_per_sale"), transaction.atomic():
        invoice_sale(market.owner, sale.id, vat_rate_percent=Decimal(13), issued_on=DAY, due_on=DAY)
    note = credit_invoice(market.owner, bill.id, reason="wrong rate")
    assert (note.kind, note.credits_id, note.gross_amount) == ("credit_note", bill.id, bill.gross_amount)
    again = invoice_sale(
        market.owner,
        sale.id,
        vat_rate_percent=Decimal(10),
        issued_on=note.issued_on,
        due_on=note.issued_on,
    )
    assert again.number == note.number + 1
    with pytest.raises(RuleBroken, match="open invoice"):
        credit_invoice(market.owner, bill.id, reason="again")


def test_a_bill_is_as_it_was(market: Market) -> None:
    bill = market.bill()
    update_contact(market.owner, market.buyer.id, {"name": "Dairy and Sons"}, Seen(market.buyer.version))
    assert access_invoice(market.owner, bill.id).buyer_name == "Dairy"
    for attempt in (
        "UPDATE financial_invoice SET gross_amount = 1, net_amount = 1, vat_amount = 0",
        "UPDATE financial_invoice SET number = 9",
        "UPDATE financial_invoice SET buyer_name = 'somebody'",
        "DELETE FROM financial_invoice",
    ):
        with (
            pytest.raises(IntegrityError, match="never changed"),
            connection.cursor() as cursor,
            transaction.atomic(),
        ):
            cursor.execute(attempt)


def test_bills_are_in_the_order_of_their_days(market: Market) -> None:
    assert market.bill().number == 1
    assert market.bill(issued_on=date(2023, 5, 1)).label == "2023-00001"
    with pytest.raises(RuleBroken, match="last invoice"), transaction.atomic():
        market.bill(issued_on=DAY - timedelta(days=1))
    with pytest.raises(RuleBroken, match="has come"), transaction.atomic():
        market.bill(issued_on=date(2999, 1, 1), due_on=date(2999, 1, 1))
    assert market.bill().number == 2


def test_nobody_pays_more_than_is_open(market: Market) -> None:
    bill = market.bill()
    market.pay(bill, "60.00")
    with pytest.raises(RuleBroken, match=r"up to 50\.00 EUR"):
        market.pay(bill, "50.01")
    with pytest.raises(RuleBroken, match="expected EUR"):
        market.pay(bill, "1.00", "USD")
    with pytest.raises(RuleBroken, match="nothing was paid"), transaction.atomic():
        credit_invoice(market.owner, bill.id, reason="no")
    market.pay(bill, "50.00")
    assert access_invoice(market.owner, bill.id).status == "paid"
    with pytest.raises(RuleBroken, match="paid"):
        market.pay(bill, "0.01")
    with (
        pytest.raises(IntegrityError, match="no_invoice_is_overpaid"),
        connection.cursor() as cursor,
        transaction.atomic(),
    ):
        cursor.execute("UPDATE financial_invoice SET paid_amount = paid_amount + 1")


def test_numbers_have_no_gap_and_no_twin(committed: psycopg.Connection[Any]) -> None:
    """Twelve at once in two years, four of which are undone after they had a number."""
    market, gate = Market(), threading.Barrier(12, timeout=60)

    def work(number: int) -> bool:
        gate.wait()
        try:
            with unit_of_work(market.owner.tenant_id):
                market.bill(issued_on=date(2023 + number % 2, 3, 1), due_on=date(2025, 1, 1))
                if number % 3 == 0:
                    raise RuleBroken("after all")
        except RuleBroken:
            return False
        return True

    done = [wait() for wait in [in_thread(partial(work, n)) for n in range(12)]]
    assert sum(done) == 8
    found = committed.execute("SELECT year, number FROM financial_invoice ORDER BY 1, 2").fetchall()
    assert found == [(year, number) for year in (2023, 2024) for number in range(1, 5)]


def test_two_payments_at_once_do_not_overpay(committed: psycopg.Connection[Any]) -> None:
    market, gate = Market(), threading.Barrier(3, timeout=60)
    with unit_of_work(market.owner.tenant_id):
        bill = market.bill()

    def work() -> bool:
        gate.wait()
        try:
            with unit_of_work(market.owner.tenant_id):
                market.pay(bill, "60.00")
        except RuleBroken:
            return False
        return True

    assert sorted(wait() for wait in [in_thread(work) for _ in range(3)]) == [False, False, True]
    assert committed.execute("SELECT paid_amount FROM financial_invoice").fetchall() == [(60,)]


def test_an_animal_is_sold_once_however_many_sell_it(committed: psycopg.Connection[Any]) -> None:
    market, gate = Market(), threading.Barrier(3, timeout=60)
    with unit_of_work(market.owner.tenant_id):
        ids = [market.cow(f"AT {n}").id for n in range(2)]

    def work(order: int) -> bool:
        gate.wait()
        try:
            with unit_of_work(market.owner.tenant_id):
                market.sell(*ids[::order])
        except RuleBroken:
            return False
        return True

    found = [wait() for wait in [in_thread(partial(work, order)) for order in (1, -1, 1)]]
    assert sorted(found) == [False, False, True]
    assert committed.execute("SELECT count(*) FROM financial_saleline").fetchall() == [(2,)]


COLUMNS_IN = ("births", "purchases", "other_arrivals", "transfers_in", "grown_in")
COLUMNS_OUT = ("deaths", "sales", "slaughtered", "other_departures", "transfers_out", "grown_out")
ZONE_DAY = date(2024, 1, 1)


class TwoFarms(RuleBasedStateMachine):
    """Animals that are born, bought, moved, sold and die on two farms, day by day."""

    def __init__(self) -> None:
        super().__init__()
        self.market = Market()
        self.owner = self.market.owner
        self.stack = ExitStack()
        self.stack.enter_context(unit_of_work(self.owner.tenant_id))
        self.farms = [self.market.farm, create_farm(self.owner, name="Vale", timezone="America/Lima")]
        self.now = datetime(2024, 1, 1, 0, 30, tzinfo=UTC)
        self.ids: list[UUID] = []

    def teardown(self) -> None:
        with self.stack:
            self.opening_and_in_and_out_make_closing()

    @rule(days=st.sampled_from([0, 1, 40, 200]), hours=st.integers(1, 23))
    def wait(self, days: int, hours: int) -> None:
        if self.now.year < 2026:
            self.now += timedelta(days=days, hours=hours)

    @rule(
        farm=st.integers(0, 1),
        sex=st.sampled_from(["Female", "Male"]),
        months=st.sampled_from([0, 9, 20, 30, None]),
    )
    def come(self, farm: int, sex: str, months: int | None) -> None:
        self.now += timedelta(minutes=1)
        born = None if months is None else (self.now - timedelta(days=30 * months)).date()
        fields: dict[str, Any] = {} if months == 0 else {"arrival_reason": ArrivalReason.PURCHASE}
        animal = create_animal(
            self.owner,
            farm_id=self.farms[farm].id,
            tag_number=f"AT {len(self.ids)}",
            animal_type="Cattle",
            sex=sex,
            birth_date=born,
            arrived_at=self.now,
            **fields,
        )
        self.ids.append(animal.id)

    @rule(
        which=st.integers(0, 20),
        farm=st.integers(0, 1),
        move=st.sampled_from(
            [
                (MovementKind.DEPARTURE, "Sale"),
                (MovementKind.DEPARTURE, "Slaughter"),
                (MovementKind.DEPARTURE, "Age"),
                (MovementKind.DEATH, "Accident"),
                (MovementKind.ARRIVAL, "Purchase"),
                (MovementKind.ARRIVAL, "SaleReturn"),
                (MovementKind.TRANSFER, ""),
            ]
        ),
    )
    def move(self, which: int, farm: int, move: tuple[MovementKind, str]) -> None:
        if not self.ids:
            return
        self.now += timedelta(minutes=1)
        try:
            with transaction.atomic():
                move_animal(
                    self.owner,
                    self.ids[which % len(self.ids)],
                    kind=move[0],
                    reason=move[1],
                    moved_at=self.now,
                    farm_id=self.farms[farm].id,
                )
        except RuleBroken:
            return

    def opening_and_in_and_out_make_closing(self) -> None:
        today = self.now.date() + timedelta(days=1)
        middle = ZONE_DAY + (today - ZONE_DAY) / 2
        for farm in self.farms:
            whole = livestock_schedule(self.owner, farm.id, ZONE_DAY - timedelta(days=1), today)
            for row in whole.rows:
                came = row.opening + sum(getattr(row, name) for name in COLUMNS_IN)
                assert came == row.closing + sum(getattr(row, name) for name in COLUMNS_OUT)
            here = Animal.objects.filter(farm=farm, status=Status.ALIVE.value).count()
            assert sum(row.closing for row in whole.rows) == here
            first = livestock_schedule(self.owner, farm.id, ZONE_DAY - timedelta(days=1), middle)
            second = livestock_schedule(self.owner, farm.id, middle + timedelta(days=1), today)
            closing = {row.stock: row.closing for row in first.rows if row.closing}
            assert closing == {row.stock: row.opening for row in second.rows if row.opening}
            for name in ("births", "purchases", "deaths", "sales", "transfers_in", "transfers_out"):
                parts = sum(getattr(row, name) for row in [*first.rows, *second.rows])
                assert parts == sum(getattr(row, name) for row in whole.rows)


@pytest.mark.django_db
def test_the_schedule_adds_up_whatever_happens() -> None:
    few = settings(
        max_examples=20, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(TwoFarms, settings=few)


def test_the_schedule_of_a_year(market: Market) -> None:
    owner, farm = market.owner, market.farm
    calf = market.cow("AT 1", birth_date=date(2023, 6, 1))
    market.cow("AT 2", birth_date=date(2024, 2, 1))
    market.sell(market.cow("AT 3").id)
    taken_back = market.cow("AT 4")
    Animal.objects.filter(pk=taken_back.id).update(is_deleted=True)
    rows = {
        row.stock.age: row
        for row in livestock_schedule(owner, farm.id, date(2024, 1, 1), date(2024, 12, 31)).rows
    }
    assert (rows["0-1"].opening, rows["0-1"].births, rows["0-1"].grown_out, rows["0-1"].closing) == (
        1,
        1,
        1,
        1,
    )
    assert (rows["1-2"].grown_in, rows["1-2"].closing) == (1, 1)
    assert (rows["2+"].opening, rows["2+"].sales, rows["2+"].closing) == (1, 1, 0)
    assert calf.id
    with pytest.raises(RuleBroken, match="days"):
        livestock_schedule(owner, farm.id, date(2020, 1, 1), date(2024, 1, 1))
