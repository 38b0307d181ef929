"""Shapes of breeding."""

from __future__ import annotations

from rest_framework import serializers

from ifarm.animals.serializers import RecordInput
from ifarm.animals.words import Sex, Species
from ifarm.breeding.words import (
    BirthStatus,
    CalvingEase,
    CheckMethod,
    CheckResult,
    HeatDetection,
    ServiceMethod,
)
from ifarm.core.choices import choices


class EventInput(RecordInput):
    """The local day of an event."""

    happened_on = serializers.DateField()


class HeatInput(EventInput):
    """A heat that was seen."""

    detection = serializers.ChoiceField(choices(HeatDetection), default=HeatDetection.VISUAL.value)


class ServiceInput(EventInput):
    """A service, an insemination or an embryo."""

    service_method = serializers.ChoiceField(choices(ServiceMethod))
    sire_id = serializers.UUIDField(required=False)
    semen_batch = serializers.CharField(max_length=60, allow_blank=True, required=False)


class PregnancyCheckInput(EventInput):
    """An examination. ``days_pregnant``: as the examiner dates it."""

    check_method = serializers.ChoiceField(choices(CheckMethod))
    result = serializers.ChoiceField(choices(CheckResult))
    days_pregnant = serializers.IntegerField(min_value=1, max_value=380, required=False)


class OffspringInput(serializers.Serializer):
    """Somebody who was born: with a tag if alive, without if not. ``animal_id``: one that is recorded already."""

    birth_status = serializers.ChoiceField(choices(BirthStatus))
    sex = serializers.ChoiceField(choices(Sex))
    tag_number = serializers.CharField(max_length=40, required=False)
    animal_id = serializers.UUIDField(required=False)
    name = serializers.CharField(max_length=80, allow_blank=True, required=False)
    birth_weight_kg = serializers.DecimalField(max_digits=7, decimal_places=2, required=False)


class CalvingInput(EventInput):
    """A birth."""

    ease = serializers.ChoiceField(choices(CalvingEase))
    offspring = OffspringInput(many=True, min_length=1, max_length=24)


class CalvingChange(serializers.Serializer):
    """What was wrong about a calving; ``reason`` is kept in the audit."""

    happened_on = serializers.DateField()
    ease = serializers.ChoiceField(choices(CalvingEase))
    reason = serializers.CharField(max_length=500, allow_blank=True, required=False)


class EventOutput(serializers.Serializer):
    """An event. ``conceived``: of a service, whether it led to a pregnancy; null while nobody knows."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    animal_id = serializers.UUIDField()
    kind = serializers.CharField()
    happened_on = serializers.DateField()
    detection = serializers.CharField()
    service_method = serializers.CharField()
    sire_id = serializers.UUIDField(allow_null=True)
    semen_batch = serializers.CharField()
    conceived = serializers.BooleanField(allow_null=True)
    check_method = serializers.CharField()
    result = serializers.CharField()
    days_pregnant = serializers.IntegerField(allow_null=True)
    ease = serializers.CharField()
    born_alive_count = serializers.IntegerField(allow_null=True)
    stillborn_count = serializers.IntegerField(allow_null=True)


class DueOutput(serializers.Serializer):
    """What is to be done between two days, both included."""

    id = serializers.UUIDField()
    animal_id = serializers.UUIDField()
    tag_number = serializers.CharField(source="animal.tag_number")
    farm_id = serializers.UUIDField(source="animal.farm_id")
    kind = serializers.CharField()
    anchor_on = serializers.DateField()
    due_from = serializers.DateField()
    due_until = serializers.DateField()


class ReproductionOutput(serializers.Serializer):
    """Where an animal is in its cycle (icarAnimalReproductionStatusType), and what is due."""

    animal_id = serializers.UUIDField()
    status = serializers.CharField()
    since = serializers.DateField(allow_null=True)
    calved_on = serializers.DateField(allow_null=True)
    served_on = serializers.DateField(allow_null=True)
    conceived_on = serializers.DateField(allow_null=True)
    due = DueOutput(many=True)


class BreedingPlanInput(serializers.Serializer):
    """The days planned for a species; null: nothing of it."""

    species = serializers.ChoiceField(choices(Species))
    voluntary_wait_days = serializers.IntegerField(min_value=0, max_value=365, allow_null=True)
    pregnancy_check_days = serializers.IntegerField(min_value=1, max_value=110)
    dry_period_days = serializers.IntegerField(min_value=1, max_value=110, allow_null=True)


class BreedingPlanOutput(serializers.Serializer):
    """The days planned for a species."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    species = serializers.CharField()
    voluntary_wait_days = serializers.IntegerField(allow_null=True)
    pregnancy_check_days = serializers.IntegerField()
    dry_period_days = serializers.IntegerField(allow_null=True)


class FiguresQuery(serializers.Serializer):
    """The period of the figures, both days included; the last year unless named."""

    species = serializers.ChoiceField(choices(Species), default=Species.CATTLE.value)
    since = serializers.DateField(required=False)
    until = serializers.DateField(required=False)


class FiguresOutput(serializers.Serializer):
    """How well a farm's females conceived. Rates are parts of one; a mean of nothing is null."""

    calvings = serializers.IntegerField()
    calving_interval_days = serializers.DecimalField(max_digits=7, decimal_places=1, allow_null=True)
    conceptions = serializers.IntegerField()
    days_open = serializers.DecimalField(max_digits=7, decimal_places=1, allow_null=True)
    services = serializers.IntegerField()
    conception_rate = serializers.DecimalField(max_digits=4, decimal_places=3, allow_null=True)
    days_at_risk = serializers.IntegerField()
    pregnancy_rate = serializers.DecimalField(max_digits=6, decimal_places=3, allow_null=True)
