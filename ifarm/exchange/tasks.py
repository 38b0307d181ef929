"""What a schedule calls, as the owner of the tables."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from ifarm.core.ids import first_uuid7
from ifarm.core.tasks import forget
from ifarm.exchange.models import ImportJob, ImportRow

ROWS_KEPT: Final = timedelta(days=90)
"""How long after its end people can see what became of each row of an import."""


def forget_rows(now: datetime) -> int:
    """Remove the rows, of all tenants, of imports that ended long ago; how many there were. May run twice, at once.

    What was imported stays, with the system it came from, so a file that is sent again is known still. The imports stay
    too, with their numbers. A row is older than its import's end, so the keys of rows tell which need no look.
    """
    until = now - ROWS_KEPT
    over = ImportJob.objects.unscoped().filter(ended_at__lt=until)
    return forget(ImportRow.objects.unscoped().filter(id__lt=first_uuid7(until), job__in=over))
