from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from ifarm.animals.tests.examples import make_animal
from ifarm.api.tests.examples import Examples, Ids
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.versions import Seen
from ifarm.financial.contacts import create_contact
from ifarm.financial.expenses import create_expense, step_expense
from ifarm.financial.invoices import issue_invoice
from ifarm.financial.policies import access_expense
from ifarm.financial.trade import record_purchase, record_sale
from ifarm.financial.words import ContactKind, ExpenseStatus

examples = Examples()
DAY = date(2024, 3, 1)
MOMENT = datetime(2024, 3, 1, 12, tzinfo=UTC)


def make_contact(actor: Actor, kind: ContactKind, name: str) -> UUID:
    with unit_of_work(actor.tenant_id):
        return create_contact(actor, kind=kind.value, name=name, address="Market 1").id


def make_expense(actor: Actor, farm_id: UUID, number: int = 0) -> UUID:
    lines = [{"category": "feed", "amount": Decimal("12.50")}]
    with unit_of_work(actor.tenant_id):
        return create_expense(
            actor,
            farm_id=farm_id,
            expense_date=DAY,
            currency="EUR",
            description=f"Hay {number}",
            lines=lines,
        ).id


def make_sale(actor: Actor, farm_id: UUID, buyer_id: UUID, tag: str) -> UUID:
    animal = make_animal(actor, farm_id, tag)
    with unit_of_work(actor.tenant_id):
        lots = [{"animal_ids": [animal], "price": Decimal("900.00")}]
        return record_sale(
            actor, farm_id=farm_id, buyer_id=buyer_id, currency="EUR", lots=lots, sold_at=MOMENT
        ).id


@examples.row("contact_id")
def buyer(actor: Actor, ids: Ids) -> UUID:
    return make_contact(actor, ContactKind.BUYER, "Dairy")


@examples.row("supplier_id")  # in no address; for the bodies
def supplier(actor: Actor, ids: Ids) -> UUID:
    return make_contact(actor, ContactKind.SUPPLIER, "Mill")


@examples.row("for_sale_id")
def for_sale(actor: Actor, ids: Ids) -> UUID:
    return make_animal(actor, ids["farm_id"], "AT 7001")


@examples.row("expense_id")
def expense(actor: Actor, ids: Ids) -> UUID:
    return make_expense(actor, ids["farm_id"])


@examples.row("sale_id")
def sale(actor: Actor, ids: Ids) -> UUID:
    return make_sale(actor, ids["farm_id"], ids["contact_id"], "AT 7002")


@examples.row("purchase_id")
def purchase(actor: Actor, ids: Ids) -> UUID:
    animal = {"tag_number": "AT 7003", "animal_type": "Cattle", "sex": "Female"}
    with unit_of_work(actor.tenant_id):
        return record_purchase(
            actor,
            farm_id=ids["farm_id"],
            supplier_id=ids["supplier_id"],
            currency="EUR",
            animals=[{"animal": animal, "price": Decimal("1200.00")}],
            bought_at=MOMENT,
        ).id


@examples.row("invoice_id")
def invoice(actor: Actor, ids: Ids) -> UUID:
    lines = [{"description": "Milk", "net_amount": Decimal("5000.00"), "vat_rate_percent": Decimal(10)}]
    with unit_of_work(actor.tenant_id):
        return issue_invoice(
            actor,
            farm_id=ids["farm_id"],
            buyer_id=ids["contact_id"],
            currency="EUR",
            issued_on=DAY,
            due_on=DAY,
            lines=lines,
        ).id


@examples.body("contacts", "POST")
def new_contact(ids: Ids, number: int) -> dict[str, Any]:
    return {"kind": "vet", "name": f"Dr. Hoof {number}", "phone": "+43 1 234"}


@examples.body("contact", "PATCH")
def changed_contact(ids: Ids, number: int) -> dict[str, Any]:
    return {"name": "Dairy and Sons"}


@examples.body("expenses", "POST")
def new_expense(ids: Ids, number: int) -> dict[str, Any]:
    allocations = [{"animal_id": str(ids["animal_id"]), "amount": "10.00"}]
    allocations += [{"group_id": str(ids["group_id"]), "amount": "5.00"}]
    return {
        "farm_id": str(ids["farm_id"]),
        "supplier_id": str(ids["supplier_id"]),
        "expense_date": "2024-03-01",
        "description": f"Hay {number}",
        "currency": "EUR",
        "lines": [{"category": "feed", "amount": "20.00", "allocations": allocations}],
    }


@examples.body("expense", "PATCH")
def changed_expense(ids: Ids, number: int) -> dict[str, Any]:
    return {"description": "Straw", "lines": [{"category": "feed", "amount": "7.00"}]}


@examples.body("expense-steps", "POST")
def next_step(ids: Ids, number: int) -> dict[str, Any]:
    return {"to": "submitted"}


@examples.fill("expense-steps")
def more_steps(actor: Actor, ids: Ids, number: int) -> None:
    with unit_of_work(actor.tenant_id):
        version = access_expense(actor, ids["expense_id"]).version
        to = ExpenseStatus.SUBMITTED if number % 2 else ExpenseStatus.DRAFT
        step_expense(actor, ids["expense_id"], to=to, seen=Seen(version))


@examples.body("sales", "POST")
def new_sale(ids: Ids, number: int) -> dict[str, Any]:
    return {
        "farm_id": str(ids["farm_id"]),
        "buyer_id": str(ids["contact_id"]),
        "sold_at": MOMENT.isoformat(),
        "currency": "EUR",
        "lots": [{"animal_ids": [str(ids["for_sale_id"])], "price": "950.00", "weight_kg": "612.50"}],
    }


@examples.fill("sales")
def more_sales(actor: Actor, ids: Ids, number: int) -> None:
    make_sale(actor, ids["farm_id"], ids["contact_id"], f"AT 71{number:02}")


@examples.body("sale-invoice", "POST")
def bill_for_a_sale(ids: Ids, number: int) -> dict[str, Any]:
    return {"vat_rate_percent": "13.00", "issued_on": "2024-03-02", "due_on": "2024-03-16"}


@examples.body("purchases", "POST")
def new_purchase(ids: Ids, number: int) -> dict[str, Any]:
    animal = {"tag_number": f"AT 72{number:02}", "animal_type": "Cattle", "sex": "Male"}
    return {
        "farm_id": str(ids["farm_id"]),
        "supplier_id": str(ids["supplier_id"]),
        "bought_at": MOMENT.isoformat(),
        "currency": "EUR",
        "animals": [{"animal": animal, "price": "450.00"}],
    }


@examples.body("invoices", "POST")
def new_invoice(ids: Ids, number: int) -> dict[str, Any]:
    return {
        "farm_id": str(ids["farm_id"]),
        "buyer_id": str(ids["contact_id"]),
        "currency": "EUR",
        "issued_on": "2024-03-02",
        "due_on": "2024-03-31",
        "lines": [{"description": "Milk", "net_amount": "100.00", "vat_rate_percent": "10.00"}],
    }


@examples.body("invoice-credit", "POST")
def credit(ids: Ids, number: int) -> dict[str, Any]:
    return {"reason": "wrong buyer"}


@examples.body("payments", "POST")
def new_payment(ids: Ids, number: int) -> dict[str, Any]:
    return {"paid_on": "2024-03-10", "amount": "10.00", "currency": "EUR", "reference": f"R{number}"}


for route in ("expense-steps", "payments"):
    examples.queries[route] = 4  # the expense or invoice, which may be out of bounds
