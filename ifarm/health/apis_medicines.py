"""Routes of medicines and their stock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from ifarm.api.pages import Order
from ifarm.api.views import TenantView, operation
from ifarm.core.versions import Seen
from ifarm.health import medicines, selectors, stock
from ifarm.health.filters import BatchFilters, PurchaseFilters
from ifarm.health.models import Medicine, MedicineBatch, MedicinePurchase, StockMove
from ifarm.health.policies import BATCHES, MEDICINES, PURCHASES, STOCK_MOVES, access_medicine
from ifarm.health.serializers import (
    BatchOutput,
    MedicineChange,
    MedicineInput,
    MedicineOutput,
    MedicinePurchaseInput,
    MedicinePurchaseOutput,
    MoveInput,
    MoveOutput,
)
from ifarm.health.words import MoveKind, Unit


class MedicinesApi(TenantView):
    """All medicines."""

    @operation(MEDICINES, "view", output=MedicineOutput, order=Order(Medicine, "name"))
    def get(self) -> QuerySet[Medicine]:
        """With their labels."""
        return selectors.list_medicines(self.actor)

    @operation(MEDICINES, "add", input=MedicineInput, output=MedicineOutput, status=201)
    def post(self, data: Mapping[str, Any]) -> Medicine:
        """A new medicine."""
        return medicines.create_medicine(self.actor, **{**data, "unit": Unit(data["unit"])})


class MedicineApi(TenantView):
    """One medicine."""

    @operation(MEDICINES, "view", output=MedicineOutput)
    def get(self, medicine_id: UUID) -> Medicine:
        """Look at it."""
        return access_medicine(self.actor, medicine_id)

    @operation(MEDICINES, "change", input=MedicineChange, output=MedicineOutput, versioned=True)
    def patch(self, medicine_id: UUID, data: Mapping[str, Any], seen: Seen) -> Medicine:
        """Change it; a longer label lengthens what runs."""
        return medicines.update_medicine(self.actor, medicine_id, data, seen)


class BatchesApi(TenantView):
    """The medicine cabinet."""

    @operation(
        BATCHES, "view", output=BatchOutput, order=Order(MedicineBatch, "expires_on"), filters=BatchFilters
    )
    def get(self) -> QuerySet[MedicineBatch]:
        """First expired first: with `?usable_on=`, use them in this order."""
        return selectors.list_batches(self.actor)


class MovesApi(TenantView):
    """The ledger of a batch."""

    @operation(STOCK_MOVES, "view", output=MoveOutput, order=Order(StockMove, "created_at"))
    def get(self, batch_id: UUID) -> QuerySet[StockMove]:
        """What came and went."""
        return selectors.list_moves(self.actor, batch_id)

    @operation(STOCK_MOVES, "add", input=MoveInput, output=MoveOutput, status=201)
    def post(self, batch_id: UUID, data: Mapping[str, Any]) -> StockMove:
        """Thrown away, or counted."""
        words = {"kind": MoveKind(data["kind"]), "unit": Unit(data["unit"])}
        return stock.record_move(self.actor, batch_id, **{**data, **words})


class PurchasesApi(TenantView):
    """What was acquired."""

    @operation(
        PURCHASES,
        "view",
        output=MedicinePurchaseOutput,
        order=Order(MedicinePurchase, "purchased_on"),
        filters=PurchaseFilters,
    )
    def get(self) -> QuerySet[MedicinePurchase]:
        """All purchases."""
        return selectors.list_purchases(self.actor)

    @operation(PURCHASES, "add", input=MedicinePurchaseInput, output=MedicinePurchaseOutput, status=201)
    def post(self, data: Mapping[str, Any]) -> MedicinePurchase:
        """Put it into the cabinet."""
        return stock.record_purchase(self.actor, **{**data, "unit": Unit(data["unit"])})
