"""Rights on the audit: those who lead, and see every farm."""

from __future__ import annotations

from typing import TypeVar
from uuid import UUID

from django.db.models import QuerySet

from ifarm.audit.models import AuditArchive, AuditEntry
from ifarm.core.actors import LEADERS, Actor
from ifarm.core.errors import NotAllowed
from ifarm.core.models import TenantModel
from ifarm.core.policies import Policy

Row = TypeVar("Row", bound=TenantModel)


class WholeTenant(Policy[Row]):
    """Rows about every farm, which do not say which: for whoever sees all farms."""

    def instances(self, actor: Actor) -> QuerySet[Row]:
        """Raises `NotAllowed` for somebody with a set of farms."""
        if actor.farm_ids is not None:
            raise NotAllowed("expected somebody who sees all farms, found a set of farms.")
        return super().instances(actor)


ENTRIES = WholeTenant(AuditEntry, farm=None, view=LEADERS)
ARCHIVES = WholeTenant(AuditArchive, farm=None, view=LEADERS)


def access_archive(actor: Actor, archive_id: UUID) -> AuditArchive:
    """One archive. Raises `NotFound`."""
    return ARCHIVES.access(actor, archive_id)
