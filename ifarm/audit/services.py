"""The audit by the names that the requirement documents use; what writes it is `writes`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from ifarm.audit import archive, writes
from ifarm.audit.models import AuditEntry
from ifarm.core.actors import Actor
from ifarm.core.models import TenantModel


class AuditService:
    """A face; there is no second way to the audit."""

    @staticmethod
    def log(
        actor: Actor, action: str, row: TenantModel, changes: Mapping[str, Any], reason: str = ""
    ) -> AuditEntry:
        """Record something in the transaction of what it is about; so it cannot be lost, nor be of what was not."""
        return writes.record(actor, action, row, changes, reason)

    @staticmethod
    def archive_old_logs(now: datetime | None = None, days: int = archive.KEPT_DAYS) -> list[date]:
        """Archive the months that are older; see `archive`."""
        return archive.archive_old_logs(now, days)
