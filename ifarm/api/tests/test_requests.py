"""What every route does alike: errors, versions, keys of idempotency, tenants, pages."""

from __future__ import annotations

import json
import re
import threading
from functools import partial
from typing import Any

import psycopg
import pytest
from django.db import OperationalError
from django.test import Client
from openapi_spec_validator import validate

from ifarm.api import idempotency
from ifarm.api.routes import tenant_routes
from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.models import IdempotencyRecord
from ifarm.core.tests.factories import make_member, make_owner, make_token
from ifarm.core.tests.threads import in_thread
from ifarm.farms import selectors, services
from ifarm.farms.models import Farm
from ifarm.farms.services import create_farm, update_farm
from ifarm.permissions.models import Membership
from ifarm.permissions.services import actor_for, add_member
from ifarm.users.models import User
from understudy.integrations.django.errors import CommitInDoubt, NoPrimaryAvailable


class Api:
    """A device of an actor."""

    def __init__(self, actor: Actor) -> None:
        self.actor, self.token = actor, make_token(actor)

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return Client().generic(
            method,
            f"/api/v1/tenants/{self.actor.tenant_id}/{path}",
            b"" if body is None else json.dumps(body),
            "application/json",
            headers={"Authorization": self.token, **{k.replace("_", "-"): v for k, v in headers.items()}},
        )


@pytest.fixture
def api(db: None) -> Api:
    return Api(make_owner())


def problem(answer: Any) -> tuple[int, str]:
    assert answer["Content-Type"] == "application/problem+json", answer.content
    body = answer.json()
    assert {"type", "title", "status", "detail"} <= body.keys()
    assert body["status"] == answer.status_code
    return answer.status_code, body["type"].removeprefix("urn:ifarm:problem:")


def test_parts_are_whole_in_a_change_too(api: Api) -> None:
    farm = api("POST", "farms/", {"name": "Hill"}).json()["id"]
    body = {"farm_id": farm, "tag_number": "AT 1", "animal_type": "Cattle", "sex": "Female"}
    animal = api("POST", "animals/", body).json()
    path, half = f"animals/{animal['id']}/", [{"code": "SIM"}]
    changed = api("PATCH", path, {"breeds": half, "version": animal["version"]})
    assert problem(changed) == (400, "invalid")
    whole = [{"code": "SIM", "parts": 1}]
    assert api("PATCH", path, {"breeds": whole, "version": animal["version"]}).status_code == 200


def test_what_a_change_is_about_must_be_said(api: Api) -> None:
    farm = api("POST", "farms/", {"name": "Hill"}).json()["id"]
    cow = {"animal_type": "Cattle", "sex": "Female", "birth_date": "2020-01-01"}
    animal = api("POST", "animals/", {"farm_id": farm, "tag_number": "AT 1", **cow}).json()["id"]
    herd = api("POST", "groups/", {"farm_id": farm, "name": "Cows", "kind": "Milking"}).json()["id"]
    joined = {"animal_id": animal, "starts_on": "2023-01-01"}
    member = api("POST", f"groups/{herd}/members/", joined).json()["id"]
    begun = {"starts_on": "2023-01-01"}
    lactation = api("POST", f"animals/{animal}/lactations/", begun).json()["id"]
    for path in (f"group-members/{member}/", f"lactations/{lactation}/"):
        answer = api("PATCH", path, {"version": 1})
        assert problem(answer) == (400, "invalid")
        assert answer.json()["errors"][0]["pointer"] == "#/ends_on"


@pytest.mark.parametrize("zone", ["Mars/Base", "", "../etc/passwd"])
def test_a_time_zone_is_one_that_exists(api: Api, zone: str) -> None:
    assert problem(api("POST", "farms/", {"name": "Hill", "timezone": zone})) == (400, "invalid")
    assert api("POST", "farms/", {"name": "Hill", "timezone": "Europe/Vienna"}).status_code == 201


def test_errors_have_one_shape(api: Api) -> None:
    assert problem(api("POST", "farms/", {"name": ""})) == (400, "invalid")
    assert problem(api("POST", "farms/", [])) == (400, "invalid")
    assert problem(api("GET", "farms/?limit=0")) == (400, "invalid")
    assert problem(api("GET", "farms/?sort=version")) == (400, "invalid")
    assert problem(api("GET", "farms/?cursor=forged")) == (400, "invalid")
    assert problem(api("DELETE", "farms/")) == (405, "method-not-allowed")
    assert problem(Client().get("/api/v1/farms/", headers={"Authorization": "Bearer x"}))[0] == 401
    broken = Client().generic(
        "POST",
        f"/api/v1/tenants/{api.actor.tenant_id}/farms/",
        "{",
        "application/json",
        headers={"Authorization": api.token},
    )
    assert problem(broken) == (400, "parse-error")
    assert api("POST", "farms/", {"name": ""}).json()["errors"][0]["pointer"] == "#/name"


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00%2B22:53", "9999-12-31T23:59:59-22:53"])
def test_a_time_that_the_database_cannot_hold_is_refused(api: Api, since: str) -> None:
    assert problem(api("GET", f"treatments/?since={since}")) == (400, "invalid")


def test_an_area_is_more_than_nothing(api: Api) -> None:
    path = f"farms/{api('POST', 'farms/', {'name': 'Hill'}).json()['id']}/paddocks/"
    for area in ("-1", "0", "0.001"):
        assert problem(api("POST", path, {"name": "Meadow", "area_ha": area})) == (400, "invalid")
    assert api("POST", path, {"name": "Meadow", "area_ha": "0.01"}).status_code == 201


def test_a_constraint_of_the_database_is_told_in_its_words(api: Api) -> None:
    assert api("POST", "farms/", {"name": "Hill"}).status_code == 201
    again = api("POST", "farms/", {"name": "HILL"})
    assert problem(again) == (409, "conflict")
    assert again.json()["detail"] == "There is a farm of this name already."


def test_a_change_names_the_version_it_is_based_on(api: Api) -> None:
    made = api("POST", "farms/", {"name": "Hill"})
    assert made["ETag"] == '"1"'
    path = f"farms/{made.json()['id']}/"
    assert problem(api("PATCH", path, {"name": "Mount"})) == (428, "version-missing")
    assert problem(api("PATCH", path, {"name": "Mount"}, If_Match="1")) == (400, "invalid")
    changed = api("PATCH", path, {"name": "Mount"}, If_Match='"1"')
    assert (changed.status_code, changed["ETag"]) == (200, '"2"')
    late = api("PATCH", path, {"name": "Vale"}, If_Match='"1"')
    assert problem(late) == (412, "stale-version")
    assert (late.json()["current"]["name"], late.json()["submitted"]) == ("Mount", {"name": "Vale"})
    assert problem(api("PATCH", path, {"name": "Vale", "version": 1})) == (409, "stale-version")
    assert api("PATCH", path, {"name": "Vale", "version": 2}).json()["version"] == 3
    same = api("PATCH", path, {"name": "Vale", "version": 3})
    assert same.json()["version"] == 3  # nothing differs: nothing is counted


def test_the_same_request_gets_the_same_answer_and_does_nothing_twice(api: Api) -> None:
    first = api("POST", "farms/", {"name": "Hill"}, Idempotency_Key="a")
    second = api("POST", "farms/", {"name": "Hill"}, Idempotency_Key="a")
    assert (first.status_code, second.status_code) == (201, 201)
    assert (first.json(), first["ETag"]) == (second.json(), second["ETag"])
    assert second["Idempotent-Replay"] == "true"
    with unit_of_work(api.actor.tenant_id):
        assert Farm.objects.count() == 1


def test_another_request_with_the_same_key_is_refused(api: Api) -> None:
    api("POST", "farms/", {"name": "Hill"}, Idempotency_Key="a")
    assert problem(api("POST", "farms/", {"name": "Vale"}, Idempotency_Key="a")) == (
        422,
        "idempotency-key-reused",
    )
    other = Api(make_member(api.actor, Role.OWNER))
    assert other("POST", "farms/", {"name": "Vale"}, Idempotency_Key="a").status_code == 201


def test_a_request_that_failed_may_be_sent_again(api: Api) -> None:
    assert api("POST", "farms/", {"name": ""}, Idempotency_Key="a").status_code == 400
    assert api("POST", "farms/", {"name": "Hill"}, Idempotency_Key="a").status_code == 201


def test_a_secret_is_told_once(api: Api) -> None:
    with unit_of_work(api.actor.tenant_id):
        membership = Membership.objects.get()
    body = {"membership_id": str(membership.id), "name": "scale"}
    told = api("POST", "tokens/", body, Idempotency_Key="a").json()
    assert told.pop("secret").startswith("ifarm_")
    assert api("POST", "tokens/", body, Idempotency_Key="a").json() == told
    with unit_of_work(api.actor.tenant_id):
        assert "ifarm_" not in json.dumps(IdempotencyRecord.objects.get().body)


def test_the_same_request_at_the_same_time_is_told_to_wait(
    committed: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api(make_owner())
    inside, go_on = threading.Event(), threading.Event()
    create = services.create_farm

    def slowly(*args: Any, **kwargs: Any) -> Farm:
        farm = create(*args, **kwargs)
        inside.set()
        assert go_on.wait(60)
        return farm

    monkeypatch.setattr(services, "create_farm", slowly)
    first = in_thread(lambda: api("POST", "farms/", {"name": "Hill"}, Idempotency_Key="a"))
    assert inside.wait(60)
    second = api("POST", "farms/", {"name": "Hill"}, Idempotency_Key="a")
    go_on.set()
    assert problem(second) == (409, "in-progress")
    assert second["Retry-After"] == "1"
    assert first().status_code == 201
    third = api("POST", "farms/", {"name": "Hill"}, Idempotency_Key="a")
    assert (third.status_code, third.json()) == (201, first().json())
    assert committed.execute("SELECT count(*) FROM farms_farm").fetchall() == [(1,)]


def test_many_at_once_make_one(committed: psycopg.Connection[Any]) -> None:
    api = Api(make_owner())
    waits = [
        in_thread(lambda: api("POST", "farms/", {"name": "Hill"}, Idempotency_Key="a").status_code)
        for _ in range(6)
    ]
    assert {wait() for wait in waits} <= {201, 409}
    assert committed.execute("SELECT count(*) FROM farms_farm").fetchall() == [(1,)]


def test_a_key_without_its_effect_cannot_be(
    committed: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api(make_owner())

    def full(*_: Any) -> None:
        raise OperationalError("no space left on device")

    monkeypatch.setattr(idempotency, "_without_secret", full)
    with pytest.raises(OperationalError):
        api("POST", "farms/", {"name": "Hill"}, Idempotency_Key="a")
    assert committed.execute("SELECT count(*) FROM farms_farm").fetchall() == [(0,)]


@pytest.mark.parametrize(
    ("error", "kind"),
    [(CommitInDoubt("lost"), "outcome-unknown"), (NoPrimaryAvailable("none"), "no-primary")],
)
def test_a_write_that_meets_a_change_of_primary_is_told_to_come_back(
    api: Api, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str
) -> None:
    def lost(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(services, "create_farm", lost)
    answer = api("POST", "farms/", {"name": "Hill"})
    assert problem(answer) == (503, kind)
    assert int(answer["Retry-After"]) > 0


def test_a_read_that_meets_a_change_of_primary_is_run_again(
    committed: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api(make_owner())
    real, lost = selectors.list_farms, [CommitInDoubt("lost")]

    def once(actor: Actor) -> Any:
        if lost:
            raise lost.pop()
        return real(actor)

    monkeypatch.setattr(selectors, "list_farms", once)
    assert api("GET", "farms/").json() == {"next": None, "results": []}
    assert lost == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [(CommitInDoubt("lost"), "outcome-unknown"), (NoPrimaryAvailable("none"), "no-primary")],
)
def test_a_read_that_was_repeated_in_vain_is_told_to_come_back(
    committed: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str
) -> None:
    api = Api(make_owner())

    def lost(*_: Any) -> None:
        raise error

    monkeypatch.setattr(selectors, "list_farms", lost)
    answer = api("GET", "farms/")
    assert problem(answer) == (503, kind)
    assert int(answer["Retry-After"]) > 0


def logged_in(actor: Actor) -> Client:
    client = Client(enforce_csrf_checks=True)
    user = User.objects.get(pk=actor.id)
    client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    return client


def test_without_a_tenant_in_the_path_it_is_the_only_one(api: Api) -> None:
    api("POST", "farms/", {"name": "Hill"})
    token = Client().get("/api/v1/farms/", headers={"Authorization": api.token})
    assert [farm["name"] for farm in token.json()["results"]] == ["Hill"]
    session = logged_in(api.actor).get("/api/v1/farms/")
    assert [farm["name"] for farm in session.json()["results"]] == ["Hill"]


def test_with_two_tenants_the_path_must_say_which(api: Api) -> None:
    elsewhere = make_owner("Elsewhere")
    with unit_of_work(elsewhere.tenant_id):
        add_member(elsewhere, user=User.objects.get(pk=api.actor.id), role=Role.VET, all_farms=True)
    client = logged_in(api.actor)
    answer = client.get("/api/v1/farms/")
    assert problem(answer) == (400, "ambiguous-tenant")
    assert {t["name"] for t in answer.json()["tenants"]} == {"Elsewhere", "Hill Farm"}
    for actor in (api.actor, elsewhere):
        assert client.get(f"/api/v1/tenants/{actor.tenant_id}/farms/").status_code == 200
    assert {p["role"] for p in client.get("/api/v1/tenants/").json()} == {"owner", "vet"}
    # The token belongs to one tenant, whoever its person is.
    there = f"/api/v1/tenants/{elsewhere.tenant_id}/farms/"
    assert problem(Client().get(there, headers={"Authorization": api.token})) == (404, "not-found")


def test_a_session_needs_the_csrf_token(api: Api) -> None:
    path = f"/api/v1/tenants/{api.actor.tenant_id}/farms/"
    answer = logged_in(api.actor).post(path, {"name": "Hill"}, "application/json")
    assert problem(answer)[0] == 403
    with unit_of_work(api.actor.tenant_id):
        assert Farm.objects.count() == 0


def test_two_editors_at_once_one_is_told(committed: psycopg.Connection[Any]) -> None:
    from ifarm.core.errors import StaleVersion
    from ifarm.core.versions import Seen

    owner = make_owner()
    with unit_of_work(owner.tenant_id):
        farm = create_farm(owner, name="Hill")

    def edit(name: str) -> str:
        try:
            with unit_of_work(owner.tenant_id):
                update_farm(actor_for(owner.id), farm.id, {"name": name}, Seen(1))
        except StaleVersion:
            return "stale"
        return name

    waits = [in_thread(partial(edit, name)) for name in ("one", "two", "three")]
    told = sorted(wait() for wait in waits)
    assert told.count("stale") == 2
    winner = next(name for name in told if name != "stale")
    assert committed.execute("SELECT name, version FROM farms_farm").fetchall() == [(winner, 2)]


@pytest.mark.django_db
def test_the_document_of_all_routes_is_openapi_3_1() -> None:
    document = Client().get("/api/v1/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    validate(document)
    paths = {path for path in document["paths"] if "{tenant_id}" in path}
    assert {re.sub("<uuid:([a-z_]+)>", "{\\1}", str(route.pattern)) for route in tenant_routes()} == {
        path.removeprefix("/api/v1/tenants/{tenant_id}/") for path in paths
    }
    listed = document["paths"]["/api/v1/tenants/{tenant_id}/animals/"]["get"]
    assert {"cursor", "limit", "sort", "status", "updated_since"} <= {p["name"] for p in listed["parameters"]}
    assert "application/problem+json" in listed["responses"]["404"]["content"]
