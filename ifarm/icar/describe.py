"""Our rows as ICAR's resources: plain values, in the members of `serializers`. No queries: rows come with what is told.

Where we know only a day, its noon at the farm stands for it: the day is the same wherever it is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from ifarm.animals.models import Animal, Movement, Weight
from ifarm.animals.words import ArrivalReason, IdentifierKind, MovementKind, ParentRole, Sex, Status
from ifarm.breeding.models import BreedingEvent
from ifarm.core.context import current_tenant
from ifarm.farms.models import Farm
from ifarm.health.models import Treatment
from ifarm.health.words import TreatmentKind
from ifarm.icar import words
from ifarm.production.models import Production
from ifarm.production.words import Session

Told = dict[str, Any]

_KINDS = {"Slaughter": "Slaughter", "Sale": "Sale", "Newborn": "Newborn"}
"""icarDepartureKindType by icarDepartureReasonType, where the reason says it."""


def noon(day: date, farm: Farm) -> datetime:
    """The middle of a farm's day."""
    return hour(day, 12, farm)


def hour(day: date, number: int, farm: Farm) -> datetime:
    """That hour of a farm's day, in UTC."""
    return datetime.combine(day, time(number), ZoneInfo(farm.timezone)).astimezone(UTC)


def own_source() -> str:
    """How others know this tenant."""
    return f"urn:ifarm:{current_tenant()}"


def identifier(kind: IdentifierKind, value: str) -> Told:
    """A scheme with its id."""
    return {"scheme": words.SCHEMES[kind], "id": value}


def named(animal: Animal) -> Told:
    """An animal by its ear tag."""
    return identifier(IdentifierKind.EAR_TAG, animal.tag_number)


def place(farm: Farm) -> Told:
    """A location."""
    return {"scheme": words.LOCATION, "id": str(farm.id)}


def location(farm: Farm) -> Told:
    """A farm as a resource."""
    return {"resourceType": "icarLocationResource", **place(farm), "name": farm.name}


def _meta(row: Any, source: str, source_id: str) -> Told:
    """Of which record of whom this is told: ours, unless it came from elsewhere."""
    own = not (source and source_id)
    return {
        "source": own_source() if own else source,
        "sourceId": str(row.id) if own else source_id,
        "modified": row.modified_at,
        "created": row.created_at,
        "isDeleted": False,
    }


def _event(row: Any, farm: Farm, kind: str, moment: datetime) -> Told:
    return {
        "resourceType": f"icar{kind}EventResource",
        "meta": _meta(row, row.source, row.source_id),
        "location": place(farm),
        "id": str(row.id),
        "animal": named(row.animal),
        "eventDateTime": moment,
    }


def animal(row: Animal, farm: Farm) -> Told:
    """IcarAnimalCoreResource. An animal that is not of the herd is off the farm."""
    sources = [(one.source, one.source_id) for one in row.icar_sources.all()]
    others = [one for one in row.identifiers.all() if one.retired_on is None]
    told = {
        "resourceType": "icarAnimalCoreResource",
        "meta": _meta(row, *(sources[0] if sources else ("", ""))),
        "location": place(farm),
        "id": str(row.id),
        "identifier": named(row),
        "alternativeIdentifiers": [
            identifier(IdentifierKind(one.kind), one.value)
            for one in sorted(others, key=lambda one: one.kind)
            if one.kind not in (IdentifierKind.EAR_TAG, IdentifierKind.MANAGEMENT)
        ],
        "specie": words.SPECIES.tell(row.animal_type),
        "gender": words.SEX.tell(row.sex),
        "name": row.name,
        "status": Status.OFF_FARM.value if row.is_reference else words.STATUS.tell(row.status),
        "parentage": _parentage(row),
    }
    for one in others:
        if one.kind == IdentifierKind.MANAGEMENT:
            told["managementTag"] = one.value
    if row.birth_date is not None:
        told["birthDate"] = noon(row.birth_date, farm)
    if row.purpose and (purpose := words.PURPOSE.tell(row.purpose)):
        told["productionPurpose"] = purpose
    return told | _breeds(row)


def _parentage(row: Animal) -> list[Told]:
    return [
        {
            "parentOf": named(row),
            "gender": (Sex.FEMALE if one.role == ParentRole.DAM else Sex.MALE).value,
            "relation": words.RELATION.tell(one.relation),
            "identifier": named(one.parent),
        }
        for one in sorted(row.parents.all(), key=lambda one: (one.role, one.relation))
    ]


def _breeds(row: Animal) -> Told:
    parts = sorted((one.breed.code, one.parts) for one in row.breed_fractions.all())
    if row.breed is None:
        return {}
    fractions = [
        {"breed": {"scheme": words.BREED, "id": code}, "fraction": Decimal(part)} for code, part in parts
    ]
    return {
        "primaryBreed": {"scheme": words.BREED, "id": row.breed.code},
        "breedFractions": {"denominator": sum(part for _, part in parts), "fractions": fractions},
    }


def birth(row: Movement, farm: Farm) -> Told:
    """IcarMovementBirthEventResource."""
    told = _event(row, farm, "MovementBirth", row.moved_at)
    return told | {"registrationReason": "Born", "animalDetail": animal(row.animal, farm)}


def arrival(row: Movement, farm: Farm) -> Told:
    """IcarMovementArrivalEventResource."""
    reason = row.reason or ArrivalReason.INTERNAL_TRANSFER.value
    return _event(row, farm, "MovementArrival", row.moved_at) | {
        "arrivalReason": words.ARRIVAL.tell(reason),
        "animalDetail": animal(row.animal, farm),
        "consignment": _consignment("origin", row.from_farm, row),
    }


def departure(row: Movement, farm: Farm) -> Told:
    """IcarMovementDepartureEventResource."""
    told = _event(row, farm, "MovementDeparture", row.moved_at)
    told["consignment"] = _consignment("destination", row.to_farm, row)
    if row.kind == MovementKind.TRANSFER:
        return told | {"departureKind": "InternalTransfer", "departureReason": "Other"}
    return told | {
        "departureKind": _KINDS.get(row.reason, "Other"),
        "departureReason": words.DEPARTURE.tell(row.reason),
    }


def _consignment(end: str, farm: Farm | None, row: Movement) -> Told:
    told: Told = {f"{end}Address": row.counterpart} if row.counterpart else {}
    return told | ({f"{end}Location": place(farm)} if row.kind == MovementKind.TRANSFER and farm else {})


def death(row: Movement, farm: Farm) -> Told:
    """IcarMovementDeathEventResource."""
    told = _event(row, farm, "MovementDeath", row.moved_at)
    return told | {"deathReason": words.DEATH.tell(row.reason)}


def weight(row: Weight, farm: Farm) -> Told:
    """IcarWeightEventResource."""
    measured = {
        "measurement": row.weight_kg,
        "units": "KGM",
        "method": words.WEIGHT_METHOD.tell(row.method),
    }
    return _event(row, farm, "Weight", noon(row.weighed_on, farm)) | {"weight": measured}


def milking_visit(row: Production, farm: Farm) -> Told:
    """icarMilkingVisitEventResource: the milking, with an hour that stands for it."""
    number, began = words.SHIFTS[Session(row.session)]
    moment = hour(row.production_date, began, farm)
    return _event(row, farm, "MilkingVisit", moment) | {
        "milkingStartingDateTime": moment,
        "milkingShiftLocalStartDate": row.production_date,
        "milkingShiftNumber": number,
        "milkingMilkWeight": {"unitCode": "KGM", "value": row.milk_kg},
        "milkCharacteristics": _characteristics(row),
    }


def test_day_result(row: Production, farm: Farm) -> Told:
    """icarTestDayResultEventResource: the milk of a whole day."""
    return _event(row, farm, "TestDayResult", noon(row.production_date, farm)) | {
        "milkWeight24Hours": {"unitCode": "KGM", "value": row.milk_kg},
        "milkCharacteristics": _characteristics(row),
    }


def _characteristics(row: Production) -> list[Told]:
    cells = row.somatic_cells_per_ml
    found = {
        "FAT": row.fat_percent,
        "PROTEIN": row.protein_percent,
        "SCC": None if cells is None else Decimal(cells) / 1000,
    }
    return [
        {"characteristic": name, "value": f"{value.normalize():f}"}
        for name, value in found.items()
        if value is not None
    ]


def treatment(row: Treatment, farm: Farm) -> Told:
    """IcarTreatmentEventResource of a course: the sum of the doses that hold, and the last days withheld."""
    told = _event(row, farm, "Treatment", row.treated_at)
    vaccinated = row.kind == TreatmentKind.VACCINATION and not row.procedure
    told |= {
        "procedure": words.VACCINATION if vaccinated else row.procedure,
        "site": row.site,
        "comment": row.comment,
        "responsible": row.prescribed_by,
        "remark": row.target,
        "withdrawals": [
            {"productType": words.PRODUCT.tell(clock.product), "endDate": noon(clock.ends_on, farm)}
            for clock in sorted(row.withdrawals.all(), key=lambda clock: clock.product)
            if clock.ends_on is not None
        ],
    }
    if row.medicine is None:
        return told
    told["medicine"] = {"name": row.medicine.name}
    if row.medicine.registration_number:
        registered = {"scheme": words.REGISTRATION, "id": row.medicine.registration_number}
        told["medicine"]["registeredIdentifier"] = registered
    doses = [dose for dose in row.doses.all() if dose.voided_at is None]
    if doses:
        total = sum((dose.quantity for dose in doses), Decimal(0))
        told["dose"] = {"doseQuantity": total, "doseUnits": words.UNIT.tell(row.medicine.unit)}
    return told | {"batches": _batches((dose.batch for dose in doses if dose.batch is not None), farm)}


def _batches(batches: Iterable[Any], farm: Farm) -> list[Told]:
    found = {batch.batch_number: batch.expires_on for batch in batches}
    return [
        {"identifier": number, "expiryDate": noon(expires, farm)} for number, expires in sorted(found.items())
    ]


def heat(row: BreedingEvent, farm: Farm) -> Told:
    """IcarReproHeatEventResource."""
    told = _event(row, farm, "ReproHeat", noon(row.happened_on, farm))
    return told | {"heatDetectionMethod": words.HEAT.tell(row.detection)}


def insemination(row: BreedingEvent, farm: Farm) -> Told:
    """icarReproInseminationEventResource: every kind of service."""
    told = _event(row, farm, "ReproInsemination", noon(row.happened_on, farm))
    told["inseminationType"] = words.INSEMINATION.tell(row.service_method)
    if row.sire is not None:
        told["sireIdentifiers"] = [named(row.sire)]
    if row.semen_batch:
        told["straw"] = {"batch": row.semen_batch}
    return told


def pregnancy_check(row: BreedingEvent, farm: Farm) -> Told:
    """IcarReproPregnancyCheckEventResource."""
    return _event(row, farm, "ReproPregnancyCheck", noon(row.happened_on, farm)) | {
        "method": words.CHECK_METHOD.tell(row.check_method),
        "result": words.CHECK_RESULT.tell(row.result),
        "foetalAge": row.days_pregnant,
    }


def abortion(row: BreedingEvent, farm: Farm) -> Told:
    """IcarReproAbortionEventResource."""
    return _event(row, farm, "ReproAbortion", noon(row.happened_on, farm))


def parturition(row: BreedingEvent, farm: Farm) -> Told:
    """IcarReproParturitionEventResource."""
    born = sorted(row.offspring.all(), key=lambda one: (one.birth_status, one.id))
    progeny = [
        {
            "identifier": None if one.animal is None else named(one.animal),
            "specie": words.SPECIES.tell(row.animal.animal_type),
            "gender": words.SEX.tell(one.sex),
            "name": "" if one.animal is None else one.animal.name,
            "birthStatus": words.BIRTH.tell(one.birth_status),
        }
        for one in born
    ]
    alive, dead = row.born_alive_count or 0, row.stillborn_count or 0
    return _event(row, farm, "ReproParturition", noon(row.happened_on, farm)) | {
        "calvingEase": words.EASE.tell(row.ease),
        "liveProgeny": alive,
        "totalProgeny": alive + dead,
        "progenyDetails": progeny,
    }
