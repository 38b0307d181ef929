"""The journal of a tenant's changes, and the operations that devices sent.

The database itself writes the journal (`migrations/0002_journal.py`), by triggers: no service, job or hand-written
statement can forget it. Why it is made so: docs/decisions/0016-a-cursor-that-survives-a-failover.md.
"""

from __future__ import annotations

from typing import ClassVar
from uuid import uuid4

from django.db import models

from ifarm.core.choices import choices
from ifarm.core.context import current_tenant
from ifarm.core.models import TenantModel
from ifarm.sync.words import FINAL, Outcome


def _tenant() -> models.ForeignKey:
    """Not checked: the row that was changed has been, and a check here would wait while the tenant's number is held."""
    return models.ForeignKey(
        "tenants.Tenant",
        models.PROTECT,
        default=current_tenant,
        editable=False,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )


class Commit(TenantModel):
    """One committed transaction of a tenant. Numbers have no gaps, and are in the order of the commits.

    Args:
        mark: random. Who knows (number, mark) of a commit that is here knows nothing that is not here: two histories
            that part have different marks from there on.
    """

    append_only = True

    tenant = _tenant()
    number = models.PositiveBigIntegerField()
    mark = models.UUIDField(default=uuid4)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "number"], name="one_commit_per_number"),
        ]


class Change(TenantModel):
    """One thing that a transaction changed.

    Args:
        commit_id: of the `Commit`, which is added at the very end; so no foreign key.
        kind: as in `kinds.KINDS`; "move": an animal came to another farm; "*": more than was noted one
            by one; "": the end of its transaction.
        home_id: whose readers hear that it is gone: of a farm, of the farm where this animal is, of this tenant; None:
            another change tells it.
        opens: the first of its transaction.
    """

    append_only = True

    tenant = _tenant()
    commit_id = models.UUIDField()
    kind = models.CharField(max_length=20)
    object_id = models.UUIDField()
    home_id = models.UUIDField(null=True)
    opens = models.BooleanField(default=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "commit_id", "kind", "object_id", "home_id"],
                name="one_note_per_object",
                nulls_distinct=False,
            ),
        ]


class PushedOperation(TenantModel):
    """What a device asked for while nobody could hear it, and what it was answered.

    Args:
        operation_id: the device's own; the same from the same person is answered, not carried out, again.
        fingerprint: of the operation's content.
        recorded_at: by the clock of the device, when it happened; ``skew_seconds``: how far that clock was ahead of
            ours when it was sent (negative: behind; with the time of travel).
        answer: as it was given.
    """

    append_only = True

    actor_id = models.UUIDField()
    operation_id = models.UUIDField()
    fingerprint = models.CharField(max_length=64)
    kind = models.CharField(max_length=20)
    action = models.CharField(max_length=20)
    object_id = models.UUIDField()
    outcome = models.CharField(max_length=8, choices=[c for c in choices(Outcome) if Outcome(c[0]) in FINAL])
    recorded_at = models.DateTimeField()
    skew_seconds = models.FloatField()
    answer = models.JSONField()

    class Meta:
        verbose_name = "operation"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "actor_id", "operation_id"], name="one_answer_per_operation"
            ),
        ]
        indexes: ClassVar = [models.Index("tenant", "created_at", name="operations_by_time")]
