"""Shapes of production. Which amounts a record has follows from its `production_type`."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from ifarm.animals.serializers import RecordInput, SourceInput
from ifarm.api.fields import PartInput, ProblemField
from ifarm.core.choices import choices
from ifarm.production.words import EggUse, MilkUse, ProductionType, Session, fields_of


class MilkAmounts(serializers.Serializer):
    """One milking's milk."""

    milk_kg = serializers.DecimalField(max_digits=5, decimal_places=2, required=False)
    fat_percent = serializers.DecimalField(max_digits=4, decimal_places=2, allow_null=True, required=False)
    protein_percent = serializers.DecimalField(
        max_digits=4, decimal_places=2, allow_null=True, required=False
    )
    somatic_cells_per_ml = serializers.IntegerField(
        min_value=0, max_value=100_000_000, allow_null=True, required=False
    )
    milk_use = serializers.ChoiceField(choices(MilkUse), required=False)


class OverrideInput(serializers.Serializer):
    """Why milk goes into the tank, or eggs to the table, in spite of a withdrawal."""

    override_reason = serializers.CharField(max_length=500, allow_blank=True, required=False)


class Amounts(MilkAmounts):
    """The amounts of every kind; a record has those of its own."""

    eggs_count = serializers.IntegerField(min_value=0, max_value=10_000_000, required=False)
    eggs_broken_count = serializers.IntegerField(
        min_value=0, max_value=10_000_000, allow_null=True, required=False
    )
    egg_use = serializers.ChoiceField(choices(EggUse), required=False)
    wool_kg = serializers.DecimalField(max_digits=5, decimal_places=2, required=False)
    fibre_diameter_um = serializers.DecimalField(
        max_digits=4, decimal_places=1, allow_null=True, required=False
    )
    carcass_kg = serializers.DecimalField(max_digits=6, decimal_places=2, required=False)
    carcass_class = serializers.CharField(max_length=8, allow_blank=True, required=False)


class ProductionInput(RecordInput, OverrideInput, Amounts):
    """A record: of an animal or a group, with the amounts of its kind."""

    production_type = serializers.ChoiceField(choices(ProductionType))
    production_date = serializers.DateField()
    animal_id = serializers.UUIDField(required=False)
    group_id = serializers.UUIDField(required=False)
    session = serializers.ChoiceField(choices(Session), required=False)


class ProductionChange(OverrideInput, Amounts):
    """A correction; ``reason`` is kept in the audit."""

    reason = serializers.CharField(max_length=500, allow_blank=True, required=False)


class ProductionOutput(Amounts):
    """A record: what every kind has, and the amounts of its own kind only."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    production_type = serializers.CharField()
    production_date = serializers.DateField()
    farm_id = serializers.UUIDField()
    animal_id = serializers.UUIDField(allow_null=True)
    tag_number = serializers.CharField(source="animal.tag_number", default=None, allow_null=True)
    group_id = serializers.UUIDField(allow_null=True)
    session = serializers.CharField(required=False)
    modified_at = serializers.DateTimeField()

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Without the amounts of other kinds."""
        told: dict[str, Any] = super().to_representation(instance)
        own = fields_of(ProductionType(instance.production_type))
        every = {name for kind in ProductionType for name in fields_of(kind)}
        return {name: value for name, value in told.items() if name not in every or name in own}


class HistoryOutput(serializers.Serializer):
    """The newest records of an animal, newest first."""

    results = ProductionOutput(many=True)


class GroupMilkLine(OverrideInput, MilkAmounts):
    """One animal's milk."""

    animal_id = serializers.UUIDField()
    milk_kg = serializers.DecimalField(max_digits=5, decimal_places=2)


class GroupMilkInput(SourceInput):
    """One milking of a group."""

    production_date = serializers.DateField()
    session = serializers.ChoiceField(choices(Session))
    rows = GroupMilkLine(many=True, min_length=1, max_length=1000)


class LineOutput(serializers.Serializer):
    """What became of a line: a record, or a problem (RFC 9457: type, status, detail)."""

    number = serializers.IntegerField()
    animal_id = serializers.UUIDField()
    production = ProductionOutput(allow_null=True)
    problem = ProblemField(allow_null=True)


class GroupMilkOutput(serializers.Serializer):
    """What became of each line, in the order given."""

    recorded = serializers.IntegerField()
    refused = serializers.IntegerField()
    rows = LineOutput(many=True)


class SummaryOutput(serializers.Serializer):
    """A farm's day. ``fat_kg`` is of ``sampled_milk_kg``, ``protein_kg`` of ``protein_milk_kg``."""

    id = serializers.UUIDField()
    farm_id = serializers.UUIDField()
    day = serializers.DateField()
    production_type = serializers.CharField()
    records = serializers.IntegerField()
    milk_kg = serializers.DecimalField(max_digits=14, decimal_places=2)
    sampled_milk_kg = serializers.DecimalField(max_digits=14, decimal_places=2)
    fat_kg = serializers.DecimalField(max_digits=16, decimal_places=6)
    protein_milk_kg = serializers.DecimalField(max_digits=14, decimal_places=2)
    protein_kg = serializers.DecimalField(max_digits=16, decimal_places=6)
    eggs_count = serializers.IntegerField()
    eggs_broken_count = serializers.IntegerField()
    wool_kg = serializers.DecimalField(max_digits=14, decimal_places=2)
    carcass_kg = serializers.DecimalField(max_digits=14, decimal_places=2)
    modified_at = serializers.DateTimeField()


class LactationInput(serializers.Serializer):
    """A lactation to begin. ``number``: the parity, if earlier ones are not recorded here."""

    starts_on = serializers.DateField()
    number = serializers.IntegerField(min_value=1, max_value=30, required=False)


class LactationChange(PartInput):
    """Drying off: the first day without milk."""

    ends_on = serializers.DateField()


class LactationOutput(serializers.Serializer):
    """A lactation; ``ends_on`` is the first day that is not part of it."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    animal_id = serializers.UUIDField()
    number = serializers.IntegerField()
    starts_on = serializers.DateField()
    ends_on = serializers.DateField(allow_null=True)
    end_reason = serializers.CharField()


class YieldOutput(serializers.Serializer):
    """What a lactation gave in ``days`` days, 305 at most, by the test interval method."""

    lactation_id = serializers.UUIDField()
    days = serializers.IntegerField()
    test_days = serializers.IntegerField()
    is_complete = serializers.BooleanField()
    milk_kg = serializers.DecimalField(max_digits=9, decimal_places=2, allow_null=True)
    fat_kg = serializers.DecimalField(max_digits=9, decimal_places=2, allow_null=True)
    protein_kg = serializers.DecimalField(max_digits=9, decimal_places=2, allow_null=True)
