"""How milk, weight and eggs follow from the rates. Pure; chance comes from the caller."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cache
from random import Random
from typing import Final

from ifarm.simulator import rates
from ifarm.simulator.rates import Breed, Wood

LONGEST: Final = 1000
"""Days of the longest lactation that has a curve; later days are like that one."""
LEAST_KG, MOST_KG = 0.5, 120.0


@cache
def lactation(wood: Wood) -> tuple[float, ...]:
    """Kilograms on each day in milk; the day of calving is day 1."""
    return tuple(wood.a * t**wood.b * math.exp(-wood.c * t) for t in range(1, LONGEST + 1))


def lognormal(chance: Random, variation: float) -> float:
    """A factor with mean 1 and this coefficient of variation."""
    sigma = math.sqrt(math.log(1 + variation**2))
    return math.exp(chance.gauss(-sigma * sigma / 2, sigma))


def milk(wood: Wood, effect: float, chance: Random, days: Sequence[int]) -> Iterator[tuple[int, float]]:
    """(day in milk from 0, kilograms) on some days, in order: her curve with noise that remembers the day before."""
    curve = lactation(wood)
    deviation, remembered = rates.DAY_VARIATION
    noise, before = chance.gauss(0.0, deviation), None
    for day in days:
        if before is not None:
            kept = remembered ** (day - before)
            noise = kept * noise + chance.gauss(0.0, deviation * math.sqrt(1 - kept * kept))
        before = day
        kg = curve[min(day, LONGEST - 1)] * effect * (1 + noise)
        yield day, min(max(kg, LEAST_KG), MOST_KG)


def weight(breed: Breed, effect: float, age: int) -> float:
    """Kilograms at so many days of age (Brody); ``effect`` makes one animal larger than another."""
    mature = breed.mature_kg * effect
    return mature - (mature - breed.birth_kg * effect) * math.exp(-breed.growth * age)


def eggs_per_hen(day: int) -> float:
    """Eggs of one hen on a day after housing: a rise, a peak that persists, a decline."""
    rise = 1 / (1 + math.exp(-(day - rates.LAYING_HALF) / 3))
    late = max(0, day - rates.LAYING_PERSISTS) * rates.LAYING_DECLINE
    return max(0.0, rates.LAYING_PEAK * rise - late)


def drawn(chance: Random, days: Sequence[float], shares: Sequence[float]) -> int:
    """A day, from the share that has happened by each day; even in between."""
    share = chance.random()
    at = max(1, bisect_left(shares, share))
    part = (share - shares[at - 1]) / (shares[at] - shares[at - 1])
    return math.ceil(days[at - 1] + part * (days[at] - days[at - 1]))
