"""A tenant: one customer, with farms, people and everything they record."""

from __future__ import annotations

from enum import StrEnum

from django.db import models
from django.utils.timezone import now

from ifarm.core.choices import choices
from ifarm.core.constraints import TenantIsolation
from ifarm.core.ids import uuid7


class TenantStatus(StrEnum):
    """Whether its people may work."""

    TRIAL = "trial"
    ACTIVE = "active"
    SUSPENDED = "suspended"


class Tenant(models.Model):
    """The row that all others refer to; it is under row-level security by its own id."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=120)
    status = models.CharField(max_length=12, choices=choices(TenantStatus), default=TenantStatus.ACTIVE)
    timezone = models.CharField(max_length=40, default="UTC")
    currency = models.CharField(max_length=3, default="EUR")
    created_at = models.DateTimeField(default=now, editable=False)
    modified_at = models.DateTimeField(default=now, editable=False)
    version = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        constraints = [TenantIsolation(field="id", name="tenants_isolation")]

    def __str__(self) -> str:
        return self.name

    @property
    def tenant_id(self) -> object:
        """Itself, so that it is audited like any row of the tenant."""
        return self.id
