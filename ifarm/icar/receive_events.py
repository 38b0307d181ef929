"""What happened to animals, as others tell it: each by the service that people use, with its rules."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from zoneinfo import ZoneInfo

from ifarm.animals.growth import record_weight
from ifarm.animals.policies import access_animal
from ifarm.animals.words import Species, WeightMethod
from ifarm.breeding.services import (
    record_abortion,
    record_calving,
    record_check,
    record_heat,
    record_service,
)
from ifarm.breeding.words import BirthStatus
from ifarm.core.errors import RuleBroken
from ifarm.health.models import Medicine, MedicineBatch
from ifarm.health.treatments import GivenDose, record_treatment
from ifarm.health.withdrawal import label_of, period_hours, require_out_of_withdrawal
from ifarm.health.words import PRODUCTS, Product, TreatmentKind, Unit
from ifarm.icar import words
from ifarm.icar.known import Known, Note, Outcome, origin
from ifarm.icar.receive_animals import kilograms
from ifarm.production.services import record_production
from ifarm.production.words import ProductionType, Session

Told = Mapping[str, Any]
_SESSIONS: Final = {number: session for session, (number, _) in words.SHIFTS.items()}
_FROM_HOUR: Final = ((3, Session.MORNING), (10, Session.MIDDAY), (15, Session.EVENING), (20, Session.NIGHT))
"""Which milking one is that began at an hour of the farm's day; before three it is the night of the day before."""


def receive_weight(known: Known, told: Told) -> Outcome:
    """A body weight, of any unit of mass."""
    method = told["weight"].get("method", WeightMethod.LOAD_CELL.value)
    row = record_weight(
        known.actor,
        known.animal(told["animal"]),
        weighed_on=known.day(told["eventDateTime"]),
        weight_kg=kilograms(told["weight"]),
        method=words.WEIGHT_METHOD.understand(method),
        **origin(told),
    )
    return Outcome(row)


def receive_milking_visit(known: Known, told: Told) -> Outcome:
    """One milking: by the number of its shift, or by the hour at which it began.

    That of a night may count to the day before; it is withheld by the day it was taken on, too.
    """
    day, session = _milking(known, told)
    taken_on = known.day(told["milkingStartingDateTime"])
    if taken_on != day:
        animal = access_animal(known.actor, known.animal(told["animal"]), lock=True)
        require_out_of_withdrawal(known.actor, animal, Product.MILK, taken_on)
    return _milk(known, told, day, session, told["milkingMilkWeight"]["value"])


def _milking(known: Known, told: Told) -> tuple[date, Session]:
    began: datetime = told["milkingStartingDateTime"].astimezone(ZoneInfo(known.farm.timezone))
    day = told.get("milkingShiftLocalStartDate")
    number = told.get("milkingShiftNumber")
    if day is not None and number is not None:
        if number not in _SESSIONS:
            raise RuleBroken(f"milkingShiftNumber: expected 1 to {len(_SESSIONS)}, found {number}.")
        if not began.date() - timedelta(days=1) <= day <= began.date():
            raise RuleBroken(
                f"milkingShiftLocalStartDate: expected {began.date()}, or the day before, found {day}."
            )
        return day, _SESSIONS[number]
    since = [session for hour, session in _FROM_HOUR if began.hour >= hour]
    return (began.date(), since[-1]) if since else (began.date() - timedelta(days=1), Session.NIGHT)


def receive_test_day_result(known: Known, told: Told) -> Outcome:
    """The milk of a whole day."""
    day = known.day(told["eventDateTime"])
    return _milk(known, told, day, Session.WHOLE_DAY, told["milkWeight24Hours"]["value"])


def _milk(known: Known, told: Told, day: date, session: Session, kilos: Decimal) -> Outcome:
    values, notes = _characteristics(told.get("milkCharacteristics", []))
    row = record_production(
        known.actor,
        production_type=ProductionType.MILK,
        production_date=day,
        animal_id=known.animal(told["animal"]),
        session=session.value,
        milk_kg=kilos.quantize(Decimal("0.01")),
        **values,
        **origin(told),
    )
    return Outcome(row, notes)


def _characteristics(told: list[Told]) -> tuple[dict[str, Any], list[Note]]:
    values: dict[str, Any] = {}
    notes = []
    for one in told:
        name = one["characteristic"]
        if name not in ("FAT", "PROTEIN", "SCC"):
            notes.append(Note(f"{name} is not kept here."))
            continue
        try:
            value = Decimal(one["value"]).quantize(Decimal("0.001"))
        except InvalidOperation:
            raise RuleBroken(f"{name}: expected a number, found {one['value']!r}.") from None
        if not value.is_finite():
            raise RuleBroken(f"{name}: expected a number, found {one['value']!r}.")
        if name == "SCC":
            values["somatic_cells_per_ml"] = int(value * 1000)
        else:
            values[f"{name.lower()}_percent"] = value.quantize(Decimal("0.01"))
    return values, notes


def receive_treatment(known: Known, told: Told) -> Outcome:
    """A course, with one dose that stands for all; a procedure where there is no medicine."""
    animal = access_animal(known.actor, known.animal(told["animal"]))
    medicine = known.medicine(told["medicine"]) if "medicine" in told else None
    procedure = told.get("procedure", "")
    kind = TreatmentKind.PROCEDURE if medicine is None else TreatmentKind.TREATMENT
    if medicine is not None and procedure == words.VACCINATION:
        kind, procedure = TreatmentKind.VACCINATION, ""
    notes: list[Note] = []
    given: dict[str, Any] = {}
    if medicine is not None:
        given = {
            "medicine_id": medicine.id,
            "doses": _doses(known, told, medicine, notes),
            "withdrawals": _withdrawals(known, told, medicine, Species(animal.animal_type), notes),
        }
        if "dose" in told:
            given["unit"] = Unit(words.UNIT.understand(told["dose"]["doseUnits"]))
    row = record_treatment(
        known.actor,
        animal.id,
        kind=kind,
        treated_at=told["eventDateTime"],
        procedure=procedure,
        target=told.get("remark", ""),
        site=told.get("site", ""),
        prescribed_by=told.get("responsible", ""),
        comment=told.get("comment", ""),
        **given,
        **origin(told),
    )
    return Outcome(row, notes)


def _doses(known: Known, told: Told, medicine: Medicine, notes: list[Note]) -> list[GivenDose]:
    if "dose" not in told:
        return []
    quantity = Decimal(told["dose"]["doseQuantity"]).quantize(Decimal("0.001"))
    moment = told["eventDateTime"]
    numbers = [one["identifier"] for one in told.get("batches", [])]
    stock = MedicineBatch.objects.filter(farm=known.farm, medicine=medicine, batch_number__in=numbers)
    usable = stock.filter(on_hand__gte=quantity, expires_on__gte=known.day(moment)).order_by("id")
    batch = usable.first() if len(numbers) == 1 else None
    if numbers and batch is None:
        detail = f"The stock does not have so much of batch {', '.join(numbers)}: it was left as it is."
        notes.append(Note(detail, "Warning"))
    return [GivenDose(quantity, moment, None if batch is None else batch.id)]


def _withdrawals(
    known: Known, told: Told, medicine: Medicine, species: Species, notes: list[Note]
) -> list[dict[str, Any]]:
    """What the sender says, where it is no less than our label."""
    label = label_of(medicine.label.all())
    given = known.day(told["eventDateTime"])
    found = []
    for one in told.get("withdrawals", []):
        product = Product(words.PRODUCT.understand(one["productType"]))
        if product not in PRODUCTS[species]:
            notes.append(Note(f"{product.value} of {species.value} is not kept here.", "Warning"))
            continue
        hours = max((known.day(one["endDate"]) - given).days, 0) * 24
        least = period_hours(label, species, product)
        if hours < least:
            notes.append(
                Note(f"{product.value}: {least} hours hold, as the label says, not {hours}.", "Warning")
            )
        found.append({"product": product, "hours": max(hours, least)})
    return found


def receive_heat(known: Known, told: Told) -> Outcome:
    """A heat."""
    return Outcome(
        record_heat(
            known.actor,
            known.animal(told["animal"]),
            happened_on=known.day(told["eventDateTime"]),
            detection=words.HEAT.understand(told["heatDetectionMethod"]),
            **origin(told),
        )
    )


def receive_insemination(known: Known, told: Told) -> Outcome:
    """A service of any kind; a sire that is not recorded here is told, and left out."""
    notes: list[Note] = []
    more: dict[str, Any] = {}
    sires = [known.find(one) for one in told.get("sireIdentifiers", [])]
    if found := [one for one in sires if one is not None]:
        more["sire_id"] = found[0]
    elif sires:
        notes.append(Note("The sire is not recorded here: the service has none.", "Warning"))
    row = record_service(
        known.actor,
        known.animal(told["animal"]),
        happened_on=known.day(told["eventDateTime"]),
        service_method=words.INSEMINATION.understand(told["inseminationType"]),
        semen_batch=told.get("straw", {}).get("batch", ""),
        **more,
        **origin(told),
    )
    return Outcome(row, notes)


def receive_pregnancy_check(known: Known, told: Told) -> Outcome:
    """An examination."""
    return Outcome(
        record_check(
            known.actor,
            known.animal(told["animal"]),
            happened_on=known.day(told["eventDateTime"]),
            check_method=words.CHECK_METHOD.understand(told["method"]),
            result=words.CHECK_RESULT.understand(told["result"]),
            days_pregnant=told.get("foetalAge"),
            **origin(told),
        )
    )


def receive_abortion(known: Known, told: Told) -> Outcome:
    """A pregnancy that ended too early."""
    day = known.day(told["eventDateTime"])
    return Outcome(
        record_abortion(known.actor, known.animal(told["animal"]), happened_on=day, **origin(told))
    )


def receive_parturition(known: Known, told: Told) -> Outcome:
    """A birth: calves that are recorded already are found, the others that live are new animals."""
    offspring = [_offspring(known, one) for one in told.get("progenyDetails", [])]
    live, total = told.get("liveProgeny"), told.get("totalProgeny")
    if not offspring and live == 0 and total:
        offspring = [{"birth_status": BirthStatus.STILLBORN, "sex": "Unknown"}] * total
    alive = sum(one["birth_status"] == BirthStatus.ALIVE for one in offspring)
    if (live is not None and live != alive) or (total is not None and total != len(offspring)):
        raise RuleBroken(
            f"expected `progenyDetails` of all {total} progeny, {live} of them alive, found {len(offspring)} and"
            f" {alive}."
        )
    row = record_calving(
        known.actor,
        known.animal(told["animal"]),
        happened_on=known.day(told["eventDateTime"]),
        ease=words.EASE.understand(told["calvingEase"]),
        offspring=offspring,
        **origin(told),
    )
    return Outcome(row)


def _offspring(known: Known, told: Told) -> dict[str, Any]:
    status = BirthStatus(words.BIRTH.understand(told["birthStatus"]))
    one: dict[str, Any] = {"birth_status": status, "sex": words.SEX.understand(told["gender"])}
    if status is BirthStatus.STILLBORN:
        return one
    found = known.find(told.get("identifier"))
    if found is not None:
        return {**one, "animal_id": found}
    if told.get("identifier"):
        one |= {"tag_number": told["identifier"]["id"], "name": told.get("name", "")}
    if told.get("birthWeight"):
        one["birth_weight_kg"] = kilograms(told["birthWeight"])
    return one
