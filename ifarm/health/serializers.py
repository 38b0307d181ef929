"""Shapes of health, medicines and treatments. Quantities are in the ``unit`` beside them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from ifarm.animals.serializers import RecordInput, SourceInput
from ifarm.animals.words import Species
from ifarm.api.fields import PartInput
from ifarm.core.choices import choices
from ifarm.health.words import HealthStatus, MoveKind, Product, TreatmentKind, Unit

LONGEST_HOURS = 10 * 366 * 24
"""Of a withdrawal: ten years, longer than animals for people live."""


def _amount(**rest: Any) -> serializers.DecimalField:
    return serializers.DecimalField(max_digits=12, decimal_places=3, **rest)


class HealthCheckInput(RecordInput):
    """What somebody saw of an animal."""

    checked_at = serializers.DateTimeField(required=False)
    health_status = serializers.ChoiceField(choices(HealthStatus))
    temperature_c = serializers.DecimalField(
        max_digits=3, decimal_places=1, min_value=25, max_value=46, allow_null=True, required=False
    )
    findings = serializers.CharField(max_length=1000, allow_blank=True, required=False)


class HealthCheckOutput(serializers.Serializer):
    """A health check."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    animal_id = serializers.UUIDField()
    checked_at = serializers.DateTimeField()
    health_status = serializers.CharField()
    temperature_c = serializers.DecimalField(max_digits=3, decimal_places=1, allow_null=True)
    findings = serializers.CharField()


class ClockOutput(serializers.Serializer):
    """A product that is withheld today."""

    product = serializers.CharField()
    free_on = serializers.DateField()
    days_left = serializers.IntegerField()


class HealthOutput(serializers.Serializer):
    """How an animal is."""

    animal_id = serializers.UUIDField()
    health_status = serializers.CharField(allow_null=True)
    checked_at = serializers.DateTimeField(allow_null=True)
    in_withdrawal = ClockOutput(many=True)


class PeriodInput(PartInput):
    """Hours of withdrawal for one product of one species."""

    species = serializers.ChoiceField(choices(Species))
    product = serializers.ChoiceField(choices(Product))
    hours = serializers.IntegerField(min_value=0, max_value=LONGEST_HOURS)


class MedicineChange(serializers.Serializer):
    """What can be changed of a medicine; its unit stays."""

    name = serializers.CharField(max_length=120)
    registration_number = serializers.CharField(max_length=60, allow_blank=True, required=False)
    is_active = serializers.BooleanField(required=False)
    label = PeriodInput(many=True, required=False, max_length=30)


class MedicineInput(MedicineChange):
    """A medicine to record."""

    unit = serializers.ChoiceField(choices(Unit))


class MedicineOutput(serializers.Serializer):
    """A medicine, with what its label says of withdrawal."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    name = serializers.CharField()
    registration_number = serializers.CharField()
    unit = serializers.CharField()
    is_active = serializers.BooleanField()
    label = PeriodInput(many=True, source="label.all")


class BatchOutput(serializers.Serializer):
    """A batch and what is left of it."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    farm_id = serializers.UUIDField()
    medicine_id = serializers.UUIDField()
    medicine_name = serializers.CharField(source="medicine.name")
    batch_number = serializers.CharField()
    expires_on = serializers.DateField()
    on_hand = _amount()
    unit = serializers.CharField(source="medicine.unit")


class MedicinePurchaseInput(RecordInput):
    """Something acquired."""

    farm_id = serializers.UUIDField()
    medicine_id = serializers.UUIDField()
    batch_number = serializers.CharField(max_length=40)
    expires_on = serializers.DateField()
    quantity = _amount(min_value=0)
    unit = serializers.ChoiceField(choices(Unit))
    purchased_on = serializers.DateField()
    supplier = serializers.CharField(max_length=160, allow_blank=True, required=False)
    receipt_number = serializers.CharField(max_length=60, allow_blank=True, required=False)
    cost_amount = serializers.DecimalField(
        max_digits=12, decimal_places=2, min_value=0, allow_null=True, required=False
    )
    cost_currency = serializers.RegexField(r"^[A-Z]{3}$", required=False)


class MedicinePurchaseOutput(serializers.Serializer):
    """A purchase."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    farm_id = serializers.UUIDField(source="batch.farm_id")
    medicine_id = serializers.UUIDField(source="batch.medicine_id")
    batch_id = serializers.UUIDField()
    batch_number = serializers.CharField(source="batch.batch_number")
    quantity = _amount()
    unit = serializers.CharField(source="batch.medicine.unit")
    purchased_on = serializers.DateField()
    supplier = serializers.CharField()
    receipt_number = serializers.CharField()
    cost_amount = serializers.DecimalField(max_digits=12, decimal_places=2, allow_null=True)
    cost_currency = serializers.CharField()


class MoveInput(serializers.Serializer):
    """So much was thrown away (Disposal), or so much is there (StockTake)."""

    kind = serializers.ChoiceField([MoveKind.DISPOSAL.value, MoveKind.STOCK_TAKE.value])
    quantity = _amount(min_value=0)
    unit = serializers.ChoiceField(choices(Unit))
    reason = serializers.CharField(max_length=200)
    moved_at = serializers.DateTimeField(required=False)


class MoveOutput(serializers.Serializer):
    """A move of a batch."""

    id = serializers.UUIDField()
    batch_id = serializers.UUIDField()
    kind = serializers.CharField()
    change = _amount()
    on_hand_after = _amount()
    unit = serializers.CharField(source="batch.medicine.unit")
    moved_at = serializers.DateTimeField()
    purchase_id = serializers.UUIDField(allow_null=True)
    dose_id = serializers.UUIDField(allow_null=True)
    reason = serializers.CharField()


class VetPeriodInput(serializers.Serializer):
    """Hours of withdrawal that the vet has set, where they are more than the label's."""

    product = serializers.ChoiceField(choices(Product))
    hours = serializers.IntegerField(min_value=0, max_value=LONGEST_HOURS)


class TreatmentChange(serializers.Serializer):
    """What is said about a treatment."""

    target = serializers.CharField(max_length=120, allow_blank=True, required=False)
    procedure = serializers.CharField(max_length=120, allow_blank=True, required=False)
    site = serializers.CharField(max_length=60, allow_blank=True, required=False)
    prescribed_by = serializers.CharField(max_length=120, allow_blank=True, required=False)
    comment = serializers.CharField(max_length=1000, allow_blank=True, required=False)
    due_again_on = serializers.DateField(allow_null=True, required=False)


class FirstDoseInput(serializers.Serializer):
    """One dose, in the unit of the treatment; without a batch it is not from the farm's stock."""

    quantity = _amount(min_value=0)
    given_at = serializers.DateTimeField()
    batch_id = serializers.UUIDField(allow_null=True, required=False)


class TreatmentInput(RecordInput, TreatmentChange):
    """A treatment with its doses so far, or a procedure without a medicine."""

    kind = serializers.ChoiceField(choices(TreatmentKind))
    medicine_id = serializers.UUIDField(allow_null=True, required=False)
    unit = serializers.ChoiceField(choices(Unit), required=False)
    treated_at = serializers.DateTimeField(required=False)
    doses = FirstDoseInput(many=True, required=False, max_length=50)
    withdrawals = VetPeriodInput(many=True, required=False, max_length=3)


class TreatmentOutput(serializers.Serializer):
    """A treatment; the days are those of its doses that hold."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    animal_id = serializers.UUIDField()
    tag_number = serializers.CharField(source="animal.tag_number")
    kind = serializers.CharField()
    medicine_id = serializers.UUIDField(allow_null=True)
    medicine_name = serializers.CharField(source="medicine.name", default=None, allow_null=True)
    treated_at = serializers.DateTimeField()
    first_dose_on = serializers.DateField(allow_null=True)
    last_dose_on = serializers.DateField(allow_null=True)
    target = serializers.CharField()
    procedure = serializers.CharField()
    site = serializers.CharField()
    prescribed_by = serializers.CharField()
    comment = serializers.CharField()
    due_again_on = serializers.DateField(allow_null=True)
    modified_at = serializers.DateTimeField()


class HealthRecordsOutput(serializers.Serializer):
    """The last checks and vaccinations of an animal, newest first."""

    health_checks = HealthCheckOutput(many=True)
    vaccinations = TreatmentOutput(many=True)


class GroupTreatmentInput(SourceInput, TreatmentChange):
    """One dose for each animal of a group: ``quantity`` for all, or ``quantity_per_kg`` of body weight."""

    kind = serializers.ChoiceField([TreatmentKind.TREATMENT.value, TreatmentKind.VACCINATION.value])
    medicine_id = serializers.UUIDField()
    unit = serializers.ChoiceField(choices(Unit))
    given_at = serializers.DateTimeField(required=False)
    quantity = _amount(min_value=0, required=False)
    quantity_per_kg = serializers.DecimalField(max_digits=12, decimal_places=6, min_value=0, required=False)
    batch_ids = serializers.ListField(child=serializers.UUIDField(), required=False, max_length=20)
    withdrawals = VetPeriodInput(many=True, required=False, max_length=3)


class GroupTreatmentOutput(serializers.Serializer):
    """What a group was given in all, and the treatment of each animal."""

    quantity = _amount()
    unit = serializers.CharField()
    treatments = TreatmentOutput(many=True)


class DoseInput(RecordInput, FirstDoseInput):
    """A further dose."""

    unit = serializers.ChoiceField(choices(Unit))


class DoseChange(FirstDoseInput):
    """What was wrong about a dose."""

    unit = serializers.ChoiceField(choices(Unit), required=False)


class DoseOutput(serializers.Serializer):
    """A dose."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    treatment_id = serializers.UUIDField()
    given_at = serializers.DateTimeField()
    given_on = serializers.DateField()
    quantity = _amount()
    unit = serializers.CharField(source="treatment.medicine.unit")
    batch_id = serializers.UUIDField(allow_null=True)
    batch_number = serializers.CharField(source="batch.batch_number", default=None, allow_null=True)
    voided_at = serializers.DateTimeField(allow_null=True)
    void_reason = serializers.CharField()


class VoidInput(serializers.Serializer):
    """Why it does not hold."""

    reason = serializers.CharField(max_length=200)


class WithdrawalOutput(serializers.Serializer):
    """A product that is withheld: the last day (ICAR's endDate) and the first free one."""

    id = serializers.UUIDField()
    animal_id = serializers.UUIDField()
    tag_number = serializers.CharField(source="animal.tag_number")
    treatment_id = serializers.UUIDField()
    product = serializers.CharField()
    hours = serializers.IntegerField()
    last_dose_on = serializers.DateField(source="treatment.last_dose_on")
    starts_on = serializers.DateField()
    ends_on = serializers.DateField(allow_null=True)
    free_on = serializers.DateField()
