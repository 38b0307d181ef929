"""The documents' `/expenses`, as a client sees it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone

from ifarm.core.actors import Role
from ifarm.core.context import unit_of_work
from ifarm.core.tests.factories import make_member, make_owner, make_token
from ifarm.farms.services import create_farm

pytestmark = pytest.mark.django_db


class Office:
    """A tenant with a worker who buys and a manager who decides."""

    def __init__(self) -> None:
        owner = make_owner()
        with unit_of_work(owner.tenant_id):
            self.farm: UUID = create_farm(owner, name="Hill").id
        self.worker, self.manager = make_member(owner, Role.WORKER), make_member(owner, Role.MANAGER)
        self.tokens = {actor: make_token(actor) for actor in (self.worker, self.manager)}
        self.url = f"/api/v1/tenants/{owner.tenant_id}/expenses/"

    def send(self, actor: Any, method: str, path: str = "", body: Any = None, version: int = 0) -> Any:
        headers = {"Authorization": self.tokens[actor]} | ({"If-Match": f'"{version}"'} if version else {})
        sending = getattr(Client(), method)
        return sending(self.url + path, body, content_type="application/json", headers=headers)


def test_an_expense_from_draft_to_paid() -> None:
    office = Office()
    worker, manager = office.worker, office.manager
    body = {
        "farm_id": str(office.farm),
        "expense_date": "2024-03-01",
        "description": "Hay and a vet",
        "currency": "EUR",
        "lines": [
            {"category": "feed", "amount": "20.00"},
            {"category": "veterinary", "description": "visit", "amount": "65.50"},
        ],
    }
    made = office.send(worker, "post", body=body)
    assert made.status_code == 201
    assert made["ETag"] == '"1"'
    pk = made.json()["id"]
    golden = {
        "id": pk,
        "version": 1,
        "farm_id": str(office.farm),
        "supplier_id": None,
        "supplier_name": None,
        "expense_date": "2024-03-01",
        "description": "Hay and a vet",
        "receipt_number": "",
        "amount": {"amount": "85.50", "currency": "EUR"},
        "status": "draft",
        "submitted_by": None,
        "submitted_at": None,
        "decided_by": None,
        "decided_at": None,
        "paid_on": None,
    }
    lines = [
        {
            "category": "feed",
            "description": "",
            "amount": {"amount": "20.00", "currency": "EUR"},
            "allocations": [],
        },
        {
            "category": "veterinary",
            "description": "visit",
            "amount": {"amount": "65.50", "currency": "EUR"},
            "allocations": [],
        },
    ]
    assert made.json() == {**golden, "lines": lines}
    assert office.send(worker, "get").json() == {"next": None, "results": [golden]}
    steps = f"{pk}/steps/"
    assert office.send(worker, "post", steps, {"to": "submitted"}, 1).json()["status"] == "submitted"
    assert office.send(worker, "post", steps, {"to": "approved"}, 2).status_code == 403
    assert office.send(worker, "patch", f"{pk}/", {"description": "A car"}, 2).status_code == 422
    assert office.send(worker, "delete", f"{pk}/").status_code == 422
    assert office.send(manager, "post", steps, {"to": "approved"}, 1).status_code == 412
    assert office.send(manager, "post", steps, {"to": "approved"}).status_code == 428
    approved = office.send(manager, "post", steps, {"to": "approved"}, 2).json()
    assert (approved["status"], approved["decided_by"]) == ("approved", str(manager.id))
    assert office.send(manager, "post", steps, {"to": "draft"}, 3).status_code == 422
    today = timezone.now().date().isoformat()
    paid = office.send(manager, "post", steps, {"to": "paid", "paid_on": today}, 3).json()
    assert (paid["status"], paid["paid_on"]) == ("paid", today)
    history = office.send(worker, "get", steps).json()["results"]
    assert [step["to_status"] for step in history] == ["submitted", "approved", "paid"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"currency": "XXX"}, "#/currency"),
        ({"currency": "eur"}, "#/currency"),
        ({"lines": []}, "#/lines"),
        ({"lines": [{"category": "feed", "amount": "0"}]}, "#/lines/0/amount"),
        ({"lines": [{"category": "a car", "amount": "1"}]}, "#/lines/0/category"),
    ],
)
def test_what_does_not_fit_is_said_where(change: dict[str, Any], pointer: str) -> None:
    office = Office()
    body = {
        "farm_id": str(office.farm),
        "expense_date": "2024-03-01",
        "description": "Hay",
        "currency": "EUR",
        "lines": [{"category": "feed", "amount": "20.00"}],
        **change,
    }
    answer = office.send(office.worker, "post", body=body)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"].startswith(pointer)
