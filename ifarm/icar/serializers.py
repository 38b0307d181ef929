"""Resources of ICAR ADE 1.5, as far as we tell and understand them; field names are ICAR's. Times are RFC 3339 in UTC.

One class serves both ways: what is told has it as its shape, what is sent is checked against it. Members that are not
here are not kept.
"""

# ruff: noqa: N815 - the names are ICAR's
from __future__ import annotations

from typing import Any, Final

from rest_framework import serializers

from ifarm.api.fields import MomentField

MOST_ROWS: Final = 200
"""In one batch, which is one transaction."""
PAGE: Final = 100
LARGEST_PAGE: Final = 500
EARLIEST: Final = 1900
LATEST: Final = 2200


def _text(length: int, **rest: Any) -> serializers.CharField:
    return serializers.CharField(max_length=length, required=False, allow_blank=True, **rest)


def _number(**rest: Any) -> serializers.DecimalField:
    return serializers.DecimalField(
        coerce_to_string=False, **{"max_digits": 20, "decimal_places": 10, **rest}
    )


def _whole(**rest: Any) -> serializers.IntegerField:
    return serializers.IntegerField(required=False, allow_null=True, min_value=0, **rest)


class Moment(MomentField):
    """A time that an animal can have lived at: no calendar ends near it."""

    def to_internal_value(self, value: Any) -> Any:
        """Raises ValidationError."""
        moment = super().to_internal_value(value)
        if not EARLIEST <= moment.year <= LATEST:
            raise serializers.ValidationError(f"expected a time from {EARLIEST} to {LATEST}")
        return moment


class Meta(serializers.Serializer):
    """icarMetaDataType. `source` and `sourceId` say which record of whom this is: it is recorded once."""

    source = serializers.CharField(max_length=60)
    sourceId = serializers.CharField(max_length=120)
    modified = serializers.DateTimeField(required=False)
    created = serializers.DateTimeField(required=False, allow_null=True)
    isDeleted = serializers.BooleanField(required=False)


class Identifier(serializers.Serializer):
    """icarIdentifierType."""

    scheme = serializers.CharField(max_length=60)
    id = serializers.CharField(max_length=60)


class Resource(serializers.Serializer):
    """icarResource."""

    resourceType = serializers.CharField(required=False)
    meta = Meta()
    location = Identifier(required=False)


class BreedFraction(serializers.Serializer):
    """One breed of icarBreedFractionsType."""

    breed = Identifier()
    fraction = _number(min_value=0)


class BreedFractions(serializers.Serializer):
    """icarBreedFractionsType."""

    denominator = serializers.IntegerField(min_value=1)
    fractions = BreedFraction(many=True, max_length=16)


class Parent(serializers.Serializer):
    """icarParentageType."""

    parentOf = Identifier()
    gender = serializers.CharField(max_length=20)
    relation = serializers.CharField(max_length=20, required=False)
    identifier = Identifier()


class AnimalShape(Resource):
    """icarAnimalCoreResource."""

    id = serializers.CharField(required=False)
    identifier = Identifier()
    alternativeIdentifiers = Identifier(many=True, required=False, max_length=10)
    specie = serializers.CharField(max_length=20)
    gender = serializers.CharField(max_length=20)
    birthDate = Moment(required=False, allow_null=True)
    primaryBreed = Identifier(required=False)
    breedFractions = BreedFractions(required=False)
    managementTag = _text(40)
    name = _text(80)
    productionPurpose = _text(20)
    status = serializers.CharField(max_length=20, required=False)
    parentage = Parent(many=True, required=False, max_length=6)


class AnimalDetail(AnimalShape):
    """icarAnimalCoreResource inside of an event; its meta data are those of the animal."""

    meta = Meta(required=False)


class EventShape(Resource):
    """icarAnimalEventCoreResource."""

    id = serializers.CharField(required=False)
    animal = Identifier()
    eventDateTime = Moment()
    responsible = _text(120)
    remark = _text(120)


class MassMeasure(serializers.Serializer):
    """icarMassMeasureType."""

    measurement = _number(min_value=0)
    units = serializers.CharField(max_length=3, default="KGM")
    method = serializers.CharField(max_length=20, required=False)


class WeightShape(EventShape):
    """icarWeightEventResource."""

    weight = MassMeasure()


class Consignment(serializers.Serializer):
    """icarConsignmentType: where an animal came from or went."""

    originLocation = Identifier(required=False)
    originAddress = _text(120)
    destinationLocation = Identifier(required=False)
    destinationAddress = _text(120)


class BirthShape(EventShape):
    """icarMovementBirthEventResource."""

    registrationReason = serializers.ChoiceField(["Born", "Registered"], default="Born")
    animalDetail = AnimalDetail(required=False)


class ArrivalShape(EventShape):
    """icarMovementArrivalEventResource."""

    arrivalReason = serializers.CharField(max_length=20, default="Other")
    animalDetail = AnimalDetail(required=False)
    consignment = Consignment(required=False)


class DepartureShape(EventShape):
    """icarMovementDepartureEventResource."""

    departureKind = serializers.CharField(max_length=20, required=False)
    departureReason = serializers.CharField(max_length=20, default="Other")
    consignment = Consignment(required=False)


class DeathShape(EventShape):
    """icarMovementDeathEventResource."""

    deathReason = serializers.CharField(max_length=20, default="Unknown")


class MilkWeight(serializers.Serializer):
    """icarMilkingMilkWeightType; kilograms only."""

    unitCode = serializers.ChoiceField(["KGM"])
    value = _number(min_value=0)


class MilkCharacteristic(serializers.Serializer):
    """icarMilkCharacteristicsType: FAT and PROTEIN in percent, SCC in thousands per millilitre."""

    characteristic = serializers.CharField(max_length=20)
    value = serializers.CharField(max_length=20)
    unit = serializers.CharField(max_length=10, required=False)


class MilkingVisitShape(EventShape):
    """icarMilkingVisitEventResource."""

    eventDateTime = Moment(required=False)
    milkingStartingDateTime = Moment()
    milkingShiftLocalStartDate = serializers.DateField(required=False)
    milkingShiftNumber = serializers.IntegerField(required=False)
    milkingMilkWeight = MilkWeight()
    milkCharacteristics = MilkCharacteristic(many=True, required=False, max_length=20)


class TestDayResultShape(EventShape):
    """icarTestDayResultEventResource."""

    milkWeight24Hours = MilkWeight()
    milkCharacteristics = MilkCharacteristic(many=True, required=False, max_length=20)


class Medicine(serializers.Serializer):
    """icarMedicineReferenceType."""

    name = serializers.CharField(max_length=120)
    registeredIdentifier = Identifier(required=False)


class MedicineBatch(serializers.Serializer):
    """icarMedicineBatchType."""

    identifier = serializers.CharField(max_length=40)
    expiryDate = Moment(required=False)


class MedicineDose(serializers.Serializer):
    """icarMedicineDoseType."""

    doseQuantity = _number(min_value=0)
    doseUnits = serializers.CharField(max_length=3)


class MedicineWithdrawal(serializers.Serializer):
    """icarMedicineWithdrawalType: the last day that is withheld."""

    productType = serializers.CharField(max_length=10)
    endDate = Moment()
    market = _text(60)


class TreatmentShape(EventShape):
    """icarTreatmentEventResource: a whole course; the dose is the sum of its doses. `remark` is what it was against."""

    medicine = Medicine(required=False)
    procedure = _text(120)
    batches = MedicineBatch(many=True, required=False, max_length=20)
    withdrawals = MedicineWithdrawal(many=True, required=False, max_length=10)
    dose = MedicineDose(required=False)
    site = _text(60)
    comment = _text(1000)


class HeatShape(EventShape):
    """icarReproHeatEventResource."""

    heatDetectionMethod = serializers.CharField(max_length=20, default="Other")


class Straw(serializers.Serializer):
    """icarReproSemenStrawResource, as far as it is kept."""

    batch = _text(60)


class InseminationShape(EventShape):
    """icarReproInseminationEventResource."""

    inseminationType = serializers.CharField(max_length=20)
    sireIdentifiers = Identifier(many=True, required=False, max_length=10)
    straw = Straw(required=False)


class PregnancyCheckShape(EventShape):
    """icarReproPregnancyCheckEventResource."""

    method = serializers.CharField(max_length=20, default="Other")
    result = serializers.CharField(max_length=20)
    foetalAge = _whole(max_value=380)


class Progeny(serializers.Serializer):
    """icarProgenyDetailsResource."""

    identifier = Identifier(required=False, allow_null=True)
    specie = serializers.CharField(max_length=20, required=False)
    gender = serializers.CharField(max_length=20)
    name = _text(80)
    birthStatus = serializers.CharField(max_length=40, default="Alive")
    birthWeight = MassMeasure(required=False, allow_null=True)


class ParturitionShape(EventShape):
    """icarReproParturitionEventResource."""

    calvingEase = serializers.CharField(max_length=30, default="EasyUnassisted")
    liveProgeny = _whole(max_value=24)
    totalProgeny = _whole(max_value=24)
    progenyDetails = Progeny(many=True, required=False, max_length=24)


class LocationShape(Identifier):
    """icarLocationResource: a farm."""

    resourceType = serializers.CharField()
    name = serializers.CharField()


class View(serializers.Serializer):
    """The present page of a collection, and where it goes on."""

    pageSize = serializers.IntegerField()
    first = serializers.URLField()
    next = serializers.URLField(required=False)


class Message(serializers.Serializer):
    """icarResponseMessageResource (RFC 7807). `instance` points into the array that was sent."""

    type = serializers.CharField()
    severity = serializers.ChoiceField(["Information", "Warning", "Error"])
    status = serializers.IntegerField(allow_null=True)
    title = serializers.CharField()
    detail = serializers.CharField()
    instance = serializers.CharField()


class ResultMeta(serializers.Serializer):
    """Which record this was; null where it did not say so."""

    source = serializers.CharField(allow_null=True)
    sourceId = serializers.CharField(allow_null=True)
    modified = serializers.DateTimeField(allow_null=True)


class BatchResult(serializers.Serializer):
    """icarBatchResult: what became of one row. `id` is ours; null where nothing was recorded."""

    id = serializers.UUIDField(allow_null=True)
    meta = ResultMeta()
    messages = Message(many=True)


class BatchResults(serializers.ListSerializer):
    """A result for each row, in the order they were sent."""

    child = BatchResult()


class Row(serializers.Serializer):
    """A resource of the kind of the address. What is wrong with it is told in its result."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """As it came. Raises ValidationError for what is no object."""
        if not isinstance(data, dict):
            raise serializers.ValidationError("expected an object")
        return data


class Rows(serializers.ListSerializer):
    """A batch."""

    child = Row()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"min_length": 1, "max_length": MOST_ROWS, **options})


ModifiedQuery = type(
    "ModifiedQuery",
    (serializers.Serializer,),
    {
        "__doc__": "Which part of a collection: changed from (included) and to (not included), and where to go on.",
        "meta-modified-from": serializers.DateTimeField(required=False),
        "meta-modified-to": serializers.DateTimeField(required=False),
        "pageSize": serializers.IntegerField(min_value=1, max_value=LARGEST_PAGE, default=PAGE),
        "cursor": serializers.CharField(required=False),
    },
)
