"""A tenant's own name, time zone and currency."""

from __future__ import annotations

import pytest

from ifarm.api.tests.test_requests import Api, problem
from ifarm.audit.models import AuditEntry
from ifarm.core.actors import Role
from ifarm.core.context import unit_of_work
from ifarm.core.models import OutboxEvent
from ifarm.core.tests.factories import make_member, make_owner

pytestmark = pytest.mark.django_db


def test_its_owner_changes_it_and_everybody_in_it_sees_it() -> None:
    owner = make_owner("Hill Farm")
    api, worker = Api(owner), Api(make_member(owner, Role.WORKER, []))
    before = worker("GET", "").json()
    assert before == {
        "id": str(owner.tenant_id),
        "version": 1,
        "name": "Hill Farm",
        "status": "trial",
        "timezone": "UTC",
        "currency": "EUR",
    }
    change = {"timezone": "Europe/Zurich", "currency": "CHF", "status": "active"}
    answer = api("PATCH", "", change, If_Match='"1"')
    assert (answer.status_code, answer["ETag"]) == (200, '"2"')
    after = {**before, "version": 2, "timezone": "Europe/Zurich", "currency": "CHF"}
    assert answer.json() == after == worker("GET", "").json()
    assert problem(worker("PATCH", "", change, If_Match='"2"')) == (403, "not-allowed")
    assert problem(api("PATCH", "", {"name": "Vale"}, If_Match='"1"')) == (412, "stale-version")
    with unit_of_work(owner.tenant_id):
        entry = AuditEntry.objects.get(model="tenants.tenant")
        assert entry.changes == {"timezone": ["UTC", "Europe/Zurich"], "currency": ["EUR", "CHF"]}
        assert OutboxEvent.objects.get(type="tenant_updated").payload == {"fields": ["currency", "timezone"]}


@pytest.mark.parametrize(
    "wrong",
    [{"timezone": "Mars/Base"}, {"currency": "euro"}, {"currency": "ZZZ"}, {"name": ""}, {"name": None}],
)
def test_what_cannot_be_is_refused(wrong: dict[str, str | None]) -> None:
    assert problem(Api(make_owner())("PATCH", "", wrong, If_Match='"1"')) == (400, "invalid")
