"""Values of Python as values of JSON."""

from __future__ import annotations

import json
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID


def plain(value: Any) -> Any:
    """The same in what JSON knows: UUIDs, decimals, dates and times become text, to the last microsecond."""
    return json.loads(as_json(value))


def as_json(value: Any) -> str:
    """The same as a text."""
    return json.dumps(value, default=_text)


def _text(value: object) -> str:
    if isinstance(value, UUID | Decimal):  # keys are most of all
        return str(value)
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    raise TypeError(f"expected a value with a form in JSON, found {type(value).__name__}")
