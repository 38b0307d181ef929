"""What happened to females on the way to offspring, what is due next, and how many days a tenant plans for it."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from ifarm.animals.models import Animal
from ifarm.animals.words import Sex, Species
from ifarm.breeding.words import (
    BirthStatus,
    CalvingEase,
    CheckMethod,
    CheckResult,
    DueKind,
    EventKind,
    HeatDetection,
    ServiceMethod,
)
from ifarm.core.choices import choices
from ifarm.core.models import RecordModel, TenantForeignKey, TenantModel, VersionedModel

FIELDS: dict[EventKind, tuple[str, ...]] = {
    EventKind.HEAT: ("detection",),
    EventKind.SERVICE: ("service_method",),
    EventKind.CHECK: ("check_method", "result"),
    EventKind.CALVING: ("ease",),
    EventKind.ABORTION: (),
}
"""The words that each kind of event must have; the others have none of them."""


def _words_of_their_kind() -> models.Q:
    every = [name for names in FIELDS.values() for name in names]
    allowed = models.Q()
    for kind, own in FIELDS.items():
        one = models.Q(kind=kind.value)
        for name in every:
            one &= ~models.Q(**{name: ""}) if name in own else models.Q(**{name: ""})
        allowed |= one
    return allowed


class BreedingEvent(RecordModel):
    """One event of one female, on a local day of its farm.

    Args:
        sire: of a service: the male, or that of the embryo; often a reference animal.
        semen_batch: of an insemination, as on the straw.
        days_pregnant: of a check: how long, as the examiner dates it.
        conceived: of a service: whether it led to a pregnancy. Not recorded but derived from all events by every write
            (`cycle.replay`); None while nobody knows.
        born_alive_count: of a calving; ``stillborn_count`` are no animals of any herd, and no sales.
    """

    animal = TenantForeignKey(Animal, related_name="breeding_events")
    kind = models.CharField(max_length=14, choices=choices(EventKind))
    happened_on = models.DateField()
    detection = models.CharField(max_length=10, choices=choices(HeatDetection), blank=True, default="")
    service_method = models.CharField(max_length=14, choices=choices(ServiceMethod), blank=True, default="")
    sire = TenantForeignKey(Animal, null=True, blank=True, related_name="+")
    semen_batch = models.CharField(max_length=60, blank=True, default="")
    check_method = models.CharField(max_length=9, choices=choices(CheckMethod), blank=True, default="")
    result = models.CharField(max_length=8, choices=choices(CheckResult), blank=True, default="")
    days_pregnant = models.PositiveSmallIntegerField(null=True, blank=True)
    ease = models.CharField(max_length=24, choices=choices(CalvingEase), blank=True, default="")
    born_alive_count = models.PositiveSmallIntegerField(null=True, blank=True)
    stillborn_count = models.PositiveSmallIntegerField(null=True, blank=True)
    conceived = models.BooleanField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = "breeding event"
        indexes: ClassVar = [
            models.Index("animal", "happened_on", "id", name="breeding_of_an_animal"),
            models.Index("tenant", "kind", "happened_on", name="breeding_by_kind_and_day"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=_words_of_their_kind(),
                name="breeding_words_of_their_kind",
                violation_error_message="An event has the words of its kind, and no others.",
            ),
            models.CheckConstraint(
                condition=models.Q(kind=EventKind.SERVICE.value)
                | models.Q(sire=None, semen_batch="", conceived=None),
                name="only_a_service_has_a_sire",
                violation_error_message="Only a service has a sire.",
            ),
            models.CheckConstraint(
                condition=models.Q(days_pregnant=None) | models.Q(kind=EventKind.CHECK.value),
                name="only_a_check_dates_a_pregnancy",
                violation_error_message="Only a check dates a pregnancy.",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    ~models.Q(kind=EventKind.CALVING.value), born_alive_count=None, stillborn_count=None
                )
                | models.Q(
                    kind=EventKind.CALVING.value,
                    born_alive_count__isnull=False,
                    stillborn_count__isnull=False,
                ),
                name="only_a_calving_counts_births",
                violation_error_message="Only a calving counts who is born.",
            ),
            models.UniqueConstraint(
                fields=["animal", "happened_on"],
                condition=models.Q(kind__in=[EventKind.CALVING.value, EventKind.ABORTION.value]),
                name="one_birth_a_day",
                violation_error_message="A birth of that day is recorded already; twins are of one calving.",
            ),
        ]


class Offspring(TenantModel):
    """Who was born at a calving. A stillborn one is counted here and nowhere else: it never was in the herd."""

    calving = TenantForeignKey(BreedingEvent, related_name="offspring")
    birth_status = models.CharField(max_length=9, choices=choices(BirthStatus))
    sex = models.CharField(max_length=16, choices=choices(Sex))
    animal = TenantForeignKey(Animal, null=True, blank=True, related_name="+")

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(birth_status=BirthStatus.ALIVE.value, animal__isnull=False)
                | models.Q(birth_status=BirthStatus.STILLBORN.value, animal__isnull=True),
                name="the_living_are_animals",
                violation_error_message="Who is born alive is an animal, who is stillborn is none.",
            ),
            models.UniqueConstraint(
                fields=["animal"],
                name="born_once",
                violation_error_message="This animal is of another calving.",
            ),
        ]


class DueEvent(TenantModel):
    """What is to be done with an animal next, between two local days; kept by every write, from `cycle.dues`."""

    animal = TenantForeignKey(Animal, models.CASCADE, related_name="due_events")
    kind = models.CharField(max_length=14, choices=choices(DueKind))
    anchor_on = models.DateField()
    due_from = models.DateField()
    due_until = models.DateField()

    class Meta:
        verbose_name = "due event"
        indexes: ClassVar = [models.Index("tenant", "due_from", "id", name="due_by_day")]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["animal", "kind"], name="one_due_event_per_kind"),
            models.CheckConstraint(
                condition=models.Q(due_from__gte=models.F("anchor_on"), due_until__gte=models.F("due_from")),
                name="due_after_its_anchor",
            ),
        ]


class BreedingPlan(VersionedModel):
    """The days that a tenant plans for one species, instead of those in `cycle.PLANS`. None: it is not planned."""

    species = models.CharField(max_length=10, choices=choices(Species))
    voluntary_wait_days = models.PositiveSmallIntegerField(null=True, blank=True)
    pregnancy_check_days = models.PositiveSmallIntegerField()
    dry_period_days = models.PositiveSmallIntegerField(null=True, blank=True)

    class Meta:
        verbose_name = "breeding plan"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "species"],
                name="one_plan_per_species",
                violation_error_message="There is a plan for this species already.",
            ),
            models.CheckConstraint(
                condition=(models.Q(voluntary_wait_days=None) | models.Q(voluntary_wait_days__lte=365))
                & (models.Q(dry_period_days=None) | models.Q(dry_period_days__range=(1, 110)))
                & models.Q(pregnancy_check_days__range=(1, 110)),
                name="plan_possible",
                violation_error_message="Expected a wait up to 365 days, a check and a dry period from 1 to 110.",
            ),
        ]
