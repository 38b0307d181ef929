"""What a schedule calls for the tables of the write path, as the owner; a task may run twice, or twice at once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import QuerySet

from ifarm.core.ids import first_uuid7
from ifarm.core.models import IdempotencyRecord

ANSWERS_KEPT: Final = timedelta(days=7)
"""How long a request with an `Idempotency-Key` may be sent again: longer than a phone is without a network."""
AT_ONCE: Final = 1000
"""Rows in one transaction."""
MOST: Final = 1000
"""Transactions in one run; what is left waits for the next."""


def forget_answers(now: datetime) -> int:
    """Remove the answers, of all tenants, that nobody can ask for again; how many there were.

    The keys of the rows tell their age, so it reads none but those that go.
    """
    return forget(IdempotencyRecord.objects.unscoped().filter(id__lt=first_uuid7(now - ANSWERS_KEPT)))


def forget(rows: QuerySet[Any]) -> int:
    """Remove rows, some in each transaction; how many there were. Any number may do so at once."""
    total = 0
    for _ in range(MOST):
        with transaction.atomic():
            old = rows.select_for_update(skip_locked=True).order_by("pk").values_list("pk", flat=True)
            gone, _each = rows.filter(pk__in=list(old[:AT_ONCE])).delete()
        total += gone
        if gone < AT_ONCE:
            break
    return total
