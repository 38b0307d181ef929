"""Pages by (sort column, id)."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from ifarm.animals.growth import record_weight
from ifarm.animals.models import Animal, Weight
from ifarm.animals.services import create_animal
from ifarm.api.pages import Order, page
from ifarm.core.context import unit_of_work
from ifarm.core.errors import Invalid
from ifarm.core.tests.factories import make_owner
from ifarm.farms.services import create_farm

ORDER = Order(Weight, "weighed_on")


@pytest.fixture
def weigh(db: None) -> Any:
    """Adds a weight on a day of January; everything happens in one tenant."""
    owner = make_owner()
    with unit_of_work(owner.tenant_id):
        farm = create_farm(owner, name="Hill")
        fields: dict[str, Any] = {"animal_type": "Cattle", "sex": "Female"}
        animal = create_animal(owner, farm_id=farm.id, tag_number="AT 1", **fields)

        def add(day: int) -> Weight:
            return record_weight(owner, animal.id, weighed_on=date(2024, 1, day), weight_kg=Decimal(100))

        yield add


def following(cursor: str | None) -> dict[str, str]:
    from urllib.parse import parse_qsl

    return dict(parse_qsl(cursor or ""))


@pytest.mark.parametrize("sort", ["weighed_on", "-weighed_on"])
def test_rows_of_one_day_are_parted_by_their_id(weigh: Any, sort: str) -> None:
    made = [weigh(day) for day in (3, 1, 2, 2, 1, 2, 3, 2)]
    wanted = sorted(made, key=lambda w: (w.weighed_on, w.id), reverse=sort.startswith("-"))
    for limit in (1, 2, 3, 8, 9):
        parameters, found = {"sort": sort, "limit": str(limit)}, []
        while parameters:
            one = page(Weight.objects.all(), ORDER, parameters)
            found += one.rows
            parameters = following(one.next)
        assert found == wanted


def test_what_comes_and_goes_meanwhile_moves_nothing_else(weigh: Any) -> None:
    made = [weigh(day) for day in (2, 4, 6, 8)]
    first = page(Weight.objects.all(), ORDER, {"limit": "2"})
    made[1].delete()
    weigh(1)
    late = weigh(7)
    second = page(Weight.objects.all(), ORDER, following(first.next) | {"limit": "9"})
    assert second.rows == [made[2], late, made[3]]


def test_a_cursor_is_ours_and_unchanged(weigh: Any) -> None:
    for day in (1, 2):
        weigh(day)
    cursor = following(page(Weight.objects.all(), ORDER, {"limit": "1"}).next)["cursor"]
    for forged in (cursor[:-1], "x" + cursor, ""):
        with pytest.raises(Invalid, match="cursor"):
            page(Weight.objects.all(), ORDER, {"cursor": forged})


def test_a_column_that_may_be_empty_cannot_be_sorted_by() -> None:
    with pytest.raises(ValueError, match="NOT NULL"):
        Order(Animal, "birth_date")
    with pytest.raises(ValueError, match="expected a field"):
        Order(Animal, "age")
