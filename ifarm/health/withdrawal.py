"""Withdrawal: from the last dose of each treatment, one clock for each product.

Days are the farm's. A dose may be given at any time of its day, so that day is withheld, and then as many whole days
as the period has, begun ones counted in (36 hours are 2 days, as Herdwatch tells its users): whatever the hour of the
dose, no hour of the period lies after the last day that is withheld.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from ifarm.animals.models import Animal, AnimalGroup
from ifarm.animals.words import DeathReason, MovementKind, Species
from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import RuleBroken
from ifarm.core.events import record_event
from ifarm.health.models import LabelPeriod, Withdrawal
from ifarm.health.policies import WITHDRAWALS
from ifarm.health.words import Product

Label = Mapping[tuple[Species, Product], int]
"""Hours by species and product."""

OFF_LABEL_HOURS: Final[Mapping[Product, int]] = {
    Product.MEAT: 28 * 24,
    Product.MILK: 7 * 24,
    Product.EGGS: 14 * 24,
}
"""The least for a product that the medicine is not authorised for in any species: the Veterinary Medicines Regulations
2013 (UK), schedule 4, paragraph 2; Regulation (EU) 2019/6, Article 115, says the same except for eggs (10 days)."""
OFF_LABEL_LEAST_HOURS: Final = 24
"""Even where the label of another species says zero (the same sources)."""


LONGEST_REASON: Final = 500
"""Characters."""


class InWithdrawal(RuleBroken):
    """A product of the animal must not be used yet. Somebody who may can override it, with a reason.

    The answer has ``product``, ``free_on`` and ``treatment_ids``.
    """

    type = "in-withdrawal"
    title = "The animal is in withdrawal"


def days_of(hours: int) -> int:
    """Whole days of a period; a begun day counts."""
    return -(-hours // 24)


def free_day(last_dose_on: date, hours: int) -> date:
    """The first day on which the product may be used again; the day of the dose itself for a period of nothing."""
    return last_dose_on if hours == 0 else last_dose_on + timedelta(days=days_of(hours) + 1)


def period_hours(label: Label, species: Species, product: Product) -> int:
    """What the label says; for another species one and a half times its longest (sources at `OFF_LABEL_HOURS`)."""
    own = label.get((species, product))
    if own is not None:
        return own
    others = [hours for (_, of), hours in label.items() if of is product]
    if not others:
        return OFF_LABEL_HOURS[product]
    return max(OFF_LABEL_LEAST_HOURS, -(-max(others) * 3 // 2))


def day_at(zone: str, moment: datetime) -> date:
    """The day that a moment is in, where the farm is."""
    return moment.astimezone(ZoneInfo(zone)).date()


def is_for_people(kind: MovementKind, reason: str) -> bool:
    """Does the animal go where somebody may eat it? Every departure is to another holder."""
    return kind is MovementKind.DEPARTURE or (kind, reason) == (MovementKind.DEATH, DeathReason.CONSUMPTION)


def label_of(rows: Iterable[LabelPeriod]) -> Label:
    """Rows as a mapping."""
    return {(Species(row.species), Product(row.product)): row.hours for row in rows}


def withheld(animal_ids: Collection[UUID], product: Product, day: date) -> dict[UUID, date]:
    """Of these animals, those whose product is withheld on a day of the farm, and the first day it is free. One query.

    For lists (a milking of a group); for a single animal that gives something, `require_out_of_withdrawal`.
    """
    rows = Withdrawal.objects.filter(
        animal__in=animal_ids, product=product.value, starts_on__lte=day, free_on__gt=day
    )
    return dict(rows.order_by("free_on").values_list("animal_id", "free_on"))


def require_out_of_withdrawal(
    actor: Actor, animal: Animal, product: Product, day: date, override_reason: str = ""
) -> list[Withdrawal]:
    """Before a product of the animal (itself, for meat) goes to people: is it free on that day of the farm?

    The caller holds the animal's lock, so that no treatment is recorded at the same time. ``override_reason``: somebody
    who may decides that it goes all the same; that is audited and told. Gives the withdrawals that were overridden.
    Raises `InWithdrawal` without a reason, `NotAllowed` for an actor who may not override.
    """
    return _require_free(
        actor, animal, [animal.id], product=product, day=day, override_reason=override_reason
    )


def require_group_out_of_withdrawal(
    actor: Actor,
    group: AnimalGroup,
    animal_ids: Collection[UUID],
    product: Product,
    day: date,
    *,
    override_reason: str = "",
) -> list[Withdrawal]:
    """The same for what a group gave together: of whom it is nobody can tell, so one animal withholds all of it.

    The caller holds the locks of these animals, which are in the group that day. An override is audited once.
    """
    return _require_free(actor, group, animal_ids, product=product, day=day, override_reason=override_reason)


def _require_free(
    actor: Actor,
    subject: Animal | AnimalGroup,
    animal_ids: Collection[UUID],
    *,
    product: Product,
    day: date,
    override_reason: str,
) -> list[Withdrawal]:
    with unit_of_work():
        clocks = Withdrawal.objects.filter(
            animal__in=animal_ids, product=product.value, starts_on__lte=day, free_on__gt=day
        )
        running = list(clocks.order_by("-free_on", "id"))
        if not running:
            return []
        free_on, treatments = running[0].free_on, [row.treatment_id for row in running]
        reason = override_reason.strip()
        kind, name = (
            ("animal", subject.tag_number) if isinstance(subject, Animal) else ("group", subject.name)
        )
        if not reason:
            raise InWithdrawal(
                f"{product.value} of {name}: expected a day from {free_on} on, found {day}. Wait, or give a reason why"
                " not.",
                product=product.value,
                free_on=str(free_on),
                treatment_ids=[str(key) for key in treatments],
            )
        WITHDRAWALS.require(actor, "override")
        if len(reason) > LONGEST_REASON:
            raise RuleBroken(
                f"expected a reason of {LONGEST_REASON} characters or fewer, found {len(reason)}."
            )
        told = {"product": product.value, "day": day, "free_on": free_on, "treatment_ids": treatments}
        writes.record(actor, "withdrawal_overridden", subject, told, reason)
        event = f"{kind}_withdrawal_overridden"
        record_event(event, subject, farm_id=subject.farm_id, reason=reason, **told)
        return running


def require_may_leave(
    actor: Actor, animal: Animal, *, kind: MovementKind, reason: str, moment: datetime, override_reason: str
) -> None:
    """Before an animal leaves for another holder or is eaten; `animals.movements` asks, with the animal locked."""
    if is_for_people(kind, reason):
        day = day_at(animal.farm.timezone, moment)
        require_out_of_withdrawal(actor, animal, Product.MEAT, day, override_reason)
