"""Times in addresses: whatever ISO 8601 allows is a time to the database too, or said to be none."""

from __future__ import annotations

import pytest
from django.test import Client
from django_filters import IsoDateTimeFilter

from ifarm.api.filters import MomentFilter
from ifarm.api.tests.test_every_route import LISTS, Case, World, world  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db
TIMED = [
    (case, name)
    for case in LISTS
    if case.operation.filters is not None
    for name, one in case.operation.filters.base_filters.items()
    if isinstance(one, IsoDateTimeFilter)
]


@pytest.mark.parametrize(("case", "name"), TIMED, ids=str)
def test_every_time_is_one_or_is_refused(world: World, case: Case, name: str) -> None:  # noqa: F811
    assert isinstance(case.operation.filters.base_filters[name], MomentFilter)
    url, headers = case.url(world.tenant, world.ids), {"Authorization": world.tokens["owner"]}
    told = {
        moment: Client().get(url, {name: moment}, headers=headers).status_code
        for moment in (
            "2024-05-01T06:00:00Z",
            "0170-11-04T02:23:43+21:31",
            "2024-05-01T06:00:00-23:59",
            "0001-01-01T00:00:00+20:00",
            "9999-12-31T23:59:59-20:00",
            "yesterday",
        )
    }
    assert list(told.values()) == [200, 200, 200, 400, 400, 400], told
