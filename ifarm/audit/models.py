"""Who changed what, and when: written in the transaction of the change."""

from __future__ import annotations

from django.db import models

from ifarm.core.models import TenantModel


class AuditEntry(TenantModel):
    """One change of one row. ``changes``: {field: [before, after]}; kept when the row is gone."""

    append_only = True

    actor_id = models.UUIDField()
    actor_role = models.CharField(max_length=20)
    action = models.CharField(max_length=40)
    model = models.CharField(max_length=60)
    object_id = models.UUIDField()
    changes = models.JSONField(default=dict)
    reason = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        verbose_name = "audit entry"
        indexes = [models.Index("tenant", "model", "object_id", "id", name="audit_of_a_row")]
