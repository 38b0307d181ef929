from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.core.files.uploadedfile import SimpleUploadedFile

from ifarm.api.tests.examples import Examples, Ids
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.exchange.models import ImportRow
from ifarm.exchange.services import start_import
from ifarm.exchange.words import Kind

examples = Examples()


def as_csv(*rows: Mapping[str, Any], separator: str = ",", encoding: str = "utf-8") -> bytes:
    """A file of rows; its header has every column that some row has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(encoding)


def cow(tag: str, **more: Any) -> dict[str, Any]:
    """A row of a table of animals."""
    return {"tag_number": tag, "species": "Cattle", "sex": "Female", "birth_date": "2024-02-01", **more}


@examples.row("import_id")
def import_job(actor: Actor, ids: Ids) -> UUID:
    with unit_of_work(actor.tenant_id):
        return start_import(
            actor, kind=Kind.WEIGHTS, body=as_csv({"weighed_on": "1.2.24", "weight_kg": "x"})
        ).id


@examples.body("imports", "POST")
def new_import(ids: Ids, number: int) -> dict[str, Any]:
    file = SimpleUploadedFile("herd.csv", as_csv(cow(f"AT 7{number}"), cow("", sex="?")))
    return {"file": file, "kind": "animals", "source": "dairy plan"}


@examples.fill("import-rows")
def more_rows(actor: Actor, ids: Ids, number: int) -> None:
    with unit_of_work(actor.tenant_id):
        ImportRow(job_id=ids["import_id"], number=100 + number, position=0, cells=[], state="bad").save()


examples.queries["import-rows"] = 4  # the import, which may be somebody else's
