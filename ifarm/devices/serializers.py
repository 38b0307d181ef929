"""Shapes of devices and readings."""

from __future__ import annotations

from rest_framework import serializers

from ifarm.api.fields import MomentField, ProblemField, RowsField
from ifarm.core.choices import choices
from ifarm.devices.words import MOST, DeviceKind, Outcome
from ifarm.permissions.serializers import WithSecret
from ifarm.production.serializers import OverrideInput
from ifarm.production.words import MilkUse, Session


class DeviceChange(serializers.Serializer):
    """What can be changed of a device. Its kind cannot: its readings would mean something else."""

    farm_id = serializers.UUIDField()
    name = serializers.CharField(max_length=80)
    manufacturer_name = serializers.CharField(max_length=80, allow_blank=True, required=False)
    model = serializers.CharField(max_length=80, allow_blank=True, required=False)
    serial = serializers.CharField(max_length=80, allow_blank=True, required=False)
    is_active = serializers.BooleanField(required=False)


class DeviceInput(DeviceChange):
    """A device to set up."""

    kind = serializers.ChoiceField(choices(DeviceKind))


class DeviceOutput(serializers.Serializer):
    """A device. ``last_seen_at``: when it last sent."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    farm_id = serializers.UUIDField()
    kind = serializers.CharField()
    name = serializers.CharField()
    manufacturer_name = serializers.CharField()
    model = serializers.CharField()
    serial = serializers.CharField()
    is_active = serializers.BooleanField()
    token_id = serializers.UUIDField(allow_null=True)
    last_seen_at = serializers.DateTimeField(allow_null=True)


class DeviceKeyOutput(WithSecret, DeviceOutput):
    """A device with its new key."""


class MilkSaid(OverrideInput):
    """What is said of a milking besides its milk."""

    session = serializers.ChoiceField(choices(Session), required=False)
    milk_use = serializers.ChoiceField(choices(MilkUse), required=False)


class ReadingInput(serializers.Serializer):
    """One reading. ``source_id``: what the device calls it, for ever."""

    source_id = serializers.CharField(max_length=120)
    measured_at = MomentField()
    eid = serializers.CharField(max_length=40, allow_blank=True, default="")
    visual_tag = serializers.CharField(max_length=40, allow_blank=True, default="")
    weight_kg = serializers.DecimalField(max_digits=7, decimal_places=2, allow_null=True, required=False)
    milk_kg = serializers.DecimalField(max_digits=5, decimal_places=2, allow_null=True, required=False)
    session = serializers.ChoiceField(choices(Session), allow_blank=True, default="")
    milk_use = serializers.ChoiceField(choices(MilkUse), allow_blank=True, default="")


class ReadingsInput(serializers.Serializer):
    """Readings of one device, each judged by itself."""

    rows = RowsField(
        ReadingInput(),
        most=MOST,
        help_text=(
            f"1 to {MOST} readings: {{source_id, measured_at (with its offset), eid, visual_tag, weight_kg or milk_kg,"
            " session, milk_use}. A wrong one is refused in the answer, and costs no other."
        ),
    )


class ReadingLineOutput(serializers.Serializer):
    """What became of a row. ``problem``: why it was refused, or is of nobody yet."""

    number = serializers.IntegerField()
    source_id = serializers.CharField()
    outcome = serializers.ChoiceField(choices(Outcome))
    reading_id = serializers.UUIDField(source="reading.id", default=None, allow_null=True)
    animal_id = serializers.UUIDField(source="match.animal_id", default=None, allow_null=True)
    record_id = serializers.UUIDField(source="match.record_id", default=None, allow_null=True)
    problem = ProblemField(allow_null=True)


class ReadingsOutput(serializers.Serializer):
    """What became of each row, in the order given."""

    matched = serializers.IntegerField()
    unmatched = serializers.IntegerField()
    known = serializers.IntegerField()
    refused = serializers.IntegerField()
    rows = ReadingLineOutput(many=True)


class ReadingOutput(serializers.Serializer):
    """A reading. ``problem``: why it was not matched when it came; ``animal_id`` is null until it is."""

    id = serializers.UUIDField()
    device_id = serializers.UUIDField()
    farm_id = serializers.UUIDField()
    source_id = serializers.CharField()
    measured_at = serializers.DateTimeField()
    eid = serializers.CharField()
    visual_tag = serializers.CharField()
    weight_kg = serializers.DecimalField(max_digits=7, decimal_places=2, allow_null=True)
    milk_kg = serializers.DecimalField(max_digits=5, decimal_places=2, allow_null=True)
    session = serializers.CharField()
    milk_use = serializers.CharField()
    problem = serializers.CharField()
    animal_id = serializers.UUIDField(allow_null=True)
    tag_number = serializers.CharField(allow_null=True)
    record_id = serializers.UUIDField(allow_null=True)


class MatchInput(MilkSaid):
    """Whose a reading was; without ``animal_id``: whose its tags say by now."""

    animal_id = serializers.UUIDField(required=False)


class MatchAgainInput(serializers.Serializer):
    """How far back; 90 days unless named."""

    since = MomentField(required=False)
