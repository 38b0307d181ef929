"""Medicines, and what their labels say of withdrawal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import F
from django.utils import timezone

from ifarm.animals.words import Species
from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import RuleBroken
from ifarm.core.events import record_event
from ifarm.core.versions import Seen
from ifarm.health.models import LabelPeriod, Medicine, Treatment, Withdrawal
from ifarm.health.policies import access_medicine
from ifarm.health.withdrawal import days_of, free_day, label_of, period_hours
from ifarm.health.words import PRODUCTS, Product, Unit


def create_medicine(
    actor: Actor, *, name: str, unit: Unit, label: Sequence[Mapping[str, Any]] = (), **rest: Any
) -> Medicine:
    """A new medicine. ``label`` has {species, product, hours}; what it does not say is taken as off-label."""
    with unit_of_work():
        medicine = writes.insert(actor, Medicine(name=name.strip(), unit=unit.value, **rest))
        _set_label(actor, medicine, label)
        return medicine


def update_medicine(actor: Actor, medicine_id: UUID, changes: Mapping[str, Any], seen: Seen) -> Medicine:
    """Change a medicine. Where the label now says more, running clocks of its treatments become longer; where it says
    less, they stay as they began. Raises `StaleVersion`.
    """
    with unit_of_work():
        medicine = access_medicine(actor, medicine_id, lock=True)  # treatments with it wait
        seen.require(medicine)
        changes = dict(changes)
        label = changes.pop("label", None)
        medicine = writes.update(actor, medicine, changes)
        if label is not None:
            _set_label(actor, medicine, label)
            _lengthen(actor, medicine)
        return medicine


def _set_label(actor: Actor, medicine: Medicine, label: Sequence[Mapping[str, Any]]) -> None:
    """Replace what the label says."""
    wanted: dict[tuple[Species, Product], int] = {}
    for entry in label:
        species, product = Species(entry["species"]), Product(entry["product"])
        if product not in PRODUCTS[species]:
            raise RuleBroken(
                f"{species.value}: expected one of {', '.join(PRODUCTS[species])}, found {product.value}."
            )
        if (species, product) in wanted:
            raise RuleBroken(
                f"{species.value}, {product.value}: expected one period, found two. Send the longest."
            )
        wanted[species, product] = entry["hours"]
    before = label_of(medicine.label.all())
    if before == wanted:
        return
    medicine.label.all().delete()
    LabelPeriod.objects.bulk_create(
        LabelPeriod(medicine=medicine, species=species.value, product=product.value, hours=hours)
        for (species, product), hours in sorted(wanted.items())
    )
    told = [
        {f"{s.value} {p.value} hours": hours for (s, p), hours in sorted(of.items())}
        for of in (before, wanted)
    ]
    writes.record(actor, "label_set", medicine, {"label": told})


def _lengthen(actor: Actor, medicine: Medicine) -> None:
    """A label that was wrong, or that has changed, must not let an animal go too early."""
    label = label_of(medicine.label.all())
    longest = max(
        period_hours(label, species, product) for species in PRODUCTS for product in PRODUCTS[species]
    )
    since = timezone.localdate() - timedelta(days=days_of(longest) + 2)
    running = Treatment.objects.filter(medicine=medicine, last_dose_on__gte=since)
    locked = list(running.order_by("id").select_for_update())
    rows = Withdrawal.objects.filter(treatment__in=locked).select_related("treatment")
    for row in rows.annotate(species=F("animal__animal_type")):
        needed = period_hours(label, Species(row.species), Product(row.product))
        if needed <= row.hours:
            continue
        row.hours, row.free_on = needed, free_day(row.treatment.last_dose_on, needed)
        row.modified_at = timezone.now()
        row.save(update_fields=["hours", "free_on", "modified_at"])
        told = {"product": row.product, "hours": needed, "free_on": row.free_on}
        writes.record(actor, "withdrawal_lengthened", row.treatment, told, "the label says more")
        record_event("treatment_withdrawal_lengthened", row.treatment, animal_id=row.animal_id, **told)
