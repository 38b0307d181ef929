"""A seeded herd of 800 cows against the figures it was made from (`rates`, with their sources). No database."""

from __future__ import annotations

from collections import Counter
from datetime import date
from itertools import pairwise
from math import prod
from random import Random
from statistics import fmean, median

import pytest

from ifarm.animals.words import MovementKind
from ifarm.simulator import rates
from ifarm.simulator.curves import eggs_per_hen, lactation, lognormal, milk, weight
from ifarm.simulator.herd import Animal, Calving, Herd
from ifarm.simulator.rates import BEEF, DAIRY, Rates

LAST = date(2026, 10, 31).toordinal()
FIRST = LAST - 3 * 365
COWS = 800


def simulated(known: Rates, seed: int = 1, cows: int = COWS) -> list[Animal]:
    return Herd(known, cows, Random(seed), FIRST, LAST).run()


@pytest.fixture(scope="module")
def dairy() -> list[Animal]:
    return simulated(DAIRY)


def calvings(herd: list[Animal]) -> list[Calving]:
    return [calving for animal in herd for calving in animal.calvings if calving.day >= FIRST]


def test_calving_interval_is_that_of_holsteins_within_5_percent(dairy: list[Animal]) -> None:
    intervals = [c.next_on - c.day for c in calvings(dairy) if c.next_on and c.day < LAST - 600]
    assert fmean(intervals) == pytest.approx(rates.CALVING_INTERVAL, rel=0.05)
    assert min(intervals) > 250 + DAIRY.cows.starts


def test_conception_per_service_within_3_points(dairy: list[Animal]) -> None:
    held: dict[bool, list[bool]] = {True: [], False: []}
    for animal in dairy:
        conceived = {one.day for one in animal.conceptions}
        first = animal.calvings[0].day if animal.calvings else LAST + 1
        for day in animal.services:
            if day >= FIRST:
                held[day > first].append(day in conceived)
    assert fmean(held[True]) == pytest.approx(DAIRY.cows.conception, abs=0.03)
    assert fmean(held[False]) == pytest.approx(DAIRY.heifers.conception, abs=0.03)


def test_share_of_pregnancies_that_are_lost(dairy: list[Animal]) -> None:
    over = [
        c for a in dairy for c in a.conceptions if FIRST <= c.day < LAST - 300 and (c.lost_on or c.calved_on)
    ]
    kept = prod(1 - share for share, _, _ in rates.LOSSES)
    assert fmean(c.lost_on is not None for c in over) == pytest.approx(1 - kept, abs=0.03)


def test_gestation(dairy: list[Animal]) -> None:
    known = [c.gestation for c in calvings(dairy)]
    assert fmean(known) == pytest.approx(276, abs=1)


def test_sex_and_stillbirths_of_calves(dairy: list[Animal]) -> None:
    born = calvings(dairy)
    assert len(born) > 1500
    assert fmean(c.male for c in born) == pytest.approx(rates.MALES, abs=0.04)
    assert fmean(c.calf is None for c in born) == pytest.approx(rates.STILLBIRTH, abs=0.02)


def test_parity_mix_within_7_points(dairy: list[Animal]) -> None:
    found: Counter[int] = Counter()
    for on in range(FIRST, LAST, 30):
        for animal in dairy:
            if animal.came[0] <= on and (animal.left is None or animal.left[0] > on):
                calved = [c.number for c in animal.calvings if c.day <= on]
                found.update([min(calved[-1], 3)] if calved else [])
    for parity, share in enumerate(rates.PARITY_MIX, 1):
        assert found[parity] / found.total() == pytest.approx(share, abs=0.07)


def test_first_calving_at_24_to_28_months(dairy: list[Animal]) -> None:
    ages = [(a.calvings[0].day - a.born) / 30.44 for a in dairy if a.calvings and a.calvings[0].number == 1]
    assert 24 <= fmean(ages) <= 28


def test_deaths_and_culls_of_cows_by_parity(dairy: list[Animal]) -> None:
    """A little below the rates: a cow whose day lies after her next calving escapes it."""
    for parity in (1, 2, 3):
        over = [
            (animal, c)
            for animal in dairy
            for c in animal.calvings
            if c.number == parity and FIRST <= c.day < LAST - 530
        ]
        ends = Counter(a.left[1] for a, c in over if a.left and a.calvings[-1] is c and c.next_on is None)
        assert ends[MovementKind.DEATH] / len(over) == pytest.approx(DAIRY.death[parity - 1], abs=0.03)
        # Culls for fertility come on top of the rates by parity.
        culled = ends[MovementKind.DEPARTURE] / len(over)
        assert DAIRY.cull[parity - 1] - 0.07 < culled < DAIRY.cull[parity - 1] + 0.08


def test_deaths_of_heifer_calves_within_2_points(dairy: list[Animal]) -> None:
    born = [
        a for a in dairy if a.came[1] is MovementKind.BIRTH and not a.male and FIRST <= a.born < LAST - 60
    ]
    dead = fmean(a.left is not None and a.left[0] - a.born <= rates.WEANED for a in born)
    assert dead == pytest.approx(DAIRY.calf_death, abs=0.02)


def test_illness_by_lactation_within_3_points(dairy: list[Animal]) -> None:
    calved = [(a, c.day) for a in dairy for c in a.calvings if FIRST <= c.day < LAST - 306]
    found = Counter(name for a, day in calved for on, name in a.illnesses if day < on <= day + 305)
    for illness in rates.ILLNESSES:
        assert found[illness.name] / len(calved) == pytest.approx(illness.incidence, abs=0.03)


def test_the_herd_keeps_its_size(dairy: list[Animal]) -> None:
    for on in (FIRST, FIRST + 500, LAST):
        cows = sum(any(c.day <= on for c in a.calvings) and (a.left is None or a.left[0] > on) for a in dairy)
        assert 0.9 * COWS <= cows <= COWS


@pytest.mark.parametrize(("parity", "kg", "peak"), [(1, 10_491, 100), (2, 11_868, 65), (3, 12_683, 65)])
def test_305_day_yields_of_many_cows(parity: int, kg: float, peak: int) -> None:
    wood, chance = DAIRY.lactations[parity - 1], Random(parity)
    curve = lactation(wood)
    assert sum(curve[:305]) == pytest.approx(kg, abs=1)
    assert curve.index(max(curve)) + 1 == pytest.approx(peak, abs=1)
    totals = [
        sum(found for _, found in milk(wood, lognormal(chance, rates.COW_VARIATION), chance, range(305)))
        for _ in range(400)
    ]
    assert fmean(totals) == pytest.approx(kg, rel=0.025)
    deviation = fmean((total - fmean(totals)) ** 2 for total in totals) ** 0.5
    assert deviation / fmean(totals) == pytest.approx(rates.COW_VARIATION, abs=0.02)


def test_noise_remembers_the_day_before() -> None:
    wood, curve = DAIRY.lactations[0], lactation(DAIRY.lactations[0])
    noise = [kg / curve[on] - 1 for on, kg in milk(wood, 1.0, Random(1), range(900))]
    together = fmean(a * b for a, b in pairwise(noise)) / fmean(a * a for a in noise)
    assert together == pytest.approx(rates.DAY_VARIATION[1], abs=0.06)


def test_weights_grow_from_birth_to_maturity() -> None:
    holstein = DAIRY.breeds[0]
    assert weight(holstein, 1.0, 0) == pytest.approx(43.9)
    assert weight(holstein, 1.0, 750) / 740 == pytest.approx(0.82, abs=0.02)  # NRC 2001, first calving
    for breed in BEEF.breeds:  # weaned at 205 days with 257 to 314 kg: USMARC
        assert 257 <= weight(breed, 1.0, 205) <= 314


def test_hens_lay_more_and_then_less() -> None:
    assert eggs_per_hen(0) < 0.05
    assert eggs_per_hen(100) == pytest.approx(rates.LAYING_PEAK, abs=0.01)
    assert eggs_per_hen(rates.LAYING_ENDS) < eggs_per_hen(300) < eggs_per_hen(100)


def test_beef_cows_calve_each_year() -> None:
    intervals = [c.next_on - c.day for c in calvings(simulated(BEEF, cows=200)) if c.next_on]
    assert median(intervals) == pytest.approx(365, abs=15)


def test_the_seed_decides_everything() -> None:
    def told(seed: int) -> list[object]:
        herd = simulated(DAIRY, seed, cows=40)
        return [(a.born, a.male, a.left, a.services, a.illnesses, a.yields) for a in herd]

    assert told(7) == told(7)
    assert told(7) != told(8)


def test_nobody_does_anything_after_leaving(dairy: list[Animal]) -> None:
    for animal in dairy:
        gone = LAST if animal.left is None else animal.left[0]
        days = [*animal.services, *(c.day for c in animal.calvings), *(on for on, _ in animal.illnesses)]
        assert all(animal.born < on <= gone for on in days)
        if animal.dam is not None:
            assert animal.dam.born < animal.born
