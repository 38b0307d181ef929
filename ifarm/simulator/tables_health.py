"""Rows of illness: somebody sees it, the vet treats it, milk and meat are withheld."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from ifarm.animals.words import MovementKind, Species
from ifarm.health.models import HealthCheck, LabelPeriod, Medicine, Treatment, TreatmentDose, Withdrawal
from ifarm.health.withdrawal import free_day
from ifarm.health.words import HealthStatus, Product, TreatmentKind, Unit
from ifarm.simulator.herd import Animal
from ifarm.simulator.sheets import MORNING, day, moment
from ifarm.simulator.tables import Book

MEDICINE: Final = "Example antibiotic"
DOSES: Final = 3
"""One a day, from the vet's own stock; an assumption, as are the amount and the hours on the label."""
DOSE_ML: Final = 30
LABEL: Final = {Product.MILK: 96, Product.MEAT: 240}
"""Hours after the last dose."""
FEVER: Final = (39.9, 0.4)
"""Body temperature in degrees Celsius; more than 39.5 is fever in cattle. An assumption."""


def write_medicine(book: Book) -> str:
    """What all tenants use; gives its key."""
    sheet = book.sheet(Medicine, "name", "unit")
    key = sheet.add(book.first, MEDICINE, Unit.MILLILITRE.value)
    label = book.sheet(LabelPeriod, "medicine_id", "species", "product", "hours")
    for product, hours in LABEL.items():
        label.add(book.first, key, Species.CATTLE.value, product.value, hours)
    return key


def write_health(book: Book, herd: list[Animal], medicine_id: str) -> None:
    """Each illness: a check, and a course unless the cow goes to others before its meat would be free."""
    checks = book.sheet(HealthCheck, "animal_id", "checked_at", "health_status", "temperature_c", "findings")
    low, spread = FEVER
    for animal in herd:
        key = book.ids[id(animal)]
        for on, name in animal.illnesses:
            if not book.within(on):
                continue
            treated = _is_worth_treating(animal, on)
            status = HealthStatus.ILL if treated else HealthStatus.TO_BE_CULLED
            degrees = f"{min(max(book.chance.gauss(low, spread), 38.0), 42.0):.1f}"
            checks.add(on, key, moment(on, MORNING), status.value, degrees, name)
            if treated:
                _treat(book, animal, on, name, medicine_id)


def _is_worth_treating(animal: Animal, on: int) -> bool:
    if animal.left is None or animal.left[1] is not MovementKind.DEPARTURE:
        return True
    return free_day(day(on + DOSES), LABEL[Product.MEAT]) <= day(animal.left[0])


def _treat(book: Book, animal: Animal, on: int, target: str, medicine_id: str) -> None:
    key = book.ids[id(animal)]
    gone = book.last if animal.left is None else animal.left[0] - 1
    days = range(on, min(on + DOSES - 1, max(gone, on)) + 1)
    begin = moment(on, MORNING) + timedelta(hours=1)
    treatments = book.sheet(
        Treatment,
        "animal_id",
        "medicine_id",
        "kind",
        "treated_at",
        "target",
        "procedure",
        "first_dose_on",
        "last_dose_on",
    )
    treatment = treatments.add(
        on,
        key,
        medicine_id,
        TreatmentKind.TREATMENT.value,
        begin,
        target,
        "intramuscular",
        day(days[0]),
        day(days[-1]),
    )
    doses = book.sheet(TreatmentDose, "treatment_id", "given_at", "given_on", "quantity")
    for given in days:
        doses.add(given, treatment, begin + timedelta(days=given - on), day(given), DOSE_ML)
    clocks = book.sheet(Withdrawal, "treatment_id", "animal_id", "product", "hours", "starts_on", "free_on")
    for product, hours in LABEL.items():
        clocks.add(on, treatment, key, product.value, hours, day(days[0]), free_day(day(days[-1]), hours))
