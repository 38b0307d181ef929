"""Invoices, the notes that take them back, and the money that comes for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Max
from django.utils import timezone

from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import current_tenant, unit_of_work
from ifarm.core.errors import RuleBroken
from ifarm.core.events import record_event
from ifarm.core.locks import Lock, take
from ifarm.farms.policies import access_farm
from ifarm.financial.contacts import contact_of
from ifarm.financial.models import Invoice, InvoiceLine, Payment, Sale
from ifarm.financial.money import Money, rounded
from ifarm.financial.policies import access_invoice, access_sale
from ifarm.financial.words import ContactKind, InvoiceKind, InvoiceStatus
from ifarm.tenants.models import Tenant

Lines = Sequence[Mapping[str, Any]]
"""Each {description, net_amount, vat_rate_percent}."""


def today_of_tenant() -> date:
    """The day it is where the tenant is."""
    tenant = Tenant.objects.get(pk=current_tenant())
    return timezone.localdate(timezone=ZoneInfo(tenant.timezone))


def issue_invoice(
    actor: Actor,
    *,
    farm_id: UUID,
    buyer_id: UUID,
    currency: str,
    due_on: date,
    lines: Lines,
    issued_on: date | None = None,
) -> Invoice:
    """A bill for what is no sale of animals (milk, eggs, work), with the next number of its year.

    Raises `NotFound`; `RuleBroken` for a day before the last invoice of the year or after today.
    """
    with unit_of_work():
        farm = access_farm(actor, farm_id)
        invoice = Invoice(
            farm=farm, currency=currency, due_on=due_on, issued_on=issued_on or today_of_tenant()
        )
        _address(invoice, contact_of(actor, buyer_id, ContactKind.BUYER))
        return _issue(actor, invoice, lines)


def invoice_sale(
    actor: Actor, sale_id: UUID, *, vat_rate_percent: Decimal, due_on: date, issued_on: date | None = None
) -> Invoice:
    """A bill for a sale of animals, a line for each. Raises IntegrityError where it has one that was not credited."""
    with unit_of_work():
        sale: Sale = access_sale(actor, sale_id)
        invoice = Invoice(
            farm=sale.farm,
            sale=sale,
            currency=sale.currency,
            due_on=due_on,
            issued_on=issued_on or today_of_tenant(),
        )
        _address(invoice, sale.buyer)
        lines = [
            {
                "description": f"{line.animal.animal_type} {line.animal.tag_number}",
                "net_amount": line.amount,
                "vat_rate_percent": vat_rate_percent,
            }
            for line in sale.lines.select_related("animal").order_by("id")
        ]
        return _issue(actor, invoice, lines)


def credit_invoice(actor: Actor, invoice_id: UUID, *, reason: str) -> Invoice:
    """Take an invoice back as a whole, by a credit note with a number of its own. Raises `RuleBroken` once it is paid.

    What was paid in part is returned to the buyer outside of iFarm, or kept: so a part that was paid refuses it.
    """
    with unit_of_work():
        invoice = access_invoice(actor, invoice_id, lock=True)
        if invoice.kind != InvoiceKind.INVOICE or invoice.status != InvoiceStatus.OPEN or invoice.paid_amount:
            raise RuleBroken("expected an open invoice that nothing was paid for, found another.")
        today = today_of_tenant()
        note = Invoice(
            kind=InvoiceKind.CREDIT_NOTE.value,
            status=InvoiceStatus.CREDITED.value,
            credits=invoice,
            farm=invoice.farm,
            currency=invoice.currency,
            issued_on=today,
            due_on=today,
        )
        for name in ("buyer_id", "buyer_name", "buyer_address", "buyer_tax_number"):
            setattr(note, name, getattr(invoice, name))
        writes.update(actor, invoice, {"status": InvoiceStatus.CREDITED.value}, reason=reason)
        return _issue(
            actor,
            note,
            list(invoice.lines.order_by("position").values("description", "net_amount", "vat_rate_percent")),
            reason=reason,
        )


def record_payment(
    actor: Actor,
    invoice_id: UUID,
    *,
    amount: Decimal,
    currency: str,
    paid_on: date,
    **fields: Any,
) -> Payment:
    """Money came, all of it or a part. Raises `RuleBroken` for more than is open, for another currency, and for what is
    no open invoice. Two payments at once wait for each other at the invoice's row.
    """
    with unit_of_work():
        invoice = access_invoice(actor, invoice_id, lock=True)
        money = Money(amount, currency)
        if invoice.kind != InvoiceKind.INVOICE or invoice.status != InvoiceStatus.OPEN:
            raise RuleBroken(f"expected an open invoice, found one that is {invoice.status}.")
        if money.currency != invoice.currency:
            raise RuleBroken(f"expected {invoice.currency}, found {money.currency}.")
        if paid_on > today_of_tenant():
            raise RuleBroken(f"expected a day that has come, found {paid_on}.")
        rest = invoice.gross_amount - invoice.paid_amount
        if money.amount > rest:
            raise RuleBroken(
                f"expected up to {rounded(rest, currency)} {currency}, found {money.amount}: no more is open."
            )
        payment = Payment(invoice=invoice, amount=amount, currency=currency, paid_on=paid_on, **fields)
        writes.insert(actor, payment)
        status = InvoiceStatus.PAID if money.amount == rest else InvoiceStatus.OPEN
        writes.update(
            actor, invoice, {"paid_amount": invoice.paid_amount + money.amount, "status": status.value}
        )
        event = {"invoice": invoice.label, "amount": amount, "currency": currency, "status": status.value}
        record_event("invoice_payment_recorded", invoice, **event)
        return payment


def _address(invoice: Invoice, buyer: Any) -> None:
    invoice.buyer = buyer
    invoice.buyer_name, invoice.buyer_address = buyer.name, buyer.address
    invoice.buyer_tax_number = buyer.tax_number


def _issue(actor: Actor, invoice: Invoice, lines: Lines, *, reason: str = "") -> Invoice:
    """Sums, number, rows. Part of the caller's unit of work."""
    rows = [_line(position, line, invoice.currency) for position, line in enumerate(lines, 1)]
    if not rows:
        raise RuleBroken("expected a line or more, found none.")
    invoice.net_amount = sum((row.net_amount for row in rows), Decimal(0))
    invoice.vat_amount = sum((row.vat_amount for row in rows), Decimal(0))
    invoice.gross_amount = invoice.net_amount + invoice.vat_amount
    if invoice.issued_on > today_of_tenant():
        raise RuleBroken(f"expected a day that has come, found {invoice.issued_on}.")
    _number(invoice)
    writes.insert(actor, invoice, reason=reason)
    for row in rows:
        row.invoice = invoice
    InvoiceLine.objects.bulk_create(rows)
    money = {"gross_amount": invoice.gross_amount, "currency": invoice.currency}
    record_event(f"{invoice.kind}_issued", invoice, invoice=invoice.label, farm_id=invoice.farm_id, **money)
    return invoice


def _line(position: int, line: Mapping[str, Any], currency: str) -> InvoiceLine:
    net, rate = Money(line["net_amount"], currency).amount, line["vat_rate_percent"]
    row = InvoiceLine(
        position=position,
        description=line["description"],
        net_amount=net,
        vat_rate_percent=rate,
        vat_amount=rounded(net * rate / 100, currency),
    )
    row.clean_fields(exclude={"invoice", "tenant"})
    return row


def _number(invoice: Invoice) -> None:
    """The next of its year. The lock is held to the end of the transaction: a number of a unit that is undone is given
    to the next, so there is no gap; the unique constraint holds where somebody does without the lock.
    """
    invoice.year = invoice.issued_on.year
    take(Lock.INVOICE_NUMBER, f"{current_tenant()}:{invoice.year}")
    last = Invoice.objects.filter(year=invoice.year).aggregate(number=Max("number"), day=Max("issued_on"))
    if last["day"] is not None and invoice.issued_on < last["day"]:
        raise RuleBroken(
            f"expected a day from {last['day']} on, that of the last invoice, found {invoice.issued_on}."
        )
    invoice.number = (last["number"] or 0) + 1
