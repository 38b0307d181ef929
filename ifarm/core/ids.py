"""Keys: UUID version 7 (RFC 9562), made by the application, also offline; they sort by the time they were made."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def uuid7() -> UUID:
    """A new key: 48 bits of milliseconds, 12 bits of the fraction below (RFC 9562, 6.2, method 3), 62 random bits."""
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = (rest << 12) // 1_000_000
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62
    return UUID(int=value | secrets.randbits(62))


def first_uuid7(moment: datetime) -> UUID:
    """The lowest key that can have been made in the millisecond of a moment: no key made since is below it.

    Keys count from 1970; the first of any moment before is the lowest of all.
    """
    milliseconds = max(0, (moment - _EPOCH) // timedelta(milliseconds=1))
    return UUID(int=milliseconds << 80 | 0x7 << 76 | 0b10 << 62)
