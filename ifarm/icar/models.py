"""What others call our animals. Records have `source` and `source_id` themselves."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from ifarm.animals.models import Animal
from ifarm.core.models import TenantForeignKey, TenantModel


class AnimalSource(TenantModel):
    """Where an animal was told from: `meta.source` and `meta.sourceId` of its first `icarAnimalCoreResource`."""

    animal = TenantForeignKey(Animal, models.CASCADE, related_name="icar_sources")
    source = models.CharField(max_length=60)
    source_id = models.CharField(max_length=120)

    class Meta:
        verbose_name = "source of an animal"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["animal"],
                name="one_source_per_animal",
                violation_error_message="This animal was told from elsewhere already.",
            )
        ]
