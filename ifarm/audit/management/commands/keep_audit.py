"""`manage.py keep_audit`: next months are made, old ones archived. As the owner of the tables, every week, say."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ifarm.audit.partitions import make_partitions
from ifarm.audit.services import AuditService


class Command(BaseCommand):
    """Partitions and archives of the audit."""

    help = "Make the next months of the audit, archive those older than 365 days. May be run at any time."

    def handle(self, *args: Any, **options: Any) -> None:
        """Raises CommandError where a month cannot be made."""
        made = make_partitions()
        for month in made.months:
            self.stdout.write(f"made {month:%Y-%m}")
        for month in AuditService.archive_old_logs():
            self.stdout.write(f"archived {month:%Y-%m}")
        if made.blocked:
            names = ", ".join(f"{month:%Y-%m}" for month in made.blocked)
            raise CommandError(
                f"audit_auditentry_other: expected no entries of {names}, found some (a clock was far off). They are "
                "kept and found there; move them by hand to have these months."
            )
