"""Routes of production."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from ifarm.api.pages import Order
from ifarm.api.views import TenantView, operation
from ifarm.core.versions import Seen
from ifarm.production import lactations, selectors, services
from ifarm.production.filters import ProductionFilters, SummaryFilters
from ifarm.production.models import DailySummary, Lactation, Production
from ifarm.production.policies import LACTATIONS, PRODUCTIONS, SUMMARIES, access_lactation, access_production
from ifarm.production.serializers import (
    GroupMilkInput,
    GroupMilkOutput,
    HistoryOutput,
    LactationChange,
    LactationInput,
    LactationOutput,
    ProductionChange,
    ProductionInput,
    ProductionOutput,
    SummaryOutput,
    YieldOutput,
)
from ifarm.production.words import ProductionType, Session


class ProductionsApi(TenantView):
    """Everything that was produced."""

    @operation(
        PRODUCTIONS,
        "view",
        output=ProductionOutput,
        order=Order(Production, "production_date", "modified_at", "created_at"),
        filters=ProductionFilters,
    )
    def get(self) -> QuerySet[Production]:
        """Records of the actor's farms, of every kind."""
        return selectors.list_production(self.actor)

    @operation(PRODUCTIONS, "add", input=ProductionInput, output=ProductionOutput, status=201)
    def post(self, data: Mapping[str, Any]) -> Production:
        """A new record of one kind."""
        kind = ProductionType(data["production_type"])
        return services.record_production(self.actor, **{**data, "production_type": kind})


class ProductionApi(TenantView):
    """One record."""

    @operation(PRODUCTIONS, "view", output=ProductionOutput)
    def get(self, production_id: UUID) -> Production:
        """Look at it."""
        return access_production(self.actor, production_id)

    @operation(PRODUCTIONS, "change", input=ProductionChange, output=ProductionOutput, versioned=True)
    def patch(self, production_id: UUID, data: Mapping[str, Any], seen: Seen) -> Production:
        """Correct its amounts."""
        changes = dict(data)
        reasons = {key: changes.pop(key, "") for key in ("reason", "override_reason")}
        return services.correct_production(self.actor, production_id, changes, seen, **reasons)

    @operation(PRODUCTIONS, "delete")
    def delete(self, production_id: UUID) -> None:
        """Take it back."""
        services.delete_production(self.actor, production_id)


class HistoryApi(TenantView):
    """What an animal gave lately."""

    @operation(PRODUCTIONS, "view", output=HistoryOutput)
    def get(self, animal_id: UUID) -> Mapping[str, Any]:
        """The last 30 records; all are in `production/?animal_id=`."""
        return {"results": selectors.production_history(self.actor, animal_id)}


class GroupMilkApi(TenantView):
    """The milk of a group."""

    @operation(PRODUCTIONS, "add", input=GroupMilkInput, output=GroupMilkOutput)
    def post(self, group_id: UUID, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """One milking, a line for each animal: good lines are recorded, each other one says why it is not."""
        session = Session(data["session"])
        lines = services.record_group_milk(self.actor, group_id, **{**data, "session": session})
        recorded = sum(line.production is not None for line in lines)
        return {"recorded": recorded, "refused": len(lines) - recorded, "rows": lines}


class SummariesApi(TenantView):
    """What each farm gave, day by day."""

    @operation(
        SUMMARIES, "view", output=SummaryOutput, order=Order(DailySummary, "day"), filters=SummaryFilters
    )
    def get(self) -> QuerySet[DailySummary]:
        """Sums by farm, local day and kind."""
        return selectors.list_summaries(self.actor)


class LactationsApi(TenantView):
    """The lactations of an animal."""

    @operation(LACTATIONS, "view", output=LactationOutput, order=Order(Lactation, "starts_on"))
    def get(self, animal_id: UUID) -> QuerySet[Lactation]:
        """All of them."""
        return selectors.list_lactations(self.actor, animal_id)

    @operation(LACTATIONS, "add", input=LactationInput, output=LactationOutput, status=201)
    def post(self, animal_id: UUID, data: Mapping[str, Any]) -> Lactation:
        """One that began elsewhere or before; a calving begins one by itself."""
        return lactations.open_lactation(self.actor, animal_id, **data)


class LactationApi(TenantView):
    """One lactation."""

    @operation(LACTATIONS, "view", output=LactationOutput)
    def get(self, lactation_id: UUID) -> Lactation:
        """Look at it."""
        return access_lactation(self.actor, lactation_id)

    @operation(LACTATIONS, "change", input=LactationChange, output=LactationOutput, versioned=True)
    def patch(self, lactation_id: UUID, data: Mapping[str, Any], seen: Seen) -> Lactation:
        """Dry off."""
        return lactations.dry_off(self.actor, lactation_id, seen=seen, **data)


class YieldApi(TenantView):
    """What a lactation gave."""

    @operation(LACTATIONS, "view", output=YieldOutput)
    def get(self, lactation_id: UUID) -> lactations.Yield:
        """In its first 305 days, by the test interval method."""
        return lactations.yield_of(self.actor, lactation_id)
