"""Records of what animals give: added one by one or as a list of a group's animals, corrected, taken back.

Whoever records for one animal holds its lock, so two milkings of it are never judged at once. Several days in one unit
of work are recorded in the order of their dates, as each holds the lock of its summary until the end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Q

from ifarm.animals.groups import members_on
from ifarm.animals.models import Animal, Stay
from ifarm.animals.policies import ANIMALS, access_animal, access_group
from ifarm.animals.words import Sex
from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import Conflict, Problem, RuleBroken
from ifarm.core.events import record_event
from ifarm.core.versions import Seen
from ifarm.farms.models import Farm
from ifarm.health.withdrawal import require_group_out_of_withdrawal, require_out_of_withdrawal, withheld
from ifarm.health.words import Product
from ifarm.production import summaries
from ifarm.production.models import Production
from ifarm.production.policies import access_production
from ifarm.production.words import (
    BOUNDS,
    FOR_PEOPLE,
    REQUIRED,
    SPECIES,
    MilkUse,
    ProductionType,
    Session,
    fields_of,
)

_NOT_MILKED: Final = frozenset({Sex.MALE.value, Sex.MALE_NEUTER.value, Sex.MALE_CRYPTORCHID.value})
_A_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one line of a list: the record, or the reason why there is none. ``number`` counts from 0."""

    number: int
    animal_id: UUID
    production: Production | None = None
    problem: Problem | None = None


def record_production(
    actor: Actor,
    *,
    production_type: ProductionType,
    production_date: date,
    animal_id: UUID | None = None,
    group_id: UUID | None = None,
    override_reason: str = "",
    **values: Any,
) -> Production:
    """Record what one animal, or one group, gave on a local day of the farm where it was.

    Milk goes into the tank unless ``milk_use`` says otherwise, eggs to the table unless ``egg_use`` does. Raises
    `NotFound`, `RuleBroken` for what cannot be, `Conflict` for a milking that is recorded already, `InWithdrawal` for
    milk or eggs that people must not have yet, where there is no ``override_reason``.
    """
    with unit_of_work():
        require_own_fields(production_type, values)
        row = Production(production_type=production_type.value, production_date=production_date, **values)
        if group_id is not None and animal_id is None:
            group = access_group(actor, group_id)
            _require_begun(group.farm, production_date)
            row.group, row.farm = group, group.farm
        elif animal_id is not None and group_id is None:
            animal = access_animal(actor, animal_id, lock=True)
            farm = _farms_of([animal], production_date, production_type).get(animal.id)
            taken = _sessions([animal], production_date)[animal.id]
            row.animal, row.farm = animal, _require_fitting(actor, animal, farm, row, taken)
        else:
            raise RuleBroken("expected an animal or a group, found both or neither.")
        if production_type in FOR_PEOPLE:
            use, for_people, _ = FOR_PEOPLE[production_type]
            setattr(row, use, getattr(row, use) or for_people)
            if getattr(row, use) == for_people:
                givers = (
                    () if row.group_id is None else _lock_givers(actor, row)
                )  # an animal is locked by now
                _require_fit_for_people(actor, row, givers, override_reason)
        return _record(actor, [row])[0]


def record_group_milk(
    actor: Actor,
    group_id: UUID,
    *,
    production_date: date,
    session: Session,
    rows: Sequence[Mapping[str, Any]],
    source: str = "",
) -> list[Line]:
    """Record one milking of a group: a line for each animal, in the order given. What is wrong costs its line only.

    A line of an animal in withdrawal needs a ``milk_use`` other than the tank, or an ``override_reason``.
    Source of the need: farmOS #65 (milk is written down as a list of the cows). Raises `NotFound` for the group.
    """
    with unit_of_work():
        access_group(actor, group_id)
        members = set(members_on(actor, group_id, production_date))
        wanted = sorted({row["animal_id"] for row in rows} & members)
        found = ANIMALS.instances(actor).select_for_update(of=("self",)).filter(id__in=wanted).order_by("id")
        animals = {animal.id: animal for animal in found}
        farms = _farms_of(animals.values(), production_date, ProductionType.MILK)
        taken = _sessions(animals.values(), production_date)
        held = withheld(animals, Product.MILK, production_date)
        lines: list[Line] = []
        for number, line in enumerate(rows):
            given = {**line, "milk_use": line.get("milk_use") or MilkUse.TANK.value}
            animal, reason = animals.get(given.pop("animal_id")), given.pop("override_reason", "")
            row = Production(
                production_type=ProductionType.MILK.value,
                production_date=production_date,
                session=session.value,
                animal=animal,
                source=source,
                **given,
            )
            try:
                if animal is None:
                    raise RuleBroken("expected an animal that is in the group that day, found none.")
                row.farm = _require_fitting(actor, animal, farms.get(animal.id), row, taken[animal.id])
                _require_within_bounds(row)
                if animal.id in held and row.milk_use == MilkUse.TANK:
                    _require_fit_for_people(actor, row, [animal.id], reason)
            except Problem as problem:
                lines.append(Line(number, line["animal_id"], problem=problem))
                continue
            taken[animal.id].add(session.value)
            lines.append(Line(number, animal.id, production=row))
        _record(actor, [one.production for one in lines if one.production is not None])
        return lines


def correct_production(
    actor: Actor,
    production_id: UUID,
    changes: Mapping[str, Any],
    seen: Seen,
    *,
    reason: str = "",
    override_reason: str = "",
) -> Production:
    """Change the amounts of a record; whose it is, its day and its kind stay. The audit has both, and the reason.

    Raises `StaleVersion`, `RuleBroken`, and `InWithdrawal` as `record_production` where it is now for people.
    """
    with unit_of_work():
        asked = access_production(actor, production_id)  # animals are locked before the record
        use, for_people, _ = FOR_PEOPLE.get(ProductionType(asked.production_type), ("", "", None))
        now_for_people = bool(use) and changes.get(use) == for_people
        givers = _lock_givers(actor, asked) if now_for_people else ()
        row = access_production(actor, production_id, lock=True)
        seen.require(row)
        own = set(fields_of(ProductionType(row.production_type))) - {"session"}
        if strange := sorted(changes.keys() - own):
            raise RuleBroken(
                f"{strange[0]}: expected one of {', '.join(sorted(own))} for {row.production_type}."
            )
        if now_for_people and getattr(row, use) != for_people:
            _require_fit_for_people(actor, row, givers, override_reason)
        before, version = summaries.totals_of(row), row.version
        row = writes.update(actor, row, changes, reason=reason)
        if row.version != version:
            _retell(row, summaries.difference(summaries.totals_of(row), before))
            _tell("production_corrected", row)
        return row


def delete_production(actor: Actor, production_id: UUID, *, reason: str = "") -> None:
    """Take a record back."""
    with unit_of_work():
        row = access_production(actor, production_id, lock=True)
        _tell("production_deleted", row)
        _retell(row, summaries.difference(None, summaries.totals_of(row)))
        writes.delete(actor, row, reason=reason)


def require_own_fields(kind: ProductionType, values: Mapping[str, Any]) -> None:
    """Raises `RuleBroken` where a field of the kind is missing, or one of another kind is given."""
    meta = {"source", "source_id", "id"}
    strange = sorted(values.keys() - set(fields_of(kind)) - meta)
    missing = [name for name in REQUIRED[kind] if values.get(name) in (None, "")]
    if strange or missing:
        raise RuleBroken(
            f"{kind.value}: expected {', '.join(REQUIRED[kind])},"
            f" found {'without ' + missing[0] if missing else strange[0]}."
        )


def _record(actor: Actor, rows: Sequence[Production]) -> Sequence[Production]:
    """Add rows whose animals are locked, and add them up: one change of a summary for each day of a farm."""
    days: dict[summaries.Day, list[Production]] = {}
    for row in rows:
        writes.insert(actor, row)
        _tell("production_recorded", row)
        days.setdefault(summaries.day_of(row), []).append(row)
    late = [day for day, some in days.items() if day[1] < summaries.local_today(some[0].farm)]
    summaries.mark_dirty(late)
    for day in sorted(days):
        summaries.add(day, summaries.together(summaries.totals_of(row) for row in days[day]))
    return rows


def _retell(row: Production, change: summaries.Totals) -> None:
    summaries.mark_dirty([summaries.day_of(row)])
    summaries.add(summaries.day_of(row), change)


def _tell(event: str, row: Production) -> None:
    amounts = {name: getattr(row, name) for name in fields_of(ProductionType(row.production_type))}
    record_event(
        event,
        row,
        farm_id=row.farm_id,
        animal_id=row.animal_id,
        group_id=row.group_id,
        production_type=row.production_type,
        production_date=row.production_date,
        **amounts,
    )


def _farms_of(animals: Collection[Animal], day: date, kind: ProductionType) -> dict[UUID, Farm]:
    """On which farm each of the animals was on that day of the farm's calendar, by the animal's id.

    A carcass is weighed after the animal has left: it belongs to the last farm.
    """
    since, until = (datetime.combine(day + n * _A_DAY, time(), ZoneInfo("UTC")) for n in (-1, 2))
    stays = Stay.objects.filter(animal__in=animals, starts_at__lt=until).select_related("farm")
    if kind is not ProductionType.MEAT:
        stays = stays.filter(Q(ends_at=None) | Q(ends_at__gt=since))
    found: dict[UUID, Farm] = {}
    for stay in stays.order_by("starts_at"):
        zone = ZoneInfo(stay.farm.timezone)
        begun = stay.starts_at.astimezone(zone).date() <= day
        over = stay.ends_at is not None and stay.ends_at.astimezone(zone).date() < day
        if begun and (kind is ProductionType.MEAT or not over):
            found[stay.animal_id] = stay.farm
    return found


def _sessions(animals: Iterable[Animal], day: date) -> dict[UUID, set[str]]:
    """Which milkings of that day are recorded, by the animal's id."""
    found: dict[UUID, set[str]] = {animal.id: set() for animal in animals}
    rows = Production.objects.filter(
        animal__in=found, production_date=day, production_type=ProductionType.MILK.value
    )
    for animal_id, session in rows.values_list("animal_id", "session"):
        found[animal_id].add(session)
    return found


def _require_fitting(
    actor: Actor, animal: Animal, farm: Farm | None, row: Production, taken: Collection[str]
) -> Farm:
    """The farm that a record of the animal belongs to. Raises `RuleBroken`, `Conflict`."""
    kind = ProductionType(row.production_type)
    if animal.animal_type not in SPECIES[kind]:
        raise RuleBroken(f"expected an animal that gives {kind.value}, found {animal.animal_type}.")
    if kind in (ProductionType.MILK, ProductionType.EGGS) and animal.sex in _NOT_MILKED:
        raise RuleBroken(f"expected a female for {kind.value}, found {animal.sex}.")
    if animal.birth_date is not None and row.production_date < animal.birth_date:
        raise RuleBroken(
            f"expected a day from the animal's birth ({animal.birth_date}) on, found {row.production_date}."
        )
    if farm is None or (actor.farm_ids is not None and farm.id not in actor.farm_ids):
        raise RuleBroken(
            f"expected an animal of your farms on {row.production_date}, found one that was not there."
        )
    _require_begun(farm, row.production_date)
    if kind is ProductionType.MILK:
        _require_another_milking(row.session, taken)
    return farm


def _require_another_milking(session: str, taken: Collection[str]) -> None:
    if session in taken:
        raise Conflict("This milking is recorded already.", constraint="one_weight_per_milking")
    whole = Session.WHOLE_DAY.value
    if taken and (session == whole or whole in taken):
        raise RuleBroken("expected the whole day or its milkings, found both: they would be counted twice.")


def _require_within_bounds(row: Production) -> None:
    """What the database checks too, where its refusal would cost the rows beside this one."""
    for name, (lowest, highest) in BOUNDS.items():
        value = getattr(row, name)
        if value is not None and not lowest <= value <= highest:
            raise RuleBroken(f"expected {name} from {lowest} to {highest}, found {value}.")


def _lock_givers(actor: Actor, row: Production) -> Collection[UUID]:
    """Whose milk or eggs a record is: its animal, or those that are in its group that day. Locked, in order of ids."""
    ids = [row.animal_id] if row.group_id is None else members_on(actor, row.group_id, row.production_date)
    rows = Animal.objects.select_for_update(of=("self",)).filter(id__in=ids).order_by("id")
    locked = list(rows.values_list("id", flat=True))
    if row.group_id is not None:
        row.group = access_group(actor, row.group_id, lock=True)
    return locked


def _require_fit_for_people(
    actor: Actor, row: Production, givers: Collection[UUID], override_reason: str
) -> None:
    """What goes to people is of animals (locked) that are out of withdrawal, or somebody who may says why not."""
    _, _, product = FOR_PEOPLE[ProductionType(row.production_type)]
    day = row.production_date
    if row.group_id is None:
        require_out_of_withdrawal(actor, row.animal, product, day, override_reason)
    else:
        require_group_out_of_withdrawal(
            actor, row.group, givers, product, day, override_reason=override_reason
        )


def _require_begun(farm: Farm, day: date) -> None:
    if day > summaries.local_today(farm):
        raise RuleBroken(f"expected a day that has come in {farm.timezone}, found {day}.")
