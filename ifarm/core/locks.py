"""Advisory locks: all of them, so that no two uses share a number. They end with the transaction."""

from __future__ import annotations

import hashlib
from enum import IntEnum

from django.db import connection


class Lock(IntEnum):
    """The first half of each lock's key. Add at the end, never renumber."""

    IDEMPOTENCY_KEY = 1
    PEDIGREE = 2
    INVOICE_NUMBER = 3
    AUDIT_MONTHS = 4
    AUDIT_ARCHIVE = 5
    SYNC_PUSH = 6
    SYNC_NUMBER = 7  # taken by a trigger (`sync` migration 0002)


def _number(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big", signed=True)


def take(lock: Lock, name: str) -> None:
    """Wait for the lock (two names may share one: then they wait for each other, which harms nobody)."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (int(lock), _number(name)))


def try_take(lock: Lock, name: str) -> bool:
    """Take it if nobody has it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", (int(lock), _number(name)))
        return bool(cursor.fetchone()[0])
