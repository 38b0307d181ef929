"""What devices are and what they can measure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from ifarm.animals.words import WeightMethod
from ifarm.production.words import BOUNDS, Session


class DeviceKind(StrEnum):
    """What a device does. Every kind tells whose reading it is by an electronic tag, a visual tag, or not at all."""

    SCALE = "Scale"
    WALK_OVER_SCALE = "WalkOverScale"
    MILK_METER = "MilkMeter"
    EID_READER = "EidReader"


class Outcome(StrEnum):
    """What became of one row that a device sent."""

    MATCHED = "matched"
    UNMATCHED = "unmatched"
    KNOWN = "known"
    REFUSED = "refused"


MEASURES: Final[dict[DeviceKind, str | None]] = {
    DeviceKind.SCALE: "weight_kg",
    DeviceKind.WALK_OVER_SCALE: "weight_kg",
    DeviceKind.MILK_METER: "milk_kg",
    DeviceKind.EID_READER: None,
}
"""The one amount that a reading of each kind has."""

METHODS: Final[dict[DeviceKind, WeightMethod]] = {
    DeviceKind.SCALE: WeightMethod.LOAD_CELL,
    DeviceKind.WALK_OVER_SCALE: WeightMethod.WALK_OVER,
}
"""How a scale weighs."""

POSSIBLE: Final[dict[str, tuple[float, float]]] = {"weight_kg": (0.01, 2500), "milk_kg": BOUNDS["milk_kg"]}
"""What a reading can say, from and to, in kilograms. The heaviest ox on record weighed 2,270 kg."""

AHEAD: Final = timedelta(minutes=10)
"""How far a device's clock may be ahead, as for movements."""
EARLIEST: Final = datetime(2001, 1, 1, tzinfo=UTC)
"""A clock that lost its time begins in 1970, 1980 or 2000: what is older than this was never measured then."""
MOST: Final = 1000
"""Readings in one request."""

SESSIONS: Final = ((4, Session.NIGHT), (11, Session.MORNING), (15, Session.MIDDAY), (24, Session.EVENING))
"""The local hour before which a milking is of that session, where the device does not say so. Our choice."""


def session_at(local: datetime) -> Session:
    """Which milking of the day it is, by the clock of the farm."""
    return next(session for until, session in SESSIONS if local.hour < until)
