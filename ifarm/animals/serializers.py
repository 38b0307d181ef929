"""Shapes of animals and what is recorded about them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from ifarm.animals.words import (
    BREED_CODE,
    ArrivalReason,
    GroupKind,
    IdentifierKind,
    MovementKind,
    ParentRole,
    Purpose,
    Relation,
    Sex,
    Species,
    WeightMethod,
)
from ifarm.api.fields import PartInput
from ifarm.core.choices import choices


class SourceInput(serializers.Serializer):
    """Where records came from, if not from here."""

    source = serializers.CharField(max_length=60, allow_blank=True, required=False)


class RecordInput(SourceInput):
    """Where a record came from, and what it is called there: a second one of that name is refused (409)."""

    source_id = serializers.CharField(max_length=120, allow_blank=True, required=False)


class IdentifierInput(PartInput):
    """What an animal is known by."""

    kind = serializers.ChoiceField(choices(IdentifierKind))
    value = serializers.CharField(max_length=40)


class BreedPartInput(PartInput):
    """How many parts of an animal are of one breed."""

    code = serializers.RegexField(BREED_CODE)
    parts = serializers.IntegerField(min_value=1, max_value=1024)


class AnimalFields(serializers.Serializer):
    """What describes an animal."""

    name = serializers.CharField(max_length=80, allow_blank=True, required=False)
    sex = serializers.ChoiceField(choices(Sex))
    birth_date = serializers.DateField(allow_null=True, required=False)
    purpose = serializers.ChoiceField(choices(Purpose), allow_blank=True, required=False)
    estimated_value = serializers.DecimalField(
        max_digits=12, decimal_places=2, allow_null=True, required=False
    )
    value_currency = serializers.RegexField(r"^[A-Z]{3}$", required=False)
    breeds = BreedPartInput(many=True, required=False, max_length=16)


class AnimalInput(AnimalFields):
    """An animal to record."""

    farm_id = serializers.UUIDField()
    paddock_id = serializers.UUIDField(allow_null=True, required=False)
    tag_number = serializers.CharField(max_length=40)
    animal_type = serializers.ChoiceField(choices(Species))
    identifiers = IdentifierInput(many=True, required=False, max_length=10)
    arrived_at = serializers.DateTimeField(required=False)
    arrival_reason = serializers.ChoiceField(choices(ArrivalReason), required=False)
    is_reference = serializers.BooleanField(default=False)


class AnimalChange(AnimalFields):
    """What can be changed without a movement or a new identifier."""


class AnimalOutput(serializers.Serializer):
    """An animal."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    farm_id = serializers.UUIDField()
    farm_name = serializers.CharField(source="farm.name")
    paddock_id = serializers.UUIDField(allow_null=True)
    tag_number = serializers.CharField()
    name = serializers.CharField()
    animal_type = serializers.CharField()
    sex = serializers.CharField()
    birth_date = serializers.DateField(allow_null=True)
    age_months = serializers.SerializerMethodField()
    breed = serializers.CharField(source="breed.code", default=None, allow_null=True)
    purpose = serializers.CharField()
    status = serializers.CharField()
    estimated_value = serializers.DecimalField(max_digits=12, decimal_places=2, allow_null=True)
    value_currency = serializers.CharField()
    is_reference = serializers.BooleanField()
    modified_at = serializers.DateTimeField()

    def get_age_months(self, animal: Any) -> int | None:
        """Derived, today at its farm."""
        months: int | None = animal.age_months(animal.farm.today())
        return months


class BreedOutput(serializers.Serializer):
    """A breed of the catalogue."""

    species = serializers.CharField()
    code = serializers.CharField()
    name = serializers.CharField()


class NewIdentifierInput(IdentifierInput):
    """An identifier to give; the one before is retired that day."""

    issued_on = serializers.DateField()


class IdentifierOutput(serializers.Serializer):
    """An identifier and when it was in use."""

    id = serializers.UUIDField()
    kind = serializers.CharField()
    value = serializers.CharField()
    normalised = serializers.CharField()
    issued_on = serializers.DateField()
    retired_on = serializers.DateField(allow_null=True)


class ParentInput(serializers.Serializer):
    """Who a parent is."""

    parent_id = serializers.UUIDField()
    role = serializers.ChoiceField(choices(ParentRole))
    relation = serializers.ChoiceField(choices(Relation), default=Relation.GENETIC.value)


class ParentOutput(serializers.Serializer):
    """A parent."""

    id = serializers.UUIDField()
    parent_id = serializers.UUIDField()
    tag_number = serializers.CharField(source="parent.tag_number")
    role = serializers.CharField()
    relation = serializers.CharField()


class MovementFields(serializers.Serializer):
    """A movement; the reasons are those of its kind. ``override_reason``: why it leaves in spite of a withdrawal."""

    kind = serializers.ChoiceField(choices(MovementKind))
    reason = serializers.CharField(max_length=20, allow_blank=True, default="")
    moved_at = serializers.DateTimeField(required=False)
    farm_id = serializers.UUIDField(required=False)
    paddock_id = serializers.UUIDField(allow_null=True, required=False)
    counterpart = serializers.CharField(max_length=120, allow_blank=True, required=False)
    override_reason = serializers.CharField(max_length=500, allow_blank=True, required=False)


class MovementInput(RecordInput, MovementFields):
    """A movement of one animal."""


class GroupMovementInput(SourceInput, MovementFields):
    """A movement of every animal in a group."""


class MovementOutput(serializers.Serializer):
    """A movement."""

    id = serializers.UUIDField()
    animal_id = serializers.UUIDField()
    kind = serializers.CharField()
    reason = serializers.CharField()
    moved_at = serializers.DateTimeField()
    from_farm_id = serializers.UUIDField(allow_null=True)
    from_paddock_id = serializers.UUIDField(allow_null=True)
    to_farm_id = serializers.UUIDField(allow_null=True)
    to_paddock_id = serializers.UUIDField(allow_null=True)
    counterpart = serializers.CharField()


class GroupMovementOutput(serializers.Serializer):
    """The movement of each animal, in the order of their ids."""

    moved = serializers.IntegerField()
    movements = MovementOutput(many=True)


class WeightInput(RecordInput):
    """A body weight, in kilograms."""

    weighed_on = serializers.DateField()
    weight_kg = serializers.DecimalField(max_digits=7, decimal_places=2, min_value=0)
    method = serializers.ChoiceField(choices(WeightMethod), required=False)


class WeightOutput(serializers.Serializer):
    """A body weight, in kilograms."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    animal_id = serializers.UUIDField()
    weighed_on = serializers.DateField()
    weight_kg = serializers.DecimalField(max_digits=7, decimal_places=2)
    method = serializers.CharField()


class GainOutput(serializers.Serializer):
    """Average daily gain, in kilograms."""

    weighed_on = serializers.DateField(allow_null=True)
    weight_kg = serializers.DecimalField(max_digits=7, decimal_places=2, allow_null=True)
    gain_kg_per_day = serializers.DecimalField(max_digits=9, decimal_places=3, allow_null=True)
    projected_kg = serializers.DecimalField(max_digits=9, decimal_places=2, allow_null=True)


class ConditionInput(RecordInput):
    """A body condition score."""

    scored_on = serializers.DateField()
    score = serializers.DecimalField(max_digits=3, decimal_places=2, min_value=1, max_value=5)


class ConditionOutput(serializers.Serializer):
    """A body condition score."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    animal_id = serializers.UUIDField()
    scored_on = serializers.DateField()
    score = serializers.DecimalField(max_digits=3, decimal_places=2)


class GroupInput(serializers.Serializer):
    """A group to make."""

    farm_id = serializers.UUIDField()
    name = serializers.CharField(max_length=80)
    kind = serializers.ChoiceField(choices(GroupKind))


class GroupChange(serializers.Serializer):
    """What can be changed of a group."""

    name = serializers.CharField(max_length=80)
    is_active = serializers.BooleanField()


class GroupOutput(serializers.Serializer):
    """A group."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    farm_id = serializers.UUIDField()
    name = serializers.CharField()
    kind = serializers.CharField()
    is_active = serializers.BooleanField()


class GroupMemberInput(RecordInput):
    """An animal to put into a group."""

    animal_id = serializers.UUIDField()
    starts_on = serializers.DateField()


class GroupMemberChange(PartInput):
    """When the animal left."""

    ends_on = serializers.DateField()


class GroupMemberOutput(serializers.Serializer):
    """An animal in a group; ``ends_on`` is the first day it is no longer in it."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    animal_id = serializers.UUIDField()
    tag_number = serializers.CharField(source="animal.tag_number")
    starts_on = serializers.DateField()
    ends_on = serializers.DateField(allow_null=True)
