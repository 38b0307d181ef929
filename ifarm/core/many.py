"""Many rows of one table in one statement.

They go as one text of JSON, which the server takes apart: with values one by one, Python took longer to write the
statement than the server to carry it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from django.db import connection
from django.utils import timezone

from ifarm.core.context import current_tenant
from ifarm.core.encoding import as_json
from ifarm.core.ids import uuid7
from ifarm.core.models import TenantModel

AT_ONCE: Final = 1000
"""Rows in one statement."""
_Rows = Iterable[Mapping[str, Any]]


def insert_rows(rows: Sequence[TenantModel]) -> None:
    """Add rows of one model, as `bulk_create` does: nothing is checked but by the database.

    Raises IntegrityError and DataError; TypeError for a value that has no form in JSON.
    """
    if not rows:
        return
    names = [field.attname for field in rows[0]._meta.concrete_fields]
    _insert(type(rows[0]), {}, [{name: getattr(row, name) for name in names} for row in rows])
    for row in rows:
        row._state.adding, row._state.db = False, connection.alias


def insert_values(model: type[TenantModel], common: Mapping[str, Any], rows: _Rows) -> None:
    """Add rows of values by the names of columns: all that have no default in the database, the same in each row.

    ``common``: values that all rows share. Keys, tenant and times are added. Raises as `insert_rows`.
    """
    now = timezone.now()
    shared = {"tenant_id": current_tenant(), "created_at": now, "modified_at": now, **common}
    _insert(model, shared, [{"id": uuid7(), **row} for row in rows])


def _insert(model: type[TenantModel], common: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    quote = connection.ops.quote_name
    table = quote(model._meta.db_table)
    own = ", ".join(map(quote, rows[0]))
    columns = ", ".join([*map(quote, common), own])
    values = ", ".join([*("%s" for _ in common), own])
    rows_of = f"jsonb_populate_recordset(NULL::{table}, %s::jsonb)"
    statement = f"INSERT INTO {table} ({columns}) SELECT {values} FROM {rows_of}"
    with connection.cursor() as cursor:
        for first in range(0, len(rows), AT_ONCE):
            cursor.execute(statement, [*common.values(), as_json(rows[first : first + AT_ONCE])])
