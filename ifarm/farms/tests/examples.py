from __future__ import annotations

from typing import Any
from uuid import UUID

from ifarm.api.tests.examples import Examples, Ids
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.farms.services import create_farm, create_paddock

examples = Examples()


@examples.row("farm_id")
def farm(actor: Actor, ids: Ids) -> UUID:
    with unit_of_work(actor.tenant_id):
        return create_farm(actor, name="Hill").id


@examples.row("paddock_id")
def paddock(actor: Actor, ids: Ids) -> UUID:
    with unit_of_work(actor.tenant_id):
        return create_paddock(actor, farm_id=ids["farm_id"], name="West").id


@examples.spare("farm")
def unused_farm(actor: Actor, ids: Ids) -> UUID:
    with unit_of_work(actor.tenant_id):
        return create_farm(actor, name="Unused").id


@examples.body("farms", "POST")
def new_farm(ids: Ids, number: int) -> dict[str, Any]:
    return {"name": f"Farm {number}", "holding_number": "AT 123"}


@examples.body("farm", "PATCH")
def changed_farm(ids: Ids, number: int) -> dict[str, Any]:
    return {"name": f"Renamed {number}"}


@examples.body("paddocks", "POST")
def new_paddock(ids: Ids, number: int) -> dict[str, Any]:
    return {"name": f"Paddock {number}", "area_ha": "3.20"}


@examples.body("paddock", "PATCH")
def changed_paddock(ids: Ids, number: int) -> dict[str, Any]:
    return {"name": f"Renamed {number}"}


examples.queries["paddocks"] = 4  # the farm, which may be out of bounds
