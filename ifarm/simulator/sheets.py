"""Rows on their way into a table, as COPY takes them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from functools import lru_cache
from random import Random
from typing import Any, Final

from ifarm.core.models import TenantModel

MORNING, EVENING = time(6, tzinfo=UTC), time(18, tzinfo=UTC)
"""When things happen on a simulated farm: births and arrivals in the morning, leaving in the evening; on the same local
day from 6 hours behind UTC to 5 hours ahead."""

_OWN: Final = ("id", "tenant_id", "created_at", "modified_at")
_EPOCH: Final = date(1970, 1, 1).toordinal()
_DAY_MS: Final = 86_400_000


@lru_cache(maxsize=4096)
def day(number: int) -> date:
    """The day of a number of `date.toordinal`."""
    return date.fromordinal(number)


@lru_cache(maxsize=4096)
def moment(number: int, at: time = MORNING) -> datetime:
    """A time of a day."""
    return datetime.combine(day(number), at)


class Keys:
    """UUIDs of version 7 of the day a row was made, so that keys have the order of time."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance

    def new(self, number: int) -> str:
        """A key of a row that is made on this day, as 32 hexadecimal digits."""
        random = self._chance.getrandbits(74)
        high, low = random >> 62, random & ((1 << 62) - 1)
        milliseconds = (number - _EPOCH) * _DAY_MS + _DAY_MS // 2
        return f"{milliseconds << 80 | 7 << 76 | high << 64 | 0b10 << 62 | low:032x}"


class Sheet:
    """Rows of one model: its columns, of which some are given and the rest have the model's default.

    Raises ValueError for a column that must be given and is not.
    """

    def __init__(self, model: type[TenantModel], tenant_id: str, keys: Keys, *given: str) -> None:
        self.model, self._tenant_id, self._keys = model, tenant_id, keys
        fixed: dict[str, Any] = {}
        for field in model._meta.concrete_fields:
            name = field.attname
            if name in _OWN or name in given or field.null:
                continue
            if not field.has_default() or callable(field.default):
                raise ValueError(f"{model.__name__}.{name}: expected a value for each row, found none")
            fixed[name] = field.get_default()
        self.columns = (*_OWN, *fixed, *given)
        self._fixed, self._width = tuple(fixed.values()), len(given)
        self.rows: list[tuple[Any, ...]] = []

    def add(self, number: int, *values: Any) -> str:
        """A row that is made on a day; gives its key."""
        key = self._keys.new(number)
        self.keep(key, number, *values)
        return key

    def keep(self, key: str, number: int, *values: Any) -> None:
        """The same with a key that is known already."""
        if len(values) != self._width:
            raise ValueError(f"{self.model.__name__}: expected {self._width} values, found {len(values)}")
        made = moment(number)
        self.rows.append((key, self._tenant_id, made, made, *self._fixed, *values))

    def named(self, *names: str) -> list[tuple[Any, ...]]:
        """Some columns of all rows."""
        at = [self.columns.index(name) for name in names]
        return [tuple(row[i] for i in at) for row in self.rows]


NewSheet = Callable[..., Sheet]
