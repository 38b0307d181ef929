"""Routes of animals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from ifarm.animals import growth, movements, selectors, services
from ifarm.animals.filters import AnimalFilters
from ifarm.animals.models import Animal, AnimalIdentifier, BodyCondition, Movement, Parentage, Weight
from ifarm.animals.policies import (
    ANIMALS,
    BODY_CONDITIONS,
    IDENTIFIERS,
    MOVEMENTS,
    PARENTAGES,
    WEIGHTS,
    access_animal,
)
from ifarm.animals.serializers import (
    AnimalChange,
    AnimalInput,
    AnimalOutput,
    BreedOutput,
    ConditionInput,
    ConditionOutput,
    GainOutput,
    IdentifierOutput,
    MovementInput,
    MovementOutput,
    NewIdentifierInput,
    ParentInput,
    ParentOutput,
    WeightInput,
    WeightOutput,
)
from ifarm.animals.words import ArrivalReason, IdentifierKind, MovementKind, ParentRole, Relation
from ifarm.api.pages import Order
from ifarm.api.views import TenantView, operation
from ifarm.core.versions import Seen


class AnimalsApi(TenantView):
    """All animals."""

    @operation(
        ANIMALS,
        "view",
        output=AnimalOutput,
        order=Order(Animal, "tag_number", "modified_at", "created_at"),
        filters=AnimalFilters,
    )
    def get(self) -> QuerySet[Animal]:
        """Animals of the actor's farms."""
        return selectors.list_animals(self.actor)

    @operation(ANIMALS, "add", input=AnimalInput, output=AnimalOutput, status=201)
    def post(self, data: Mapping[str, Any]) -> Animal:
        """A new animal: born here, or arrived."""
        reason = data.get("arrival_reason")
        arrived = {"arrival_reason": ArrivalReason(reason)} if reason else {}
        return services.create_animal(self.actor, **{**data, **arrived})


class AnimalApi(TenantView):
    """One animal."""

    @operation(ANIMALS, "view", output=AnimalOutput)
    def get(self, animal_id: UUID) -> Animal:
        """Look at it."""
        return access_animal(self.actor, animal_id)

    @operation(ANIMALS, "change", input=AnimalChange, output=AnimalOutput, versioned=True)
    def patch(self, animal_id: UUID, data: Mapping[str, Any], seen: Seen) -> Animal:
        """Change what describes it."""
        return services.update_animal(self.actor, animal_id, data, seen)

    @operation(ANIMALS, "delete")
    def delete(self, animal_id: UUID) -> None:
        """Take it back, if it was recorded by mistake."""
        services.delete_animal(self.actor, animal_id)


class IdentifiersApi(TenantView):
    """What an animal is and was known by."""

    @operation(IDENTIFIERS, "view", output=IdentifierOutput, order=Order(AnimalIdentifier, "issued_on"))
    def get(self, animal_id: UUID) -> QuerySet[AnimalIdentifier]:
        """The history."""
        return selectors.list_identifiers(self.actor, animal_id)

    @operation(IDENTIFIERS, "add", input=NewIdentifierInput, output=IdentifierOutput, status=201)
    def post(self, animal_id: UUID, data: Mapping[str, Any]) -> AnimalIdentifier:
        """A new one; the one of its kind before is retired."""
        kind = IdentifierKind(data["kind"])
        return services.issue_identifier(self.actor, animal_id, **{**data, "kind": kind})


class ParentsApi(TenantView):
    """The parents of an animal."""

    @operation(PARENTAGES, "view", output=ParentOutput, order=Order(Parentage, "created_at"))
    def get(self, animal_id: UUID) -> QuerySet[Parentage]:
        """Who they are."""
        return selectors.list_parents(self.actor, animal_id)

    @operation(PARENTAGES, "change", input=ParentInput, output=ParentOutput)
    def put(self, animal_id: UUID, data: Mapping[str, Any]) -> Parentage:
        """Say who one of them is."""
        words = {"role": ParentRole(data["role"]), "relation": Relation(data["relation"])}
        return services.set_parent(self.actor, animal_id, **{**data, **words})


class MovementsApi(TenantView):
    """Where an animal came from and went."""

    @operation(MOVEMENTS, "view", output=MovementOutput, order=Order(Movement, "moved_at"))
    def get(self, animal_id: UUID) -> QuerySet[Movement]:
        """The history."""
        return selectors.list_movements(self.actor, animal_id)

    @operation(MOVEMENTS, "add", input=MovementInput, output=MovementOutput, status=201)
    def post(self, animal_id: UUID, data: Mapping[str, Any]) -> Movement:
        """It arrives, changes place, leaves or dies."""
        return movements.move_animal(self.actor, animal_id, **{**data, "kind": MovementKind(data["kind"])})


class WeightsApi(TenantView):
    """What an animal weighed."""

    @operation(WEIGHTS, "view", output=WeightOutput, order=Order(Weight, "weighed_on"))
    def get(self, animal_id: UUID) -> QuerySet[Weight]:
        """All weights."""
        return selectors.list_weights(self.actor, animal_id)

    @operation(WEIGHTS, "add", input=WeightInput, output=WeightOutput, status=201)
    def post(self, animal_id: UUID, data: Mapping[str, Any]) -> Weight:
        """A new weight."""
        return growth.record_weight(self.actor, animal_id, **data)


class WeightApi(TenantView):
    """One weight."""

    @operation(WEIGHTS, "delete")
    def delete(self, weight_id: UUID) -> None:
        """Take it back."""
        growth.delete_weight(self.actor, weight_id)


class GainApi(TenantView):
    """How an animal grows."""

    @operation(WEIGHTS, "view", output=GainOutput)
    def get(self, animal_id: UUID) -> growth.Gain:
        """Average daily gain of the last two weighings, as of today at its farm."""
        return growth.gain_of(self.actor, animal_id)


class ConditionsApi(TenantView):
    """How fat an animal was."""

    @operation(BODY_CONDITIONS, "view", output=ConditionOutput, order=Order(BodyCondition, "scored_on"))
    def get(self, animal_id: UUID) -> QuerySet[BodyCondition]:
        """All scores."""
        return selectors.list_conditions(self.actor, animal_id)

    @operation(BODY_CONDITIONS, "add", input=ConditionInput, output=ConditionOutput, status=201)
    def post(self, animal_id: UUID, data: Mapping[str, Any]) -> BodyCondition:
        """A new score."""
        return growth.record_condition(self.actor, animal_id, **data)


class ConditionApi(TenantView):
    """One score."""

    @operation(BODY_CONDITIONS, "delete")
    def delete(self, condition_id: UUID) -> None:
        """Take it back."""
        growth.delete_condition(self.actor, condition_id)


class BreedsApi(APIView):
    """The catalogue of breeds."""

    @extend_schema(responses=BreedOutput(many=True))
    def get(self, request: Any) -> Response:
        """All breeds. Not in pages: there are a few dozen."""
        return Response(BreedOutput(selectors.list_breeds(), many=True).data)
