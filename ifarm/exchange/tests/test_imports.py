"""What becomes of each row, whoever sends it, however often, and wherever it is cut off."""

from __future__ import annotations

import csv
import io
import signal
import subprocess
import sys
import time
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.client import encode_multipart
from django.test.utils import CaptureQueriesContext

from ifarm.animals.groups import create_group
from ifarm.animals.models import Animal, AnimalIdentifier, GroupMembership, Movement, Parentage, Weight
from ifarm.animals.services import create_animal, delete_animal
from ifarm.config.django.test import PORT
from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.errors import Invalid, NotAllowed, RuleBroken
from ifarm.core.models import OutboxEvent
from ifarm.core.tests.factories import make_member, make_owner, make_token
from ifarm.core.tests.roles import as_owner
from ifarm.core.tests.threads import in_thread
from ifarm.exchange import running, services
from ifarm.exchange.models import AnimalSource, ImportJob, ImportRow
from ifarm.exchange.running import TRIES, run_import, run_waiting_imports
from ifarm.exchange.selectors import error_rows
from ifarm.exchange.services import start_import
from ifarm.exchange.tests.examples import as_csv, cow
from ifarm.exchange.words import Kind
from ifarm.farms.services import create_farm, create_paddock
from ifarm.permissions.models import Membership
from ifarm.production.models import DailySummary, Production

VIENNA = ZoneInfo("Europe/Vienna")


class Hill:
    """A tenant with a farm, and what was imported into it."""

    def __init__(self) -> None:
        self.owner: Actor = make_owner()
        with unit_of_work(self.owner.tenant_id):
            self.farm = create_farm(self.owner, name="Hill", holding_number="AT-7", timezone="Europe/Vienna")
            self.other = create_farm(self.owner, name="Vale")
            create_paddock(self.owner, farm_id=self.farm.id, name="West")
            create_paddock(self.owner, farm_id=self.other.id, name="South")
            create_group(self.owner, farm_id=self.farm.id, name="Milking 1", kind="Milking")
            create_group(self.owner, farm_id=self.farm.id, name="Feed A", kind="Feeding")
            create_group(self.owner, farm_id=self.farm.id, name="Feed B", kind="Feeding")

    def bring(self, kind: Kind, *rows: dict[str, Any], by: Actor | None = None, **options: Any) -> ImportJob:
        with unit_of_work(self.owner.tenant_id):
            return start_import(by or self.owner, kind=kind, body=as_csv(*rows), **options)

    def animals(self, *rows: dict[str, Any], **options: Any) -> ImportJob:
        return self.bring(Kind.ANIMALS, *({"farm": "Hill", **row} for row in rows), **options)

    def states(self, job: ImportJob) -> dict[int, str]:
        with unit_of_work(self.owner.tenant_id):
            return dict(ImportRow.objects.filter(job=job).order_by("number").values_list("number", "state"))

    def errors(self, job: ImportJob) -> list[tuple[int, str, str]]:
        with unit_of_work(self.owner.tenant_id):
            return [(row["row"], row["column"], row["problem"]) for row in error_rows(self.owner, job.id)]

    def count(self, model: Any) -> int:
        with unit_of_work(self.owner.tenant_id):
            return int(model.objects.count())

    def tags(self) -> list[str]:
        with unit_of_work(self.owner.tenant_id):
            return sorted(Animal.objects.values_list("tag_number", flat=True))


@pytest.fixture
def hill(db: None) -> Hill:
    return Hill()


def test_an_animal_with_everything(hill: Hill) -> None:
    mother = cow("AT 1", birth_date="2019-01-01", arrived_on="2020-05-01", arrival_reason="purchase")
    father = cow("AT 9", sex="Male", birth_date="", reference="yes")
    calf = cow(
        "at-0002",
        farm="at-7",
        eid="040 000 000 000 001",
        name="Elsa",
        breeds="SIM:3 hol:1",
        purpose="milk",
        dam_tag="AT 001",
        sire_tag="at9",
        paddock="west",
        groups="milking 1 | Feed A",
        estimated_value="1200,50",
        value_currency="EUR",
        source_id="row 1",
    )
    job = hill.animals(calf, mother, father, source="herd book")
    assert hill.states(job) == dict.fromkeys((2, 3, 4), "written")
    assert (job.state, job.rows_total, job.rows_done, job.rows_good) == ("done", 3, 3, 3)
    with unit_of_work(hill.owner.tenant_id):
        one = Animal.objects.select_related("breed", "paddock").get(tag_number="at-0002")
        found = (one.farm_id, one.name, one.birth_date, one.purpose, one.paddock.name, one.breed.code)
        assert found == (hill.farm.id, "Elsa", date(2024, 2, 1), "Milk", "West", "SIM")
        assert (one.estimated_value, one.value_currency) == (Decimal("1200.50"), "EUR")
        kinds = one.identifiers.order_by("kind").values_list("kind", "normalised")
        assert list(kinds) == [("EarTag", "AT2"), ("Eid", "40000000000001")]
        names = Parentage.objects.order_by("role").values_list("parent__tag_number", flat=True)
        assert list(names) == ["AT 1", "AT 9"]
        assert set(GroupMembership.objects.values_list("group__name", flat=True)) == {"Milking 1", "Feed A"}
        came = {m.animal.tag_number: (m.kind, m.reason, m.moved_at) for m in Movement.objects.all()}
        assert came == {
            "at-0002": ("Birth", "", datetime(2024, 2, 1, tzinfo=VIENNA)),
            "AT 1": ("Arrival", "Purchase", datetime(2020, 5, 1, tzinfo=VIENNA)),
        }
        assert Animal.objects.get(tag_number="AT 9").is_reference
        source = AnimalSource.objects.get()
        assert (source.animal_id, source.source, source.row_id) == (one.id, "herd book", "row 1")
        row = ImportRow.objects.get(number=2)
        assert row.object_id == one.id


BAD = [
    ({"farm": "Hull"}, "farm", "expected a farm of yours, found 'Hull'."),
    ({"farm": ""}, "farm", "expected a farm, found none named and 2 that it could be."),
    ({"paddock": "South"}, "paddock", "expected a paddock of Hill, found 'South'. Make it first."),
    ({"groups": "Calves"}, "groups", "expected a group of Hill, found 'Calves'. Make it first."),
    ({"groups": "Feed A | Feed B"}, "", "expected one group of a kind, found two."),
    ({"breeds": "NONE"}, "", "breed NONE of Cattle was not found."),
    (
        {"dam_tag": "AT 404"},
        "dam_tag",
        "expected the tag of an animal in the herd or of a good row of this file",
    ),
    ({"dam_tag": "AT 77"}, "", "expected a dam of that sex, found Male."),
    ({"sire_tag": "AT 78"}, "sire_tag", "of a good row of this file, found 'AT 78'"),
    ({"birth_date": "2099-01-01"}, "birth_date", "Expected a day that has come, found 2099-01-01."),
    ({"birth_date": "01/02/2024"}, "birth_date", "found '01/02/2024'."),
    (
        {"eid": "9.4E+14"},
        "eid",
        "expected 15 digits (ISO 11784); format the column as text, found '9.4E+14'.",
    ),
    ({"species": "Cow"}, "species", "expected one of Buffalo, Cattle, "),
    ({"arrived_on": "2024-03-01"}, "arrival_reason", "expected a reason"),
    ({"reference": "yes", "arrival_reason": "Sale"}, "arrived_on", "expected nothing for a reference animal"),
    ({"estimated_value": "12"}, "value_currency", "expected the currency of the value, found nothing."),
    ({"arrived_on": "2098-01-01", "arrival_reason": "Sale"}, "", "expected a time that has come"),
]


def test_a_bad_row_says_why_and_costs_itself_only(hill: Hill) -> None:
    hill.animals(cow("AT 77", sex="Male", birth_date="2019-01-01"))
    rows = [cow(f"B {number}", **change) for number, (change, _, _) in enumerate(BAD)]
    job = hill.animals(cow("AT 1"), *rows, cow("AT 78", birth_date="no"), cow("AT 2"))
    assert (job.state, job.rows_good, job.rows_bad, job.rows_done) == ("done", 2, len(BAD) + 1, len(BAD) + 3)
    found = {number: (column, problem) for number, column, problem in hill.errors(job)}
    for number, (_, column, words) in enumerate(BAD, 3):
        assert found[number][0] == column, found[number]
        assert words in found[number][1], found[number]
    assert hill.tags() == ["AT 1", "AT 2", "AT 77"]
    assert hill.count(AnimalIdentifier) == 3


def test_duplicates_are_told_by_their_normalised_tags(hill: Hill) -> None:
    hill.animals(cow("AT 0012", eid="040000000000001"))
    job = hill.animals(
        cow("at-12"),
        cow("AT 13"),
        cow("A.T.13"),
        cow("AT 14", eid="40 000 000 000 001"),
        cow("AT 15", source_id="1"),
        cow("AT 16", source_id="1"),
        cow("AT 17", birth_date="bad"),
        cow("AT 17"),
    )
    states = ["duplicate", "written", "duplicate", "duplicate", "written", "duplicate", "bad", "written"]
    assert list(hill.states(job).values()) == states
    told = {number: (column, problem) for number, column, problem in hill.errors(job)}
    assert told[2] == ("tag_number", "expected a tag that is free, found 'at-12', which animal AT 0012 has.")
    assert told[4] == ("tag_number", "expected each once, found 'A.T.13' in row 3 too.")
    assert told[5][0] == "eid"
    assert told[7] == ("source_id", "expected each once, found '1' in row 6 too.")
    assert (job.rows_good, job.rows_duplicate, job.rows_bad) == (3, 4, 1)


def test_a_circle_of_parents_is_refused(hill: Hill) -> None:
    job = hill.animals(cow("AT 1", dam_tag="AT 2", birth_date=""), cow("AT 2", dam_tag="AT 1", birth_date=""))
    assert sorted(hill.states(job).values()) == ["bad", "bad"]
    assert hill.tags() == []
    assert list(hill.states(hill.animals(cow("AT 3", dam_tag="AT 3"))).values()) == ["bad"]


def test_generations_in_any_order_and_in_any_chunk(hill: Hill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "CHUNK", 3)
    line = [cow("G 0", birth_date="")] + [
        cow(f"G {number}", dam_tag=f"G {number - 1}", birth_date="") for number in range(1, 20)
    ]
    job = hill.animals(*reversed(line))
    assert (job.rows_good, job.state) == (20, "done")
    assert hill.count(Parentage) == 19


@pytest.mark.parametrize("option", ["dry_run", "all_or_nothing"])
def test_nothing_is_written(hill: Hill, option: str) -> None:
    hill.animals(cow("AT 1"))
    models = (Animal, AnimalIdentifier, Movement, Parentage, AnimalSource)
    before = [hill.count(model) for model in models]
    events = hill.count(OutboxEvent)
    rows = [
        cow("AT 3", dam_tag="AT 2", source_id="x"),
        cow("AT 2", birth_date="2020-01-01"),
        cow("AT 4", dam_tag="AT 404"),
        cow("AT 001"),
        cow("AT 5", sex="?"),
    ]
    job = hill.animals(*rows, **{option: True})
    assert list(hill.states(job).values()) == ["ready", "ready", "bad", "duplicate", "bad"]
    assert [hill.count(model) for model in models] == before
    assert hill.count(OutboxEvent) == events + 2  # begun, ended
    assert job.state == ("done" if option == "dry_run" else "refused")
    assert (job.rows_good, job.rows_bad, job.rows_duplicate, job.rows_done) == (2, 2, 1, 5)
    again = hill.animals(*rows)
    assert list(hill.states(again).values()) == ["written", "written", "bad", "duplicate", "bad"]
    assert hill.errors(again) == hill.errors(job)


def test_all_of_a_good_file(hill: Hill) -> None:
    job = hill.animals(cow("AT 1"), cow("AT 2"), all_or_nothing=True)
    assert (job.state, hill.tags()) == ("done", ["AT 1", "AT 2"])


def test_a_row_of_a_source_is_written_once(hill: Hill) -> None:
    rows = [cow("AT 1", source_id="1"), cow("AT 2", source_id="2", source="else")]
    first = hill.animals(*rows)
    again = hill.animals(*rows, cow("AT 3", source_id="3"))
    assert list(hill.states(again).values()) == ["known", "known", "written"]
    assert (again.rows_known, again.rows_good, again.state) == (2, 1, "done")
    with unit_of_work(hill.owner.tenant_id):
        ids = [
            set(ImportRow.objects.filter(job=job).values_list("object_id", flat=True))
            for job in (first, again)
        ]
        assert ids[0] < ids[1]
        animal = Animal.objects.get(tag_number="AT 1")
        delete_animal(hill.owner, animal.id)
    back = hill.animals(*rows)
    assert list(hill.states(back).values()) == ["written", "known"]  # recorded by mistake: it may come again


def test_weights(hill: Hill) -> None:
    hill.animals(cow("AT 1", eid="040000000000001"), cow("AT 2"))
    rows = [
        {"tag_number": "at 01", "weighed_on": "2024-05-01", "weight_kg": "412,5", "method": "girth"},
        {"eid": "40 000 000 000 001", "weighed_on": "2024-05-02", "weight_kg": "413", "source_id": "7"},
        {"tag_number": "AT 2", "weighed_on": "2024-01-01", "weight_kg": "40"},
        {"tag_number": "AT 2", "eid": "040000000000001", "weighed_on": "2024-05-01", "weight_kg": "40"},
        {"tag_number": "AT 3", "weighed_on": "2024-05-01", "weight_kg": "40"},
        {"weighed_on": "2024-05-01", "weight_kg": "40"},
        {"tag_number": "AT 2", "weighed_on": "2024-05-01", "weight_kg": "0"},
        {"tag_number": "AT 1", "weighed_on": "2024-05-01", "weight_kg": "412.50", "method": "Girth"},
    ]
    job = hill.bring(Kind.WEIGHTS, *rows)
    assert list(hill.states(job).values()) == [
        "written",
        "written",
        "bad",
        "bad",
        "bad",
        "bad",
        "bad",
        "duplicate",
    ]
    told = {number: (column, problem) for number, column, problem in hill.errors(job)}
    assert told[4][1].startswith("expected a day from the animal's birth")
    assert told[5] == ("eid", "expected both tags of one animal, found those of two.")
    assert told[6] == ("tag_number", "expected a tag of an animal of yours, found 'AT 3'.")
    assert told[8][1] == "A weight is more than nothing."
    with unit_of_work(hill.owner.tenant_id):
        found = Weight.objects.order_by("weighed_on").values_list(
            "weight_kg", "method", "source", "source_id"
        )
        assert list(found) == [
            (Decimal("412.50"), "Girth", "", ""),
            (Decimal("413.00"), "LoadCell", "file", "7"),
        ]
    again = hill.bring(Kind.WEIGHTS, *rows[:2])
    assert list(hill.states(again).values()) == ["duplicate", "known"]


def test_milk(hill: Hill) -> None:
    hill.animals(cow("AT 1"), cow("AT 2", sex="Male"))
    day = {"tag_number": "AT 1", "production_date": "2024-05-02", "session": "Morning", "milk_kg": "14.2"}
    rows = [
        {**day, "fat_percent": "4,1", "somatic_cells_per_ml": "120000", "milk_use": "calves"},
        {**day, "session": "evening", "source_id": "9"},
        {**day, "session": "WholeDay"},
        {**day, "tag_number": "AT 2"},
        {**day, "tag_number": "AT 01"},
        {**day, "production_date": "2024-05-01"},
    ]
    job = hill.bring(Kind.MILK, *rows)
    assert list(hill.states(job).values()) == ["written", "written", "bad", "bad", "duplicate", "written"]
    with unit_of_work(hill.owner.tenant_id):
        assert [s.milk_kg for s in DailySummary.objects.order_by("day")] == [
            Decimal("14.20"),
            Decimal("28.40"),
        ]
    again = hill.bring(Kind.MILK, *rows[:2])
    assert list(hill.states(again).values()) == ["duplicate", "known"]
    assert hill.count(Production) == 3


def test_moments_of_several_offsets_are_in_the_order_of_time(hill: Hill) -> None:
    hill.animals(cow("AT 1"))
    one = {"tag_number": "AT 1"}
    later = one | {"kind": "Departure", "reason": "Sale", "moved_at": "2024-07-01T20:00Z"}
    sooner = one | {"kind": "Transfer", "moved_at": "2024-07-02T00:30+05:00", "to_farm": "Vale"}
    job = hill.bring(Kind.MOVEMENTS, later, sooner)
    assert list(hill.states(job).values()) == ["written", "written"]


def test_movements_in_the_order_of_time(hill: Hill) -> None:
    hill.animals(cow("AT 1"), cow("AT 2"))
    rows = [
        {"tag_number": "AT 1", "kind": "Departure", "reason": "Sale", "moved_at": "2024-07-01 10:00"},
        {
            "tag_number": "AT 1",
            "kind": "Transfer",
            "moved_at": "2024-06-01",
            "to_farm": "Vale",
            "to_paddock": "South",
        },
        {"tag_number": "AT 2", "kind": "Departure", "reason": "Whim", "moved_at": "2024-07-01"},
        {
            "tag_number": "AT 2",
            "kind": "Death",
            "reason": "Disease",
            "moved_at": "2024-07-02T08:00Z",
            "source_id": "d",
        },
    ]
    dry = hill.bring(Kind.MOVEMENTS, *rows, dry_run=True)
    assert list(hill.states(dry).values()) == ["ready", "ready", "bad", "ready"]
    assert hill.count(Movement) == 2
    job = hill.bring(Kind.MOVEMENTS, *rows)
    assert list(hill.states(job).values()) == ["written", "written", "bad", "written"]
    with unit_of_work(hill.owner.tenant_id):
        moves = Movement.objects.filter(animal__tag_number="AT 1").order_by("moved_at")
        assert [(m.kind, m.moved_at) for m in moves][1:] == [
            ("Transfer", datetime(2024, 6, 1, tzinfo=VIENNA)),
            ("Departure", datetime(2024, 7, 1, 10, tzinfo=ZoneInfo("UTC"))),  # on the clock of Vale
        ]
        assert set(Animal.objects.values_list("tag_number", "status")) == {
            ("AT 1", "OffFarm"),
            ("AT 2", "Dead"),
        }
    again = hill.bring(Kind.MOVEMENTS, *rows)
    assert list(hill.states(again).values()) == ["duplicate", "bad", "bad", "known"]


def test_the_example_of_a_template_is_passed_over(hill: Hill) -> None:
    job = hill.animals(cow("AT 1", source_id="example"), cow("AT 2"))
    assert (job.rows_total, hill.tags()) == (1, ["AT 2"])
    with pytest.raises(Invalid, match="rows below the header"):
        hill.animals(cow("AT 1", source_id="example"))


def test_a_chunk_costs_the_same_queries_however_many_rows(hill: Hill) -> None:
    counts = []
    for start, many in ((0, 3), (1000, 60)):
        rows = [cow(f"AT {start + number}", groups="Feed A", paddock="West") for number in range(1, many)]
        with CaptureQueriesContext(connection) as queries:
            hill.animals(cow(f"AT {start + 900}", birth_date="2020-01-01"), *rows)
        counts.append(len(queries))
    assert counts[0] == counts[1] < 50


def test_an_import_waits_for_a_worker_if_it_is_long(hill: Hill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "CHUNK", 2)
    job = hill.animals(*(cow(f"AT {number}") for number in range(1, 4)))
    assert (job.state, job.rows_done, hill.tags()) == ("waiting", 0, [])
    monkeypatch.setattr(services, "MOST_OPEN", 1)
    with pytest.raises(RuleBroken, match="fewer than 1 imports that wait"):
        hill.animals(cow("AT 9"))


# Who may.


def test_whoever_may_not_add_one_may_not_add_many(hill: Hill) -> None:
    vet = make_member(hill.owner, Role.VET)
    for kind in (Kind.ANIMALS, Kind.MILK, Kind.MOVEMENTS):
        with pytest.raises(NotAllowed):
            hill.bring(kind, cow("AT 1"), by=vet)
    hill.animals(cow("AT 1"))
    row = {"tag_number": "AT 1", "weighed_on": "2024-05-01", "weight_kg": "400"}
    assert hill.bring(Kind.WEIGHTS, row, by=vet).rows_good == 1


def test_another_farms_are_neither_found_nor_told(hill: Hill) -> None:
    hill.animals(cow("AT 1", source_id="1", name="Secret"))
    far = make_member(hill.owner, Role.MANAGER, [hill.other.id])
    job = hill.bring(
        Kind.ANIMALS, cow("AT 2", farm="Hill"), cow("AT 1", farm=""), cow("AT 3", farm=""), by=far
    )
    assert list(hill.states(job).values()) == ["bad", "duplicate", "written"]
    assert "animal" not in hill.errors(job)[1][2]
    known = hill.bring(Kind.ANIMALS, cow("AT 1", farm="Vale", source_id="1"), by=far)
    with unit_of_work(hill.owner.tenant_id):
        row = ImportRow.objects.get(job=known)
        assert (row.state, row.object_id) == ("known", None)
        assert not ImportRow.objects.filter(job=job, state="duplicate").exclude(object_id=None).exists()
    weight = {"tag_number": "AT 1", "weighed_on": "2024-05-01", "weight_kg": "400"}
    assert list(hill.states(hill.bring(Kind.WEIGHTS, weight, by=far)).values()) == ["bad"]
    mine = hill.animals(cow("AT 5"))
    headers = {"Authorization": make_token(far)}
    url = f"/api/v1/tenants/{hill.owner.tenant_id}/"
    for path in (f"imports/{mine.id}/", f"imports/{mine.id}/rows/", f"imports/{mine.id}/errors/"):
        assert Client().get(url + path, headers=headers).status_code == 404
    listed = Client().get(f"{url}imports/", headers=headers).json()["results"]
    assert {one["id"] for one in listed} == {str(job.id), str(known.id)} | {
        one["id"] for one in listed if one["created_by"] == str(far.id)
    }
    export = Client().get(f"{url}exports/animals/", headers=headers).getvalue().decode("utf-8-sig")
    assert [row["tag_number"] for row in csv.DictReader(io.StringIO(export))] == ["AT 3"]


def send(hill: Hill, actor: Actor, body: bytes, **more: Any) -> Any:
    form = {"file": SimpleUploadedFile("herd.csv", body), "kind": "animals", **more}
    url = f"/api/v1/tenants/{hill.owner.tenant_id}/imports/"
    return Client().post(url, form, headers={"Authorization": make_token(actor)})


def test_a_file_by_http(hill: Hill) -> None:
    answer = send(hill, hill.owner, as_csv(cow("AT 1", farm="Hill"), cow("=1+1", farm="Hill", sex="@x")))
    assert answer.status_code == 201, answer.content
    told = answer.json()
    assert (told["state"], told["rows_good"], told["rows_bad"]) == ("done", 1, 1)
    assert (told["written"], told["file_name"], told["source"]) == (
        "utf-8, separated by commas",
        "herd.csv",
        "file",
    )
    url = f"/api/v1/tenants/{hill.owner.tenant_id}/imports/{told['id']}/"
    headers = {"Authorization": make_token(hill.owner)}
    (row,) = Client().get(f"{url}rows/?state=bad", headers=headers).json()["results"]
    assert (row["number"], row["errors"][0]["column"], row["errors"][0]["found"]) == (3, "sex", "@x")
    errors = Client().get(f"{url}errors/", headers=headers)
    assert errors["Content-Type"] == "text/csv; charset=utf-8"
    (line,) = csv.DictReader(io.StringIO(errors.getvalue().decode("utf-8-sig")))
    assert (line["row"], line["column"], line["found"]) == ("3", "sex", "'@x")  # no formula
    assert Client().get(f"{url}errors/?type=pdf", headers=headers).status_code == 400
    for body, status in ((b"PK\x03\x04", 400), (b"x" * (5 * 2**20 + 1), 413), (b"", 400)):
        assert send(hill, hill.owner, body).status_code == status
    assert send(hill, hill.owner, as_csv(cow("AT 9")), source="ifarm").status_code == 400
    assert send(hill, make_member(hill.owner, Role.VET), as_csv(cow("AT 9"))).status_code == 403


def test_a_file_that_is_sent_again_with_its_key_is_taken_once(hill: Hill) -> None:
    url = f"/api/v1/tenants/{hill.owner.tenant_id}/imports/"
    headers = {"Authorization": make_token(hill.owner), "Idempotency-Key": "a"}

    def again(mark: str, tag: str = "AT 1") -> Any:
        file = SimpleUploadedFile("herd.csv", as_csv(cow(tag, farm="Hill")))
        body = encode_multipart(mark, {"kind": "animals", "file": file})
        return Client().generic("POST", url, body, f"multipart/form-data; boundary={mark}", headers=headers)

    first, second = again("one"), again("two")
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert second["Idempotent-Replay"] == "true"
    assert again("one", "AT 2").status_code == 422
    assert hill.count(ImportJob) == 1


# Workers. Real commits.


def waiting(hill: Hill, many: int, monkeypatch: pytest.MonkeyPatch, **options: Any) -> ImportJob:
    """A job of so many rows, in chunks of two."""
    monkeypatch.setattr(services, "CHUNK", 1)
    monkeypatch.setattr(running, "CHUNK", 2)
    return hill.animals(
        *(cow(f"AT {number}", source_id=str(number)) for number in range(1, many + 1)), **options
    )


def progress(committed: psycopg.Connection[Any]) -> tuple[Any, ...]:
    query = "SELECT state, rows_done, rows_good, tries FROM exchange_importjob"
    row = committed.execute(query).fetchone()
    assert row is not None
    return row


def written(committed: psycopg.Connection[Any]) -> list[str]:
    return [row[0] for row in committed.execute("SELECT tag_number FROM animals_animal ORDER BY 1")]


@pytest.mark.parametrize("place", ["before", "after"])
def test_an_end_at_any_chunk_loses_and_doubles_nothing(
    committed: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    hill = Hill()
    job = waiting(hill, 7, monkeypatch)
    keep = running._keep
    ends: list[int] = []

    def torn(*args: Any) -> None:
        if place == "after":
            keep(*args)
        if len(ends) < 4 and ends.count(args[0].rows_done) < 1:
            ends.append(args[0].rows_done)
            raise KeyboardInterrupt
        if place == "before":
            keep(*args)

    monkeypatch.setattr(running, "_keep", torn)
    with as_owner():
        for done in (0, 2, 4, 6):
            with pytest.raises(KeyboardInterrupt):
                run_import(job.id)
            assert progress(committed)[1] == done == len(written(committed))
        assert run_import(job.id)
        assert not run_import(job.id)
    assert progress(committed) == ("done", 7, 7, 0)
    assert written(committed) == [f"AT {number}" for number in range(1, 8)]
    query = "SELECT count(*), count(DISTINCT object_id) FROM exchange_importrow WHERE state = 'written'"
    assert committed.execute(query).fetchall() == [(7, 7)]


WORKER = """
import os, signal, sys
from uuid import UUID
from understudy.embedded import postgresql
postgresql.free_port = lambda: int(sys.argv[1])  # the tests' own server
os.environ["DJANGO_SETTINGS_MODULE"] = "ifarm.config.django.test"
import django
django.setup()
from django.db import connection
from ifarm.exchange import running
from understudy.integrations.django.target import DIRECT
connection.settings_dict["NAME"] = "test_ifarm"
connection.settings_dict["TEST"][DIRECT] = True
running.CHUNK, keep = 2, running._keep
def killed(job, *rest):
    keep(job, *rest)
    if job.rows_done == 4:  # said, and not committed
        os.kill(os.getpid(), signal.SIGKILL)
running._keep = killed
running.run_import(UUID(sys.argv[2]))
"""


def test_a_worker_that_is_killed(committed: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    hill = Hill()
    job = waiting(hill, 7, monkeypatch)
    command = [sys.executable, "-c", WORKER, str(PORT), str(job.id)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert progress(committed)[:3] == ("running", 2, 2)
    assert written(committed) == ["AT 1", "AT 2"]
    with as_owner():
        deadline = time.monotonic() + 60
        while not run_import(job.id):  # the server has not noticed yet: nothing tells when it does
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert progress(committed)[:3] == ("done", 7, 7)
    assert written(committed) == [f"AT {number}" for number in range(1, 8)]


def test_two_workers_are_never_at_the_same_rows(
    committed: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    hill = Hill()
    jobs = [waiting(hill, 9, monkeypatch)]
    with as_owner():
        waits = [in_thread(lambda: run_import(jobs[0].id)) for _ in range(4)]
        for wait in waits:
            wait()
        run_import(jobs[0].id)  # each may have left it to another, which left it too
    assert progress(committed)[:3] == ("done", 9, 9)
    assert len(written(committed)) == 9
    query = "SELECT count(*) FROM core_outboxevent WHERE type = 'import_ended'"
    assert committed.execute(query).fetchall() == [(1,)]


def test_two_files_with_the_same_rows_at_once(
    committed: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    hill = Hill()
    jobs = [waiting(hill, 8, monkeypatch) for _ in range(2)]
    with as_owner():
        for wait in [in_thread(partial(run_import, job.id)) for job in jobs]:
            assert wait()
    assert len(written(committed)) == 8
    query = "SELECT sum(rows_good), sum(rows_known + rows_duplicate), sum(rows_bad) FROM exchange_importjob"
    assert committed.execute(query).fetchall() == [(8, 8, 0)]


def test_a_job_that_ends_every_worker_is_given_up(
    committed: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    hill = Hill()
    waiting(hill, 3, monkeypatch)
    good = hill.bring(
        Kind.WEIGHTS,
        *({"weighed_on": "2024-01-01", "weight_kg": "1", "eid": e} for e in ("1" * 15, "2" * 15)),
    )

    def fault(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setitem(running._WRITERS, Kind.ANIMALS, fault)
    with as_owner():
        assert run_waiting_imports() == 1  # the other is not held up
        for _ in range(TRIES):
            assert run_waiting_imports() == 0
    query = "SELECT state, error_message FROM exchange_importjob WHERE id <> %s"
    assert committed.execute(query, (good.id,)).fetchall() == [
        ("failed", f"expected to end, found {TRIES} workers that ended in the middle of it.")
    ]
    assert written(committed) == []


def test_a_right_that_was_taken_ends_the_import(
    committed: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    hill = Hill()
    worker = make_member(hill.owner, Role.WORKER)
    job = waiting(hill, 5, monkeypatch, by=worker)
    keep = running._keep

    def then_fired(*args: Any) -> None:
        keep(*args)
        Membership.objects.filter(user_id=worker.id).update(is_active=False)

    monkeypatch.setattr(running, "_keep", then_fired)
    with as_owner():
        run_import(job.id)
    assert progress(committed)[:3] == ("failed", 2, 2)
    assert len(written(committed)) == 2


def test_somebody_who_is_faster_costs_one_row(
    committed: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tag is taken between the look and the write: the chunk is tried in halves."""
    hill = Hill()
    job = waiting(hill, 4, monkeypatch)
    monkeypatch.setattr(running, "CHUNK", 4)
    look = running._WRITERS[Kind.ANIMALS]
    first: list[int] = []

    def taken(actor: Actor, rows: Any) -> Any:
        if not first:
            first.append(1)
            in_thread(lambda: other(hill))()
        return look(actor, rows)

    def other(hill: Hill) -> UUID:
        given = {"animal_type": "Cattle", "sex": "Female", "farm_id": hill.farm.id}
        with unit_of_work(hill.owner.tenant_id):
            return create_animal(hill.owner, tag_number="AT 3", **given).id

    monkeypatch.setattr("ifarm.exchange.into_animals._in_herd", lambda *_: None)
    monkeypatch.setitem(running._WRITERS, Kind.ANIMALS, taken)
    with as_owner():
        assert run_import(job.id)
    assert list(hill.states(job).values()) == ["written", "written", "duplicate", "written"]
    assert hill.errors(job) == [(4, "", "Another animal has this identifier.")]
