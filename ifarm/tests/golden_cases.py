"""What is asked, and by whom: a request for each file in `golden/`.

Paths are those of the requirement documents; ``{name}`` is an id of `golden_world.World`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

STALE: Final = {"If-Match": '"7"'}
VERSIONS: Final = {"animals": 2}
"""Of the rows that are changed; 1 where not named."""


@dataclass(frozen=True)
class Case:
    """One request. ``who``: the owner, another role, or nobody."""

    name: str
    method: str
    path: str
    body: Any = None
    who: str = "owner"
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


_COLLECTIONS: Final = {
    "animals": "animal_id",
    "farms": "farm_id",
    "production": "production_id",
    "expenses": "expense_id",
    "users": "worker_id",
}
_CREATED: Final[dict[str, Any]] = {
    "animals": {
        "farm_id": "{farm_id}",
        "tag_number": "AT 900",
        "animal_type": "Cattle",
        "sex": "Female",
        "birth_date": "2025-12-01",
        "breeds": [{"code": "SIM", "parts": 1}],
    },
    "farms": {"name": "Vale", "timezone": "Europe/Vienna"},
    "production": {
        "production_type": "milk",
        "production_date": "2026-03-15",
        "animal_id": "{animal_id}",
        "session": "Midday",
        "milk_kg": "4.20",
    },
    "expenses": {
        "farm_id": "{farm_id}",
        "expense_date": "2026-03-16",
        "description": "Straw",
        "currency": "EUR",
        "lines": [{"category": "feed", "amount": "20.00"}],
    },
    "users": {"email": "ida@example.org", "role": "vet", "farm_ids": ["{farm_id}"]},
}
_CHANGED: Final[dict[str, Any]] = {
    "animals": {"name": "Elsa II"},
    "farms": {"name": "Hilltop"},
    "production": {"milk_kg": "13.90", "reason": "misread"},
    "expenses": {"description": "Hay and straw"},
    "users": {"role": "vet"},
}
_DELETED: Final = {"farms": "empty_farm_id"}


def _crud(name: str, key: str) -> list[Case]:
    base, one = f"/api/v1/{name}/", f"/api/v1/{name}/{{{key}}}/"
    who = "manager" if name == "expenses" else "owner"
    return [
        Case(f"{name}_list", "GET", base),
        Case(f"{name}_create", "POST", base, _CREATED[name], who),
        Case(f"{name}_detail", "GET", one),
        Case(f"{name}_update", "PATCH", one, _CHANGED[name], who, {"If-Match": f'"{VERSIONS.get(name, 1)}"'}),
        Case(f"{name}_delete", "DELETE", f"/api/v1/{name}/{{{_DELETED.get(name, key)}}}/", None, who),
    ]


ANSWERS: Final = [
    *(case for name, key in _COLLECTIONS.items() for case in _crud(name, key)),
    Case("production_history", "GET", "/api/v1/animals/{animal_id}/production_history/"),
    Case("health_records", "GET", "/api/v1/animals/{animal_id}/health_records/"),
    Case("dashboard_stats", "GET", "/api/dashboard/stats"),
    Case("dashboard_stats_as_worker", "GET", "/api/dashboard/stats", who="worker"),
    Case("dashboard_animals", "GET", "/api/dashboard/animals?page=1"),
    Case("dashboard_animals_second_page", "GET", "/api/dashboard/animals?page=2&page_size=2"),
    Case("dashboard_analytics", "GET", "/api/dashboard/analytics"),
    Case("dashboard_activities", "GET", "/api/dashboard/activities?limit=10"),
    Case("dashboard_recent_sales", "GET", "/api/dashboard/recent-sales?limit=5"),
    Case("financial_summary", "GET", "/api/dashboard/financial-summary"),
    Case("health_databases", "GET", "/api/v1/health/databases", who="nobody"),
    Case("health", "GET", "/api/health", who="nobody"),
]
_ANIMAL: Final = "/api/v1/animals/{animal_id}/"
ERRORS: Final = [
    Case("error_400_fields", "POST", "/api/v1/animals/", {"tag_number": "", "sex": "Hen"}),
    Case("error_400_which_tenant", "GET", "/api/dashboard/stats", who="of two tenants"),
    Case("error_400_page_size", "GET", "/api/dashboard/animals?page_size=1000"),
    Case("error_401_nobody", "GET", "/api/v1/animals/", who="nobody"),
    Case("error_403_role", "POST", "/api/v1/animals/", _CREATED["animals"], "read_only"),
    Case("error_404_of_another_tenant", "GET", "/api/v1/animals/{strange_animal_id}/"),
    Case("error_404_no_such_page", "GET", "/api/dashboard/animals?page=9"),
    Case("error_405_method", "PUT", _ANIMAL, {"name": "Elsa II"}),
    Case("error_409_in_use", "POST", "/api/v1/animals/", {**_CREATED["animals"], "tag_number": "at 0100"}),
    Case("error_409_stale_version_in_the_body", "PATCH", _ANIMAL, {"name": "Elsa II", "version": 7}),
    Case("error_412_stale_version_in_if_match", "PATCH", _ANIMAL, {"name": "Elsa II"}, headers=STALE),
    Case(
        "error_415_media_type", "POST", "/api/v1/farms/", "name=Vale", headers={"Content-Type": "text/plain"}
    ),
    Case(
        "error_422_rule",
        "POST",
        "/api/v1/animals/{animal_id}/movements/",
        {"kind": "Arrival", "reason": "Purchase"},
    ),
    Case("error_428_version_missing", "PATCH", _ANIMAL, {"name": "Elsa II"}),
]

DOCUMENTED: Final = [
    *(
        (method, f"/api/v1/{name}/{rest}")
        for name in _COLLECTIONS
        for method, rest in (("GET", ""), ("POST", ""), ("GET", "{}/"), ("PATCH", "{}/"), ("DELETE", "{}/"))
    ),
    ("GET", "/api/v1/animals/{}/production_history/"),
    ("GET", "/api/v1/animals/{}/health_records/"),
    ("GET", "/api/dashboard/stats"),
    ("GET", "/api/dashboard/animals?page"),
    ("GET", "/api/dashboard/analytics"),
    ("GET", "/api/dashboard/activities?limit"),
    ("GET", "/api/dashboard/recent-sales?limit"),
    ("GET", "/api/dashboard/financial-summary"),
    ("GET", "/api/v1/health/databases"),
    ("GET", "/api/health"),
]
"""Every route that the documents name: method and path, an id as ``{}``, parameters by their names."""
STATUSES: Final = frozenset({400, 401, 403, 404, 405, 409, 412, 415, 422, 428})
"""The errors a client must know. Nothing here answers 429: the API has no limit of requests of its own."""
