from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from ifarm.animals.tests.examples import make_animal
from ifarm.api.tests.examples import Examples, Ids
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.devices.readings import match_reading, record_readings
from ifarm.devices.services import create_device
from ifarm.devices.words import DeviceKind

examples = Examples()
BEGIN = datetime(2024, 5, 1, 6, tzinfo=UTC)


def make_device(
    actor: Actor, farm_id: UUID, kind: DeviceKind = DeviceKind.SCALE, name: str = "Crush"
) -> UUID:
    with unit_of_work(actor.tenant_id):
        return create_device(actor, farm_id=farm_id, kind=kind.value, name=name).id


def weighing(number: int, **rest: Any) -> dict[str, Any]:
    moment = BEGIN + timedelta(minutes=number)
    return {"source_id": f"w{number}", "measured_at": moment, "weight_kg": Decimal("412.50"), **rest}


def read(actor: Actor, device_id: UUID, number: int, **rest: Any) -> UUID:
    with unit_of_work(actor.tenant_id):
        (line,) = record_readings(actor, device_id, [weighing(number, **rest)])
        assert line.reading is not None, line.problem
        return line.reading.id


@examples.row("device_id")
def device(actor: Actor, ids: Ids) -> UUID:
    return make_device(actor, ids["farm_id"])


@examples.row("reading_id")
def reading(actor: Actor, ids: Ids) -> UUID:
    found = read(actor, ids["device_id"], 0, visual_tag="AT 770")
    make_animal(actor, ids["farm_id"], "AT 770")  # too late for the reading, in time for `match-again`
    return found


@examples.spare("reading-match")
def matched_reading(actor: Actor, ids: Ids) -> UUID:
    found = read(actor, ids["device_id"], 1000)
    with unit_of_work(actor.tenant_id):
        match_reading(actor, found, animal_id=ids["animal_id"])
    return found


@examples.body("devices", "POST")
def new_device(ids: Ids, number: int) -> dict[str, Any]:
    return {
        "farm_id": str(ids["farm_id"]),
        "kind": "MilkMeter",
        "name": f"Stall {number}",
        "serial": f"S{number}",
    }


@examples.body("device", "PATCH")
def changed_device(ids: Ids, number: int) -> dict[str, Any]:
    return {"name": f"Renamed {number}"}


@examples.body("device-readings", "POST")
def new_readings(ids: Ids, number: int) -> dict[str, Any]:
    good = {
        "source_id": "a",
        "measured_at": "2024-05-01T06:00:00Z",
        "weight_kg": "398.5",
        "visual_tag": "AT 100",
    }
    return {"rows": [good, {"source_id": "b"}]}


@examples.body("match-again", "POST")
def since(ids: Ids, number: int) -> dict[str, Any]:
    return {"since": "2024-01-01T00:00:00Z"}


@examples.body("reading-match", "POST")
def whose(ids: Ids, number: int) -> dict[str, Any]:
    return {"animal_id": str(ids["animal_id"])}


@examples.fill("device-readings")
@examples.fill("all-readings")
def more_readings(actor: Actor, ids: Ids, number: int) -> None:
    found = read(actor, ids["device_id"], number)
    if number % 2:
        with unit_of_work(actor.tenant_id):
            match_reading(actor, found, animal_id=ids["animal_id"])


examples.queries["device-readings"] = 4  # the device, which may be out of bounds
