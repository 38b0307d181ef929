"""Schemathesis: every operation of the OpenAPI document against the real WSGI application.

What the document allows never meets a fault of ours, and is answered with a status, a type and a body that the document
names; what it does not allow is refused. The examples are the same each time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
import schemathesis
from django.conf import settings as ours
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, connection, transaction
from django.test import Client
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants
from schemathesis import GenerationMode
from schemathesis.core.parameters import ParameterLocation

from ifarm.api.routes import open_routes
from ifarm.api.tests.test_every_route import CASES, METHODS, Case, World, world
from ifarm.users.models import User

__all__ = ["world"]  # a fixture
pytestmark = pytest.mark.django_db
PREFIX, HOST = "/api/v1/", "testserver"
OPEN: Final = [
    (method.upper(), f"{PREFIX}{route.pattern}")
    for route in open_routes()
    for method in METHODS
    if hasattr(route.callback.view_class, method)
]
# A farm's rules (422) and our cursors (400) are not in the document. That nobody is refused, `test_every_route` tests.
CHECKS: Final = {
    "checks": {name: {"enabled": False} for name in ("positive_data_acceptance", "ignored_auth")}
}
ALWAYS: Final[dict[str, Any]] = {
    "derandomize": True,
    "database": None,
    "deadline": None,
    "phases": [Phase.generate],
    "suppress_health_check": list(HealthCheck),
}


@pytest.fixture(scope="module")
def document(django_db_setup: None) -> Iterator[Any]:
    """The document as it is served. Connections outlive requests, as in Django's own test client."""
    patch = pytest.MonkeyPatch()
    # Hypothesis also tries constants that it finds in our sources: then every change of one would change the examples.
    patch.setattr(providers, "_get_local_constants", Constants)
    providers.CONSTANTS_CACHE.cache.clear()
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    config = schemathesis.Config.from_dict(CHECKS)
    app = get_wsgi_application()
    yield schemathesis.openapi.from_wsgi(f"{PREFIX}openapi.json", app, headers={"Host": HOST}, config=config)
    for signal in signals:
        signal.connect(close_old_connections)
    patch.undo()
    providers.CONSTANTS_CACHE.cache.clear()


def place(case: Case) -> str:
    """A route as the document writes it."""
    return f"{PREFIX}tenants/{{tenant_id}}/" + re.sub(r"<uuid:(\w+)>", r"{\1}", case.path)


def answered(one: Any, headers: dict[str, str]) -> None:
    """The answer is as the document says; all is undone again, after the checks that a commit would make."""
    example = transaction.atomic()
    example._from_testcase = True  # a request's transaction may be inside
    with example:
        one.call_and_validate(base_url=f"http://{HOST}", headers={"Host": HOST, **headers})
        connection.check_constraints()
        transaction.set_rollback(True)


def in_tenant(world: World, case: Case, one: Any) -> None:
    """As its owner, with ids of rows that are there."""
    headers = {"Authorization": world.tokens["owner"]}
    if case.operation.versioned and not one.meta.is_negative_at(ParameterLocation.HEADER):
        headers["If-Match"] = '"1"'
    if not one.meta.is_negative_at(ParameterLocation.PATH):
        ids = {name: str(world.ids[name]) for name in case.arguments}
        one.path_parameters = {"tenant_id": str(world.tenant), **ids}
    answered(one, headers)


def try_any(
    operation: Any, mode: GenerationMode, examples: int, send: Callable[[Any], None], body: Any = None
) -> None:
    """Requests that the document allows, or does not.

    Args:
        body: a valid one. Allowed bodies are like it but for a few fields: random ones seldom get far.
    """
    valid = body if mode is GenerationMode.POSITIVE and isinstance(body, dict) else None
    names: Any = st.sets(st.sampled_from(sorted(valid)), max_size=2) if valid else st.just(set())

    @settings(**ALWAYS, max_examples=examples)
    @given(operation.as_strategy(generation_mode=mode), names)
    def try_one(one: Any, changed: set[str]) -> None:
        if valid and one.media_type == "application/json" and isinstance(one.body, dict):
            one.body = valid | {name: one.body[name] for name in changed & one.body.keys()}
        send(one)

    try:
        try_one()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE  # nothing can be wrong with a request that has no parts


every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_open = pytest.mark.parametrize(("method", "path"), OPEN)
both = pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: mode.value)


@every_case
@both
def test_any_request(world: World, document: Any, case: Case, mode: GenerationMode) -> None:
    operation = document[place(case)][case.method]
    try_any(operation, mode, 3, lambda one: in_tenant(world, case, one), world.body(case))


@pytest.mark.slow
@pytest.mark.timeout(300)
@every_case
@both
def test_many_requests(world: World, document: Any, case: Case, mode: GenerationMode) -> None:
    operation = document[place(case)][case.method]
    try_any(operation, mode, 15, lambda one: in_tenant(world, case, one), world.body(case))


@every_open
@both
def test_outside_of_tenants(
    world: World, document: Any, method: str, path: str, mode: GenerationMode
) -> None:
    client = Client()
    client.force_login(
        User.objects.get(pk=world.owner.id), backend="allauth.account.auth_backends.AuthenticationBackend"
    )
    session, token = client.cookies[ours.SESSION_COOKIE_NAME].value, "a" * 32
    headers = {
        "Cookie": f"{ours.SESSION_COOKIE_NAME}={session}; {ours.CSRF_COOKIE_NAME}={token}",
        "X-CSRFToken": token,
    }
    try_any(document[path][method], mode, 10, lambda one: answered(one, headers))


def test_the_document_names_every_route_and_leaves_no_doubt(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing that drf-spectacular warns of: two components of one name, a field whose type it cannot tell, …"""
    GENERATOR_STATS.reset()
    made = SchemaGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]
    assert not capsys.readouterr().err
    told = {(method.upper(), path) for path, methods in made["paths"].items() for method in methods}
    assert told == {(case.method, place(case)) for case in CASES} | set(OPEN)
    ids = [one["operationId"] for methods in made["paths"].values() for one in methods.values()]
    assert len(ids) == len(set(ids))
