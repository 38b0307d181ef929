"""What was done offline is done once, in order, by the ordinary rules; and nothing of it is lost without a word."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid1, uuid4

import psycopg
import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from ifarm.animals.models import Animal, Weight
from ifarm.animals.services import update_animal
from ifarm.animals.tests.examples import make_animal
from ifarm.api.routes import tenant_routes
from ifarm.api.tests.examples import all_examples
from ifarm.audit.models import AuditEntry
from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.ids import uuid7
from ifarm.core.tests.factories import make_member, make_owner
from ifarm.core.tests.threads import await_waiting, in_thread
from ifarm.core.versions import Seen
from ifarm.sync.actions import ACTIONS
from ifarm.sync.apis import MOST_BYTES
from ifarm.sync.kinds import KINDS
from ifarm.sync.models import PushedOperation
from ifarm.sync.serializers import MOST_OPERATIONS
from ifarm.sync.tests.device import Device, operation, plainly, truth
from ifarm.sync.tests.test_journal import make_farm

NOW = datetime.now(UTC).isoformat()
WEIGHT = {"weighed_on": "2024-05-01", "weight_kg": "321.50"}


@pytest.fixture
def farm(committed: psycopg.Connection[Any]) -> tuple[Actor, UUID, UUID]:
    """An owner, a farm, an animal."""
    owner = make_owner()
    hill = make_farm(owner)
    return owner, hill, make_animal(owner, hill, "AT 1")


def new_animal(farm: UUID, tag: str = "AT 50", **rest: Any) -> dict[str, Any]:
    data = {"farm_id": str(farm), "tag_number": tag, "animal_type": "Cattle", "sex": "Female"}
    return operation("animal", "create", {**data, "birth_date": "2024-02-01"}, **rest)


def weight_of(animal: UUID | str, **rest: Any) -> dict[str, Any]:
    return operation("weight", "create", {"animal_id": str(animal), **WEIGHT}, **rest)


def outcomes(results: list[dict[str, Any]]) -> list[str]:
    return [one["outcome"] for one in results]


def problem(result: dict[str, Any]) -> tuple[int, str]:
    return result["problem"]["status"], result["problem"]["type"].removeprefix("urn:ifarm:problem:")


def test_an_animal_and_its_weight_of_one_push_with_the_devices_own_ids(
    farm: tuple[Actor, UUID, UUID],
) -> None:
    owner, hill, _ = farm
    device = Device(owner)
    animal, weight = new_animal(hill, of=uuid7()), uuid4()
    results = device.push(animal, weight_of(animal["object_id"], of=weight))
    assert outcomes(results) == ["done", "done"]
    device.pull()
    for result in results:
        assert (
            plainly({("", ""): result["row"]})["", ""]
            == plainly(device.copy)[result["kind"], result["object_id"]]
        )
        assert result["version"] == 1
    with unit_of_work(owner.tenant_id):
        entry = AuditEntry.objects.get(object_id=weight)
        assert (entry.actor_id, entry.action) == (owner.id, "created")


def test_sent_again_whole_or_partly_it_is_answered_as_before(farm: tuple[Actor, UUID, UUID]) -> None:
    owner, hill, animal = farm
    device = Device(owner)
    batch = [new_animal(hill), weight_of(animal), operation("weight", "create", {"animal_id": str(animal)})]
    first = device.push(*batch)
    assert outcomes(first) == ["done", "done", "refused"]
    before = truth(owner)
    more = weight_of(batch[0]["object_id"])
    assert device.push(*batch) == first
    assert device.push(batch[2], batch[0]) == [first[2], first[0]]
    assert truth(owner) == before
    again = device.push(*batch[1:], more)
    assert again[:2] == first[1:]
    assert again[2]["outcome"] == "done"
    with unit_of_work(owner.tenant_id):
        assert Weight.objects.count() == 2


def test_the_same_push_twice_at_once(farm: tuple[Actor, UUID, UUID]) -> None:
    """A phone that lost patience sends again while the first is still being carried out."""
    owner, hill, animal = farm
    devices = [Device(owner) for _ in range(3)]
    batch = [weight_of(animal), new_animal(hill), weight_of(animal)]
    waits = [in_thread(lambda d=device: d.push(*batch)) for device in devices]  # type: ignore[misc]
    answers = [wait() for wait in waits]
    assert answers[0] == answers[1] == answers[2]
    assert outcomes(answers[0]) == ["done"] * 3
    with unit_of_work(owner.tenant_id):
        assert (Weight.objects.count(), Animal.objects.count()) == (2, 2)


def test_an_id_that_was_used_for_something_else_is_told(farm: tuple[Actor, UUID, UUID]) -> None:
    owner, _, animal = farm
    device = Device(owner)
    one = weight_of(animal)
    device.push(one)
    other = {**one, "data": {**one["data"], "weight_kg": "1.00"}}
    assert problem(device.push(other)[0]) == (422, "idempotency-key-reused")
    stolen = weight_of(animal, of=one["object_id"])
    assert problem(device.push(stolen)[0]) == (409, "conflict")


def test_one_that_fails_does_not_touch_the_others_but_those_that_need_it(
    farm: tuple[Actor, UUID, UUID],
) -> None:
    owner, hill, animal = farm
    device = Device(owner)
    bad = new_animal(hill, "AT 1")  # the tag of another
    batch = [
        weight_of(animal),
        bad,
        weight_of(bad["object_id"]),
        operation("animal", "update", {"name": "Elsa"}, of=bad["object_id"], base_operation=bad["id"]),
        weight_of(animal),
    ]
    results = device.push(*batch)
    assert outcomes(results) == ["done", "refused", "skipped", "skipped", "done"]
    assert problem(results[1]) == (409, "conflict")
    assert [one.get("because") for one in results] == [None, None, bad["id"], bad["id"], None]
    with unit_of_work(owner.tenant_id):
        assert PushedOperation.objects.count() == 3  # what was skipped may be sent again
    good = {**bad, "id": str(uuid4()), "data": {**bad["data"], "tag_number": "AT 2"}}
    assert outcomes(device.push(good, batch[2])) == ["done", "done"]


def test_a_conflict_shows_both_versions_and_changes_nothing(farm: tuple[Actor, UUID, UUID]) -> None:
    owner, _, animal = farm
    device = Device(owner)
    device.pull()
    assert device.copy["animal", str(animal)]["version"] == 1
    with unit_of_work(owner.tenant_id):
        update_animal(owner, animal, {"name": "Berta"}, Seen(1))
    mine = operation("animal", "update", {"name": "Elsa"}, of=animal, base_version=1)
    (result,) = device.push(mine)
    assert (result["outcome"], result["base_version"], result["version"]) == ("conflict", 1, 2)
    assert (result["yours"], result["theirs"]["name"]) == ({"name": "Elsa"}, "Berta")
    assert problem(result) == (409, "stale-version")
    device.pull()
    assert device.copy["animal", str(animal)]["name"] == "Berta"
    again = operation("animal", "update", {"name": "Elsa"}, of=animal, base_version=result["version"])
    assert outcomes(device.push(again)) == ["done"]


def test_changes_of_one_thing_build_on_each_other(farm: tuple[Actor, UUID, UUID]) -> None:
    owner, hill, _ = farm
    device = Device(owner)
    made = new_animal(hill)
    key = made["object_id"]
    first = operation("animal", "update", {"name": "Elsa"}, of=key, base_operation=made["id"])
    second = operation("animal", "update", {"purpose": "Milk"}, of=key, base_operation=first["id"])
    assert outcomes(device.push(made, first)) == ["done"] * 2
    (result,) = device.push(second)
    assert (result["version"], result["row"]["name"], result["row"]["purpose"]) == (3, "Elsa", "Milk")
    strange = operation("animal", "update", {"name": "x"}, of=key, base_operation=str(uuid4()))
    baseless = operation("animal", "update", {"name": "x"}, of=key)
    assert [problem(one) for one in device.push(strange, baseless)] == [
        (400, "invalid"),
        (428, "version-missing"),
    ]


def test_taking_back_needs_the_version_too(farm: tuple[Actor, UUID, UUID]) -> None:
    owner, _, animal = farm
    device = Device(owner)
    made = weight_of(animal)
    device.push(made)
    gone = operation("weight", "delete", of=made["object_id"], base_version=2)
    missing = operation("weight", "delete", of=made["object_id"])
    assert outcomes(device.push(gone, missing)) == ["conflict", "refused"]
    good = operation("weight", "delete", of=made["object_id"], base_version=1)
    again = operation("weight", "delete", of=made["object_id"], base_version=1)
    results = device.push(good, again)
    assert outcomes(results) == ["done", "refused"]
    assert (results[0]["row"], problem(results[1])) == (None, (404, "not-found"))


def test_rights_farms_and_tenants_hold_as_everywhere(farm: tuple[Actor, UUID, UUID]) -> None:
    owner, hill, animal = farm
    vale = make_farm(owner, "Vale")
    worker = Device(make_member(owner, Role.WORKER, [vale]))
    stranger = Device(make_owner("Stranger"))
    made = weight_of(animal)
    Device(owner).push(made)
    gone = operation("weight", "delete", of=made["object_id"], base_version=1)
    results = worker.push(weight_of(animal), new_animal(hill), gone)
    assert [problem(one)[0] for one in results] == [404, 404, 403]
    results = stranger.push(weight_of(animal), weight_of(animal, of=made["object_id"]))
    assert [problem(one)[0] for one in results] == [404, 404]
    assert outcomes(stranger.push(made)) == ["refused"]  # the id of an operation is its person's
    accountant = Device(make_member(owner, Role.ACCOUNTANT))
    body = {"sent_at": NOW, "operations": [weight_of(animal)]}
    assert accountant.call("POST", body=body).status_code == 403
    with unit_of_work(owner.tenant_id):
        assert Weight.objects.count() == 1


def test_an_id_of_another_tenants_row_is_only_taken(farm: tuple[Actor, UUID, UUID]) -> None:
    owner, hill, _ = farm
    made = new_animal(hill)
    Device(owner).push(made)
    stranger = make_owner("Stranger")
    theirs = new_animal(make_farm(stranger), of=made["object_id"])
    (result,) = Device(stranger).push(theirs)
    assert problem(result) == (409, "conflict")
    assert "theirs" not in result


def test_the_clock_of_a_device_is_reported_and_not_believed(farm: tuple[Actor, UUID, UUID]) -> None:
    owner, _, animal = farm
    device = Device(owner)
    then = datetime(2024, 5, 1, 5, 30, tzinfo=UTC)
    ahead = datetime.now(UTC) + timedelta(hours=2)
    batch = [
        weight_of(animal, recorded_at=then.isoformat()),
        weight_of(animal, recorded_at=ahead.isoformat()),
    ]
    results = device.push(*batch, ahead=7200)
    assert outcomes(results) == ["done", "refused"]
    assert "recorded_at" in results[1]["problem"]["detail"]
    assert 7000 < device.answers[-1]["clock_skew_seconds"] < 7201
    with unit_of_work(owner.tenant_id):
        kept = PushedOperation.objects.get(outcome="done")
        assert (kept.recorded_at, kept.skew_seconds > 7000) == (then, True)
    tomorrow = {
        **WEIGHT,
        "animal_id": str(animal),
        "weighed_on": str(datetime.now(UTC).date() + timedelta(days=3)),
    }
    assert problem(device.push(operation("weight", "create", tomorrow))[0]) == (422, "rule-broken")


def test_no_word_of_a_note_is_left_aside(farm: tuple[Actor, UUID, UUID]) -> None:
    """The API ignores members it does not know; here one would be a note that is lost without a word."""
    owner, _, animal = farm
    given = {"animal_id": str(animal), "health_status": "Ill", "findngs": "coughs at night"}
    (result,) = Device(owner).push(operation("health_check", "create", given))
    assert problem(result) == (400, "invalid")
    assert "findngs" in result["problem"]["detail"]


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"kind": "tractor"}, 400),
        ({"action": "paint"}, 400),
        ({"of": str(uuid1())}, 400),
        ({"data": {"animal_id": "x"}}, 400),
        ({"data": {}}, 400),
        ({"data": {"animal_id": str(uuid4()), **WEIGHT}}, 404),
    ],
)
def test_what_cannot_be_is_refused_by_itself(
    farm: tuple[Actor, UUID, UUID], wrong: dict[str, Any], status: int
) -> None:
    owner, _, animal = farm
    given: dict[str, Any] = {"kind": "weight", "action": "create", **wrong}
    given["data"] = given.get("data", {"animal_id": str(animal), **WEIGHT})
    results = Device(owner).push(operation(**given), weight_of(animal))
    assert outcomes(results) == ["refused", "done"]
    assert results[0]["problem"]["status"] == status


def test_limits(farm: tuple[Actor, UUID, UUID]) -> None:
    owner, _, animal = farm
    device = Device(owner)
    many = {"sent_at": NOW, "operations": [weight_of(animal) for _ in range(MOST_OPERATIONS + 1)]}
    assert device.call("POST", body=many).status_code == 400
    large = {"sent_at": NOW, "operations": [operation("weight", "create", {"x": "y" * MOST_BYTES})]}
    answer = device.call("POST", body=large)
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:ifarm:problem:too-large")
    for text in ("\x00", "\ud800"):
        bad = {"sent_at": NOW, "operations": [operation("weight", "create", {"x": [text]})]}
        assert device.call("POST", body=bad).status_code == 400
    assert device.call("POST", body={"sent_at": NOW, "operations": []}).status_code == 400
    path = f"/api/v1/tenants/{owner.tenant_id}/sync/changes"
    infinite = '{"sent_at": "%s", "operations": [{"data": {"x": 1e999}}]}' % NOW  # noqa: UP031
    headers = {"Authorization": device.token}
    assert Client().post(path, infinite, "application/json", headers=headers).status_code == 400


def test_a_fault_of_ours_is_told_and_may_be_sent_again(
    farm: tuple[Actor, UUID, UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, hill, animal = farm
    device = Device(owner)
    made = new_animal(hill)
    batch = [made, weight_of(made["object_id"]), weight_of(animal)]
    with monkeypatch.context() as patch:
        patch.setattr("ifarm.animals.services.create_animal", lambda *_, **__: 1 / 0)
        results = device.push(*batch)
    assert outcomes(results) == ["failed", "skipped", "done"]
    assert problem(results[0]) == (500, "fault")
    assert "division" not in str(results)
    assert outcomes(device.push(*batch)) == ["done"] * 3


def test_two_that_wait_for_each_other_are_told_and_lose_nothing(
    farm: tuple[Actor, UUID, UUID], committed: psycopg.Connection[Any]
) -> None:
    """PostgreSQL ends one of two transactions that wait for each other. Here it ends one operation."""
    owner, hill, one = farm
    two = make_animal(owner, hill, "AT 2")
    device = Device(make_member(owner, Role.MANAGER))

    def renamed(animal: UUID) -> dict[str, Any]:
        return operation("animal", "update", {"name": "phone"}, of=animal, base_version=1)

    locked, go = threading.Event(), threading.Event()

    def other() -> str:
        try:
            with unit_of_work(owner.tenant_id):
                Animal.objects.select_for_update().get(id=two)
                locked.set()
                assert go.wait(60)
                Animal.objects.select_for_update().get(id=one)
        except OperationalError as error:
            return type(error).__name__
        return ""

    wait = in_thread(other)
    assert locked.wait(60)
    batch = [renamed(one), renamed(two)]
    pushing = in_thread(lambda: device.push(*batch))
    await_waiting(committed)  # the push has the first and waits for the second
    go.set()
    lost, results = wait(), pushing()
    assert (lost, outcomes(results)) in [("OperationalError", ["done"] * 2), ("", ["done", "failed"])]
    assert outcomes(device.push(*batch)) == ["done"] * 2


def test_lost_answers_are_seen_in_the_next_pull(farm: tuple[Actor, UUID, UUID]) -> None:
    """What a pull shows of its operations, a device may take off its queue; nobody else sees them."""
    owner, _, animal = farm
    device, other = Device(owner), Device(make_member(owner, Role.MANAGER))
    batch = [weight_of(animal), operation("weight", "create", {})]
    device.push(*batch)
    for one in (device, other):
        one.pull()
    seen = {
        row["operation_id"]: row["outcome"] for (kind, _), row in device.copy.items() if kind == "operation"
    }
    assert seen == {batch[0]["id"]: "done", batch[1]["id"]: "refused"}
    assert "operation" not in other.kinds()


@pytest.mark.parametrize("size", [3, 12])
def test_the_questions_of_an_operation(farm: tuple[Actor, UUID, UUID], size: int) -> None:
    """A push asks five; each weight: savepoint, animal, row, audit, its form, release; and its answer."""
    owner, _, animal = farm
    device = Device(owner)
    batch = [weight_of(animal) for _ in range(size)]
    with CaptureQueriesContext(connection) as queries:
        device.push(*batch)
    told = [one["sql"] for one in queries if not one["sql"].startswith(("BEGIN", "COMMIT"))]
    assert len(told) == 4 + 7 * size, "\n".join(told)


def test_every_action_leads_to_a_handler_and_a_kind() -> None:
    for (kind, _), action in ACTIONS.items():
        assert kind in KINDS
        assert action.handler.input is not None or action.method == "delete"


def test_every_action_can_be_carried_out(committed: psycopg.Connection[Any]) -> None:
    """The bodies of the API's own examples are what a device sends."""
    owner = make_owner()
    examples = all_examples()
    rows: Any = type(
        "Rows", (dict,), {"__missing__": lambda s, k: s.setdefault(k, examples.rows[k](owner, s))}
    )()
    device = Device(owner)
    for action in ACTIONS.values():
        for argument in filter(None, (action.target, action.parent)):
            _ = rows[argument]
    in_order = sorted(ACTIONS.items(), key=lambda one: (one[1].method == "delete", one[0][0] == "animal"))
    routes = {pattern.callback.view_class: pattern.name for pattern in tenant_routes()}
    for number, ((kind, name), action) in enumerate(in_order, 1):
        data: dict[str, Any] = {}
        if action.handler.input is not None:
            data = dict(examples.bodies[routes[action.view], action.method.upper()](rows, number))
        if action.parent:
            data[action.parent] = str(rows[action.parent])
        key = uuid4()
        base: dict[str, Any] = {}
        if action.target:
            key = rows[action.target]
            if action.method == "delete" and routes[action.view] in examples.spares:
                key = examples.spares[routes[action.view]](owner, rows)
        if action.based:
            device.pull()
            base = {"base_version": device.copy[kind, str(key)]["version"]}
        (result,) = device.push(operation(kind, name, data, of=key, **base))
        assert result["outcome"] == "done", (kind, name, result)
    device.pull()
    assert plainly(device.copy) == plainly(truth(owner))
