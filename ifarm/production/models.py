"""What animals gave, day by day, and the lactations in which they gave milk."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from ifarm.animals.models import Animal, AnimalGroup
from ifarm.core.choices import choices
from ifarm.core.constraints import NoOverlap
from ifarm.core.models import RecordModel, TenantForeignKey, TenantModel, VersionedModel
from ifarm.farms.models import Farm
from ifarm.production.words import (
    BOUNDS,
    OPTIONAL,
    REQUIRED,
    TEXTS,
    EggUse,
    LactationEnd,
    MilkUse,
    ProductionType,
    Session,
)


def _only_their_own() -> models.Q:
    """Each record says what its kind must say, and nothing of another kind."""
    every = {name for kind in ProductionType for name in REQUIRED[kind] + OPTIONAL[kind]}
    allowed = models.Q()
    for kind in ProductionType:
        one = models.Q(production_type=kind.value)
        for name in REQUIRED[kind]:
            one &= ~models.Q(**{name: ""}) if name in TEXTS else models.Q(**{f"{name}__isnull": False})
        for name in sorted(every - set(REQUIRED[kind]) - set(OPTIONAL[kind])):
            one &= models.Q(**{name: ""}) if name in TEXTS else models.Q(**{f"{name}__isnull": True})
        allowed |= one
    return allowed


def _within(name: str, lowest: float, highest: float) -> models.CheckConstraint:
    return models.CheckConstraint(
        condition=models.Q(**{name: None}) | models.Q(**{f"{name}__gte": lowest, f"{name}__lte": highest}),
        name=f"production_{name}_possible",
        violation_error_message=f"Expected {name} from {lowest} to {highest}.",
    )


class Production(RecordModel):
    """One amount of one kind, of one animal or of one group (a flock), on one day of its farm's calendar.

    There is no common quantity: each kind has columns of its own, with their units, and a constraint that leaves those
    of the others empty. So no sum mixes litres, eggs and kilograms.

    Args:
        farm: where the animal was that day; it stays, wherever the animal goes.
        milk_use: empty where milk was loaded from elsewhere and nobody said it; so is ``egg_use``.
        somatic_cells_per_ml: ICAR reports thousands per millilitre; these are single cells.
        carcass_kg: the cold carcass. ``carcass_class``: as graded, say ``R3`` (EUROP, Regulation (EU) 1308/2013).
    """

    farm = TenantForeignKey(Farm, related_name="+")
    animal = TenantForeignKey(Animal, null=True, blank=True, related_name="productions")
    group = TenantForeignKey(AnimalGroup, null=True, blank=True, related_name="productions")
    production_type = models.CharField(max_length=4, choices=choices(ProductionType))
    production_date = models.DateField()
    session = models.CharField(max_length=8, choices=choices(Session), blank=True, default="")
    milk_kg = models.DecimalField(max_digits=5, decimal_places=2, null=True, blank=True)
    fat_percent = models.DecimalField(max_digits=4, decimal_places=2, null=True, blank=True)
    protein_percent = models.DecimalField(max_digits=4, decimal_places=2, null=True, blank=True)
    somatic_cells_per_ml = models.PositiveIntegerField(null=True, blank=True)
    milk_use = models.CharField(max_length=9, choices=choices(MilkUse), blank=True, default="")
    eggs_count = models.PositiveIntegerField(null=True, blank=True)
    eggs_broken_count = models.PositiveIntegerField(null=True, blank=True)
    egg_use = models.CharField(max_length=9, choices=choices(EggUse), blank=True, default="")
    wool_kg = models.DecimalField(max_digits=5, decimal_places=2, null=True, blank=True)
    fibre_diameter_um = models.DecimalField(max_digits=4, decimal_places=1, null=True, blank=True)
    carcass_kg = models.DecimalField(max_digits=6, decimal_places=2, null=True, blank=True)
    carcass_class = models.CharField(max_length=8, blank=True, default="")

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=_only_their_own(),
                name="production_of_one_kind",
                violation_error_message="A record has the fields of its kind, and no others.",
            ),
            models.CheckConstraint(
                condition=models.Q(animal__isnull=False, group__isnull=True)
                | models.Q(
                    animal__isnull=True,
                    group__isnull=False,
                    production_type__in=[ProductionType.EGGS.value, ProductionType.WOOL.value],
                ),
                name="production_of_somebody",
                violation_error_message="Milk and meat are of an animal; eggs and wool of an animal or a group.",
            ),
            models.CheckConstraint(
                condition=models.Q(eggs_broken_count=None)
                | models.Q(eggs_broken_count__lte=models.F("eggs_count")),
                name="no_more_broken_than_laid",
                violation_error_message="No more eggs are broken than were laid.",
            ),
            *(_within(name, *bounds) for name, bounds in BOUNDS.items()),
            models.UniqueConstraint(
                fields=["tenant", "animal", "production_date", "session"],
                condition=models.Q(production_type=ProductionType.MILK.value),
                name="one_weight_per_milking",
                violation_error_message="This milking is recorded already.",
            ),
            models.UniqueConstraint(
                fields=["tenant", "animal"],
                condition=models.Q(production_type=ProductionType.MEAT.value),
                name="one_carcass_per_animal",
                violation_error_message="This animal's carcass is recorded already.",
            ),
        ]
        indexes: ClassVar = [
            models.Index("tenant", "production_date", "id", name="production_by_date"),
            models.Index("tenant", "farm", "production_date", "id", name="production_by_farm_and_date"),
            models.Index("animal", "production_date", "id", name="production_of_an_animal"),
            models.Index("tenant", "modified_at", "id", name="production_by_change"),
        ]


class Lactation(VersionedModel):
    """The days from a calving to the day before ``ends_on``: the first dry day, or the next calving."""

    animal = TenantForeignKey(Animal, related_name="lactations")
    number = models.PositiveSmallIntegerField()
    starts_on = models.DateField()
    ends_on = models.DateField(null=True, blank=True)
    end_reason = models.CharField(max_length=7, choices=choices(LactationEnd), blank=True, default="")

    class Meta:
        constraints: ClassVar = [
            NoOverlap(
                same=("animal",),
                start="starts_on",
                end="ends_on",
                name="one_lactation_at_a_time",
                message="The animal is in another lactation at that time.",
            ),
            models.UniqueConstraint(
                fields=["animal", "number"],
                name="lactation_numbers_differ",
                violation_error_message="The animal has a lactation of this number already.",
            ),
            models.CheckConstraint(
                condition=models.Q(ends_on=None, end_reason="")
                | (models.Q(ends_on__gt=models.F("starts_on")) & ~models.Q(end_reason="")),
                name="lactation_ends_after_it_starts",
                violation_error_message="A lactation ends after it starts, for a reason.",
            ),
            models.CheckConstraint(
                condition=models.Q(number__gt=0),
                name="lactations_count_from_one",
                violation_error_message="Lactations count from 1.",
            ),
        ]


class DailySummary(TenantModel):
    """What a farm produced of one kind on one local day: the sums of its `Production` rows, kept by the write path.

    Args:
        fat_kg: of the milk that was sampled, ``sampled_milk_kg``; so is ``protein_kg`` of ``protein_milk_kg``.

    Counts may be below nothing for a moment: where rows were loaded in bulk and one is deleted before the day, which is
    marked as dirty, was made anew.
    """

    farm = TenantForeignKey(Farm, models.CASCADE, related_name="+")
    day = models.DateField()
    production_type = models.CharField(max_length=4, choices=choices(ProductionType))
    records = models.IntegerField()
    milk_kg = models.DecimalField(max_digits=14, decimal_places=2)
    sampled_milk_kg = models.DecimalField(max_digits=14, decimal_places=2)
    fat_kg = models.DecimalField(max_digits=16, decimal_places=6)
    protein_milk_kg = models.DecimalField(max_digits=14, decimal_places=2)
    protein_kg = models.DecimalField(max_digits=16, decimal_places=6)
    eggs_count = models.IntegerField()
    eggs_broken_count = models.IntegerField()
    wool_kg = models.DecimalField(max_digits=14, decimal_places=2)
    carcass_kg = models.DecimalField(max_digits=14, decimal_places=2)

    class Meta:
        verbose_name = "daily summary"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "farm", "day", "production_type"], name="one_summary_per_day"
            )
        ]
        indexes: ClassVar = [models.Index("tenant", "day", "id", name="summaries_by_day")]


class DirtyDay(TenantModel):
    """A day whose summary is to be made anew from its rows: something came late, was corrected or loaded in bulk."""

    farm = TenantForeignKey(Farm, models.CASCADE, related_name="+")
    day = models.DateField()
    production_type = models.CharField(max_length=4, choices=choices(ProductionType))

    class Meta:
        verbose_name = "dirty day"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "farm", "day", "production_type"], name="one_mark_per_day"
            )
        ]
