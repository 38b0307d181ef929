"""Many rows in one statement are what they would be one by one, and meet the same walls."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import DataError, IntegrityError, connection, transaction
from django.db.utils import ProgrammingError
from django.test.utils import CaptureQueriesContext

from ifarm.animals.models import Animal, Weight
from ifarm.core import many
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.ids import uuid7
from ifarm.core.many import insert_rows, insert_values
from ifarm.core.models import OutboxEvent, TenantModel
from ifarm.core.tests.factories import make_owner
from ifarm.farms.models import Farm
from ifarm.farms.services import create_farm

MOMENT = datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=UTC)
NASTY = "a\"b\\c\n\t{}[]%s %(x)s '; ü 牛 \U0001f404"


@pytest.fixture
def owner(db: None) -> Any:
    owner = make_owner()
    with unit_of_work(owner.tenant_id):
        yield owner


@pytest.fixture
def farm(owner: Actor) -> Farm:
    return create_farm(owner, name="Hill")


def cow(farm: Farm, **values: Any) -> Animal:
    return Animal(**{"farm": farm, "tag_number": "AT 1", "animal_type": "Cattle", "sex": "Female", **values})


def columns(row: TenantModel) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def test_a_row_is_what_saving_it_makes_of_it(farm: Farm) -> None:
    values = {"name": NASTY[:80], "birth_date": date(999, 1, 2), "is_reference": True, "created_at": MOMENT}
    one = cow(farm, estimated_value=Decimal("1234567890.10"), value_currency="EUR", **values)
    other = cow(farm, estimated_value=Decimal("1234567890.10"), value_currency="EUR", **values)
    other.modified_at = one.modified_at
    one.save(force_insert=True)
    insert_rows([other])
    found = [columns(Animal.objects.get(pk=row.pk)) for row in (one, other)]
    assert [row.pop("id") for row in found] == [one.id, other.id]
    assert found[0] == found[1]
    other.name = "Elsa"
    other.save(update_fields=["name"])  # it is known to be there
    assert Animal.objects.get(pk=other.pk).name == "Elsa"


@pytest.mark.parametrize("payload", [{}, [], {"a": [None, 1.5, True, NASTY]}, NASTY, 0, False])
def test_json_stays_what_it_is(farm: Farm, payload: Any) -> None:
    shared = {"type": "x", "aggregate": "y", "schema_version": 1, "occurred_at": MOMENT, "traceparent": ""}
    key = uuid7()
    insert_values(OutboxEvent, shared, [{"aggregate_id": key, "aggregate_version": 2, "payload": payload}])
    found = OutboxEvent.objects.get(aggregate_id=key)
    assert (found.payload, found.occurred_at, found.published_at) == (payload, MOMENT, None)
    assert found.tenant_id == farm.tenant_id


def weights(animal: Animal, number: int) -> list[dict[str, Any]]:
    return [
        {"animal_id": animal.id, "weighed_on": date(2024, 1, 1), "weight_kg": 100 + n} for n in range(number)
    ]


SHARED = {"method": "LoadCell", "source": "", "source_id": "", "version": 1}


def test_no_rows_are_no_statement_and_many_are_few(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    animal = cow(farm)
    insert_rows([animal])
    monkeypatch.setattr(many, "AT_ONCE", 3)
    for number, statements in ((0, 0), (3, 1), (7, 3)):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            insert_values(Weight, SHARED, weights(animal, number))
        assert len(queries) == statements
    assert Weight.objects.count() == 10
    with CaptureQueriesContext(connection) as queries:
        insert_rows([])
    assert not queries


def test_what_the_database_refuses_it_refuses(farm: Farm) -> None:
    animal = cow(farm)
    insert_rows([animal])
    refused: list[tuple[type[Exception], dict[str, Any]]] = [
        (DataError, {"method": "x" * 19}),  # longer than its column: nothing is cut off
        (DataError, {"weight_kg": "heavy"}),
        (DataError, {"weight_kg": 10**9}),
        (DataError, {"source": "a\0b"}),
        (IntegrityError, {"weight_kg": None}),
        (IntegrityError, {"weight_kg": -1}),
        (TypeError, {"weight_kg": {1, 2}}),
    ]
    for kind, change in refused:
        rows = [{**SHARED, **weights(animal, 1)[0], **one} for one in ({}, change)]
        with pytest.raises(kind), transaction.atomic():
            insert_values(Weight, {}, rows)
    assert not Weight.objects.exists()


def test_no_row_of_another_tenant_is_added(farm: Farm) -> None:
    with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
        insert_rows([cow(farm, tenant_id=uuid7())])
    with pytest.raises(IntegrityError, match="same_tenant"), transaction.atomic():
        insert_rows([cow(farm, farm_id=uuid7())])
        connection.check_constraints()
