"""What a client of the production routes sees."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from ifarm.animals.groups import create_group, join_group
from ifarm.animals.tests.herd import beast
from ifarm.animals.words import GroupKind
from ifarm.api.tests.test_requests import Api, problem
from ifarm.core.context import unit_of_work
from ifarm.core.tests.factories import make_owner
from ifarm.farms.services import create_farm


@pytest.fixture
def herd(db: None) -> tuple[Api, dict[str, str]]:
    actor = make_owner()
    with unit_of_work(actor.tenant_id):
        farm = create_farm(actor, name="Hill")
        group = create_group(actor, farm_id=farm.id, name="Milking", kind=GroupKind.MILKING)
        cow, hen = beast(actor, farm), beast(actor, farm, "AT 2", animal_type="Chicken")
        join_group(actor, group.id, animal_id=cow.id, starts_on=date(2023, 1, 1))
        ids = {"farm": str(farm.id), "cow": str(cow.id), "hen": str(hen.id), "group": str(group.id)}
    return Api(actor), ids


def post(api: Api, **body: Any) -> Any:
    return api("POST", "production/", {"production_date": "2024-05-01", **body})


def test_a_record_shows_the_amounts_of_its_kind(herd: tuple[Api, dict[str, str]]) -> None:
    api, ids = herd
    given = {"session": "Morning", "milk_kg": "12.5", "fat_percent": "4.1"}
    assert post(api, production_type="milk", animal_id=ids["cow"], **given).status_code == 201
    assert post(api, production_type="eggs", animal_id=ids["hen"], eggs_count=1).status_code == 201
    common = {"version": 1, "production_date": "2024-05-01", "farm_id": ids["farm"], "group_id": None}
    milk = {
        **common,
        "production_type": "milk",
        "animal_id": ids["cow"],
        "tag_number": "AT 1",
        "session": "Morning",
        "milk_kg": "12.50",
        "fat_percent": "4.10",
        "protein_percent": None,
        "somatic_cells_per_ml": None,
        "milk_use": "Tank",
    }
    eggs = {
        **common,
        "production_type": "eggs",
        "animal_id": ids["hen"],
        "tag_number": "AT 2",
        "eggs_count": 1,
        "eggs_broken_count": None,
        "egg_use": "Table",
    }
    rows = api("GET", "production/").json()["results"]
    assert [{k: v for k, v in row.items() if k not in ("id", "modified_at")} for row in rows] == [milk, eggs]
    history = api("GET", f"animals/{ids['cow']}/production_history/").json()
    assert history == {"results": rows[:1]}
    narrowed = api("GET", f"production/?production_type=eggs&farm_id={ids['farm']}&until=2024-05-01").json()
    assert narrowed["results"] == rows[1:]
    days = api("GET", "production/daily/?since=2024-05-01").json()["results"]
    assert {(day["production_type"], day["milk_kg"], day["eggs_count"]) for day in days} == {
        ("milk", "12.50", 0),
        ("eggs", "0.00", 1),
    }


def test_what_is_wrong_is_said(herd: tuple[Api, dict[str, str]]) -> None:
    api, ids = herd
    eggs = {"production_type": "eggs", "animal_id": ids["hen"]}
    assert problem(post(api, **eggs)) == (422, "rule-broken")
    assert problem(post(api, **eggs, eggs_count=1, milk_kg="3")) == (422, "rule-broken")
    assert problem(post(api, **eggs, eggs_count=-1)) == (400, "invalid")
    assert problem(post(api, **eggs, eggs_count=1, eggs_broken_count=2)) == (409, "conflict")
    assert problem(api("GET", "production/?since=yesterday")) == (400, "invalid")


def test_a_groups_list_says_what_became_of_each_line(herd: tuple[Api, dict[str, str]]) -> None:
    api, ids = herd
    rows = [{"animal_id": ids[name], "milk_kg": "11.00"} for name in ("hen", "cow")]
    body = {"production_date": "2024-05-01", "session": "Evening", "rows": rows}
    found = api("POST", f"groups/{ids['group']}/milk/", body, Idempotency_Key="monday").json()
    assert (found["recorded"], found["refused"]) == (1, 1)
    bad, good = found["rows"]
    assert (bad["number"], bad["production"], bad["problem"]["status"]) == (0, None, 422)
    assert (good["number"], good["production"]["milk_kg"], good["problem"]) == (1, "11.00", None)
    assert api("POST", f"groups/{ids['group']}/milk/", body, Idempotency_Key="monday").json() == found
    again = api("POST", f"groups/{ids['group']}/milk/", body).json()
    assert [line["problem"]["status"] for line in again["rows"]] == [422, 409]
