"""Routes of sales, purchases, invoices and payments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from ifarm.animals.words import DepartureReason
from ifarm.api.pages import Order
from ifarm.api.views import TenantView, operation
from ifarm.financial import invoices, selectors, trade
from ifarm.financial.filters import InvoiceFilters, PurchaseFilters, SaleFilters
from ifarm.financial.models import Invoice, Payment, Purchase, Sale
from ifarm.financial.policies import (
    INVOICES,
    PAYMENTS,
    PURCHASES,
    SALES,
    access_invoice,
    access_purchase,
    access_sale,
)
from ifarm.financial.serializers import (
    CreditInput,
    InvoiceDetail,
    InvoiceInput,
    InvoiceOutput,
    PaymentInput,
    PaymentOutput,
    PurchaseDetail,
    PurchaseInput,
    PurchaseOutput,
    SaleDetail,
    SaleInput,
    SaleInvoiceInput,
    SaleOutput,
)


class SalesApi(TenantView):
    """All sales of animals."""

    @operation(
        SALES, "view", output=SaleOutput, order=Order(Sale, "sale_date", "created_at"), filters=SaleFilters
    )
    def get(self) -> QuerySet[Sale]:
        """Sales of the actor's farms, without their animals."""
        return selectors.list_sales(self.actor)

    @operation(SALES, "add", input=SaleInput, output=SaleDetail, status=201)
    def post(self, data: Mapping[str, Any]) -> Sale:
        """A sale; its animals leave the farm."""
        return trade.record_sale(self.actor, **{**data, "reason": DepartureReason(data["reason"])})


class SaleApi(TenantView):
    """One sale."""

    @operation(SALES, "view", output=SaleDetail)
    def get(self, sale_id: UUID) -> Sale:
        """Look at it, with its animals."""
        return access_sale(self.actor, sale_id)


class SaleInvoiceApi(TenantView):
    """The bill for one sale."""

    @operation(INVOICES, "add", input=SaleInvoiceInput, output=InvoiceDetail, status=201)
    def post(self, sale_id: UUID, data: Mapping[str, Any]) -> Invoice:
        """Issue it; it gets the next number of its year."""
        return invoices.invoice_sale(self.actor, sale_id, **data)


class PurchasesApi(TenantView):
    """All purchases of animals."""

    @operation(
        PURCHASES,
        "view",
        output=PurchaseOutput,
        order=Order(Purchase, "purchase_date", "created_at"),
        filters=PurchaseFilters,
    )
    def get(self) -> QuerySet[Purchase]:
        """Purchases of the actor's farms, without their animals."""
        return selectors.list_purchases(self.actor)

    @operation(PURCHASES, "add", input=PurchaseInput, output=PurchaseDetail, status=201)
    def post(self, data: Mapping[str, Any]) -> Purchase:
        """A purchase; its animals come to the farm."""
        return trade.record_purchase(self.actor, **data)


class PurchaseApi(TenantView):
    """One purchase."""

    @operation(PURCHASES, "view", output=PurchaseDetail)
    def get(self, purchase_id: UUID) -> Purchase:
        """Look at it, with its animals."""
        return access_purchase(self.actor, purchase_id)


class InvoicesApi(TenantView):
    """All invoices and credit notes."""

    @operation(
        INVOICES,
        "view",
        output=InvoiceOutput,
        order=Order(Invoice, "issued_on", "modified_at", "created_at"),
        filters=InvoiceFilters,
    )
    def get(self) -> QuerySet[Invoice]:
        """Invoices of the actor's farms, without their lines."""
        return selectors.list_invoices(self.actor)

    @operation(INVOICES, "add", input=InvoiceInput, output=InvoiceDetail, status=201)
    def post(self, data: Mapping[str, Any]) -> Invoice:
        """A bill for what is no sale of animals; it gets the next number of its year."""
        return invoices.issue_invoice(self.actor, **data)


class InvoiceApi(TenantView):
    """One invoice."""

    @operation(INVOICES, "view", output=InvoiceDetail)
    def get(self, invoice_id: UUID) -> Invoice:
        """Look at it, with its lines."""
        return access_invoice(self.actor, invoice_id)


class CreditApi(TenantView):
    """The note that takes an invoice back."""

    @operation(INVOICES, "credit", input=CreditInput, output=InvoiceDetail, status=201)
    def post(self, invoice_id: UUID, data: Mapping[str, Any]) -> Invoice:
        """Issue it; the invoice is closed."""
        return invoices.credit_invoice(self.actor, invoice_id, **data)


class PaymentsApi(TenantView):
    """What came for an invoice."""

    @operation(PAYMENTS, "view", output=PaymentOutput, order=Order(Payment, "paid_on", "created_at"))
    def get(self, invoice_id: UUID) -> QuerySet[Payment]:
        """All payments."""
        return selectors.list_payments(self.actor, invoice_id)

    @operation(PAYMENTS, "add", input=PaymentInput, output=PaymentOutput, status=201)
    def post(self, invoice_id: UUID, data: Mapping[str, Any]) -> Payment:
        """Money came, all of it or a part; never more than is open."""
        return invoices.record_payment(self.actor, invoice_id, **data)
