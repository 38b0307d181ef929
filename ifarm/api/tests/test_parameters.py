"""What stands in an address: read in one way by every route, and never taken for something that was not asked."""

from __future__ import annotations

import pytest
from django.test import Client
from django_filters import CharFilter
from rest_framework.serializers import CharField

from ifarm.api.tests.test_every_route import CASES, Case, World, world
from ifarm.api.views import Operation

__all__ = ["world"]  # a fixture
pytestmark = pytest.mark.django_db


def parameters(operation: Operation) -> dict[str, bool]:
    """The names of all, and whether any text is a value."""
    found = dict.fromkeys(("cursor", "limit", "sort"), False) if operation.order else {}
    if operation.filters is not None:
        found |= {name: type(one) is CharFilter for name, one in operation.filters.base_filters.items()}
    if operation.query is not None:
        found |= {name: type(one) is CharField for name, one in operation.query().fields.items()}
    return found


EVERY = [(case, name) for case in CASES for name in parameters(case.operation)]
CHOSEN = [(case, name) for case, name in EVERY if not parameters(case.operation)[name]]
READS = [case for case in CASES if case.method == "GET"]


def ask(world: World, case: Case, query: str) -> tuple[int, str | None, list[str]]:
    url, headers = case.url(world.tenant, world.ids), {"Authorization": world.tokens["owner"]}
    answer = Client().get(f"{url}?{query}", headers=headers)
    told = answer.json() if answer.headers["Content-Type"] == "application/problem+json" else {}
    return answer.status_code, told.get("type"), [one["parameter"] for one in told.get("errors", ())]


@pytest.mark.parametrize(("case", "name"), EVERY, ids=str)
def test_an_empty_parameter_is_refused_by_its_name(world: World, case: Case, name: str) -> None:
    assert ask(world, case, f"{name}=") == (400, "urn:ifarm:problem:invalid", [name])


@pytest.mark.parametrize(("case", "name"), CHOSEN, ids=str)
def test_a_value_that_is_none_is_refused_by_the_name_of_its_parameter(
    world: World, case: Case, name: str
) -> None:
    for value in ("no%20such%20value", "%00", "%20", "-1", "9" * 40):
        assert ask(world, case, f"{name}={value}") == (400, "urn:ifarm:problem:invalid", [name]), value


@pytest.mark.parametrize("case", READS, ids=str)
def test_no_route_takes_an_empty_or_a_repeated_parameter(world: World, case: Case) -> None:
    """Also one that reads none."""
    assert ask(world, case, "first=&limit=1&limit=2") == (
        400,
        "urn:ifarm:problem:invalid",
        ["first", "limit"],
    )


def test_there_is_something_to_test() -> None:
    assert {"status", "is_reference", "since", "cursor", "species", "pageSize"} <= {name for _, name in EVERY}


def test_who_may_not_see_a_list_learns_nothing_of_its_parameters(world: World) -> None:
    case = next(case for case in CASES if case.route == "animals" and case.method == "GET")
    assert Client().get(f"{case.url(world.tenant, world.ids)}?status=").status_code == 401
