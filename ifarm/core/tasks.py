"""What a schedule calls for the tables of the write path, as the owner; a task may run twice, or twice at once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.db import transaction

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
    total = 0
    for _ in range(MOST):
        with transaction.atomic():
            rows = IdempotencyRecord.objects.unscoped().filter(id__lt=first_uuid7(now - ANSWERS_KEPT))
            old = rows.select_for_update(skip_locked=True).order_by("id").values_list("id", flat=True)
            gone, _each = IdempotencyRecord.objects.unscoped().filter(id__in=list(old[:AT_ONCE])).delete()
        total += gone
        if gone < AT_ONCE:
            break
    return total
