from __future__ import annotations

import io
from typing import Any
from uuid import UUID

from PIL import Image

from ifarm.api.tests.examples import Examples, Ids
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.media.services import confirm, reserve
from ifarm.media.tests.standin import shared
from ifarm.media.words import Bucket

examples = Examples()


def picture(kind: str = "PNG", size: tuple[int, int] = (4, 3), **rest: Any) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", size, "brown").save(made, kind, **rest)
    return made.getvalue()


def reserved(actor: Actor, ids: Ids) -> UUID:
    server = shared()
    with unit_of_work(actor.tenant_id):
        made = reserve(actor, bucket=Bucket.ANIMAL_PHOTOS, animal_id=ids["animal_id"])
    server.objects[f"animal-photos/{actor.tenant_id}/{made.id}.upload"] = (picture(), "x/y")
    return made.id


@examples.row("reserved_id")
def to_confirm(actor: Actor, ids: Ids) -> UUID:
    return reserved(actor, ids)


@examples.row("media_id")
def media(actor: Actor, ids: Ids) -> UUID:
    pk = reserved(actor, ids)
    with unit_of_work(actor.tenant_id):
        return confirm(actor, pk).id


@examples.body("media", "POST")
def new_media(ids: Ids, number: int) -> dict[str, Any]:
    return {"bucket": "animal-photos", "animal_id": str(ids["animal_id"]), "name": f"Photo {number}"}


@examples.fill("media")
def more_media(actor: Actor, ids: Ids, number: int) -> None:
    media(actor, ids)
