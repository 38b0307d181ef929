"""The dashboard's routes; what they answer is in `ifarm/tests/golden/`."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from ifarm.analytics import numbered
from ifarm.analytics.selectors import milk_of_today
from ifarm.animals.models import Animal
from ifarm.animals.tests.examples import make_animal
from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.tests.factories import make_member, make_owner, make_token
from ifarm.farms.services import create_farm
from ifarm.production.services import record_production
from ifarm.production.words import ProductionType

pytestmark = pytest.mark.django_db


class Api:
    """Somebody's device."""

    def __init__(self, actor: Actor) -> None:
        self.token = make_token(actor)

    def __call__(self, path: str, status: int = 200) -> Any:
        answer = Client().get(f"/api/dashboard/{path}", headers={"Authorization": self.token})
        assert answer.status_code == status, answer.content
        return answer.json()


def herd_of(owner: Actor, size: int, name: str = "Hill") -> UUID:
    with unit_of_work(owner.tenant_id):
        farm = create_farm(owner, name=name).id
    for number in range(size):
        make_animal(owner, farm, f"{name} {number:03}")
    return farm


def tags(page: dict[str, Any]) -> list[str]:
    return [row["tag_number"] for row in page["results"]]


def test_pages_show_every_animal_once_and_lead_to_each_other() -> None:
    owner = make_owner()
    herd_of(owner, 5)
    api = Api(owner)
    first = api("animals?page_size=2")
    assert (first["count"], first["total_pages"], first["page_size"]) == (5, 3, 2)
    assert first["previous"] is None
    pages = [first]
    while pages[-1]["next"]:
        pages.append(api(pages[-1]["next"].partition("/api/dashboard/")[2]))
    assert [tag for page in pages for tag in tags(page)] == [f"Hill {number:03}" for number in range(5)]
    back = api(pages[-1]["previous"].partition("/api/dashboard/")[2])
    assert tags(back) == tags(pages[1])


def test_counting_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbered, "COUNTED", 3)
    owner = make_owner()
    herd_of(owner, 5)
    api = Api(owner)
    assert api("animals?page_size=2")["count"] == 3
    last = api("animals?page_size=2&page=2")
    assert (tags(last), last["next"]) == (["Hill 002"], None)
    assert "page 3 was not found" in api("animals?page_size=2&page=3", 404)["detail"]


def test_a_tenant_without_animals_has_one_empty_page() -> None:
    page = Api(make_owner())("animals")
    assert (page["count"], page["total_pages"], page["results"], page["next"]) == (0, 1, [], None)


@pytest.mark.parametrize(
    "path",
    [
        "animals?page=0",
        "animals?page=x",
        "animals?page_size=101",
        "activities?limit=0",
        "recent-sales?limit=101",
    ],
)
def test_parameters_that_are_not_valid(path: str) -> None:
    assert Api(make_owner())(path, 400)["type"] == "urn:ifarm:problem:invalid"


@pytest.mark.parametrize(
    ("path", "queries"),
    [("animals", 4), ("stats", 9), ("analytics", 6), ("activities", 7), ("recent-sales", 3)],
)
def test_a_larger_herd_costs_no_more_queries(path: str, queries: int) -> None:
    owner = make_owner()
    api = Api(owner)
    for name, size in (("Hill", 3), ("Vale", 9)):
        herd_of(owner, size, name)
        with CaptureQueriesContext(connection) as made:
            api(path)
        told = [q["sql"] for q in made if not q["sql"].startswith(("SAVEPOINT", "RELEASE"))]
        assert len(told) == queries, "\n".join(told)


def test_only_ones_own_farms_are_counted() -> None:
    owner = make_owner()
    herd_of(owner, 3)
    vale = herd_of(owner, 2, "Vale")
    api = Api(make_member(owner, Role.WORKER, [vale]))
    assert tags(api("animals")) == ["Vale 000", "Vale 001"]
    assert api("stats")["animals"]["total"] == 2
    assert api("analytics")["total_animals"] == 2
    assert {row["tag_number"] for row in api("activities")["results"]} == {"Vale 000", "Vale 001"}


def test_what_a_role_may_not_see_is_null_or_refused() -> None:
    owner = make_owner()
    herd_of(owner, 1)
    vet = Api(make_member(owner, Role.VET))
    assert vet("stats")["financial"] == {"revenue_this_month": None, "expenses_this_month": None}
    assert vet("analytics")["total_sales"] is None
    for path in ("recent-sales", "financial-summary"):
        assert vet(path, 403)["type"] == "urn:ifarm:problem:not-allowed"


def test_milk_of_today_is_that_of_each_farms_own_day() -> None:
    owner = make_owner()
    with unit_of_work(owner.tenant_id):
        for name, zone, kilograms in (
            ("East", "Pacific/Auckland", "10.00"),
            ("West", "Pacific/Honolulu", "7.00"),
        ):
            farm = create_farm(owner, name=name, timezone=zone).id
            cow = make_animal(owner, farm, name)
            for day in ("2026-03-16", "2026-03-17"):
                record_production(
                    owner,
                    production_type=ProductionType.MILK,
                    production_date=datetime.fromisoformat(day).date(),
                    animal_id=cow,
                    session="Morning",
                    milk_kg=Decimal(kilograms) + (day == "2026-03-17"),
                )
        # 17 March in Auckland, 16 March in Honolulu
        assert milk_of_today(owner, datetime(2026, 3, 16, 20, tzinfo=UTC)) == Decimal("18.00")


def test_the_tenants_value_is_in_whatever_currency_it_was_written() -> None:
    owner = make_owner()
    with unit_of_work(owner.tenant_id):
        farm = create_farm(owner, name="Hill").id
    for tag in ("A", "B"):
        make_animal(owner, farm, tag, estimated_value=Decimal("100.00"), value_currency="JPY")
    with unit_of_work(owner.tenant_id):  # as it was written before currencies were looked at
        Animal.objects.filter(tag_number="B").update(value_currency="ZZZ")
    assert Api(owner)("stats")["animals"]["total_value"] == [
        {"amount": "100", "currency": "JPY"},
        {"amount": "100.00", "currency": "ZZZ"},
    ]
