"""What devices send: kept once, matched to the animal of its tags at that time, recorded, matched later, released."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from threading import Barrier
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ifarm.animals.growth import delete_weight
from ifarm.animals.models import Weight
from ifarm.animals.movements import move_animal
from ifarm.animals.services import delete_animal, issue_identifier
from ifarm.animals.tests.examples import make_animal
from ifarm.animals.words import IdentifierKind, MovementKind
from ifarm.api.tests.test_requests import Api, problem
from ifarm.audit.models import AuditEntry
from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.errors import Conflict, NotFound, RuleBroken
from ifarm.core.models import OutboxEvent
from ifarm.core.tests.factories import make_member, make_owner
from ifarm.core.tests.threads import in_thread
from ifarm.core.versions import Seen
from ifarm.devices import readings, services
from ifarm.devices.models import Device, DeviceReading, ReadingMatch
from ifarm.devices.selectors import list_readings
from ifarm.devices.tests.examples import make_device, weighing
from ifarm.devices.words import DeviceKind, Outcome, session_at
from ifarm.farms.services import create_farm
from ifarm.health.tests.examples import make_medicine, make_treatment
from ifarm.health.withdrawal import InWithdrawal
from ifarm.production.models import DailySummary, Production
from ifarm.production.words import Session

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
DAY = date(2024, 5, 1)
ELSA, BERTA = "040000000000001", "040000000000002"


class Barn:
    """A farm with two cows that have electronic tags, a scale and a milk meter."""

    def __init__(self, zone: str = "UTC") -> None:
        self.owner = make_owner()
        with unit_of_work(self.owner.tenant_id):
            self.farm: UUID = create_farm(self.owner, name="Hill", timezone=zone).id
        self.elsa, self.berta = self.cow("AT 1", ELSA), self.cow("AT 2", BERTA)
        self.scale = make_device(self.owner, self.farm)
        self.meter = make_device(self.owner, self.farm, DeviceKind.MILK_METER, "Stall 1")

    def cow(self, tag: str, eid: str = "", **fields: Any) -> UUID:
        known = [{"kind": "Eid", "value": eid}] if eid else []
        return make_animal(self.owner, self.farm, tag, identifiers=known, **fields)

    def send(self, *rows: Any, device: UUID | None = None, who: Actor | None = None) -> list[readings.Line]:
        with unit_of_work(self.owner.tenant_id):
            return readings.record_readings(who or self.owner, device or self.scale, rows)

    def milk(self, *rows: Any) -> list[readings.Line]:
        return self.send(*rows, device=self.meter)

    def weights(self) -> list[tuple[UUID, Decimal]]:
        with unit_of_work(self.owner.tenant_id):
            return list(Weight.objects.order_by("created_at", "id").values_list("animal_id", "weight_kg"))


def milking(name: str, moment: datetime = NOON, **rest: Any) -> dict[str, Any]:
    return {"source_id": name, "measured_at": moment, "milk_kg": Decimal("11.20"), "eid": ELSA, **rest}


def outcomes(lines: list[readings.Line]) -> list[str]:
    return [line.outcome.value for line in lines]


def why(line: readings.Line) -> str:
    assert line.problem is not None
    return line.problem.detail


@pytest.fixture
def barn(db: None) -> Barn:
    return Barn()


def test_a_weight_of_a_known_tag_becomes_a_weight_of_its_animal(barn: Barn) -> None:
    (line,) = barn.send(weighing(1, eid="40 000 000 000 001"))
    with unit_of_work(barn.owner.tenant_id):
        weight = Weight.objects.get()
        match = ReadingMatch.objects.get()
        assert line.outcome is Outcome.MATCHED
        assert line.reading is not None
        assert (match.reading_id, match.animal_id, match.record_id) == (line.reading.id, barn.elsa, weight.id)
        assert (weight.animal_id, weight.weighed_on, weight.method) == (barn.elsa, DAY, "LoadCell")
        assert (weight.source, weight.source_id) == (f"device:{barn.scale}", "w1")
        entry = AuditEntry.objects.get(action="readings_received")
        assert (entry.object_id, entry.changes) == (barn.scale, {"readings": {"matched": 1}})
        event = OutboxEvent.objects.get(type="device_readings_received")
        assert (event.aggregate_id, event.payload["matched"]) == (barn.scale, 1)
        assert AuditEntry.objects.filter(object_id=weight.id, action="created").exists()


def test_milk_of_a_known_tag_becomes_a_record_of_its_milking(barn: Barn) -> None:
    morning = NOON.replace(hour=5)
    lines = barn.milk(
        milking("a", morning, milk_use="Discarded"), milking("b", session="Evening"), milking("c", eid=BERTA)
    )
    assert outcomes(lines) == ["matched"] * 3
    with unit_of_work(barn.owner.tenant_id):
        rows = Production.objects.order_by("production_date", "source_id")
        told = [(row.animal_id, row.session, row.milk_use, row.source_id) for row in rows]
        assert told == [
            (barn.elsa, "Morning", "Discarded", "a"),
            (barn.elsa, "Evening", "Tank", "b"),
            (barn.berta, "Midday", "Tank", "c"),
        ]
        assert DailySummary.objects.get().milk_kg == Decimal("33.60")


def test_a_reader_of_tags_records_who_was_seen_and_nothing_else(barn: Barn) -> None:
    reader = make_device(barn.owner, barn.farm, DeviceKind.EID_READER, "Race")
    (line,) = barn.send({"source_id": "1", "measured_at": NOON, "eid": ELSA}, device=reader)
    assert line.match is not None
    assert (line.match.animal_id, line.match.record_id, barn.weights()) == (barn.elsa, None, [])


def test_the_same_batch_again_changes_nothing(barn: Barn) -> None:
    batch = [
        weighing(1, eid=ELSA),
        weighing(2, eid="040000000000009"),
        {**weighing(3), "weight_kg": Decimal(0)},
    ]
    first = barn.send(*batch)
    assert outcomes(first) == ["matched", "unmatched", "refused"]

    def everything() -> str:
        with connection.cursor() as cursor:
            names = ("devices_devicereading", "devices_readingmatch", "animals_weight", "audit_auditentry")
            cursor.execute(
                " UNION ALL ".join(
                    f"SELECT '{name}', md5(string_agg(t::text, '' ORDER BY t::text)) FROM {name} t"
                    for name in (*names, "core_outboxevent")
                )
            )
            return str(sorted(cursor.fetchall()))

    with unit_of_work(barn.owner.tenant_id):
        before, version = everything(), Device.objects.get(id=barn.scale).version
        again = barn.send(*batch)
        assert everything() == before
        assert Device.objects.get(id=barn.scale).version == version
    assert outcomes(again) == ["known", "known", "refused"]
    assert [line.reading and line.reading.id for line in again] == [
        line.reading and line.reading.id for line in first
    ]
    assert (again[0].match, again[1].match) == (first[0].match, None)


def test_a_source_id_is_one_reading_for_ever_and_for_each_device(barn: Barn) -> None:
    other = make_device(barn.owner, barn.farm, DeviceKind.WALK_OVER_SCALE, "Gate")
    heavier = {**weighing(1, eid=ELSA), "weight_kg": Decimal(600)}
    lines = barn.send(weighing(1, eid=ELSA), weighing(1, eid=ELSA), heavier)
    assert outcomes(lines) == ["matched", "known", "refused"]
    assert lines[1].match == lines[0].match
    assert isinstance(lines[2].problem, Conflict)
    assert "another reading" in why(barn.send(heavier)[0])
    assert outcomes(barn.send(heavier, device=other)) == ["matched"]
    assert barn.weights() == [(barn.elsa, Decimal("412.50")), (barn.elsa, Decimal("600.00"))]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"measured_at": NOON.replace(year=1970)}, "Set the device's clock"),
        ({"measured_at": datetime(2000, 1, 1, tzinfo=UTC)}, "Set the device's clock"),
        ({"measured_at": timezone.now() + timedelta(days=1)}, "Set the device's clock"),
        ({"weight_kg": Decimal(0)}, "from 0.01 to 2500"),
        ({"weight_kg": Decimal("-3")}, "from 0.01 to 2500"),
        ({"weight_kg": Decimal("2500.01")}, "from 0.01 to 2500"),
        ({"weight_kg": None}, "weight_kg and nothing else"),
        ({"milk_kg": Decimal(3)}, "weight_kg and nothing else"),
        ({"milk_use": "Tank"}, "nothing about milk"),
    ],
)
def test_what_a_scale_cannot_have_read_costs_its_row_only(
    barn: Barn, change: dict[str, Any], words: str
) -> None:
    lines = barn.send(weighing(1, eid=ELSA), {**weighing(2, eid=ELSA), **change}, weighing(3, eid=BERTA))
    assert outcomes(lines) == ["matched", "refused", "matched"]
    assert words in why(lines[1])
    with unit_of_work(barn.owner.tenant_id):
        assert DeviceReading.objects.count() == 2


def test_a_clock_that_is_minutes_ahead_is_believed(barn: Barn) -> None:
    ahead = timezone.now() + timedelta(minutes=5)
    assert outcomes(barn.send({**weighing(1, eid=ELSA), "measured_at": ahead})) == ["matched"]


def test_a_clock_that_is_ahead_leads_to_no_day_that_has_not_come(
    barn: Barn, clock: Callable[[datetime], None]
) -> None:
    """Two minutes before the new year the meter is five minutes ahead: the milk is of the old one."""
    now = datetime(2024, 12, 31, 23, 58, tzinfo=UTC)
    clock(now)
    assert outcomes(barn.milk(milking("a", now + timedelta(minutes=5)))) == ["matched"]
    assert outcomes(barn.send({**weighing(1, eid=ELSA), "measured_at": now + timedelta(minutes=5)})) == [
        "matched"
    ]
    with unit_of_work(barn.owner.tenant_id):
        milked, weight = Production.objects.get(), Weight.objects.get()
        assert (milked.production_date, milked.session) == (now.date(), "Evening")
        assert weight.weighed_on == now.date()


def test_other_devices_have_their_own_bounds(barn: Barn) -> None:
    reader = make_device(barn.owner, barn.farm, DeviceKind.EID_READER, "Race")
    lines = barn.milk({**milking("a"), "milk_kg": Decimal(151)}, {**milking("b"), "weight_kg": Decimal(3)})
    assert outcomes(lines) == ["refused", "refused"]
    seen = {"source_id": "1", "measured_at": NOON}
    lines = barn.send(seen, {**seen, "source_id": "2", "eid": ELSA, "weight_kg": Decimal(9)}, device=reader)
    assert outcomes(lines) == ["refused", "refused"]


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({}, "expected a tag"),
        ({"eid": "040000000000009"}, "expected an animal of 040000000000009 on the farm"),
        ({"eid": "no tag at all"}, "on the farm at that time"),
        ({"eid": ELSA, "visual_tag": "AT 2"}, "of two"),
    ],
)
def test_a_reading_of_nobody_is_kept(barn: Barn, tags: dict[str, str], words: str) -> None:
    (line,) = barn.send(weighing(1, **tags))
    assert (line.outcome, line.match, barn.weights()) == (Outcome.UNMATCHED, None, [])
    with unit_of_work(barn.owner.tenant_id):
        kept = DeviceReading.objects.get()
        assert words in kept.problem == why(line)
        assert kept.weight_kg == Decimal("412.50")


@pytest.mark.parametrize(
    "tags",
    [
        {"visual_tag": "at-0001"},
        {"eid": "040000000000009", "visual_tag": "AT 1"},
        {"eid": ELSA, "visual_tag": "7"},
    ],
)
def test_a_visual_tag_helps_where_the_electronic_one_does_not(barn: Barn, tags: dict[str, str]) -> None:
    barn.send(weighing(1, **tags))
    assert [animal for animal, _ in barn.weights()] == [barn.elsa]


def test_a_tag_is_its_animals_at_the_time_of_the_reading(barn: Barn) -> None:
    """The tag of one cow is replaced on a day and given to another the day after."""
    changed, given = DAY + timedelta(days=10), DAY + timedelta(days=11)
    with unit_of_work(barn.owner.tenant_id):
        for animal, value, day in (
            (barn.elsa, "040000000000003", changed),
            (barn.berta, ELSA, given),
        ):
            issue_identifier(barn.owner, animal, kind=IdentifierKind.EID, value=value, issued_on=day)
    at = [NOON + timedelta(days=days) for days in (-9999, 0, 10, 11, 12)]
    lines = barn.send(*({**weighing(n, eid=ELSA), "measured_at": moment} for n, moment in enumerate(at)))
    assert outcomes(lines) == ["refused", *["matched"] * 4]
    assert [line.match and line.match.animal_id for line in lines[1:]] == [
        barn.elsa,
        barn.elsa,  # the day of the change: it still had it in the morning
        barn.berta,
        barn.berta,
    ]


def test_who_was_elsewhere_or_not_there_yet_is_not_matched(barn: Barn) -> None:
    with unit_of_work(barn.owner.tenant_id):
        far = create_farm(barn.owner, name="Far").id
        move_animal(barn.owner, barn.elsa, kind=MovementKind.TRANSFER, moved_at=NOON, farm_id=far)
        move_animal(barn.owner, barn.berta, kind=MovementKind.DEPARTURE, moved_at=NOON, reason="Sale")
    before, after = NOON - timedelta(hours=1), NOON + timedelta(hours=1)
    lines = barn.send(
        *(
            {**weighing(n, eid=eid), "measured_at": moment}
            for n, (eid, moment) in enumerate(
                [(ELSA, before), (ELSA, after), (BERTA, before), (BERTA, after)]
            )
        )
    )
    assert outcomes(lines) == ["matched", "unmatched", "matched", "unmatched"]
    near = make_member(barn.owner, Role.WORKER, [barn.farm])
    (line,) = barn.send({**weighing(9, eid=ELSA), "measured_at": before}, who=near)
    assert "elsewhere by now" in why(line)
    (line,) = barn.send({**weighing(10, eid=ELSA), "measured_at": after}, who=near)
    assert "found none" in why(line)


def test_a_deleted_animal_is_not_matched(barn: Barn) -> None:
    with unit_of_work(barn.owner.tenant_id):
        delete_animal(barn.owner, barn.elsa)
    assert outcomes(barn.send(weighing(1, eid=ELSA))) == ["unmatched"]


@pytest.mark.django_db
def test_a_day_and_a_milking_are_those_of_the_farm() -> None:
    barn = Barn("Pacific/Auckland")
    late = datetime(2024, 4, 30, 17, 30, tzinfo=UTC)  # half past five in the morning, the first of May
    barn.milk(milking("a", late))
    barn.send({**weighing(1, eid=ELSA), "measured_at": late})
    with unit_of_work(barn.owner.tenant_id):
        assert (Production.objects.get().production_date, Production.objects.get().session) == (
            DAY,
            "Morning",
        )
        assert Weight.objects.get().weighed_on == DAY


def test_the_hours_of_the_day_are_all_of_some_milking() -> None:
    told = [session_at(NOON.replace(hour=hour)) for hour in range(24)]
    assert [told.count(one) for one in (Session.NIGHT, Session.MORNING, Session.MIDDAY, Session.EVENING)] == [
        4,
        7,
        4,
        9,
    ]


def test_milk_of_a_cow_in_withdrawal_waits_for_somebody_to_say_where_it_went(barn: Barn) -> None:
    make_treatment(barn.owner, barn.elsa, make_medicine(barn.owner), (NOON, 10))
    lines = barn.milk(
        milking("a"), milking("b", session="Evening", milk_use="Discarded"), milking("c", eid=BERTA)
    )
    assert outcomes(lines) == ["unmatched", "matched", "matched"]
    assert lines[0].problem is not None
    assert lines[0].problem.type == "in-withdrawal"
    assert lines[0].reading is not None
    with unit_of_work(barn.owner.tenant_id):
        kept = lines[0].reading.id
        with pytest.raises(InWithdrawal):
            readings.match_reading(barn.owner, kept)
        match = readings.match_reading(barn.owner, kept, milk_use="Calves")
        assert Production.objects.get(id=match.record_id).milk_use == "Calves"


def test_a_milking_that_is_recorded_already_leaves_the_reading_unmatched(barn: Barn) -> None:
    lines = barn.milk(milking("a"), milking("b", NOON + timedelta(minutes=1)), milking("c", eid=BERTA))
    assert outcomes(lines) == ["matched", "unmatched", "matched"]
    assert "recorded already" in why(lines[1])


def test_readings_are_matched_once_their_animal_is_known(barn: Barn) -> None:
    new = "040000000000009"
    old = {**weighing(3, eid=new), "measured_at": NOON - timedelta(days=200)}
    barn.send(weighing(1, eid=new), weighing(2), old)
    with unit_of_work(barn.owner.tenant_id):
        assert readings.match_again(barn.owner, barn.scale) == []
        assert outcomes(readings.match_again(barn.owner, barn.scale, since=NOON - timedelta(days=30))) == [
            "unmatched",
            "unmatched",
        ]
    calf = barn.cow("AT 3", new)
    with unit_of_work(barn.owner.tenant_id):
        since = NOON - timedelta(days=300)
        lines = readings.match_again(barn.owner, barn.scale, since=since)
        assert sorted(outcomes(lines)) == ["matched", "matched", "unmatched"]
        assert len(readings.match_again(barn.owner, barn.scale, since=since)) == 1
        told = OutboxEvent.objects.filter(type="device_reading_matched")
        assert {event.payload["animal_id"] for event in told} == {str(calf)}
        assert AuditEntry.objects.filter(model="devices.readingmatch").count() == 2
    assert [animal for animal, _ in barn.weights()] == [calf, calf]


def test_a_reading_is_matched_by_hand_released_and_matched_again(barn: Barn) -> None:
    (line,) = barn.send(weighing(1))
    assert line.reading is not None
    reading = line.reading.id
    with unit_of_work(barn.owner.tenant_id):
        readings.match_reading(barn.owner, reading, animal_id=barn.elsa)
        with pytest.raises(Conflict, match="already"):
            readings.match_reading(barn.owner, reading, animal_id=barn.berta)
        readings.release_reading(barn.owner, reading)
        assert not Weight.objects.exists()
        with pytest.raises(NotFound, match="of nobody"):
            readings.release_reading(barn.owner, reading)
        readings.match_reading(barn.owner, reading, animal_id=barn.berta)
        shown = list_readings(barn.owner).get()
        assert (shown.animal_id, shown.tag_number) == (barn.berta, "AT 2")
        delete_weight(barn.owner, shown.record_id)  # by itself; the match can still be released
        readings.release_reading(barn.owner, reading)
        assert list_readings(barn.owner).get().animal_id is None
    assert outcomes(barn.send(weighing(1))) == ["known"]


def test_released_milk_leaves_the_sum_of_its_day(barn: Barn) -> None:
    (line,) = barn.milk(milking("a"))
    assert line.reading is not None
    with unit_of_work(barn.owner.tenant_id):
        readings.release_reading(barn.owner, line.reading.id)
        assert (DailySummary.objects.get().records, Production.objects.count()) == (0, 0)


def test_only_who_was_on_the_farm_can_be_matched_by_hand(barn: Barn) -> None:
    (line,) = barn.send(weighing(1))
    assert line.reading is not None
    with unit_of_work(barn.owner.tenant_id):
        far = create_farm(barn.owner, name="Far").id
    stranger = make_animal(barn.owner, far, "AT 9")
    with unit_of_work(barn.owner.tenant_id), pytest.raises(RuleBroken, match="never was"):
        readings.match_reading(barn.owner, line.reading.id, animal_id=stranger)


def test_nothing_changes_a_reading_not_even_the_database(barn: Barn) -> None:
    barn.send(weighing(1))
    with unit_of_work(barn.owner.tenant_id), connection.cursor() as cursor:
        for text in ("UPDATE devices_devicereading SET weight_kg = 1", "DELETE FROM devices_devicereading"):
            cursor.execute(text)
            assert cursor.rowcount == 0
        assert DeviceReading.objects.get().weight_kg == Decimal("412.50")


def test_a_device_that_is_switched_off_sends_in_vain(barn: Barn) -> None:
    with unit_of_work(barn.owner.tenant_id):
        services.update_device(barn.owner, barn.scale, {"is_active": False}, Seen(1))
    with pytest.raises(RuleBroken, match="switched off"):
        barn.send(weighing(1))


def test_a_device_was_last_seen_when_it_last_sent_whatever_it_sent(barn: Barn) -> None:
    before = timezone.now()
    barn.send({**weighing(1), "weight_kg": Decimal(0)})
    with unit_of_work(barn.owner.tenant_id):
        device = Device.objects.get(id=barn.scale)
        assert device.last_seen_at is not None
        assert before <= device.last_seen_at <= timezone.now()
        assert (device.version, Device.objects.get(id=barn.meter).last_seen_at) == (1, None)


def test_a_device_that_moves_leaves_its_readings_behind(barn: Barn) -> None:
    barn.send(weighing(1, eid=ELSA))
    with unit_of_work(barn.owner.tenant_id):
        far = create_farm(barn.owner, name="Far").id
        services.update_device(barn.owner, barn.scale, {"farm_id": far}, Seen(1))
    there, here = (make_member(barn.owner, Role.WORKER, [farm]) for farm in (far, barn.farm))
    assert outcomes(barn.send(weighing(2, eid=ELSA), who=there)) == ["unmatched"]
    with pytest.raises(NotFound):
        barn.send(weighing(3, eid=ELSA), who=here)
    with unit_of_work(barn.owner.tenant_id):
        assert [one.source_id for one in list_readings(there)] == ["w2"]
        assert [one.source_id for one in list_readings(here)] == ["w1"]
        assert (
            readings.match_again(barn.owner, barn.scale, since=NOON - timedelta(days=1))[0].source_id == "w2"
        )


def test_a_key_adds_readings_of_its_device_and_can_do_nothing_else(barn: Barn) -> None:
    api = Api(barn.owner)
    made = api("POST", f"devices/{barn.scale}/key/").json()
    row = {"source_id": "1", "measured_at": "2024-05-01T06:00:00Z", "weight_kg": "400", "eid": ELSA}

    def send(secret: str, path: str, method: str = "POST", body: Any = None) -> int:
        url = f"/api/v1/tenants/{barn.owner.tenant_id}/{path}"
        headers = {"Authorization": f"Bearer {secret}"}
        return (
            Client()
            .generic(
                method,
                url,
                b"" if body is None else str(body).replace("'", '"'),
                "application/json",
                headers=headers,
            )
            .status_code
        )

    mine = f"devices/{barn.scale}/readings/"
    assert send(made["secret"], mine, body={"rows": [row]}) == 200
    assert send(made["secret"], f"devices/{barn.meter}/readings/", body={"rows": [row]}) == 404
    for path in ("animals/", "devices/", mine, f"animals/{barn.elsa}/", "users/"):
        assert send(made["secret"], path, "GET") == 403
    assert (
        send(
            made["secret"],
            f"animals/{barn.elsa}/weights/",
            body={"weighed_on": "2024-05-01", "weight_kg": "1"},
        )
        == 403
    )
    renewed = api("POST", f"devices/{barn.scale}/key/").json()
    assert send(made["secret"], mine, body={"rows": [row]}) == 401
    assert send(renewed["secret"], mine, body={"rows": [row]}) == 200
    assert renewed["token_id"] != made["token_id"] == api("GET", "tokens/").json()["results"][-2]["id"]
    assert "secret" not in api("GET", f"devices/{barn.scale}/").json()


def test_a_batch_answers_row_by_row(barn: Barn) -> None:
    api = Api(barn.owner)
    good = {"source_id": "1", "measured_at": "2024-05-01T08:00:00+02:00", "weight_kg": "400", "eid": ELSA}
    rows: list[Any] = [
        good,
        {**good, "source_id": "2", "measured_at": "2024-05-01T08:00:00"},
        {**good, "source_id": "3", "weight_kg": "heavy"},
        {"source_id": "4"},
        "nothing",
        {**good, "source_id": "5", "eid": "123"},
        {**good, "source_id": "6", "weight_kg": "NaN"},
    ]
    answer = api("POST", f"devices/{barn.scale}/readings/", {"rows": rows})
    assert answer.status_code == 200, answer.content
    told = answer.json()
    counts = {word: told[word] for word in ("matched", "unmatched", "known", "refused")}
    assert counts == {"matched": 1, "unmatched": 1, "known": 0, "refused": 5}
    first, offset, heavy, missing, nothing, nobody, nan = told["rows"]
    assert (first["number"], first["outcome"], first["animal_id"], first["problem"]) == (
        0,
        "matched",
        str(barn.elsa),
        None,
    )
    assert first["record_id"] and first["reading_id"]
    assert offset["problem"]["errors"][0]["pointer"] == "#/measured_at"
    assert "offset" in offset["problem"]["errors"][0]["detail"]
    assert [one["pointer"] for one in heavy["problem"]["errors"]] == ["#/weight_kg"]
    assert {one["pointer"] for one in missing["problem"]["errors"]} == {"#/measured_at"}
    assert {one["outcome"] for one in (offset, heavy, missing, nothing, nan)} == {"refused"}
    assert (nobody["outcome"], nobody["problem"]["type"]) == ("unmatched", "urn:ifarm:problem:rule-broken")
    listed = api("GET", "device-readings/?matched=false").json()["results"]
    assert [row["source_id"] for row in listed] == ["5"]
    listed = api("GET", f"devices/{barn.scale}/readings/?matched=true&animal_id={barn.elsa}").json()[
        "results"
    ]
    assert [row["source_id"] for row in listed] == ["1"]


@pytest.mark.parametrize("rows", [[], None, {}, "rows", [{}] * 1001])
def test_a_body_that_is_no_batch_is_refused_as_a_whole(barn: Barn, rows: Any) -> None:
    answer = Api(barn.owner)("POST", f"devices/{barn.scale}/readings/", {"rows": rows})
    assert problem(answer) == (400, "invalid")


def test_a_thousand_rows_are_one_batch(barn: Barn) -> None:
    moment = NOON
    rows = [
        {**weighing(n, eid=(ELSA, BERTA)[n % 2]), "measured_at": moment + timedelta(seconds=n)}
        for n in range(1000)
    ]
    assert outcomes(barn.send(*rows)) == ["matched"] * 1000
    assert outcomes(barn.send(*rows)) == ["known"] * 1000
    assert len(barn.weights()) == 1000


def test_a_row_more_costs_a_weight_more(barn: Barn) -> None:
    """Everything else is asked and stored for the whole batch at once."""

    def queries(*numbers: int) -> int:
        with CaptureQueriesContext(connection) as told:
            assert outcomes(barn.send(*(weighing(n, eid=ELSA) for n in numbers))) == ["matched"] * len(
                numbers
            )
        return len(told)

    few, many = queries(*range(10)), queries(*range(10, 40))
    assert many - few == 20 * len(["savepoint", "animal", "weight", "audit", "release"])


def test_devices_of_a_farm_and_serial_numbers_differ(barn: Barn) -> None:
    api = Api(barn.owner)
    body = {"farm_id": str(barn.farm), "kind": "Scale", "name": "crush"}
    assert problem(api("POST", "devices/", body)) == (409, "conflict")
    named = {**body, "manufacturer_name": "Gallagher", "serial": "S1"}
    assert api("POST", "devices/", {**named, "name": "A"}).status_code == 201
    answer = api("POST", "devices/", {**named, "name": "B"})
    assert (problem(answer), answer.json()["constraint"]) == ((409, "conflict"), "one_device_per_serial")
    silent = api("GET", "devices/?unseen_since=2024-01-01T00:00:00Z&kind=Scale").json()["results"]
    assert [row["name"] for row in silent] == ["A", "Crush"]


def test_the_same_batch_by_two_at_once_is_stored_once(committed: psycopg.Connection[Any]) -> None:
    barn = Barn()
    rows = [weighing(n, eid=(ELSA, BERTA)[n % 2]) for n in range(40)]
    start = Barrier(2, timeout=60)

    def send() -> list[str]:
        start.wait()
        return outcomes(barn.send(*rows))

    one, two = [wait() for wait in [in_thread(send), in_thread(send)]]
    assert sorted([one, two]) == [["known"] * 40, ["matched"] * 40]
    for table in ("devices_devicereading", "devices_readingmatch", "animals_weight"):
        assert committed.execute(f"SELECT count(*) FROM {table}".encode()).fetchall() == [(40,)]


def test_two_meters_that_send_the_same_days_in_another_order_do_not_block_each_other(
    committed: psycopg.Connection[Any],
) -> None:
    barn = Barn()
    second = make_device(barn.owner, barn.farm, DeviceKind.MILK_METER, "Stall 2")
    days = [NOON + timedelta(days=number) for number in range(8)]
    batches = {
        barn.meter: [milking(f"a{n}", day) for n, day in enumerate(days)],
        second: [milking(f"b{n}", day, eid=BERTA) for n, day in enumerate(reversed(days))],
    }
    start = Barrier(2, timeout=60)

    def send(device: UUID) -> list[str]:
        start.wait()
        return outcomes(barn.send(*batches[device], device=device))

    waits = [in_thread(lambda device=device: send(device)) for device in batches]  # type: ignore[misc]
    assert [wait() for wait in waits] == [["matched"] * 8] * 2
    rows = committed.execute("SELECT DISTINCT records, milk_kg FROM production_dailysummary").fetchall()
    assert rows == [(2, Decimal("22.40"))]
