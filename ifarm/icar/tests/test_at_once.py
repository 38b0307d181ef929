"""Two who send the same at once."""

from __future__ import annotations

from typing import Any

import psycopg

from ifarm.animals.models import Animal, Movement
from ifarm.core.context import unit_of_work
from ifarm.core.tests.factories import make_owner
from ifarm.core.tests.threads import in_thread
from ifarm.icar.models import AnimalSource
from ifarm.icar.tests.examples import described, event
from ifarm.icar.tests.herd import Side


def test_of_two_batches_at_once_one_brings_the_animal(committed: psycopg.Connection[Any]) -> None:
    side = Side(make_owner())
    row = event("XX 1", "2024-02-01T08:00:00Z", "b1", animalDetail=described("XX 1"))
    waits = [in_thread(lambda: side.send("births", [row])) for _ in range(2)]
    found = [wait()[0] for wait in waits]
    assert len({one["id"] for one in found}) == 1
    with unit_of_work(side.actor.tenant_id):
        assert (Animal.objects.count(), Movement.objects.count(), AnimalSource.objects.count()) == (1, 1, 1)


def test_of_two_weights_at_once_one_is_recorded(committed: psycopg.Connection[Any]) -> None:
    side = Side(make_owner())
    side.one("births", event("XX 1", "2024-02-01T08:00:00Z", "b1", animalDetail=described("XX 1")))
    row = event("XX 1", "2024-03-01T08:00:00Z", "w1", weight={"measurement": 50})
    waits = [in_thread(lambda: side.send("weights", [row])) for _ in range(2)]
    assert len({wait()[0]["id"] for wait in waits}) == 1
