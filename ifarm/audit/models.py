"""Who changed what, and when: written in the transaction of the change."""

from __future__ import annotations

from django.db import models

from ifarm.core.models import TenantModel


class AuditEntry(TenantModel):
    """One change of one row. ``changes``: {field: [before, after]}; kept when the row is gone.

    The table is partitioned by month, by its key, which begins with the time (`partitions`).
    """

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
        indexes = [
            models.Index("tenant", "model", "object_id", "id", name="audit_of_a_row"),
            models.Index("tenant", "actor_id", "id", name="audit_of_a_person"),
        ]


class AuditArchive(TenantModel):
    """The entries of one month that have left the database: one file in the object store.

    Args:
        month: its first day (UTC).
        path: in the bucket audit-archive: JSON lines, an entry each, oldest first, compressed with zstd.
        sha256: of the file, in hex, as it was read back from the store.
    """

    month = models.DateField()
    entries = models.PositiveIntegerField()
    size_bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    path = models.CharField(max_length=100)

    class Meta:
        verbose_name = "audit archive"
        constraints = [models.UniqueConstraint(fields=["tenant", "month"], name="one_archive_per_month")]
