"""Routes of health and treatments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from ifarm.api.pages import Order
from ifarm.api.views import TenantView, operation
from ifarm.core.versions import Seen
from ifarm.health import selectors, services, treatments
from ifarm.health.filters import TreatmentFilters, WithdrawalFilters
from ifarm.health.models import HealthCheck, Treatment, TreatmentDose, Withdrawal
from ifarm.health.policies import DOSES, HEALTH_CHECKS, TREATMENTS, WITHDRAWALS, access_treatment
from ifarm.health.serializers import (
    DoseChange,
    DoseInput,
    DoseOutput,
    GroupTreatmentInput,
    GroupTreatmentOutput,
    HealthCheckInput,
    HealthCheckOutput,
    HealthOutput,
    HealthRecordsOutput,
    TreatmentChange,
    TreatmentInput,
    TreatmentOutput,
    VoidInput,
    WithdrawalOutput,
)
from ifarm.health.treatments import GivenDose, GroupTreatment
from ifarm.health.words import HealthStatus, TreatmentKind, Unit


class ChecksApi(TenantView):
    """What was seen of an animal."""

    @operation(HEALTH_CHECKS, "view", output=HealthCheckOutput, order=Order(HealthCheck, "checked_at"))
    def get(self, animal_id: UUID) -> QuerySet[HealthCheck]:
        """The history."""
        return selectors.list_checks(self.actor, animal_id)

    @operation(HEALTH_CHECKS, "add", input=HealthCheckInput, output=HealthCheckOutput, status=201)
    def post(self, animal_id: UUID, data: Mapping[str, Any]) -> HealthCheck:
        """A new check."""
        status = HealthStatus(data["health_status"])
        return services.record_check(self.actor, animal_id, **{**data, "health_status": status})


class HealthRecordsApi(ChecksApi):
    """What is known of an animal's health, as the documents show it."""

    @operation(HEALTH_CHECKS, "view", output=HealthRecordsOutput)
    def get(self, animal_id: UUID) -> selectors.Records:
        """The last checks and vaccinations; all are in `health-checks/` and `treatments/?kind=Vaccination`."""
        return selectors.records_of(self.actor, animal_id)


class CheckApi(TenantView):
    """One check."""

    @operation(HEALTH_CHECKS, "delete")
    def delete(self, check_id: UUID) -> None:
        """Take it back."""
        services.delete_check(self.actor, check_id)


class HealthApi(TenantView):
    """How an animal is."""

    @operation(HEALTH_CHECKS, "view", output=HealthOutput)
    def get(self, animal_id: UUID) -> selectors.Condition:
        """Its last check, and what is withheld today."""
        return selectors.condition_of(self.actor, animal_id)


class TreatmentsApi(TenantView):
    """The medicine book."""

    @operation(
        TREATMENTS,
        "view",
        output=TreatmentOutput,
        order=Order(Treatment, "treated_at", "modified_at"),
        filters=TreatmentFilters,
    )
    def get(self) -> QuerySet[Treatment]:
        """All treatments of the actor's farms."""
        return selectors.list_treatments(self.actor)


class AnimalTreatmentsApi(TenantView):
    """The treatments of one animal."""

    @operation(
        TREATMENTS,
        "view",
        output=TreatmentOutput,
        order=Order(Treatment, "treated_at"),
        filters=TreatmentFilters,
    )
    def get(self, animal_id: UUID) -> QuerySet[Treatment]:
        """The history."""
        return selectors.list_treatments_of(self.actor, animal_id)

    @operation(TREATMENTS, "add", input=TreatmentInput, output=TreatmentOutput, status=201)
    def post(self, animal_id: UUID, data: Mapping[str, Any]) -> Treatment:
        """A new one, with its doses so far."""
        given = _words(data)
        given["doses"] = [GivenDose(**dose) for dose in data.get("doses", [])]
        return treatments.record_treatment(self.actor, animal_id, **given)


class GroupTreatmentsApi(TenantView):
    """Treat a whole group."""

    @operation(TREATMENTS, "add", input=GroupTreatmentInput, output=GroupTreatmentOutput, status=201)
    def post(self, group_id: UUID, data: Mapping[str, Any]) -> GroupTreatment:
        """One dose for each animal that is in it; for all, or for none."""
        return treatments.treat_group(self.actor, group_id, **_words(data))


class TreatmentApi(TenantView):
    """One treatment."""

    @operation(TREATMENTS, "view", output=TreatmentOutput)
    def get(self, treatment_id: UUID) -> Treatment:
        """Look at it."""
        return access_treatment(self.actor, treatment_id)

    @operation(TREATMENTS, "change", input=TreatmentChange, output=TreatmentOutput, versioned=True)
    def patch(self, treatment_id: UUID, data: Mapping[str, Any], seen: Seen) -> Treatment:
        """Change what is said about it."""
        return treatments.update_treatment(self.actor, treatment_id, data, seen)


class DosesApi(TenantView):
    """The doses of a treatment."""

    @operation(DOSES, "view", output=DoseOutput, order=Order(TreatmentDose, "given_at"))
    def get(self, treatment_id: UUID) -> QuerySet[TreatmentDose]:
        """All, also voided ones."""
        return selectors.list_doses(self.actor, treatment_id)

    @operation(DOSES, "add", input=DoseInput, output=DoseOutput, status=201)
    def post(self, treatment_id: UUID, data: Mapping[str, Any]) -> TreatmentDose:
        """A further one."""
        given = dict(data)
        unit = Unit(given.pop("unit"))
        dose = GivenDose(given.pop("quantity"), given.pop("given_at"), given.pop("batch_id", None))
        return treatments.add_dose(self.actor, treatment_id, unit=unit, dose=dose, **given)


class DoseApi(TenantView):
    """One dose."""

    @operation(DOSES, "change", input=DoseChange, output=DoseOutput, versioned=True)
    def patch(self, dose_id: UUID, data: Mapping[str, Any], seen: Seen) -> TreatmentDose:
        """Correct it; stock and withdrawal follow."""
        return treatments.correct_dose(self.actor, dose_id, data, seen)


class VoidDoseApi(TenantView):
    """A dose that was never given."""

    @operation(DOSES, "change", input=VoidInput, output=DoseOutput)
    def post(self, dose_id: UUID, data: Mapping[str, Any]) -> TreatmentDose:
        """It stays in the book and counts no more."""
        return treatments.void_dose(self.actor, dose_id, **data)


class WithdrawalsApi(TenantView):
    """What must not be used today."""

    @operation(
        WITHDRAWALS,
        "view",
        output=WithdrawalOutput,
        order=Order(Withdrawal, "free_on"),
        filters=WithdrawalFilters,
    )
    def get(self) -> QuerySet[Withdrawal]:
        """By animal, treatment and product."""
        return selectors.list_withdrawals(self.actor)


def _words(data: Mapping[str, Any]) -> dict[str, Any]:
    unit = {"unit": Unit(data["unit"])} if "unit" in data else {}
    return {**data, "kind": TreatmentKind(data["kind"]), **unit}
