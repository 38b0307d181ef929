"""A phone: its copy of the farm, the queue of what was done on it, and the rules of the how-to that it follows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.test import Client

from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.tests.factories import make_token
from ifarm.sync.kinds import KINDS

Key = tuple[str, str]
Row = dict[str, Any]


@dataclass
class Device:
    """A phone of a person, or any other client."""

    actor: Actor
    token: str = ""
    cursor: str | None = None
    copy: dict[Key, Row] = field(default_factory=dict)
    owners: dict[Key, str] = field(default_factory=dict)
    restarts: list[str] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.token = self.token or make_token(self.actor)

    def call(self, method: str, query: Mapping[str, Any] | None = None, body: Any = None) -> Any:
        path = f"/api/v1/tenants/{self.actor.tenant_id}/sync/changes"
        headers = {"Authorization": self.token}
        if method == "GET":
            return Client().get(path, query, headers=headers)
        return Client().post(path, json.dumps(body), "application/json", headers=headers)

    def page(self, **query: Any) -> Row:
        """One page of changes into the copy."""
        if self.cursor is not None:
            query["since"] = self.cursor
        answer = self.call("GET", query)
        body: Row = answer.json()
        if answer.status_code == 410:
            assert body["type"] == "urn:ifarm:problem:sync-restart"
            self.restarts.append(body["reason"])
            self.forget()
            return {"changes": [], "more": True}
        assert answer.status_code == 200, body
        for change in body["changes"]:
            self.take(change)
        self.cursor = body["cursor"]
        return body

    def pull(self, **query: Any) -> int:
        """All pages; how many there were."""
        pages = 1
        while self.page(**query)["more"]:
            pages += 1
            assert pages < 1000
        return pages

    def forget(self) -> None:
        self.cursor = None
        self.copy.clear()
        self.owners.clear()

    def take(self, change: Row) -> None:
        key = change["kind"], change["id"]
        if not change["gone"]:
            self.copy[key] = change["row"]
            if change["belongs_to"]:
                self.owners[key] = change["belongs_to"]
            return
        self.copy.pop(key, None)
        if key[0] == "animal":
            for other in [other for other, owner in self.owners.items() if owner == key[1]]:
                self.copy.pop(other, None)
                del self.owners[other]

    def push(self, *operations: Row, ahead: float = 0) -> list[Row]:
        """Send operations; their results."""
        sent_at = (datetime.now(UTC) + timedelta(seconds=ahead)).isoformat()
        answer = self.call("POST", body={"sent_at": sent_at, "operations": operations})
        assert answer.status_code == 200, answer.content
        self.answers.append(answer.json())
        results: list[Row] = answer.json()["results"]
        assert [one["id"] for one in results] == [one["id"] for one in operations]
        return results

    def kinds(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for kind, _ in self.copy:
            found[kind] = found.get(kind, 0) + 1
        return found


def operation(
    kind: str, action: str, data: Row | None = None, *, of: UUID | str | None = None, **rest: Any
) -> Row:
    """One thing that was done just now."""
    return {
        "id": str(uuid4()),
        "kind": kind,
        "action": action,
        "object_id": str(of or uuid4()),
        "recorded_at": datetime.now(UTC).isoformat(),
        "data": data or {},
        **rest,
    }


def truth(actor: Actor, kinds: Sequence[str] = tuple(KINDS)) -> dict[Key, Row]:
    """What the database holds for somebody, as a device would hold it."""
    with unit_of_work(actor.tenant_id):
        return {
            (name, str(pk)): json.loads(json.dumps(row, default=str))
            for name in kinds
            for pk, row in KINDS[name].shown(KINDS[name].rows(actor))
        }


def plainly(copy: Mapping[Key, Row]) -> dict[Key, Row]:
    """Without differences of notation: of JSON encoders in the microseconds of times."""
    return {key: json.loads(json.dumps(row).replace("+00:00", "Z")) for key, row in copy.items()}
