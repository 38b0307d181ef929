"""Every route of every app, found in the URLconf: who may, who may not, and that nothing changed where they may not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.core.files.base import File
from django.db import connection
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from django.test.utils import CaptureQueriesContext

from ifarm.api.routes import tenant_routes
from ifarm.api.tests.examples import Examples, all_examples
from ifarm.api.views import Operation, TenantView
from ifarm.config.django.test import OWNER, PASSWORD
from ifarm.conftest import empty
from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.tests.factories import make_member, make_owner, make_token
from ifarm.farms.services import create_farm
from understudy.embedded import EmbeddedPostgreSQL

METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Case:
    """One method of one route."""

    route: str
    path: str
    method: str
    operation: Operation
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.method} {self.route}"

    def url(self, tenant: UUID, ids: dict[str, UUID]) -> str:
        path = self.path
        for name in self.arguments:
            path = path.replace(f"<uuid:{name}>", str(ids[name]))
        return f"/api/v1/tenants/{tenant}/{path}"


def cases() -> Iterator[Case]:
    for pattern in tenant_routes():
        view = pattern.callback.view_class
        assert issubclass(view, TenantView), f"{pattern.name}: expected a TenantView"
        for method in METHODS:
            if hasattr(view, method):
                handler = getattr(view, method)
                assert hasattr(handler, "operation"), f"{method} {pattern.name}: expected @operation"
                arguments = tuple(pattern.pattern.converters)
                yield Case(pattern.name, str(pattern.pattern), method.upper(), handler.operation, arguments)


CASES = list(cases())
LISTS = [case for case in CASES if case.operation.order]


@cache
def known() -> Examples:
    return all_examples()


class Rows(dict[str, UUID]):
    """Ids by argument; what another row needs is made when it is asked for."""

    def __init__(self, owner: Actor) -> None:
        super().__init__()
        self.owner = owner

    def __missing__(self, argument: str) -> UUID:
        self[argument] = known().rows[argument](self.owner, self)
        return self[argument]


def encoded(body: dict[str, Any] | list[Any] | None) -> tuple[str | bytes, str]:
    """As JSON; one with a file in it as a form."""
    if isinstance(body, dict) and any(isinstance(value, File) for value in body.values()):
        return encode_multipart(BOUNDARY, body), MULTIPART_CONTENT
    return b"" if body is None else json.dumps(body), "application/json"


class World:
    """A tenant with one row of everything, in a farm of its own, and everybody who may try something."""

    def __init__(self) -> None:
        self.owner = make_owner()
        self.tenant = self.owner.tenant_id
        self.stranger = make_owner("Stranger")
        self.ids, self.foreign = Rows(self.owner), Rows(self.stranger)
        for argument in known().rows:
            _ = self.ids[argument], self.foreign[argument]
        self.spares = {route: maker(self.owner, self.ids) for route, maker in known().spares.items()}
        with unit_of_work(self.tenant):
            other = create_farm(self.owner, name="Far away")
        actors = {role.value: make_member(self.owner, role) for role in Role}
        actors |= {"far": make_member(self.owner, Role.OWNER, [other.id]), "stranger": self.stranger}
        actors["owner"] = self.owner  # what is somebody's own is theirs
        self.tokens = {name: make_token(actor) for name, actor in actors.items()}
        self.tokens["nobody"] = ""

    def body(self, case: Case, number: int = 1) -> dict[str, Any] | None:
        if case.operation.input is None:
            return None
        maker = known().bodies.get((case.route, case.method))
        assert maker, f"{case}: give it a body in the app's tests/examples.py"
        return maker(self.ids, number)

    def send(
        self, case: Case, who: str, *, tenant: UUID | None = None, number: int = 1, body: Any = None
    ) -> Any:
        missing = [name for name in case.arguments if name not in self.ids]
        assert not missing, f"{case}: give {missing} a row in the app's tests/examples.py"
        headers = {"If-Match": '"1"'} if case.operation.versioned else {}
        if token := self.tokens[who]:
            headers["Authorization"] = token
        ids = dict(self.ids)
        if case.method == "DELETE" and case.route in self.spares:
            ids[case.arguments[-1]] = self.spares[case.route]
        content, kind = encoded(body or self.body(case, number))
        url = case.url(tenant or self.tenant, ids)
        return Client().generic(case.method, url, content, kind, headers=headers)

    def fill(self, case: Case, number: int) -> None:
        """One more row for a list."""
        if filler := known().fillers.get(case.route):
            filler(self.owner, self.ids, number)
            return
        add = next((c for c in CASES if c.path == case.path and c.method == "POST"), None)
        assert add, f"{case}: say in the app's tests/examples.py how it is filled"
        answer = self.send(add, "owner", number=number)
        assert answer.status_code == 201, answer.content


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any, server: EmbeddedPostgreSQL) -> Iterator[World]:
    """One for all tests: each rolls back what it does."""
    with django_db_blocker.unblock():
        yield World()
        connection.close()
    with psycopg.connect(server.dsn(OWNER, "test_ifarm", PASSWORD), autocommit=True) as owner:
        empty(owner)


def contents() -> str:
    """A digest of every row of every tenant, as the owner sees them."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET ROLE {OWNER}")
        cursor.execute("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        parts = [
            f"SELECT '{row[0]}', md5(string_agg(t::text, '' ORDER BY t::text)) FROM {row[0]} t"
            for row in cursor.fetchall()
        ]
        cursor.execute(" UNION ALL ".join(parts))
        found = json.dumps(sorted(cursor.fetchall()))  # UNION ALL promises no order
        cursor.execute("SET ROLE ifarm_app")
    return found


pytestmark = pytest.mark.django_db
every_case = pytest.mark.parametrize("case", CASES, ids=str)


@every_case
def test_who_may_can(world: World, case: Case) -> None:
    before = contents()
    answer = world.send(case, "owner")
    assert answer.status_code in (200, 201, 204), answer.content
    assert (contents() == before) is (case.method == "GET")


@every_case
def test_another_tenant_learns_and_changes_nothing(world: World, case: Case) -> None:
    before = contents()
    assert world.send(case, "stranger").status_code == 404
    if case.arguments:
        assert world.send(case, "stranger", tenant=world.stranger.tenant_id).status_code == 404
    assert contents() == before


def with_one_other(
    body: Any, names: Mapping[str, str], other: Callable[[str], UUID]
) -> Iterator[tuple[str, Any]]:
    """Copies of a body in each of which one of the ids is another; ``names``: which row each id is of."""
    parts = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for key, value in parts:
        copies = with_one_other(value, names, other)
        if isinstance(value, str) and value in names:
            copies = iter([(names[value], str(other(names[value])))])
        for name, changed in copies:
            yield (
                name,
                {**body, key: changed}
                if isinstance(body, dict)
                else [*body[:key], changed, *body[key + 1 :]],
            )


@pytest.mark.parametrize("case", [case for case in CASES if case.operation.input is not None], ids=str)
def test_a_body_refers_to_no_row_of_another_tenant(world: World, case: Case) -> None:
    """The service says so, not the database's last wall."""
    names = {str(key): name for name, key in world.ids.items()}
    for name, changed in with_one_other(world.body(case), names, lambda name: world.foreign[name]):
        before = contents()
        answer = world.send(case, "owner", body=changed)
        by_row = answer.status_code == 200 and b'"problem":{' in answer.content
        assert by_row or answer.status_code in (404, 422), (name, answer.content)
        assert contents() == before or case.route == "sync-changes", name  # which keeps its answers


@pytest.mark.parametrize("case", [case for case in CASES if case.operation.policy.farm], ids=str)
def test_another_farm_learns_and_changes_nothing(world: World, case: Case) -> None:
    before = contents()
    answer = world.send(case, "far")
    if answer.status_code == 200 and not case.arguments:  # about everything: without what is not theirs
        mine = {str(key) for key in world.ids.values()}
        assert not [key for key in mine if key in answer.getvalue().decode()]
    else:
        assert answer.status_code in (404, 422), answer.content
    assert contents() == before


def lacking() -> list[tuple[Case, Role]]:
    return [
        (c, role) for c in CASES for role in Role if role not in c.operation.policy.roles[c.operation.action]
    ]


@pytest.mark.parametrize(("case", "role"), lacking(), ids=str)
def test_another_role_changes_nothing(world: World, case: Case, role: Role) -> None:
    before = contents()
    assert world.send(case, role).status_code == 403
    assert contents() == before


@every_case
def test_nobody_changes_nothing(world: World, case: Case) -> None:
    before = contents()
    answer = world.send(case, "nobody")
    assert answer.status_code == 401
    assert answer["Content-Type"] == "application/problem+json"
    assert contents() == before


@pytest.mark.parametrize("case", LISTS, ids=str)
def test_a_longer_list_costs_no_more_queries(world: World, case: Case) -> None:
    made = 0
    for size in (3, known().longest.get(case.route, 12)):
        while made < size:
            made += 1
            world.fill(case, made)
        with CaptureQueriesContext(connection) as queries:
            answer = world.send(case, "owner")
        assert len(answer.json()["results"]) >= size
        told = [q["sql"] for q in queries if not q["sql"].startswith(("SAVEPOINT", "RELEASE"))]
        assert len(told) == known().queries.get(case.route, 3), "\n".join(told)


@pytest.mark.parametrize("case", LISTS, ids=str)
def test_pages_show_every_row_once(world: World, case: Case) -> None:
    for number in range(1, 6):
        world.fill(case, number)
    headers = {"Authorization": world.tokens["owner"]}
    assert case.operation.order
    for sort in case.operation.order.choices:
        url = f"{case.url(world.tenant, world.ids)}?sort={sort}"
        whole = [row["id"] for row in Client().get(f"{url}&limit=500", headers=headers).json()["results"]]
        seen, following = [], f"{url}&limit=2"
        while following:
            one = Client().get(following, headers=headers).json()
            assert len(one["results"]) <= 2
            seen += [row["id"] for row in one["results"]]
            following = one["next"]
        assert seen == whole
        assert len(set(seen)) == len(seen) >= 5
