"""What one tenant tells, another understands, and tells the same."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ifarm.animals.models import Animal, Movement, Weight
from ifarm.animals.movements import move_animal
from ifarm.animals.words import MovementKind
from ifarm.config.django.test import OWNER, PASSWORD
from ifarm.conftest import empty
from ifarm.core.actors import Role
from ifarm.core.context import unit_of_work
from ifarm.core.tests.factories import make_member, make_owner, make_token
from ifarm.farms.services import create_farm
from ifarm.health.models import MedicineBatch, Treatment
from ifarm.health.tests.examples import make_treatment
from ifarm.icar.tests.examples import ROWS, described, event, tag
from ifarm.icar.tests.herd import IN_ORDER, Side, at, keep_herd
from understudy.embedded import EmbeddedPostgreSQL

pytestmark = pytest.mark.django_db

LOCAL = frozenset({"id", "location", "modified", "created"})
"""What each side says of its own rows."""


def plain(told: Any) -> Any:
    """Without what differs from side to side; an animal's and a breed's id stays."""
    if isinstance(told, list):
        return [plain(one) for one in told]
    if not isinstance(told, dict):
        return told
    if set(told) == {"scheme", "id"}:
        return told
    return {key: plain(value) for key, value in told.items() if key not in LOCAL}


def by_source(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {row["meta"]["sourceId"]: plain(row) for row in rows}


def severities(results: list[dict[str, Any]]) -> list[set[str]]:
    return [{message["severity"] for message in one["messages"]} for one in results]


@pytest.fixture(scope="module")
def sides(
    django_db_setup: None, django_db_blocker: Any, server: EmbeddedPostgreSQL
) -> Iterator[tuple[Side, Side]]:
    """One with a herd, one without; each test rolls back what it does."""
    with django_db_blocker.unblock():
        mine, theirs = Side(make_owner()), Side(make_owner("Elsewhere"))
        keep_herd(mine)
        yield mine, theirs
        connection.close()
    with psycopg.connect(server.dsn(OWNER, "test_ifarm", PASSWORD), autocommit=True) as owner:
        empty(owner)


def test_there_is_something_to_tell_of_everything(sides: tuple[Side, Side]) -> None:
    assert {name: len(rows) for name, rows in sides[0].everything().items()} == {
        "births": 4,
        "arrivals": 1,
        "animals": 6,
        "departures": 1,
        "deaths": 1,
        "weights": 4,
        "milking-visits": 4,
        "test-day-results": 1,
        "treatments": 3,
        "heats": 1,
        "inseminations": 2,
        "pregnancy-checks": 2,
        "abortions": 1,
        "parturitions": 1,
    }


def test_what_is_sent_to_another_tenant_is_told_the_same_there(sides: tuple[Side, Side]) -> None:
    mine, theirs = sides
    told = mine.everything()
    for name in IN_ORDER:
        results = theirs.send(name, told[name])
        assert [one["meta"]["sourceId"] for one in results] == [r["meta"]["sourceId"] for r in told[name]]
        assert not [one for one in results if one["id"] is None], (name, results)
        # a parent that is no animal of the herd comes with `animals`
        fine = {"Information", "Warning"} if name in ("births", "arrivals") else {"Information"}
        assert not [s for s in severities(results) if s - fine], (name, results)
    again = theirs.everything()
    for name in IN_ORDER:
        assert by_source(again[name]) == by_source(told[name]), name
    with unit_of_work(theirs.actor.tenant_id):
        batch = MedicineBatch.objects.get()
        assert batch.on_hand == 1000 - 37.5
        course = Treatment.objects.get(target="mastitis")
        assert {clock.product: str(clock.free_on) for clock in course.withdrawals.all()} == {
            "Meat": "2024-06-01",
            "Milk": "2024-05-06",
        }


def test_sent_twice_it_is_recorded_once(sides: tuple[Side, Side]) -> None:
    mine, theirs = sides
    told = mine.everything()
    first = {name: theirs.send(name, told[name]) for name in IN_ORDER}
    before = theirs.everything()
    for name in IN_ORDER:
        second = theirs.send(name, told[name])
        assert [one["id"] for one in second] == [one["id"] for one in first[name]]
        assert severities(second) == [{"Information"}] * len(second), name
    assert theirs.everything() == before


def test_twice_in_one_batch_is_recorded_once(sides: tuple[Side, Side]) -> None:
    row = event("AT 100", "2024-06-02T08:00:00Z", "w1", weight={"measurement": 500})
    first, second = sides[0].send("weights", [row, row])
    assert first["id"] == second["id"]
    assert (first["messages"], [one["severity"] for one in second["messages"]]) == ([], ["Information"])


def test_each_row_has_its_own_result(sides: tuple[Side, Side]) -> None:
    mine = sides[0]
    good = event("at 0100", "2024-06-02T08:00:00Z", "w1", weight={"measurement": 1000, "units": "LBR"})
    rows = [
        event("AT 777", "2024-06-02T08:00:00Z", "w2", weight={"measurement": 500}),
        good,
        event("AT 100", "2019-06-02T08:00:00Z", "w3", weight={"measurement": 500}),
        event("AT 100", "2024-06-02T08:00:00Z", "w4", weight={"measurement": 500, "method": "Scales"}),
        event("AT 100", "2024-06-02T08:00:00Z", "w5"),
        {"weight": 3},
        event("AT 100", "2199-06-02T08:00:00Z", "w6", weight={"measurement": 500}),
        event("AT 100", "2024-06-02T08:00:00Z", "w7", weight={"measurement": 500, "units": "STO"}),
        {**good, "meta": {**good["meta"], "source": "s" * 61}},
    ]
    results = mine.send("weights", rows)
    assert [one["id"] is not None for one in results] == [False, True, *[False] * 7]
    problems = [one["messages"][0] for number, one in enumerate(results) if number != 1]
    assert [one["severity"] for one in problems] == ["Error"] * 8
    assert [one["status"] for one in problems] == [422, 422, 422, 400, 400, 422, 422, 400]
    assert [one["instance"] for one in problems] == [f"#/{number}" for number in (0, 2, 3, 4, 5, 6, 7, 8)]
    assert "#/weight: This field is required." in problems[3]["detail"]
    assert results[5]["meta"] == {"source": None, "sourceId": None, "modified": None}
    with unit_of_work(mine.actor.tenant_id):
        assert str(Weight.objects.get(source="org.example").weight_kg) == "453.59"


def test_rows_are_carried_out_in_the_order_of_their_time(sides: tuple[Side, Side]) -> None:
    rows = [
        event("AT 200", "2024-09-01T08:00:00Z", "2", arrivalReason="AgistmentReturn"),
        event("AT 200", "2024-10-01T08:00:00Z", "3", arrivalReason="ShowReturn"),
    ]
    for moment, number in (("2024-08-01T08:00:00Z", "1"), ("2024-09-15T08:00:00Z", "4")):
        assert sides[0].one("departures", event("AT 200", moment, number))["messages"] == [] or number == "4"
        if number == "1":
            results = sides[0].send("arrivals", [rows[1], rows[0]])
            assert [one["id"] is not None for one in results] == [False, True]  # it never left again


@pytest.mark.parametrize("body", [{}, [], [1], ["a"], None, [[{}]]])
def test_a_batch_is_an_array_of_objects(sides: tuple[Side, Side], body: Any) -> None:
    assert sides[0].send("weights", body, 400)["type"] == "urn:ifarm:problem:invalid"


def test_an_animal_alone_says_not_since_when_it_is_here(sides: tuple[Side, Side]) -> None:
    mine = sides[0]
    found = mine.one("animals", described("XX 1", status="Alive"))
    assert (found["id"], found["messages"][0]["status"]) == (None, 422)
    born = event("XX 1", "2024-02-01T08:00:00Z", "b1", animalDetail=described("XX 1"))
    assert mine.one("births", born)["messages"] == []
    with unit_of_work(mine.actor.tenant_id):
        animal = Animal.objects.get(tag_number="XX 1")
        assert (str(animal.birth_date), animal.status) == ("2023-03-01", "Alive")
        assert animal.icar_sources.get().source_id == "animal XX 1"


def test_registered_is_not_born_here(sides: tuple[Side, Side]) -> None:
    row = event("XX 1", "2024-02-01T08:00:00Z", "b1", animalDetail=described("XX 1"))
    assert sides[0].one("births", {**row, "registrationReason": "Registered"})["messages"] == []
    with unit_of_work(sides[0].actor.tenant_id):
        movement = Movement.objects.get(animal__tag_number="XX 1")
        assert (movement.kind, movement.reason, movement.source_id) == ("Arrival", "Other", "b1")


def test_a_new_animal_needs_a_description_of_itself(sides: tuple[Side, Side]) -> None:
    bare = event("XX 1", "2024-02-01T08:00:00Z", "b1")
    other = {**bare, "animalDetail": described("XX 2")}
    eid = {"scheme": "ifarm.eid", "id": "040000000000777"}
    strange = {"scheme": "nl.ubn", "id": "1"}
    for row in (
        bare,
        other,
        {**bare, "animal": eid, "animalDetail": {**described("XX 1"), "identifier": eid}},
        {**bare, "animal": strange},
        {**bare, "animalDetail": described("XX 1", specie="Chicken")},
        {**bare, "animalDetail": described("XX 1", breedFractions=fractions("XXX", 1))},
    ):
        found = sides[0].one("births", row)
        assert found["id"] is None
        assert found["messages"][0]["severity"] == "Error"


def fractions(code: str, part: float) -> dict[str, Any]:
    breed = {"scheme": "ifarm.breed", "id": code}
    return {"denominator": 1, "fractions": [{"breed": breed, "fraction": part}]}


def test_fractions_become_whole_parts(sides: tuple[Side, Side]) -> None:
    half = fractions("SIM", 0.5)
    half["fractions"] += fractions("HOL", 0.5)["fractions"]
    row = event("XX 1", "2024-02-01T08:00:00Z", "b1", animalDetail=described("XX 1", breedFractions=half))
    assert sides[0].one("births", row)["messages"] == []
    with unit_of_work(sides[0].actor.tenant_id):
        parts = Animal.objects.get(tag_number="XX 1").breed_fractions.values_list("breed__code", "parts")
        assert sorted(parts) == [("HOL", 512), ("SIM", 512)]


def test_parents_may_come_later_in_the_batch(sides: tuple[Side, Side]) -> None:
    def with_sire(identifier: str) -> list[dict[str, Any]]:
        return [{"parentOf": tag("XX 1"), "gender": "Male", "identifier": tag(identifier)}]

    calf = described("XX 1", status="OffFarm", parentage=with_sire("XX 2"))
    bull = described("XX 2", status="OffFarm", gender="Male", birthDate="2019-01-01T12:00:00Z")
    results = sides[0].send("animals", [calf, bull])
    assert severities(results) == [set(), set()]
    with unit_of_work(sides[0].actor.tenant_id):
        assert Animal.objects.get(tag_number="XX 1").parents.get().parent.tag_number == "XX 2"
    unknown = described(
        "XX 3", status="OffFarm", parentage=[{**with_sire("XX 9")[0], "parentOf": tag("XX 3")}]
    )
    (found,) = sides[0].send("animals", [unknown])
    assert found["id"] is not None
    assert [one["severity"] for one in found["messages"]] == ["Warning"]
    other = described("XX 1", status="OffFarm", parentage=with_sire("AT 900"))
    (found,) = sides[0].send("animals", [other])  # somebody has said who it is
    assert {one["severity"] for one in found["messages"]} == {"Information", "Warning"}
    older = described("XX 2", status="OffFarm", parentage=[{**with_sire("XX 1")[0], "parentOf": tag("XX 2")}])
    (found,) = sides[0].send("animals", [older])  # a cycle, and of the wrong sex
    assert {one["severity"] for one in found["messages"]} == {"Information", "Error"}


def test_deleted_rows_go_where_they_may(sides: tuple[Side, Side]) -> None:
    mine = sides[0]
    row = event("AT 100", "2024-06-02T08:00:00Z", "w1", weight={"measurement": 500})
    mine.one("weights", row)
    gone = {**row, "meta": {**row["meta"], "isDeleted": True}}
    worker = make_token(make_member(mine.actor, Role.WORKER))
    (refused,) = mine.send("weights", [gone], token=worker)
    assert refused["messages"][0]["status"] == 403
    assert mine.one("weights", gone)["messages"][0]["severity"] == "Information"
    with unit_of_work(mine.actor.tenant_id):
        assert not Weight.objects.filter(source_id="w1").exists()
    assert mine.one("weights", gone)["messages"][0]["detail"].startswith("It is not here")
    left = event("AT 100", "2024-08-01T08:00:00Z", "d1", departureReason="Sale")
    mine.one("departures", left)
    stays = mine.one("departures", {**left, "meta": {**left["meta"], "isDeleted": True}})
    assert stays["messages"][0]["status"] == 422


def test_withdrawal_holds_for_what_others_send(sides: tuple[Side, Side]) -> None:
    mine = sides[0]
    in_withdrawal = event("AT 100", "2024-05-10T08:00:00Z", "d1", departureReason="Sale")
    assert mine.one("departures", in_withdrawal)["messages"][0]["type"] == "urn:ifarm:problem:in-withdrawal"
    short = event(
        "AT 100",
        "2024-07-10T08:00:00Z",
        "r1",
        medicine={"name": "PENICILLIN"},
        dose={"doseQuantity": 3, "doseUnits": "MLT"},
        batches=[{"identifier": "B 99"}],
        withdrawals=[{"productType": "Meat", "endDate": "2024-07-12T12:00:00Z"}],
    )
    found = mine.one("treatments", short)
    assert [one["severity"] for one in found["messages"]] == ["Warning", "Warning"]
    with unit_of_work(mine.actor.tenant_id):
        meat = Treatment.objects.get(id=found["id"]).withdrawals.get(product="Meat")
        assert str(meat.free_on) == "2024-08-08"  # as the label says
    unknown = {**short, "meta": {**short["meta"], "sourceId": "r2"}, "medicine": {"name": "Unheard of"}}
    assert "Record it first" in mine.one("treatments", unknown)["messages"][0]["detail"]


def test_a_transfer_is_told_at_both_farms_and_received_once(sides: tuple[Side, Side]) -> None:
    mine, theirs = sides
    there = copy(mine)  # a second farm of the same tenant
    with unit_of_work(mine.actor.tenant_id):
        there.farm_id = create_farm(mine.actor, name="Vale", timezone="Europe/Vienna").id
        cow = Animal.objects.get(tag_number="AT 100")
        move_animal(mine.actor, cow.id, kind=MovementKind.TRANSFER, moved_at=at(9, 1), farm_id=there.farm_id)
    (left,) = [one for one in mine.members("departures") if one["departureKind"] == "InternalTransfer"]
    (came,) = there.members("arrivals")
    assert left["consignment"]["destinationLocation"]["id"] == str(there.farm_id)
    assert came["consignment"]["originLocation"]["id"] == str(mine.farm_id)
    assert left["meta"]["sourceId"] == came["meta"]["sourceId"]
    assert theirs.one("arrivals", came)["id"] is not None  # a new animal there
    row = event("AT 200", "2024-09-02T08:00:00Z", "t1", arrivalReason="InternalTransfer")
    assert there.one("arrivals", row)["messages"] == []
    with unit_of_work(mine.actor.tenant_id):
        assert Movement.objects.get(source_id="t1").kind == "Transfer"
        assert Animal.objects.get(tag_number="AT 200").farm_id == there.farm_id


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FAT", "4,1"),
        ("FAT", "NaN"),
        ("SCC", "Infinity"),
        ("PROTEIN", "1e99"),
        ("SCC", "1e20"),
        ("FAT", "99"),
    ],
)
def test_characteristics_that_are_none(sides: tuple[Side, Side], name: str, value: str) -> None:
    row = ROWS["milking-visits"] | {"milkCharacteristics": [{"characteristic": name, "value": value}]}
    (message,) = sides[0].one("milking-visits", {**row, "animal": tag("AT 200")})["messages"]
    assert (message["severity"], message["status"] in (400, 409, 422)) == ("Error", True)


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2024-06-02T08:00:00"])
def test_times_that_are_none(sides: tuple[Side, Side], moment: str) -> None:
    row = event("AT 100", moment, "w1", weight={"measurement": 500})
    (message,) = sides[0].one("weights", row)["messages"]
    assert (message["severity"], message["status"]) == ("Error", 400)


def test_a_milking_is_of_its_own_day(sides: tuple[Side, Side]) -> None:
    row = ROWS["milking-visits"] | {"milkingShiftLocalStartDate": "0001-01-01", "milkingShiftNumber": 1}
    (message,) = sides[0].one("milking-visits", {**row, "animal": tag("AT 200")})["messages"]
    assert "expected 2024-01-05" in message["detail"]


def test_milkings_are_known_by_their_hour(sides: tuple[Side, Side]) -> None:
    mine = sides[0]
    weight = {"milkingMilkWeight": {"unitCode": "KGM", "value": 5}}
    hours = {"01:30": ("2024-03-09", "Night"), "06:00": ("2024-03-10", "Morning")}
    hours |= {"11:00": ("2024-03-10", "Midday"), "16:30": ("2024-03-10", "Evening")}
    for number, (hour, (day, session)) in enumerate(hours.items()):
        row = {
            "meta": {"source": "robot", "sourceId": str(number)},
            "animal": tag("AT 200"),
            "milkingStartingDateTime": f"2024-03-10T{hour}:00+01:00",
            **weight,
        }
        found = mine.one("milking-visits", row)
        assert found["messages"] == []
        (told,) = [one for one in mine.members("milking-visits") if one["meta"]["source"] == "robot"][number:]
        assert told["milkingShiftLocalStartDate"] == day
        assert {"Night": 4, "Morning": 1, "Midday": 2, "Evening": 3}[session] == told["milkingShiftNumber"]


def test_milk_of_the_night_is_withheld_by_the_day_it_was_taken_on(sides: tuple[Side, Side]) -> None:
    """It counts to the day before, when the animal was not treated yet."""
    mine = sides[0]
    with unit_of_work(mine.actor.tenant_id):
        cow = Animal.objects.get(tag_number="AT 200").id
    make_treatment(mine.actor, cow, mine.medicine_id, (datetime(2024, 3, 9, 23, 30, tzinfo=UTC), 10))
    row = {
        "meta": {"source": "robot", "sourceId": "1"},
        "animal": tag("AT 200"),
        "milkingMilkWeight": {"unitCode": "KGM", "value": 5},
    }
    told = [
        mine.one("milking-visits", {**row, "milkingStartingDateTime": f"2024-03-{when}:00+01:00"})
        for when in ("10T01:30", "09T23:30")
    ]
    assert told[0]["messages"][0]["type"] == "urn:ifarm:problem:in-withdrawal"
    assert told[1]["messages"] == []


def test_what_has_changed_since(sides: tuple[Side, Side]) -> None:
    mine = sides[0]
    rows = mine.members("weights")
    times = [row["meta"]["modified"] for row in rows]
    assert times == sorted(times)
    since = mine.get(f"{mine.url('weights')}?meta-modified-from={times[2]}")["member"]
    assert [row["id"] for row in since] == [row["id"] for row in rows if row["meta"]["modified"] >= times[2]]
    until = mine.get(f"{mine.url('weights')}?meta-modified-to={times[2]}")["member"]
    assert [row["id"] for row in until] == [row["id"] for row in rows if row["meta"]["modified"] < times[2]]
    mine.get(f"{mine.url('weights')}?meta-modified-from=yesterday", 400)


def test_pages_show_every_row_once(sides: tuple[Side, Side]) -> None:
    for name in IN_ORDER:
        assert sides[0].members(name, size=1) == sides[0].members(name)


def test_a_longer_collection_costs_no_more_queries(sides: tuple[Side, Side]) -> None:
    mine = sides[0]
    found = {}
    for name in IN_ORDER:
        with CaptureQueriesContext(connection) as made:
            mine.get(mine.url(name))
        found[name] = len([q for q in made if not q["sql"].startswith(("SAVEPOINT", "RELEASE"))])
    # tenant, token, farm, rows; of animals: identifiers, sources, breeds, parents; of treatments: clocks, doses
    assert found == {
        **dict.fromkeys(IN_ORDER, 4),
        **dict.fromkeys(("births", "arrivals", "animals"), 8),
        "treatments": 6,
        "parturitions": 5,
    }


def test_an_actor_of_another_farm_reaches_no_animal_of_this_one(sides: tuple[Side, Side]) -> None:
    mine = sides[0]
    with unit_of_work(mine.actor.tenant_id):
        vale = create_farm(mine.actor, name="Vale").id
    worker = make_token(make_member(mine.actor, Role.WORKER, [vale]))
    row = event("AT 100", "2024-06-02T08:00:00Z", "w1", weight={"measurement": 500})
    mine.send("weights", [row], 404, worker)
    there = copy(mine)
    there.farm_id = vale
    (found,) = there.send("weights", [row], token=worker)
    assert found["messages"][0]["status"] == 422
    assert "expected one that is recorded here" in found["messages"][0]["detail"]
