"""Lactations, and the yield of 305 days by the test interval method."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction
from hypothesis import given
from hypothesis import strategies as st

from ifarm.animals.models import Animal
from ifarm.animals.tests.herd import beast
from ifarm.core.actors import Actor
from ifarm.core.errors import RuleBroken
from ifarm.core.versions import Seen
from ifarm.production.lactations import by_test_intervals, dry_off, open_lactation, yield_of
from ifarm.production.models import Lactation
from ifarm.production.tests.test_production import milk

CALVED = date(2024, 1, 1)


def day(number: int) -> date:
    return CALVED + timedelta(days=number)


def test_the_test_interval_method_by_hand() -> None:
    tests = [(14, Decimal("28.2")), (42, Decimal("24.8")), (72, Decimal("26.6"))]
    # 14 × 28.2 + 28 × 26.5 + 30 × 25.7 + 28 × 26.6
    assert by_test_intervals(tests, 100) == Decimal("394.8") + 742 + 771 + Decimal("744.8")
    assert by_test_intervals(tests, 72) == Decimal("1907.80")
    assert by_test_intervals(tests, 10) == 282
    # cut half-way between the second and the third: 15 × (24.8 + 25.7) / 2
    assert by_test_intervals(tests, 57) == Decimal("394.8") + 742 + Decimal("378.75")
    assert by_test_intervals([], 305) is None


@given(
    days=st.sets(st.integers(0, 400), min_size=1, max_size=15),
    kilograms=st.integers(1, 60),
    length=st.integers(1, 305),
)
def test_a_cow_that_always_gives_the_same_gives_it_each_day(
    days: set[int], kilograms: int, length: int
) -> None:
    tests = [(number, Decimal(kilograms)) for number in sorted(days)]
    assert by_test_intervals(tests, length) == kilograms * length


@given(
    days=st.sets(st.integers(0, 400), min_size=2, max_size=15),
    yields=st.lists(st.integers(1, 60), min_size=15, max_size=15),
    length=st.integers(1, 304),
)
def test_a_day_more_is_milk_more_and_within_what_was_measured(
    days: set[int], yields: list[int], length: int
) -> None:
    tests = [(number, Decimal(kg)) for number, kg in zip(sorted(days), yields, strict=False)]
    shorter, longer = by_test_intervals(tests, length), by_test_intervals(tests, length + 1)
    assert shorter is not None
    assert longer is not None
    measured = [kg for _, kg in tests]
    assert min(measured) <= longer - shorter + Decimal("0.01")
    assert longer - shorter - Decimal("0.01") <= max(measured)


def test_a_lactation_ends_by_drying_off_or_by_the_next_calving(owner: Actor, cow: Animal) -> None:
    first = open_lactation(owner, cow.id, starts_on=CALVED)
    first = dry_off(owner, first.id, ends_on=day(300), seen=Seen(1))
    second = open_lactation(owner, cow.id, starts_on=day(360))
    third = open_lactation(owner, cow.id, starts_on=day(700))
    second.refresh_from_db()
    assert [one.number for one in (first, second, third)] == [1, 2, 3]
    assert (first.ends_on, first.end_reason) == (day(300), "DryOff")
    assert (second.ends_on, second.end_reason) == (day(700), "Calving")
    for wrong in (day(699), day(700)):
        with pytest.raises(RuleBroken, match="after lactation 3"):
            open_lactation(owner, cow.id, starts_on=wrong)
    with pytest.raises(RuleBroken, match="above 3"):
        open_lactation(owner, cow.id, starts_on=day(701), number=3)
    with pytest.raises(RuleBroken, match="no calving has ended"):
        dry_off(owner, second.id, ends_on=day(650), seen=Seen(second.version))
    with pytest.raises(RuleBroken, match="has come"):
        dry_off(owner, third.id, ends_on=day(700), seen=Seen(1))
    with pytest.raises(IntegrityError, match="one_lactation_at_a_time"), transaction.atomic():
        dry_off(owner, first.id, ends_on=day(361), seen=Seen(first.version))
    with pytest.raises(IntegrityError, match="one_lactation_at_a_time"), transaction.atomic():
        Lactation(animal=cow, number=9, starts_on=day(10), ends_on=day(20), end_reason="DryOff").save()


def test_a_bull_has_no_lactation(owner: Actor, cow: Animal) -> None:
    bull = beast(owner, cow.farm, "AT 2", sex="Male")
    with pytest.raises(RuleBroken, match="female"):
        open_lactation(owner, bull.id, starts_on=CALVED)


def test_the_yield_of_305_days(owner: Actor, cow: Animal) -> None:
    lactation = open_lactation(owner, cow.id, starts_on=CALVED)
    none = yield_of(owner, lactation.id)
    assert (none.days, none.test_days, none.is_complete, none.milk_kg, none.fat_kg) == (
        0,
        0,
        False,
        None,
        None,
    )
    for number in range(10, 311, 30):
        milk(owner, cow, day(number), "12", session="Morning", fat_percent=Decimal(5))
        if number != 160:  # the evening of that day is missing
            milk(owner, cow, day(number), "8", session="Evening")
    found = yield_of(owner, lactation.id)
    assert (found.days, found.test_days, found.is_complete) == (305, 10, True)
    assert (found.milk_kg, found.fat_kg, found.protein_kg) == (Decimal(6100), Decimal(305), None)
    dry_off(owner, lactation.id, ends_on=day(100), seen=Seen(1))
    short = yield_of(owner, lactation.id)
    assert (short.days, short.test_days, short.milk_kg) == (100, 3, Decimal(2000))


def test_a_record_in_progress_ends_with_its_last_test_day(owner: Actor, cow: Animal) -> None:
    lactation = open_lactation(owner, cow.id, starts_on=CALVED, number=4)
    milk(owner, cow, day(20), "30", session="WholeDay", protein_percent=Decimal("3.50"))
    milk(owner, cow, day(50), "20", session="WholeDay")
    found = yield_of(owner, lactation.id)
    assert (found.days, found.is_complete, found.milk_kg) == (50, False, Decimal(1350))
    assert found.protein_kg == Decimal("52.50")  # from the one day that was sampled
