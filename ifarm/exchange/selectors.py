"""Reads of imports."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from django.db.models import QuerySet

from ifarm.core.actors import Actor
from ifarm.exchange.models import ImportJob, ImportRow
from ifarm.exchange.policies import IMPORTS, access_import
from ifarm.exchange.writing import Row

ERROR_COLUMNS = ("row", "state", "column", "problem", "found")


def list_imports(actor: Actor) -> QuerySet[ImportJob]:
    """Imports, also those that are over."""
    return IMPORTS.instances(actor)


def list_rows(actor: Actor, import_id: UUID) -> QuerySet[ImportRow]:
    """The rows of one, with what became of them. Raises `NotFound`."""
    return ImportRow.objects.filter(job=access_import(actor, import_id))


def error_rows(actor: Actor, import_id: UUID) -> Iterator[Row]:
    """What was wrong, a line for each flaw, in the order of the file. Raises `NotFound`."""
    rows = list_rows(actor, import_id).exclude(errors=[]).order_by("number")
    return (
        {
            "row": row.number,
            "state": row.state,
            "column": flaw["column"],
            "problem": flaw["detail"],
            "found": flaw["found"],
        }
        for row in rows.iterator(chunk_size=1000)
        for flaw in row.errors
    )
