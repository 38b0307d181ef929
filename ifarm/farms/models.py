"""Farms and their paddocks."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

from django.db import models
from django.db.models.functions import Lower
from django.utils.timezone import localdate

from ifarm.core.models import TenantForeignKey, VersionedModel


class Farm(VersionedModel):
    """One holding. ``holding_number`` is the authority's, where there is one."""

    name = models.CharField(max_length=120)
    holding_number = models.CharField(max_length=40, blank=True, default="")
    timezone = models.CharField(max_length=40, default="UTC")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "tenant",
                Lower("name"),
                name="farm_names_differ",
                violation_error_message="There is a farm of this name already.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def day_of(self, moment: datetime) -> date:
        """The day that a moment is in, here."""
        return moment.astimezone(ZoneInfo(self.timezone)).date()

    def today(self) -> date:
        """The day it is here."""
        return localdate(timezone=ZoneInfo(self.timezone))


class Paddock(VersionedModel):
    """A field, a pen, a house: where animals of a farm are. ``area_ha`` is its grazing area, in hectares."""

    farm = TenantForeignKey(Farm, related_name="paddocks")
    name = models.CharField(max_length=80)
    area_ha = models.DecimalField(max_digits=9, decimal_places=2, null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "farm",
                Lower("name"),
                name="paddock_names_differ",
                violation_error_message="This farm has a paddock of this name already.",
            ),
            models.CheckConstraint(
                condition=models.Q(area_ha__gt=0),
                name="paddock_area_positive",
                violation_error_message="An area is more than nothing.",
            ),
        ]

    def __str__(self) -> str:
        return self.name
