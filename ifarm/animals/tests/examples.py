from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any
from uuid import UUID

from ifarm.animals.groups import create_group, join_group
from ifarm.animals.growth import record_condition, record_weight
from ifarm.animals.services import create_animal, set_parent
from ifarm.animals.words import GroupKind, ParentRole, Relation, Sex, Species
from ifarm.api.tests.examples import Examples, Ids
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work

examples = Examples()
BORN = date(2023, 3, 1)


def make_animal(actor: Actor, farm_id: UUID, tag: str, **fields: Any) -> UUID:
    given = {"animal_type": Species.CATTLE, "sex": Sex.FEMALE, "birth_date": BORN, **fields}
    with unit_of_work(actor.tenant_id):
        return create_animal(actor, farm_id=farm_id, tag_number=tag, **given).id


@examples.row("animal_id")
def animal(actor: Actor, ids: Ids) -> UUID:
    return make_animal(actor, ids["farm_id"], "AT 100")


@examples.row("mother_id")  # in no address; for the bodies
def mother(actor: Actor, ids: Ids) -> UUID:
    return make_animal(actor, ids["farm_id"], "AT 200", birth_date=date(2020, 1, 1))


@examples.row("weight_id")
def weight(actor: Actor, ids: Ids) -> UUID:
    with unit_of_work(actor.tenant_id):
        return record_weight(actor, ids["animal_id"], weighed_on=BORN, weight_kg=Decimal(40)).id


@examples.row("condition_id")
def condition(actor: Actor, ids: Ids) -> UUID:
    with unit_of_work(actor.tenant_id):
        return record_condition(actor, ids["animal_id"], scored_on=BORN, score=Decimal("3.25")).id


@examples.row("group_id")
def group(actor: Actor, ids: Ids) -> UUID:
    with unit_of_work(actor.tenant_id):
        return create_group(actor, farm_id=ids["farm_id"], name="Calves", kind=GroupKind.MANAGEMENT).id


@examples.row("group_membership_id")
def group_membership(actor: Actor, ids: Ids) -> UUID:
    with unit_of_work(actor.tenant_id):
        return join_group(actor, ids["group_id"], animal_id=ids["mother_id"], starts_on=BORN).id


@examples.body("animals", "POST")
def new_animal(ids: Ids, number: int) -> dict[str, Any]:
    return {
        "farm_id": str(ids["farm_id"]),
        "paddock_id": str(ids["paddock_id"]),
        "tag_number": f"AT 9{number}",
        "animal_type": "Cattle",
        "sex": "Female",
        "birth_date": "2024-02-01",
        "breeds": [{"code": "SIM", "parts": 3}, {"code": "HOL", "parts": 1}],
        "identifiers": [{"kind": "Eid", "value": f"040 000 000 00 {number:04}"}],
        "estimated_value": "1200.00",
        "value_currency": "EUR",
    }


@examples.body("animal", "PATCH")
def changed_animal(ids: Ids, number: int) -> dict[str, Any]:
    return {"name": "Elsa", "breeds": [{"code": "SIM", "parts": 1}]}


@examples.body("identifiers", "POST")
def new_identifier(ids: Ids, number: int) -> dict[str, Any]:
    return {"kind": "EarTag", "value": f"AT 5{number}", "issued_on": "2024-06-01"}


@examples.body("parents", "PUT")
def new_parent(ids: Ids, number: int) -> dict[str, Any]:
    return {"parent_id": str(ids["mother_id"]), "role": "Dam"}


@examples.body("movements", "POST")
def new_movement(ids: Ids, number: int) -> dict[str, Any]:
    when = datetime(2024, 6, 1, tzinfo=UTC) + timedelta(days=number)
    return {"kind": "Transfer", "paddock_id": str(ids["paddock_id"]), "moved_at": when.isoformat()}


@examples.body("weights", "POST")
def new_weight(ids: Ids, number: int) -> dict[str, Any]:
    return {"weighed_on": str(BORN + timedelta(days=number)), "weight_kg": "61.50", "method": "Girth"}


@examples.body("body-conditions", "POST")
def new_condition(ids: Ids, number: int) -> dict[str, Any]:
    return {"scored_on": str(BORN + timedelta(days=number)), "score": "2.75"}


@examples.body("groups", "POST")
def new_group(ids: Ids, number: int) -> dict[str, Any]:
    return {"farm_id": str(ids["farm_id"]), "name": f"Group {number}", "kind": "Feeding"}


@examples.body("group", "PATCH")
def changed_group(ids: Ids, number: int) -> dict[str, Any]:
    return {"name": f"Renamed {number}"}


@examples.body("group-members", "POST")
def new_member(ids: Ids, number: int) -> dict[str, Any]:
    return {"animal_id": str(ids["animal_id"]), "starts_on": str(BORN + timedelta(days=number))}


@examples.body("group-movements", "POST")
def new_group_movement(ids: Ids, number: int) -> dict[str, Any]:
    return {"kind": "Transfer", "paddock_id": str(ids["paddock_id"]), "moved_at": "2024-06-01T08:00:00Z"}


@examples.body("group-member", "PATCH")
def changed_member(ids: Ids, number: int) -> dict[str, Any]:
    return {"ends_on": "2024-01-01"}


@examples.fill("parents")
def more_parents(actor: Actor, ids: Ids, number: int) -> None:
    role, relation = list(product(ParentRole, Relation))[number - 1]
    sex = Sex.FEMALE if role is ParentRole.DAM else Sex.MALE
    parent = make_animal(actor, ids["farm_id"], f"AT 3{number}", sex=sex, birth_date=date(2019, 1, 1))
    with unit_of_work(actor.tenant_id):
        set_parent(actor, ids["animal_id"], parent_id=parent, role=role, relation=relation)


examples.longest["parents"] = len(ParentRole) * len(Relation)


for route in ("identifiers", "parents", "movements", "weights", "body-conditions", "group-members"):
    examples.queries[route] = 4  # the animal or group, which may be out of bounds
