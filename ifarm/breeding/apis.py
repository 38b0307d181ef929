"""Routes of breeding."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from ifarm.animals.words import Species
from ifarm.api.pages import Order
from ifarm.api.views import TenantView, operation
from ifarm.breeding import selectors, services
from ifarm.breeding.filters import DueFilters
from ifarm.breeding.models import BreedingEvent, BreedingPlan, DueEvent
from ifarm.breeding.policies import DUE, EVENTS, PLANS
from ifarm.breeding.serializers import (
    BreedingPlanInput,
    BreedingPlanOutput,
    CalvingChange,
    CalvingInput,
    DueOutput,
    EventInput,
    EventOutput,
    FiguresOutput,
    FiguresQuery,
    HeatInput,
    PregnancyCheckInput,
    ReproductionOutput,
    ServiceInput,
)
from ifarm.core.versions import Seen
from ifarm.farms.policies import access_farm


class EventsApi(TenantView):
    """What happened to an animal on the way to offspring."""

    @operation(EVENTS, "view", output=EventOutput, order=Order(BreedingEvent, "happened_on"))
    def get(self, animal_id: UUID) -> QuerySet[BreedingEvent]:
        """Events of every kind."""
        return selectors.list_events(self.actor, animal_id)


class EventApi(TenantView):
    """One event."""

    @operation(EVENTS, "view", output=EventOutput)
    def get(self, event_id: UUID) -> BreedingEvent:
        """Look at it."""
        return EVENTS.access(self.actor, event_id)

    @operation(EVENTS, "delete")
    def delete(self, event_id: UUID) -> None:
        """Take it back; what is due follows from the others. Who was born at a calving stays."""
        services.delete_event(self.actor, event_id)


class CalvingApi(TenantView):
    """One birth."""

    @operation(EVENTS, "calve", input=CalvingChange, output=EventOutput, versioned=True)
    def patch(self, calving_id: UUID, data: Mapping[str, Any], seen: Seen) -> BreedingEvent:
        """Correct its day or its ease; its lactation follows."""
        changes = dict(data)
        reason = changes.pop("reason", "")
        return services.correct_calving(self.actor, calving_id, changes, seen, reason=reason)


class HeatsApi(TenantView):
    """Heats."""

    @operation(EVENTS, "add", input=HeatInput, output=EventOutput, status=201)
    def post(self, animal_id: UUID, data: Mapping[str, Any]) -> BreedingEvent:
        """A heat was seen."""
        return services.record_heat(self.actor, animal_id, **data)


class ServicesApi(TenantView):
    """Services."""

    @operation(EVENTS, "add", input=ServiceInput, output=EventOutput, status=201)
    def post(self, animal_id: UUID, data: Mapping[str, Any]) -> BreedingEvent:
        """A service, an insemination, an embryo."""
        return services.record_service(self.actor, animal_id, **data)


class ChecksApi(TenantView):
    """Pregnancy checks."""

    @operation(EVENTS, "add", input=PregnancyCheckInput, output=EventOutput, status=201)
    def post(self, animal_id: UUID, data: Mapping[str, Any]) -> BreedingEvent:
        """An examination."""
        return services.record_check(self.actor, animal_id, **data)


class AbortionsApi(TenantView):
    """Abortions."""

    @operation(EVENTS, "add", input=EventInput, output=EventOutput, status=201)
    def post(self, animal_id: UUID, data: Mapping[str, Any]) -> BreedingEvent:
        """A pregnancy ended too early."""
        return services.record_abortion(self.actor, animal_id, **data)


class CalvingsApi(TenantView):
    """Births."""

    @operation(EVENTS, "calve", input=CalvingInput, output=EventOutput, status=201)
    def post(self, animal_id: UUID, data: Mapping[str, Any]) -> BreedingEvent:
        """A birth; who is alive becomes an animal, and a lactation begins."""
        return services.record_calving(self.actor, animal_id, **data)


class ReproductionApi(TenantView):
    """Where an animal is in its cycle."""

    @operation(EVENTS, "view", output=ReproductionOutput)
    def get(self, animal_id: UUID) -> selectors.Reproduction:
        """Status, days and what is due."""
        return selectors.reproduction_of(self.actor, animal_id)


class DueApi(TenantView):
    """What is due."""

    @operation(
        DUE, "view", output=DueOutput, order=Order(DueEvent, "due_from", "due_until"), filters=DueFilters
    )
    def get(self) -> QuerySet[DueEvent]:
        """For every animal that is here."""
        return selectors.list_due(self.actor)


class PlansApi(TenantView):
    """The days that the tenant plans."""

    @operation(PLANS, "view", output=BreedingPlanOutput, order=Order(BreedingPlan, "species"))
    def get(self) -> QuerySet[BreedingPlan]:
        """Where they differ from the common ones."""
        return selectors.list_plans(self.actor)

    @operation(PLANS, "change", input=BreedingPlanInput, output=BreedingPlanOutput)
    def put(self, data: Mapping[str, Any]) -> BreedingPlan:
        """Set them for a species."""
        return services.set_plan(self.actor, **{**data, "species": Species(data["species"])})


class FiguresApi(TenantView):
    """How well a farm's females conceived."""

    @operation(EVENTS, "view", output=FiguresOutput, query=FiguresQuery)
    def get(self, farm_id: UUID, asked: Mapping[str, Any]) -> selectors.Figures:
        """Calving interval, days open, conception rate, pregnancy rate."""
        until = asked.get("until") or access_farm(self.actor, farm_id).today()
        since = asked.get("since", until - timedelta(days=364))
        species = Species(asked["species"])
        return selectors.figures_of(self.actor, farm_id, species=species, since=since, until=until)
