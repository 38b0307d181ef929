"""Shapes of what devices take along and send back."""

from __future__ import annotations

import json
from typing import Any, Final

from rest_framework import serializers

from ifarm.animals.serializers import AnimalOutput, GroupMemberOutput, IdentifierOutput, ParentOutput
from ifarm.health.serializers import BatchOutput, DoseOutput, TreatmentOutput
from ifarm.production.serializers import ProductionOutput
from ifarm.sync.words import Outcome

MOST_OPERATIONS: Final = 100
"""In one push: some two seconds of work, in which the push's rows are locked."""


class ParentRow(ParentOutput):
    """A parent."""

    tag_number = None


class AnimalRow(AnimalOutput):
    """An animal with all it was known by and its parents."""

    farm_name = None
    age_months = None
    identifiers = IdentifierOutput(many=True, source="identifiers.all")
    parents = ParentRow(many=True, source="parents.all")


class GroupMemberRow(GroupMemberOutput):
    """An animal in a group."""

    tag_number = None
    group_id = serializers.UUIDField()


class BatchRow(BatchOutput):
    """A batch of a medicine."""

    medicine_name = None
    unit = None


class DoseRow(DoseOutput):
    """A dose, in the medicine's unit."""

    unit = None
    batch_number = None


class ClockRow(serializers.Serializer):
    """How long a product is withheld: the days [``starts_on``, ``free_on``)."""

    id = serializers.UUIDField()
    product = serializers.CharField()
    hours = serializers.IntegerField()
    starts_on = serializers.DateField()
    free_on = serializers.DateField()


class TreatmentRow(TreatmentOutput):
    """A treatment with its doses and its withdrawals."""

    tag_number = None
    medicine_name = None
    doses = DoseRow(many=True, source="doses.all")
    withdrawals = ClockRow(many=True, source="withdrawals.all")


class ProductionRow(ProductionOutput):
    """A record of what was produced."""

    tag_number = None


class OperationRow(serializers.Serializer):
    """An operation of this person that the server has answered for good."""

    id = serializers.UUIDField()
    operation_id = serializers.UUIDField()
    kind = serializers.CharField()
    action = serializers.CharField()
    object_id = serializers.UUIDField()
    outcome = serializers.CharField()
    recorded_at = serializers.DateTimeField()
    skew_seconds = serializers.FloatField()


class ChangesQuery(serializers.Serializer):
    """Where to go on. Without ``since`` everything is told, from the beginning."""

    since = serializers.CharField(required=False)
    kinds = serializers.CharField(required=False, help_text="separated by commas; every kind unless named")
    limit = serializers.IntegerField(min_value=1, max_value=500, default=200)


class ChangeOutput(serializers.Serializer):
    """One thing as it is now, or that it is gone."""

    kind = serializers.CharField()
    id = serializers.UUIDField()
    gone = serializers.BooleanField()
    belongs_to = serializers.UUIDField(allow_null=True)
    row = serializers.DictField(allow_null=True)


class ChangesOutput(serializers.Serializer):
    """A page of changes; ``cursor`` is the next ``since``, also after the last page."""

    changes = ChangeOutput(many=True)
    cursor = serializers.CharField()
    more = serializers.BooleanField()
    server_time = serializers.DateTimeField()


class OperationInput(serializers.Serializer):
    """One thing that was done in the field."""

    id = serializers.UUIDField()
    kind = serializers.CharField(max_length=20)
    action = serializers.CharField(max_length=20)
    object_id = serializers.UUIDField()
    base_version = serializers.IntegerField(min_value=1, required=False)
    base_operation = serializers.UUIDField(required=False)
    recorded_at = serializers.DateTimeField()
    data = serializers.DictField(default=dict)

    def validate_data(self, value: dict[str, Any]) -> dict[str, Any]:
        """What a `jsonb` can hold, so that the answer can be kept."""
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
            text.encode()
        except ValueError:
            raise serializers.ValidationError("expected text of Unicode and finite numbers") from None
        if "\\u0000" in text:
            raise serializers.ValidationError("expected text without the character NUL")
        return value


class PushInput(serializers.Serializer):
    """What a device did, in the order it did it. ``sent_at`` is its clock now."""

    sent_at = serializers.DateTimeField()
    operations = OperationInput(many=True, allow_empty=False, max_length=MOST_OPERATIONS)


class ResultOutput(serializers.Serializer):
    """What became of an operation; only the members that its outcome has."""

    id = serializers.UUIDField()
    outcome = serializers.ChoiceField([(word.value, word.value) for word in Outcome])
    kind = serializers.CharField()
    object_id = serializers.UUIDField()
    version = serializers.IntegerField(required=False, allow_null=True)
    row = serializers.DictField(required=False, allow_null=True)
    problem = serializers.DictField(required=False)
    base_version = serializers.IntegerField(required=False)
    yours = serializers.DictField(required=False)
    theirs = serializers.DictField(required=False, allow_null=True)
    because = serializers.UUIDField(required=False)

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """As it was stored."""
        return dict(instance)


class PushOutput(serializers.Serializer):
    """A result for each operation, in their order. ``clock_skew_seconds``: how far the device's clock is ahead."""

    received_at = serializers.DateTimeField()
    clock_skew_seconds = serializers.FloatField()
    results = ResultOutput(many=True)
