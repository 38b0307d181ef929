"""What a device holds: one kind for each thing that is looked at as a whole, with the parts that belong to it.

Rows of a kind have the shape of their REST resource, without what comes from other rows (a name, a tag, an age), for
that would change without the row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import models
from django.db.models import Prefetch, Q
from rest_framework.serializers import Serializer

from ifarm.animals.models import (
    Animal,
    AnimalGroup,
    AnimalIdentifier,
    BodyCondition,
    GroupMembership,
    Movement,
    Parentage,
    Weight,
)
from ifarm.animals.serializers import ConditionOutput, GroupOutput, MovementOutput, WeightOutput
from ifarm.breeding.models import BreedingEvent
from ifarm.breeding.serializers import EventOutput
from ifarm.core.actors import Actor
from ifarm.core.models import TenantModel
from ifarm.core.policies import POLICIES, Policy
from ifarm.farms.models import Farm, Paddock
from ifarm.farms.serializers import FarmOutput, PaddockOutput
from ifarm.health.models import (
    HealthCheck,
    LabelPeriod,
    Medicine,
    MedicineBatch,
    Treatment,
    TreatmentDose,
    Withdrawal,
)
from ifarm.health.serializers import HealthCheckOutput, MedicineOutput
from ifarm.production.models import Lactation, Production
from ifarm.production.serializers import LactationOutput
from ifarm.sync.models import PushedOperation
from ifarm.sync.serializers import (
    AnimalRow,
    BatchRow,
    GroupMemberRow,
    OperationRow,
    ProductionRow,
    TreatmentRow,
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of thing.

    Args:
        where: which rows exist at all. Of the row itself only: what depends on another row would come and go without
            a note in the journal. The animal of a row that belongs to one is the exception, see `belongs_to_animal`.
        parts: rows of other tables that are told with it.
    """

    model: type[TenantModel]
    output: type[Serializer]
    where: Q | None = None
    related: tuple[str, ...] = ()
    parts: tuple[tuple[str, type[TenantModel]], ...] = ()

    @property
    def policy(self) -> Policy[Any]:
        """Who may see it."""
        return POLICIES[self.model._meta.label_lower]

    @property
    def belongs_to_animal(self) -> bool:
        """Whether it comes, goes and is forgotten with an animal."""
        return self.policy.farm == "animal__farm_id"

    def rows(self, actor: Actor) -> models.QuerySet[Any]:
        """Those that the actor may see."""
        rows = self.model.objects.all()
        if self.where is not None:
            rows = rows.filter(self.where)
        if self.belongs_to_animal:
            rows = rows.filter(animal__is_deleted=False)
        if self.model is PushedOperation:
            rows = rows.filter(actor_id=actor.id)
        if self.policy.farm is not None and actor.farm_ids is not None:
            rows = rows.filter(**{f"{self.policy.farm}__in": actor.farm_ids})
        parts = [Prefetch(name, model.objects.order_by("id")) for name, model in self.parts]
        return (
            rows.select_related(*self.related).prefetch_related(*parts)
            if self.related
            else (rows.prefetch_related(*parts))
        )

    def told(self, actor: Actor, ids: Collection[UUID]) -> dict[UUID, dict[str, Any]]:
        """Their present form by id, without those that are gone for this actor."""
        return dict(self.shown(self.rows(actor).filter(id__in=ids)))

    def shown(self, rows: Iterable[Any]) -> Iterable[tuple[UUID, dict[str, Any]]]:
        """(id, form) of each."""
        for row in rows:
            yield row.id, dict(self.output(row).data)


KINDS: Final[dict[str, Kind]] = {
    "farm": Kind(Farm, FarmOutput),
    "paddock": Kind(Paddock, PaddockOutput),
    "medicine": Kind(Medicine, MedicineOutput, parts=(("label", LabelPeriod),)),
    "batch": Kind(MedicineBatch, BatchRow),
    "group": Kind(AnimalGroup, GroupOutput),
    "animal": Kind(
        Animal,
        AnimalRow,
        where=Q(is_deleted=False),
        related=("breed",),
        parts=(("identifiers", AnimalIdentifier), ("parents", Parentage)),
    ),
    "movement": Kind(Movement, MovementOutput),
    "group_member": Kind(GroupMembership, GroupMemberRow),
    "weight": Kind(Weight, WeightOutput),
    "body_condition": Kind(BodyCondition, ConditionOutput),
    "health_check": Kind(HealthCheck, HealthCheckOutput),
    "treatment": Kind(Treatment, TreatmentRow, parts=(("doses", TreatmentDose), ("withdrawals", Withdrawal))),
    "production": Kind(Production, ProductionRow),
    "lactation": Kind(Lactation, LactationOutput),
    "breeding_event": Kind(BreedingEvent, EventOutput),
    "operation": Kind(PushedOperation, OperationRow),
}
"""In the order in which a first pull gives them: what is referred to comes before."""


def visible_kinds(actor: Actor, wanted: Collection[str]) -> list[str]:
    """Those of ``wanted`` that the actor may see, in the order of `KINDS`."""
    return [name for name, kind in KINDS.items() if name in wanted and _may_see(actor, kind)]


def _may_see(actor: Actor, kind: Kind) -> bool:
    return kind.policy.may(actor, "view")
