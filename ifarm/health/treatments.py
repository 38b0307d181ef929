"""Treatments and their doses: of one animal, or of a whole group; each dose moves the stock and the clocks with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final
from uuid import UUID

from django.db.models import Max, Min
from django.utils import timezone

from ifarm.animals.groups import members_on
from ifarm.animals.models import Animal, Movement, Weight
from ifarm.animals.policies import ANIMALS, access_animal, access_group
from ifarm.animals.words import MovementKind, Species, Status
from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import RuleBroken
from ifarm.core.events import record_event
from ifarm.core.versions import Seen
from ifarm.health import stock
from ifarm.health.models import Medicine, MedicineBatch, Treatment, TreatmentDose, Withdrawal
from ifarm.health.policies import DOSES, access_batch, access_medicine, access_treatment
from ifarm.health.services import require_past
from ifarm.health.withdrawal import Label, day_at, free_day, is_for_people, label_of, period_hours
from ifarm.health.words import PRODUCTS, Product, TreatmentKind, Unit

MOST_ANIMALS: Final = 1000
"""In one request for a group."""
WEIGHT_DAYS: Final = 90
"""A weight older than this is not dosed by."""
DOSE_STEP: Final = Decimal("0.01")
"""Doses by weight are rounded to this, in the medicine's unit."""


@dataclass(frozen=True, slots=True)
class GivenDose:
    """One dose as somebody tells it. ``batch_id`` None: not from the farm's stock, say the vet's own."""

    quantity: Decimal
    given_at: datetime
    batch_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class GroupTreatment:
    """What a group was given; ``unit`` is that of ``quantity``, the sum of the doses."""

    treatments: list[Treatment]
    quantity: Decimal
    unit: str


@dataclass(frozen=True, slots=True)
class _Course:
    """What the treatments of one request have in common. ``hours``: the vet's own periods, by product."""

    actor: Actor
    medicine: Medicine | None
    label: Label
    hours: Mapping[Product, int]
    fields: Mapping[str, Any]


def record_treatment(
    actor: Actor,
    animal_id: UUID,
    *,
    kind: TreatmentKind,
    medicine_id: UUID | None = None,
    unit: Unit | None = None,
    treated_at: datetime | None = None,
    doses: Sequence[GivenDose] = (),
    withdrawals: Sequence[Mapping[str, Any]] = (),
    **fields: Any,
) -> Treatment:
    """A course of a medicine with its first doses, or a procedure without.

    ``withdrawals`` has {product, hours} where the vet says more than the label; less is refused. Raises `NotFound`,
    `RuleBroken`: unit, time, batch, stock.
    """
    with unit_of_work():
        medicine = None if medicine_id is None else access_medicine(actor, medicine_id, lock=True)
        _require_fitting(medicine, kind, unit, doses)
        animal = access_animal(actor, animal_id, lock=True)
        batches = stock.locked_batches(actor, {d.batch_id for d in doses if d.batch_id is not None})
        course = _course(actor, medicine, withdrawals, {"kind": kind.value, **fields})
        moment = treated_at or min((d.given_at for d in doses), default=timezone.now())
        treatment, given = _treat(course, animal, moment, doses)
        _take(actor, animal, medicine, batches, given)
        return treatment


def treat_group(
    actor: Actor,
    group_id: UUID,
    *,
    kind: TreatmentKind,
    medicine_id: UUID,
    unit: Unit,
    given_at: datetime | None = None,
    quantity: Decimal | None = None,
    quantity_per_kg: Decimal | None = None,
    batch_ids: Sequence[UUID] = (),
    withdrawals: Sequence[Mapping[str, Any]] = (),
    **fields: Any,
) -> GroupTreatment:
    """One dose for each animal that is in the group on that day: all of them, or none.

    Each gets ``quantity``, or ``quantity_per_kg`` of its last weight. The batches are used up in the order named.
    Raises `RuleBroken`: nobody there, no weight, stock.
    """
    with unit_of_work():
        medicine = access_medicine(actor, medicine_id, lock=True)
        stock.require_unit(medicine, unit)
        group = access_group(actor, group_id)
        moment = given_at or timezone.now()
        day = day_at(group.farm.timezone, moment)
        animals = _locked(actor, members_on(actor, group_id, day))
        quantities = _quantities(animals, day, quantity, quantity_per_kg)
        batches = stock.locked_batches(actor, batch_ids)
        in_order = [batches[key] for key in dict.fromkeys(batch_ids)]
        course = _course(actor, medicine, withdrawals, {"kind": kind.value, **fields})
        treatments, given = [], []
        for animal, amount, batch in zip(
            animals, quantities, stock.allocate(quantities, in_order), strict=True
        ):
            dose = GivenDose(amount, moment, None if batch is None else batch.id)
            treatment, one = _treat(course, animal, moment, [dose])
            treatments.append(treatment)
            given += one
        for batch in in_order:
            _require_its_farm(batch, batch.farm_id == group.farm_id)
            stock.require_usable(batch, medicine.id, day)
            stock.use(actor, batch, [(d, d.quantity) for d in given if d.batch_id == batch.id])
        return GroupTreatment(treatments, sum(quantities, stock.NOTHING), medicine.unit)


def add_dose(actor: Actor, treatment_id: UUID, *, unit: Unit, dose: GivenDose, **meta: Any) -> TreatmentDose:
    """A further dose of a course. The clocks run from the last one, whatever order they are recorded in."""
    with unit_of_work():
        animal, treatment = _locked_treatment(actor, treatment_id)
        if treatment.medicine is None:
            raise RuleBroken("expected a treatment with a medicine, found a procedure.")
        stock.require_unit(treatment.medicine, unit)
        batches = stock.locked_batches(actor, [] if dose.batch_id is None else [dose.batch_id])
        given = _insert_dose(actor, animal, treatment, dose, **meta)
        _take(actor, animal, treatment.medicine, batches, [given])
        _refresh(actor, animal, treatment, "animal_treated")
        return given


def correct_dose(actor: Actor, dose_id: UUID, changes: Mapping[str, Any], seen: Seen) -> TreatmentDose:
    """Correct when, how much or from which batch; stock and clocks follow. Raises `StaleVersion`, `RuleBroken`."""
    with unit_of_work():
        animal, treatment, dose = _locked_dose(actor, dose_id)
        seen.require(dose)
        changes = dict(changes)
        unit = changes.pop("unit", None)
        if unit is not None:
            stock.require_unit(treatment.medicine, Unit(unit))
        if "given_at" in changes:
            changes["given_on"] = _possible_day(animal, changes["given_at"])
        before_id, before = dose.batch_id, dose.quantity
        after_id = changes.get("batch_id", before_id)
        if after_id not in (None, before_id):
            access_batch(actor, after_id)
        batches = _own_batches({before_id, after_id})
        if after_id is not None and (after_id != before_id or "given_on" in changes):
            day = changes.get("given_on", dose.given_on)
            _require_its_batch(animal, batches[after_id], treatment.medicine_id, day)
        dose = writes.update(actor, dose, changes)
        _exchange(actor, dose, before_id, before, batches)
        _refresh(actor, animal, treatment, "animal_treatment_corrected")
        return dose


def void_dose(actor: Actor, dose_id: UUID, *, reason: str) -> TreatmentDose:
    """It was never given: the stock gets it back, and the clocks forget it. It stays in the book."""
    with unit_of_work():
        animal, treatment, dose = _locked_dose(actor, dose_id)
        dose = writes.update(actor, dose, {"voided_at": timezone.now(), "void_reason": reason}, reason=reason)
        if dose.batch_id is not None:
            batch = _own_batches({dose.batch_id})[dose.batch_id]
            stock.use(actor, batch, [(dose, -dose.quantity)], reason=reason)
        _refresh(actor, animal, treatment, "animal_treatment_corrected")
        return dose


def update_treatment(actor: Actor, treatment_id: UUID, changes: Mapping[str, Any], seen: Seen) -> Treatment:
    """Change what is said about a treatment. Raises `StaleVersion`."""
    with unit_of_work():
        treatment = access_treatment(actor, treatment_id, lock=True)
        seen.require(treatment)
        return writes.update(actor, treatment, changes)


def _course(
    actor: Actor,
    medicine: Medicine | None,
    withdrawals: Sequence[Mapping[str, Any]],
    fields: Mapping[str, Any],
) -> _Course:
    hours: dict[Product, int] = {}
    for entry in withdrawals:
        product = Product(entry["product"])
        hours[product] = max(entry["hours"], hours.get(product, 0))
    if medicine is None:
        return _Course(actor, None, {}, hours, fields)
    return _Course(actor, medicine, label_of(medicine.label.all()), hours, fields)


def _treat(
    course: _Course, animal: Animal, moment: datetime, doses: Sequence[GivenDose]
) -> tuple[Treatment, list[TreatmentDose]]:
    """One animal's part, without the stock."""
    actor = course.actor
    began = _possible_day(animal, moment)
    days: list[Any] = sorted(_possible_day(animal, dose.given_at) for dose in doses) or [None]
    treatment = Treatment(
        animal=animal,
        medicine=course.medicine,
        treated_at=moment,
        first_dose_on=days[0],
        last_dose_on=days[-1],
        **course.fields,
    )
    writes.insert(actor, treatment)
    given = [_insert_dose(actor, animal, treatment, dose) for dose in doses]
    products = () if course.medicine is None else PRODUCTS[Species(animal.animal_type)]
    if strange := sorted(course.hours.keys() - set(products)):
        raise RuleBroken(
            f"{animal.tag_number}: expected withdrawals of {', '.join(products) or 'nothing'}, found"
            f" {', '.join(strange)}."
        )
    clocks = [_clock(course, treatment, product, began) for product in products]
    Withdrawal.objects.bulk_create(clocks)
    _tell(animal, treatment, clocks, "animal_treated")
    return treatment, given


def _clock(course: _Course, treatment: Treatment, product: Product, began: date) -> Withdrawal:
    least = period_hours(course.label, Species(treatment.animal.animal_type), product)
    hours = course.hours.get(product, least)
    if hours < least:
        raise RuleBroken(
            f"{product.value}: expected a withdrawal of {least} hours or more, found {hours}. A vet may say more than"
            " the label, not less."
        )
    first, last = treatment.first_dose_on or began, treatment.last_dose_on or began
    return Withdrawal(
        treatment=treatment,
        animal=treatment.animal,
        product=product.value,
        hours=hours,
        starts_on=first,
        free_on=_free(first, last, hours),
    )


def _free(first: date, last: date, hours: int) -> date:
    """Half-open, and empty for a period of nothing: also between the doses of such a course nothing is withheld."""
    return first if hours == 0 else free_day(last, hours)


def _insert_dose(
    actor: Actor, animal: Animal, treatment: Treatment, dose: GivenDose, **meta: Any
) -> TreatmentDose:
    row = TreatmentDose(
        treatment=treatment,
        batch_id=dose.batch_id,
        given_at=dose.given_at,
        given_on=_possible_day(animal, dose.given_at),
        quantity=dose.quantity,
        **meta,
    )
    return writes.insert(actor, row)


def _refresh(actor: Actor, animal: Animal, treatment: Treatment, event: str) -> None:
    """Count first and last dose and all clocks anew from the doses that hold, with a label that says more by now.

    The medicine and the treatment are locked.
    """
    days = treatment.doses.filter(voided_at=None).aggregate(first=Min("given_on"), last=Max("given_on"))
    writes.update(actor, treatment, {"first_dose_on": days["first"], "last_dose_on": days["last"]})
    clocks = list(treatment.withdrawals.all())
    label = label_of(treatment.medicine.label.all()) if clocks else {}
    for clock in clocks:
        least = period_hours(label, Species(animal.animal_type), Product(clock.product))
        clock.hours = max(clock.hours, least)
        if days["last"] is None:
            clock.free_on = clock.starts_on
        else:
            clock.starts_on = days["first"]
            clock.free_on = _free(days["first"], days["last"], clock.hours)
        clock.modified_at = timezone.now()
        clock.save(update_fields=["hours", "starts_on", "free_on", "modified_at"])
    _tell(animal, treatment, clocks, event)


def _tell(animal: Animal, treatment: Treatment, clocks: Sequence[Withdrawal], event: str) -> None:
    free_on = {clock.product: clock.free_on for clock in clocks if clock.free_on > clock.starts_on}
    about = {"treatment_id": treatment.id, "medicine_id": treatment.medicine_id}
    record_event(event, animal, farm_id=animal.farm_id, kind=treatment.kind, free_on=free_on, **about)
    if animal.status == Status.ALIVE:
        return
    left = _left_for_people(animal)
    if left is not None and any(
        c.product == Product.MEAT and c.starts_on <= left < c.free_on for c in clocks
    ):
        record_event("animal_left_in_withdrawal", animal, farm_id=animal.farm_id, left_on=left, **about)


def _left_for_people(animal: Animal) -> date | None:
    """The day on which it left or was eaten: a dose that is recorded late may show that this was too early."""
    last: Movement | None = animal.movements.order_by("-moved_at").first()
    if last is None or not is_for_people(MovementKind(last.kind), last.reason):
        return None
    return day_at(animal.farm.timezone, last.moved_at)


def _take(
    actor: Actor,
    animal: Animal,
    medicine: Medicine | None,
    batches: Mapping[UUID, MedicineBatch],
    doses: Sequence[TreatmentDose],
) -> None:
    """Take the doses out of the stock; the batches are locked."""
    for key, batch in batches.items():
        mine = [dose for dose in doses if dose.batch_id == key]
        for dose in mine:
            _require_its_batch(animal, batch, medicine and medicine.id, dose.given_on)
        stock.use(actor, batch, [(dose, dose.quantity) for dose in mine])


def _exchange(
    actor: Actor,
    dose: TreatmentDose,
    before_id: UUID | None,
    before: Decimal,
    batches: Mapping[UUID, MedicineBatch],
) -> None:
    """The stock after a correction; one move where the batch stays, so that it never looks empty in between."""
    for key, batch in batches.items():
        took = before if key == before_id else stock.NOTHING
        takes = dose.quantity if key == dose.batch_id else stock.NOTHING
        if took != takes:
            stock.use(actor, batch, [(dose, takes - took)], reason="corrected")


def _own_batches(batch_ids: Collection[UUID | None]) -> dict[UUID, MedicineBatch]:
    """Batches that a dose names, locked in the order of their ids; also of a farm that is no longer the actor's."""
    named = [key for key in batch_ids if key is not None]
    return {b.id: b for b in MedicineBatch.objects.filter(id__in=named).order_by("id").select_for_update()}


def _require_its_batch(animal: Animal, batch: MedicineBatch, medicine_id: UUID | None, day: date) -> None:
    if medicine_id is None:
        raise RuleBroken("expected a treatment with a medicine, found a procedure.")
    stock.require_usable(batch, medicine_id, day)
    here = batch.farm_id == animal.farm_id
    _require_its_farm(batch, here or animal.stays.filter(farm_id=batch.farm_id).exists())


def _require_its_farm(batch: MedicineBatch, known: bool) -> None:
    if not known:
        raise RuleBroken(
            f"batch {batch.batch_number}: expected one of a farm where the animal was, found another's."
        )


def _locked_treatment(actor: Actor, treatment_id: UUID) -> tuple[Animal, Treatment]:
    """Medicine, animal, treatment: the order in which everybody locks them. While it is held no label changes."""
    seen = access_treatment(actor, treatment_id)
    if seen.medicine_id is not None:
        access_medicine(actor, seen.medicine_id, lock=True)
    animal = access_animal(actor, seen.animal_id, lock=True)
    return animal, access_treatment(actor, treatment_id, lock=True)


def _locked_dose(actor: Actor, dose_id: UUID) -> tuple[Animal, Treatment, TreatmentDose]:
    animal, treatment = _locked_treatment(actor, DOSES.access(actor, dose_id).treatment_id)
    dose = DOSES.access(actor, dose_id, lock=True)
    if dose.voided_at is not None:
        raise RuleBroken("expected a dose that holds, found one that was voided.")
    return animal, treatment, dose


def _locked(actor: Actor, animal_ids: Collection[UUID]) -> list[Animal]:
    """Locked in the order of their ids. Raises `RuleBroken` for none or too many."""
    rows = ANIMALS.instances(actor).filter(id__in=animal_ids).select_related("farm").order_by("id")
    found = list(rows.select_for_update(of=("self",))[: MOST_ANIMALS + 1])
    if not 0 < len(found) <= MOST_ANIMALS:
        raise RuleBroken(
            f"expected 1 to {MOST_ANIMALS} animals in the group on that day, found {len(animal_ids)}."
        )
    return found


def _quantities(
    animals: Sequence[Animal], day: date, quantity: Decimal | None, per_kg: Decimal | None
) -> list[Decimal]:
    """A dose for each. Raises `RuleBroken` where one cannot be told."""
    if (quantity is None) == (per_kg is None):
        raise RuleBroken("expected either quantity or quantity_per_kg, found both or neither.")
    if per_kg is None:
        assert quantity is not None
        return [quantity] * len(animals)
    recent = Weight.objects.filter(
        animal__in=animals, weighed_on__lte=day, weighed_on__gt=day - timedelta(days=WEIGHT_DAYS)
    )
    newest = dict(recent.order_by("weighed_on", "id").values_list("animal_id", "weight_kg"))
    if missing := [animal.tag_number for animal in animals if animal.id not in newest]:
        raise RuleBroken(
            f"expected a weight of the last {WEIGHT_DAYS} days, found none of {', '.join(missing[:10])}"
            f" ({len(missing)} of {len(animals)} animals). Weigh them, or give a quantity."
        )
    return [
        max((newest[animal.id] * per_kg).quantize(DOSE_STEP, ROUND_HALF_UP), DOSE_STEP) for animal in animals
    ]


def _possible_day(animal: Animal, moment: datetime) -> date:
    """The day at the farm. Raises `RuleBroken` where the animal was not born, was dead, or the time has not come."""
    require_past(moment)
    day = day_at(animal.farm.timezone, moment)
    if animal.birth_date is not None and day < animal.birth_date:
        raise RuleBroken(f"expected a day from the animal's birth ({animal.birth_date}) on, found {day}.")
    if animal.status == Status.DEAD:
        died = animal.movements.filter(kind=MovementKind.DEATH.value).aggregate(at=Max("moved_at"))["at"]
        if died is not None and moment > died:
            raise RuleBroken(
                f"expected a time before the animal's death ({died.isoformat()}), found {moment}."
            )
    return day


def _require_fitting(
    medicine: Medicine | None, kind: TreatmentKind, unit: Unit | None, doses: Sequence[GivenDose]
) -> None:
    if medicine is None:
        if doses or kind is not TreatmentKind.PROCEDURE:
            raise RuleBroken("expected a procedure without doses, or a medicine, found neither.")
        return
    if not doses:
        raise RuleBroken(f"{medicine.name}: expected a dose, found none.")
    if unit is None:
        raise RuleBroken(f"{medicine.name}: expected the unit {medicine.unit}, found none.")
    stock.require_unit(medicine, unit)
