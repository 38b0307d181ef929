"""What is exported can be imported: into the same tenant it changes nothing, into another it makes the same herd."""

from __future__ import annotations

import csv
import io
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl import load_workbook

from ifarm.animals.groups import create_group
from ifarm.animals.models import Animal
from ifarm.animals.movements import move_animal
from ifarm.animals.words import ArrivalReason, MovementKind, Purpose, Sex, WeightMethod
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import RuleBroken
from ifarm.core.tests.factories import make_owner, make_token
from ifarm.exchange import exports, writing
from ifarm.exchange.columns import COLUMNS
from ifarm.exchange.models import ImportJob
from ifarm.exchange.services import start_import
from ifarm.exchange.tests.examples import as_csv, cow
from ifarm.exchange.words import FileType, Kind
from ifarm.exchange.writing import table
from ifarm.farms.services import create_farm, create_paddock

pytestmark = pytest.mark.django_db
SETTINGS = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_MAKERS: dict[Kind, tuple[Any, Any]] = {
    Kind.ANIMALS: (exports.animals_to_export, exports.animal_rows),
    Kind.WEIGHTS: (exports.weights_to_export, exports.weight_rows),
    Kind.MILK: (exports.milk_to_export, exports.milk_rows),
}


def place() -> Actor:
    owner = make_owner()
    with unit_of_work(owner.tenant_id):
        for farm in ("Hill", "=Vale"):
            made = create_farm(owner, name=farm, timezone="Europe/Vienna")
            create_paddock(owner, farm_id=made.id, name="West; 1")
            create_group(owner, farm_id=made.id, name="Feed", kind="Feeding")
            create_group(owner, farm_id=made.id, name="-Milk", kind="Milking")
    return owner


def bring(owner: Actor, kind: Kind, body: bytes) -> ImportJob:
    with unit_of_work(owner.tenant_id):
        return start_import(owner, kind=kind, body=body)


def file_of(owner: Actor, kind: Kind, file_type: FileType) -> bytes:
    found, rows = _MAKERS[kind]
    with unit_of_work(owner.tenant_id):
        names = [column.name for column in COLUMNS[kind]]
        with table(names, rows(found(owner)), file_type, kind.value) as file:
            return file.read()


def told(owner: Actor, kind: Kind) -> list[dict[str, Any]]:
    """What the export says; in the order of its words."""
    found, rows = _MAKERS[kind]
    with unit_of_work(owner.tenant_id):
        return sorted((dict(row) for row in rows(found(owner))), key=str)


word = st.text(st.sampled_from("aB=+-@'\"\t;,é 1"), max_size=8).map(
    lambda text: text.replace("\t", " ").strip()
)
days = st.dates(date(2015, 1, 1), date(2024, 12, 31))


@st.composite
def herds(draw: Any) -> list[dict[str, Any]]:
    """Rows of animals; parents stand before their offspring and are older."""
    found: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 6))):
        sex = draw(st.sampled_from([Sex.FEMALE, Sex.MALE]))
        born = draw(st.none() | days)
        row = {
            "tag_number": draw(st.sampled_from(["AT {}", "=X{}", "{}", "00{}-a"])).format(number),
            "eid": draw(st.none() | st.just(f"04000000000{number:04}")),
            "name": draw(word),
            "species": "Cattle",
            "sex": sex.value,
            "breeds": draw(st.sampled_from(["", "SIM", "HOL:1 SIM:3"])),
            "birth_date": born,
            "purpose": draw(st.sampled_from(["", *(one.value for one in Purpose)])),
            "farm": draw(st.sampled_from(["Hill", "=Vale"])),
            "paddock": draw(st.sampled_from(["", "west; 1"])),
            "reference": draw(st.sampled_from(["yes", "no"])),
        }
        if row["reference"] == "no":
            row["groups"] = draw(st.sampled_from(["", "Feed", "feed | -Milk"]))
            if draw(st.booleans()):
                row["arrived_on"] = draw(days)
                row["arrival_reason"] = draw(st.sampled_from(ArrivalReason)).value
        if draw(st.booleans()):
            row |= {"estimated_value": draw(st.decimals(0, 99999, places=2)), "value_currency": "EUR"}
        if draw(st.booleans()):
            row |= {"source": "old system", "source_id": f"={number}"}
        for name, parent_sex in (("dam_tag", Sex.FEMALE), ("sire_tag", Sex.MALE)):
            older = [one for one in found if one["sex"] == parent_sex.value and _older(one, born)]
            row[name] = draw(st.sampled_from([None, *(one["tag_number"] for one in older)]))
        found.append(row)
    return found


def _older(parent: dict[str, Any], born: date | None) -> bool:
    return born is None or parent["birth_date"] is None or parent["birth_date"] < born


def good(job: ImportJob) -> int:
    assert (job.rows_bad, job.rows_duplicate, job.state) == (0, 0, "done")
    return job.rows_good


@SETTINGS
@given(herd=herds(), file_type=st.sampled_from(FileType))
def test_a_herd_comes_back(db: None, herd: list[dict[str, Any]], file_type: FileType) -> None:
    here, there = place(), place()
    with table(list(COLUMN_NAMES), herd, file_type, "animals") as file:
        assert good(bring(here, Kind.ANIMALS, file.read())) == len(herd)
    exported = file_of(here, Kind.ANIMALS, file_type)
    assert good(bring(there, Kind.ANIMALS, exported)) == len(herd)
    assert told(there, Kind.ANIMALS) == told(here, Kind.ANIMALS)
    assert bring(here, Kind.ANIMALS, exported).rows_known == len(herd)
    found = {row["tag_number"]: row for row in told(there, Kind.ANIMALS)}
    for row in herd:
        one = found[row["tag_number"]]
        for name in (
            "name",
            "sex",
            "birth_date",
            "purpose",
            "breeds",
            "farm",
            "reference",
            "dam_tag",
            "sire_tag",
        ):
            assert one[name] == row[name], name
        assert (one["arrived_on"], one["arrival_reason"]) == (
            row.get("arrived_on"),
            row.get("arrival_reason"),
        )
        assert one["estimated_value"] == row.get("estimated_value")


COLUMN_NAMES = tuple(column.name for column in COLUMNS[Kind.ANIMALS])


@SETTINGS
@given(
    weights=st.lists(
        st.tuples(
            st.integers(0, 1),
            st.integers(0, 400),
            st.decimals(Decimal("0.01"), Decimal("99999.99"), places=2),
            st.sampled_from(WeightMethod),
        ),
        min_size=1,
        max_size=5,
        unique=True,
    ),
    file_type=st.sampled_from(FileType),
)
def test_weights_come_back(db: None, weights: list[tuple[Any, ...]], file_type: FileType) -> None:
    tenants = [place(), place()]
    for owner in tenants:
        body = as_csv(cow("AT 0", farm="Hill", eid="040000000000001"), cow("AT 1", farm="Hill"))
        good(bring(owner, Kind.ANIMALS, body))
    rows = [
        {
            "tag_number": f"AT {number}",
            "weighed_on": date(2024, 3, 1) + timedelta(days=day),
            "weight_kg": weight,
            "method": method.value,
        }
        for number, day, weight, method in weights
    ]
    here, there = tenants
    good(bring(here, Kind.WEIGHTS, as_csv(*rows)))
    exported = file_of(here, Kind.WEIGHTS, file_type)
    assert good(bring(there, Kind.WEIGHTS, exported)) == len(rows)
    assert told(there, Kind.WEIGHTS) == told(here, Kind.WEIGHTS)
    assert bring(here, Kind.WEIGHTS, exported).rows_known == len(rows)


@pytest.mark.parametrize("file_type", FileType)
def test_milk_comes_back(file_type: FileType) -> None:
    here, there = place(), place()
    for owner in (here, there):
        good(bring(owner, Kind.ANIMALS, as_csv(cow("AT 1", farm="Hill"), cow("AT 2", farm="Hill"))))
    rows = [
        {
            "tag_number": f"AT {1 + number % 2}",
            "production_date": date(2024, 5, 1) + timedelta(days=number // 4),
            "session": ("Morning", "Evening")[number // 2 % 2],
            "milk_kg": f"1{number},25",
            "fat_percent": "4.1" if number % 3 else "",
            "somatic_cells_per_ml": "120000" if number % 2 else "",
            "milk_use": ("Tank", "Discarded")[number % 2],
        }
        for number in range(8)
    ]
    assert good(bring(here, Kind.MILK, as_csv(*rows))) == 8
    assert good(bring(there, Kind.MILK, file_of(here, Kind.MILK, file_type))) == 8
    assert told(there, Kind.MILK) == told(here, Kind.MILK)
    assert bring(here, Kind.MILK, file_of(here, Kind.MILK, file_type)).rows_known == 8


def test_who_is_gone_comes_back_as_a_reference() -> None:
    here, there = place(), place()
    body = as_csv(
        cow("AT 1", farm="Hill", birth_date="2019-01-01", groups="Feed"),
        cow("AT 2", farm="Hill", dam_tag="AT 1"),
    )
    good(bring(here, Kind.ANIMALS, body))
    with unit_of_work(here.tenant_id):
        mother = Animal.objects.get(tag_number="AT 1")
        move_animal(here, mother.id, kind=MovementKind.DEATH, reason="Disease")
    good(bring(there, Kind.ANIMALS, file_of(here, Kind.ANIMALS, FileType.CSV)))
    found = {row["tag_number"]: row for row in told(there, Kind.ANIMALS)}
    assert (found["AT 1"]["reference"], found["AT 1"]["groups"]) == ("yes", "")
    assert found["AT 2"]["dam_tag"] == "AT 1"
    assert told(there, Kind.ANIMALS) == told(here, Kind.ANIMALS)


def test_exports_by_http() -> None:
    owner = place()
    rows = [cow("AT 1", farm="Hill", name="=cmd()", eid="040000000000001"), cow("AT 2", farm="=Vale")]
    good(bring(owner, Kind.ANIMALS, as_csv(*rows)))
    days = ("2024-03-01", "2024-04-01")
    weights = [{"tag_number": "AT 1", "weighed_on": day, "weight_kg": "50"} for day in days]
    good(bring(owner, Kind.WEIGHTS, as_csv(*weights)))
    headers = {"Authorization": make_token(owner)}

    def get(path: str) -> Any:
        return Client().get(f"/api/v1/tenants/{owner.tenant_id}/exports/{path}", headers=headers)

    answer = get("animals/")
    assert answer["Content-Disposition"] == 'attachment; filename="animals.csv"'
    assert answer["Cache-Control"] == "private, no-store"
    text = answer.getvalue()
    assert text.startswith(b"\xef\xbb\xbf")
    (one, _) = csv.DictReader(io.StringIO(text.decode("utf-8-sig")))
    assert (one["name"], one["eid"], one["birth_date"]) == ("'=cmd()", "040000000000001", "2024-02-01")
    sheet = load_workbook(io.BytesIO(get("animals/?type=xlsx").getvalue())).active
    header, first, _ = sheet.values
    excel = dict(zip(header, first, strict=True))
    assert (excel["name"], excel["eid"], excel["birth_date"].date()) == (
        "'=cmd()",
        "040000000000001",
        date(2024, 2, 1),
    )
    april = get("weights/?since=2024-03-02&until=2024-04-01").getvalue().decode("utf-8-sig")
    assert [row["weighed_on"] for row in csv.DictReader(io.StringIO(april))] == ["2024-04-01"]
    for bad in ("animals/?type=pdf", "animals/?farm_id=x", "weights/?since=1.3.2024"):
        assert get(bad).status_code == 400


def test_an_export_that_is_too_long_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = place()
    good(bring(owner, Kind.ANIMALS, as_csv(cow("AT 1", farm="Hill"), cow("AT 2", farm="Hill"))))
    monkeypatch.setitem(writing.MOST_ROWS, FileType.CSV, 1)
    with pytest.raises(RuleBroken, match="1 rows at most"):
        file_of(owner, Kind.ANIMALS, FileType.CSV)
