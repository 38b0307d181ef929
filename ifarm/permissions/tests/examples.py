from __future__ import annotations

from typing import Any
from uuid import UUID

from ifarm.api.tests.examples import Examples, Ids
from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.tests.factories import make_member
from ifarm.permissions.services import create_token, invite

examples = Examples()


@examples.row("membership_id")
def membership(actor: Actor, ids: Ids) -> UUID:
    found = make_member(actor, Role.WORKER).membership_id
    assert found
    return found


@examples.row("invitation_id")
def invitation(actor: Actor, ids: Ids) -> UUID:
    with unit_of_work(actor.tenant_id):
        return invite(actor, email="asked@example.org", role=Role.VET)[0].id


@examples.row("token_id")
def token(actor: Actor, ids: Ids) -> UUID:
    with unit_of_work(actor.tenant_id):
        return create_token(actor, membership_id=ids["membership_id"], name="scale")[0].id


@examples.body("user", "PATCH")
def changed_member(ids: Ids, number: int) -> dict[str, Any]:
    return {"role": "vet", "all_farms": False, "farm_ids": [str(ids["farm_id"])]}


@examples.body("users", "POST")
@examples.body("invitations", "POST")
def new_invitation(ids: Ids, number: int) -> dict[str, Any]:
    return {"email": f"new{number}@example.org", "role": "worker", "farm_ids": [str(ids["farm_id"])]}


@examples.body("tokens", "POST")
def new_token(ids: Ids, number: int) -> dict[str, Any]:
    return {"membership_id": str(ids["membership_id"]), "name": f"scale {number}"}


@examples.fill("users")
def more_members(actor: Actor, ids: Ids, number: int) -> None:
    make_member(actor, Role.WORKER, [ids["farm_id"]])


examples.queries["users"] = 4  # the farms of all
