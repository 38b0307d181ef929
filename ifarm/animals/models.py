"""Animals, what they are known by, where they come from, where they are and how they grow."""

from __future__ import annotations

from datetime import date, timedelta
from typing import ClassVar

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Lower
from django.utils.timezone import localdate

from ifarm.animals.words import (
    GroupKind,
    IdentifierKind,
    MovementKind,
    ParentRole,
    Purpose,
    Relation,
    Sex,
    Species,
    Status,
    WeightMethod,
)
from ifarm.core.choices import choices
from ifarm.core.constraints import NoOverlap
from ifarm.core.ids import uuid7
from ifarm.core.models import RecordModel, TenantForeignKey, TenantModel, VersionedModel
from ifarm.farms.models import Farm, Paddock
from ifarm.financial.money import require_currency


class Breed(models.Model):
    """A breed of the common catalogue; the same for every tenant, written by migrations only."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    species = models.CharField(max_length=10, choices=choices(Species))
    code = models.CharField(max_length=6)
    name = models.CharField(max_length=60)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["species", "code"], name="one_code_per_breed"),
            models.CheckConstraint(
                condition=models.Q(code__regex="^[A-Z]{2,3}$"), name="breed_codes_of_icar"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Animal(VersionedModel):
    """One animal. Age is derived from ``birth_date``, the breed from its fractions, the place from its movements.

    Args:
        tag_number: the identifier people use, as written; its history is in `AnimalIdentifier`.
        is_reference: an ancestor that is not (or no longer) owned: in no herd, in no count.
        is_deleted: recorded by mistake. An animal that has left is `OffFarm` or `Dead`.
    """

    farm = TenantForeignKey(Farm, related_name="animals")
    paddock = TenantForeignKey(Paddock, null=True, blank=True, related_name="animals")
    tag_number = models.CharField(max_length=40)
    name = models.CharField(max_length=80, blank=True, default="")
    animal_type = models.CharField(max_length=10, choices=choices(Species))
    sex = models.CharField(max_length=16, choices=choices(Sex))
    birth_date = models.DateField(null=True, blank=True)
    breed = models.ForeignKey(Breed, models.PROTECT, null=True, blank=True, related_name="+")
    purpose = models.CharField(max_length=10, choices=choices(Purpose), blank=True, default="")
    status = models.CharField(max_length=8, choices=choices(Status), default=Status.ALIVE.value)
    estimated_value = models.DecimalField(max_digits=12, decimal_places=2, null=True, blank=True)
    value_currency = models.CharField(max_length=3, blank=True, default="", validators=[require_currency])
    is_reference = models.BooleanField(default=False)
    is_deleted = models.BooleanField(default=False)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(estimated_value=None) | ~models.Q(value_currency=""),
                name="value_has_a_currency",
                violation_error_message="A value needs a currency.",
            ),
        ]
        indexes: ClassVar = [
            models.Index("tenant", "tag_number", "id", name="animals_by_tag"),
            models.Index("tenant", "farm", "status", name="animals_by_farm_and_status"),
            models.Index("tenant", "modified_at", "id", name="animals_by_change"),
        ]

    def __str__(self) -> str:
        return self.tag_number

    def clean(self) -> None:
        """Nobody is born tomorrow (the day after, where it is tomorrow already)."""
        super().clean()
        if self.birth_date is not None and self.birth_date > localdate() + timedelta(days=1):
            raise ValidationError({"birth_date": f"Expected a day that has come, found {self.birth_date}."})

    def age_days(self, on: date) -> int | None:
        """Days since birth; None where that is not known."""
        return None if self.birth_date is None else (on - self.birth_date).days

    def age_months(self, on: date) -> int | None:
        """Whole months since birth; None where that is not known."""
        born = self.birth_date
        if born is None:
            return None
        return (on.year - born.year) * 12 + on.month - born.month - (on.day < born.day)


class AnimalIdentifier(VersionedModel):
    """What an animal is or was known by. ``normalised`` is unique among those in use."""

    animal = TenantForeignKey(Animal, related_name="identifiers")
    kind = models.CharField(max_length=10, choices=choices(IdentifierKind))
    value = models.CharField(max_length=40)
    normalised = models.CharField(max_length=40, editable=False)
    issued_on = models.DateField()
    retired_on = models.DateField(null=True, blank=True)

    class Meta:
        verbose_name = "identifier"
        indexes: ClassVar = [models.Index("tenant", "normalised", name="identifiers_by_value")]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "kind", "normalised"],
                condition=models.Q(retired_on=None),
                name="identifiers_in_use_differ",
                violation_error_message="Another animal has this identifier.",
            ),
            models.CheckConstraint(
                condition=models.Q(retired_on=None) | models.Q(retired_on__gte=models.F("issued_on")),
                name="identifier_retired_after_issue",
                violation_error_message="An identifier is retired after it was issued.",
            ),
        ]


class BreedFraction(TenantModel):
    """How much of an animal is of one breed: ``parts`` of the sum of all its parts, so they add up to one."""

    animal = TenantForeignKey(Animal, models.CASCADE, related_name="breed_fractions")
    breed = models.ForeignKey(Breed, models.PROTECT, related_name="+")
    parts = models.PositiveSmallIntegerField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["animal", "breed"], name="one_fraction_per_breed"),
            models.CheckConstraint(
                condition=models.Q(parts__gt=0),
                name="breed_parts_positive",
                violation_error_message="A part of a breed is 1 or more.",
            ),
        ]


class Parentage(VersionedModel):
    """One parent of one animal."""

    child = TenantForeignKey(Animal, related_name="parents")
    parent = TenantForeignKey(Animal, related_name="offspring")
    role = models.CharField(max_length=4, choices=choices(ParentRole))
    relation = models.CharField(max_length=9, choices=choices(Relation), default=Relation.GENETIC.value)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["child", "role", "relation"], name="one_parent_per_role"),
            models.CheckConstraint(
                condition=~models.Q(child=models.F("parent")),
                name="nobody_is_their_own_parent",
                violation_error_message="An animal is not its own parent.",
            ),
        ]


class Movement(RecordModel):
    """An animal came, went, died, was born or changed place. ``counterpart`` is the previous or the next holder."""

    animal = TenantForeignKey(Animal, related_name="movements")
    kind = models.CharField(max_length=9, choices=choices(MovementKind))
    reason = models.CharField(max_length=20, blank=True, default="")
    moved_at = models.DateTimeField()
    from_farm = TenantForeignKey(Farm, null=True, blank=True, related_name="+")
    from_paddock = TenantForeignKey(Paddock, null=True, blank=True, related_name="+")
    to_farm = TenantForeignKey(Farm, null=True, blank=True, related_name="+")
    to_paddock = TenantForeignKey(Paddock, null=True, blank=True, related_name="+")
    counterpart = models.CharField(max_length=120, blank=True, default="")

    class Meta:
        indexes: ClassVar = [models.Index("animal", "moved_at", "id", name="movements_of_an_animal")]


class Stay(TenantModel):
    """Where an animal was, from one movement to the next: [``starts_at``, ``ends_at``), open while it is there."""

    animal = TenantForeignKey(Animal, related_name="stays")
    farm = TenantForeignKey(Farm, related_name="+")
    paddock = TenantForeignKey(Paddock, null=True, blank=True, related_name="+")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            NoOverlap(
                same=("animal",),
                start="starts_at",
                end="ends_at",
                name="one_place_at_a_time",
                message="The animal was somewhere else at that time.",
            ),
        ]


class AnimalGroup(VersionedModel):
    """Animals that are worked with together: a milking group, a mob, a finishing lot."""

    farm = TenantForeignKey(Farm, related_name="groups")
    name = models.CharField(max_length=80)
    kind = models.CharField(max_length=10, choices=choices(GroupKind))
    is_active = models.BooleanField(default=True)

    class Meta:
        verbose_name = "group"
        constraints: ClassVar = [
            models.UniqueConstraint(
                "farm",
                Lower("name"),
                name="group_names_differ",
                violation_error_message="This farm has a group of this name already.",
            )
        ]

    def __str__(self) -> str:
        return self.name


class GroupMembership(RecordModel):
    """An animal in a group, for the days [``starts_on``, ``ends_on``). ``kind`` is the group's."""

    animal = TenantForeignKey(Animal, related_name="group_memberships")
    group = TenantForeignKey(AnimalGroup, related_name="memberships")
    kind = models.CharField(max_length=10, choices=choices(GroupKind), editable=False)
    starts_on = models.DateField()
    ends_on = models.DateField(null=True, blank=True)

    class Meta:
        verbose_name = "group membership"
        constraints: ClassVar = [
            NoOverlap(
                same=("animal", "kind"),
                start="starts_on",
                end="ends_on",
                name="one_group_of_a_kind_at_a_time",
                message="The animal is in another group of this kind at that time.",
            ),
            models.CheckConstraint(
                condition=models.Q(ends_on=None) | models.Q(ends_on__gte=models.F("starts_on")),
                name="group_left_after_joined",
                violation_error_message="A group is left after it was joined.",
            ),
        ]


class Weight(RecordModel):
    """Body weight, in kilograms. Milk is weighed elsewhere (`production`)."""

    animal = TenantForeignKey(Animal, related_name="weights")
    weighed_on = models.DateField()
    weight_kg = models.DecimalField(max_digits=7, decimal_places=2)
    method = models.CharField(
        max_length=18, choices=choices(WeightMethod), default=WeightMethod.LOAD_CELL.value
    )

    class Meta:
        indexes: ClassVar = [models.Index("animal", "weighed_on", "id", name="weights_of_an_animal")]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(weight_kg__gt=0),
                name="weight_positive",
                violation_error_message="A weight is more than nothing.",
            )
        ]


class BodyCondition(RecordModel):
    """Body condition, from 1 (thin) to 5 (fat) in quarters, as for cattle and sheep."""

    animal = TenantForeignKey(Animal, related_name="body_conditions")
    scored_on = models.DateField()
    score = models.DecimalField(max_digits=3, decimal_places=2)

    class Meta:
        verbose_name = "body condition"
        indexes: ClassVar = [models.Index("animal", "scored_on", "id", name="scores_of_an_animal")]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(score__gte=1, score__lte=5),
                name="score_from_1_to_5",
                violation_error_message="A score is from 1 to 5.",
            )
        ]
