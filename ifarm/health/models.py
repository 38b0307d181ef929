"""Health checks, medicines and their stock, treatments with doses, and the withdrawal that follows from them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import ClassVar

from django.db import models
from django.db.models.functions import Lower

from ifarm.animals.models import Animal
from ifarm.animals.words import Species
from ifarm.core.choices import choices
from ifarm.core.models import RecordModel, TenantForeignKey, TenantModel, VersionedModel
from ifarm.farms.models import Farm
from ifarm.financial.money import require_currency
from ifarm.health.words import HealthStatus, MoveKind, Product, TreatmentKind, Unit


def amount(**rest: object) -> models.DecimalField:
    """So much of a medicine, in its unit, to the thousandth."""
    return models.DecimalField(max_digits=12, decimal_places=3, **rest)


class HealthCheck(RecordModel):
    """Somebody looked at an animal. ``temperature_c`` is its body's, in degrees Celsius."""

    animal = TenantForeignKey(Animal, related_name="health_checks")
    checked_at = models.DateTimeField()
    health_status = models.CharField(max_length=12, choices=choices(HealthStatus))
    temperature_c = models.DecimalField(max_digits=3, decimal_places=1, null=True, blank=True)
    findings = models.CharField(max_length=1000, blank=True, default="")

    class Meta:
        verbose_name = "health check"
        indexes: ClassVar = [models.Index("animal", "checked_at", "id", name="checks_of_an_animal")]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(temperature_c__gte=25, temperature_c__lte=46),
                name="temperature_of_a_body",
                violation_error_message="A body has 25 to 46 degrees Celsius.",
            )
        ]


class Medicine(VersionedModel):
    """A medicine or vaccine that the tenant uses. Doses and stock are in its ``unit``, which stays.

    What its label says of withdrawal is in `LabelPeriod`.
    """

    name = models.CharField(max_length=120)
    registration_number = models.CharField(max_length=60, blank=True, default="")
    unit = models.CharField(max_length=3, choices=choices(Unit))
    is_active = models.BooleanField(default=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                "tenant",
                Lower("name"),
                name="medicine_names_differ",
                violation_error_message="There is a medicine of this name already.",
            )
        ]

    def __str__(self) -> str:
        return self.name


class LabelPeriod(TenantModel):
    """What a medicine's label says: so many ``hours`` after the last dose for one product of one species."""

    medicine = TenantForeignKey(Medicine, models.CASCADE, related_name="label")
    species = models.CharField(max_length=10, choices=choices(Species))
    product = models.CharField(max_length=4, choices=choices(Product))
    hours = models.PositiveIntegerField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["medicine", "species", "product"], name="one_period_per_species_and_product"
            )
        ]


class MedicineBatch(VersionedModel):
    """What a farm has of one batch. ``on_hand`` is the sum of its moves; the database lets it be no less than nothing.

    Good until the end of ``expires_on``.
    """

    farm = TenantForeignKey(Farm, related_name="+")
    medicine = TenantForeignKey(Medicine, related_name="batches")
    batch_number = models.CharField(max_length=40)
    expires_on = models.DateField()
    on_hand = amount(default=0, editable=False)

    class Meta:
        verbose_name = "batch"
        indexes: ClassVar = [models.Index("tenant", "expires_on", "id", name="batches_by_expiry")]
        constraints: ClassVar = [
            models.UniqueConstraint(
                "farm",
                "medicine",
                Lower("batch_number"),
                name="batch_numbers_differ",
                violation_error_message="This farm has this batch already.",
            ),
            models.CheckConstraint(
                condition=models.Q(on_hand__gte=0),
                name="stock_never_below_nothing",
                violation_error_message="There is not so much of this batch.",
            ),
        ]


class MedicinePurchase(RecordModel):
    """A quantity of a batch was acquired.

    Supplier and evidence of acquisition are what keepers must record (Regulation (EU) 2019/6, Article 108).
    """

    batch = TenantForeignKey(MedicineBatch, related_name="purchases")
    purchased_on = models.DateField()
    quantity = amount()
    supplier = models.CharField(max_length=160, blank=True, default="")
    receipt_number = models.CharField(max_length=60, blank=True, default="")
    cost_amount = models.DecimalField(max_digits=12, decimal_places=2, null=True, blank=True)
    cost_currency = models.CharField(max_length=3, blank=True, default="", validators=[require_currency])

    class Meta:
        verbose_name = "medicine purchase"
        indexes: ClassVar = [models.Index("tenant", "purchased_on", "id", name="medicine_purchases_by_day")]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(quantity__gt=0),
                name="purchase_of_something",
                violation_error_message="A purchase is of more than nothing.",
            ),
            models.CheckConstraint(
                condition=models.Q(cost_amount=None) | ~models.Q(cost_currency=""),
                name="medicine_cost_has_a_currency",
                violation_error_message="A cost needs a currency.",
            ),
        ]


class Treatment(RecordModel):
    """icarTreatmentEvent: a course of one medicine for one animal, or a procedure without one.

    Args:
        target: the diagnosis; for a vaccination the disease.
        procedure: how it was given ("intramuscular"), or what was done.
        site: where on the body.
        due_again_on: when the next one is due.
        first_dose_on, last_dose_on: of the doses that hold, in the farm's days; kept up to date with them.
    """

    animal = TenantForeignKey(Animal, related_name="treatments")
    medicine = TenantForeignKey(Medicine, null=True, blank=True, related_name="+")
    kind = models.CharField(max_length=11, choices=choices(TreatmentKind))
    treated_at = models.DateTimeField()
    target = models.CharField(max_length=120, blank=True, default="")
    procedure = models.CharField(max_length=120, blank=True, default="")
    site = models.CharField(max_length=60, blank=True, default="")
    prescribed_by = models.CharField(max_length=120, blank=True, default="")
    comment = models.CharField(max_length=1000, blank=True, default="")
    due_again_on = models.DateField(null=True, blank=True)
    first_dose_on = models.DateField(null=True, blank=True, editable=False)
    last_dose_on = models.DateField(null=True, blank=True, editable=False)

    class Meta:
        indexes: ClassVar = [
            models.Index("animal", "treated_at", "id", name="treatments_of_an_animal"),
            models.Index("tenant", "treated_at", "id", name="treatments_by_time"),
            models.Index("medicine", "last_dose_on", name="treatments_by_medicine"),
            models.Index(
                "tenant",
                "due_again_on",
                name="treatments_due_again",
                condition=models.Q(due_again_on__isnull=False),
            ),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(medicine__isnull=False) | ~models.Q(procedure=""),
                name="a_medicine_or_a_procedure",
                violation_error_message="A treatment needs a medicine or a procedure.",
            )
        ]


class TreatmentDose(RecordModel):
    """One dose of a treatment, in the medicine's unit. ``given_on`` is the day at the farm.

    A dose that was recorded by mistake is voided, never removed: the medicine book stays complete.
    """

    treatment = TenantForeignKey(Treatment, related_name="doses")
    batch = TenantForeignKey(MedicineBatch, null=True, blank=True, related_name="+")
    given_at = models.DateTimeField()
    given_on = models.DateField(editable=False)
    quantity = amount()
    voided_at = models.DateTimeField(null=True, blank=True, editable=False)
    void_reason = models.CharField(max_length=200, blank=True, default="", editable=False)

    class Meta:
        verbose_name = "dose"
        indexes: ClassVar = [models.Index("treatment", "given_at", "id", name="doses_of_a_treatment")]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(quantity__gt=0),
                name="dose_of_something",
                violation_error_message="A dose is more than nothing.",
            )
        ]


class StockMove(TenantModel):
    """A batch became more or less. What is recorded stays; a mistake is another move.

    Args:
        change: in the medicine's unit; negative where it became less.
        on_hand_after: of the batch. Moves of a batch have the order of its lock.
    """

    append_only = True

    batch = TenantForeignKey(MedicineBatch, related_name="moves")
    kind = models.CharField(max_length=9, choices=choices(MoveKind))
    change = amount()
    on_hand_after = amount()
    moved_at = models.DateTimeField()
    purchase = TenantForeignKey(MedicinePurchase, null=True, blank=True, related_name="+")
    dose = TenantForeignKey(TreatmentDose, null=True, blank=True, related_name="+")
    reason = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        verbose_name = "stock move"
        indexes: ClassVar = [models.Index("batch", "created_at", "id", name="moves_of_a_batch")]
        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(on_hand_after__gte=0), name="no_move_below_nothing")
        ]


class Withdrawal(TenantModel):
    """How long one product of an animal must not be used after one treatment: the days [``starts_on``, ``free_on``).

    ``hours`` is the period that holds for this treatment; the days are kept up to date with its doses. Without a dose
    that holds, or with a period of nothing, both days are the same: no day is withheld.
    """

    treatment = TenantForeignKey(Treatment, related_name="withdrawals")
    animal = TenantForeignKey(Animal, related_name="withdrawals")
    product = models.CharField(max_length=4, choices=choices(Product))
    hours = models.PositiveIntegerField()
    starts_on = models.DateField()
    free_on = models.DateField()

    class Meta:
        indexes: ClassVar = [
            models.Index("animal", "product", "free_on", name="withdrawals_of_an_animal"),
            models.Index("tenant", "free_on", "id", name="withdrawals_by_end"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["treatment", "product"], name="one_clock_per_product"),
            models.CheckConstraint(
                condition=models.Q(free_on__gte=models.F("starts_on")), name="withdrawal_ends_after_begin"
            ),
        ]

    @property
    def ends_on(self) -> date | None:
        """The last day that is withheld (ICAR's ``endDate``); None where there is none."""
        return None if self.free_on == self.starts_on else self.free_on - timedelta(days=1)
