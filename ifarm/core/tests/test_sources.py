"""A record that came from elsewhere is there once, whoever brings it and however often."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.apps import apps
from django.db import IntegrityError, connection
from django.test import Client

from ifarm.animals.growth import record_weight
from ifarm.animals.models import Weight
from ifarm.animals.tests.examples import make_animal
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.models import RecordModel
from ifarm.core.tests.factories import make_owner, make_token
from ifarm.core.tests.threads import in_thread
from ifarm.farms.services import create_farm

DAY = date(2024, 5, 1)


def cow_of(owner: Actor) -> UUID:
    with unit_of_work(owner.tenant_id):
        farm_id = create_farm(owner, name="Hill").id
    return make_animal(owner, farm_id, "AT 1")


def weigh(owner: Actor, cow: UUID, **meta: str) -> UUID:
    with unit_of_work(owner.tenant_id):
        return record_weight(owner, cow, weighed_on=DAY, weight_kg=Decimal(400), **meta).id


@pytest.mark.django_db
def test_every_record_is_unique_by_source_and_source_id() -> None:
    records = [
        model
        for model in apps.get_models()
        if {"source", "source_id"} <= {field.name for field in model._meta.concrete_fields}
    ]
    assert {model for model in apps.get_models() if issubclass(model, RecordModel)} <= set(records)
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename, indexdef FROM pg_indexes WHERE indexname LIKE '%one_per_source'")
        found = dict(cursor.fetchall())
    assert found.keys() == {model._meta.db_table for model in records}
    for text in found.values():
        assert text.startswith("CREATE UNIQUE INDEX")
        assert "(tenant_id, source, source_id)" in text


@pytest.mark.django_db
def test_the_second_of_a_name_is_a_conflict_that_says_so() -> None:
    owner = make_owner()
    cow = cow_of(owner)
    url = f"/api/v1/tenants/{owner.tenant_id}/animals/{cow}/weights/"
    body = {"weighed_on": str(DAY), "weight_kg": "400.00", "source": "scale", "source_id": "7"}
    headers = {"Authorization": make_token(owner)}

    def send(**change: str) -> Any:
        return Client().post(url, {**body, **change}, "application/json", headers=headers)

    assert send().status_code == 201
    again = send(weight_kg="401.00")
    assert again.status_code == 409
    told = again.json()
    assert told["detail"] == "A record with this source and source_id is there already."
    assert told["constraint"] == "animals_weight_one_per_source"
    assert [send(source="other").status_code, send(source_id="8").status_code] == [201, 201]
    with unit_of_work(owner.tenant_id):
        assert Weight.objects.count() == 3


@pytest.mark.django_db
def test_records_without_a_name_and_those_of_other_tenants_are_free() -> None:
    for owner in (make_owner(), make_owner()):
        cow = cow_of(owner)
        for meta in ({}, {}, {"source": "scale"}, {"source": "scale"}, {"source": "scale", "source_id": "7"}):
            weigh(owner, cow, **meta)
        with unit_of_work(owner.tenant_id):
            assert Weight.objects.count() == 5


def test_of_two_at_once_one_is_recorded(committed: psycopg.Connection[Any]) -> None:
    owner = make_owner()
    cow = cow_of(owner)

    def bring() -> str:
        try:
            weigh(owner, cow, source="scale", source_id="7")
        except IntegrityError as error:
            return str(error)
        return "recorded"

    told = sorted(wait() for wait in [in_thread(bring) for _ in range(2)])
    assert "animals_weight_one_per_source" in told[0]
    assert told[1] == "recorded"
    assert committed.execute("SELECT count(*) FROM animals_weight").fetchall() == [(1,)]
