"""Checksums of tables that do not depend on the order of rows or columns, nor on the node.

``sum(hash_record_extended(ROW(...), 0))`` is exact (`numeric`, no overflow), reads each row once, and two equal
rows do not cancel out as they would under XOR. Columns are hashed in the order of their names, each in a form that
is the same on both nodes for the same contents and differs for any difference: types whose equality is blurred
(numeric 1.0 = 1.00, interval, floats, nondeterministic collations) go through their binary form; types whose hash is
of an OID (enums) or that have none (json, xml, point) through their text, under pinned settings.

`checksum` reads a table of a node; backups (`backup.contents`) build their own queries from the same pieces.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from psycopg import sql

from understudy.engines.postgresql.sessions import ControlConnection

_COLUMNS = """
SELECT a.attname, CASE WHEN tn.nspname = 'pg_catalog' THEN t.typname ELSE '' END
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace tn ON tn.oid = t.typnamespace
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attname COLLATE "C"
"""

_AS_THEY_ARE: Final = frozenset(
    [
        "bool",
        "int2",
        "int4",
        "int8",
        "oid",
        "char",
        "name",
        "date",
        "time",
        "timestamp",
        "timestamptz",
        "uuid",
        "bytea",
        "inet",
        "cidr",
        "macaddr",
    ]
)
_BINARY: Final = {
    "numeric": "numeric_send",
    "float4": "float4send",
    "float8": "float8send",
    "interval": "interval_send",
    "timetz": "timetz_send",
    "text": "textsend",
    "varchar": "varcharsend",
    "bpchar": "bpcharsend",
}

MISSING: Final = (0, "no such table")

Columns = Sequence[Sequence[Any]]
"""Name and type of each column, in the order of the names; the type is empty where it is none of PostgreSQL's own."""


def _form(name: str, type_name: str) -> sql.Composed:
    """A column in the form that is hashed."""
    column = sql.SQL("t.{}").format(sql.Identifier(name))
    if type_name in _AS_THEY_ARE:
        return column
    if type_name in _BINARY:
        return sql.SQL("{}({})").format(sql.Identifier(_BINARY[type_name]), column)
    return sql.SQL("textsend(({})::text)").format(column)


def expression(columns: Columns) -> sql.Composed:
    """The hash of one row ``t`` with these columns."""
    forms = sql.SQL(", ").join(_form(name, type_name) for name, type_name in columns)
    return sql.SQL("hash_record_extended(ROW({}), 0)").format(forms)


def text(total: object, columns: Columns) -> str:
    """The checksum as it is kept: the sum of all rows' hashes, and a short hash of the names of the columns."""
    names = hashlib.sha256(
        "\0".join(name for name, _ in columns).encode("utf-8", "surrogateescape")
    ).hexdigest()
    return f"{total}/{names[:8]}"


async def checksum(connection: ControlConnection, schema: str, table: str) -> tuple[int, str]:
    """Row count and checksum of a table in the open transaction, whose settings must be pinned (`tail.pin`).

    The checksum is empty of meaning but for comparison; it covers names of columns, not their types. A table that is
    not there gives `MISSING`. Raises psycopg's errors.
    """
    identifier = sql.Identifier(schema, table)
    cursor = await connection.execute(_COLUMNS, (identifier.as_string(connection),))
    columns = await cursor.fetchall()
    name = identifier.as_string(connection)
    cursor = await connection.execute(
        "SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass(%s)", (name,)
    )
    row = await cursor.fetchone()
    if row is None:
        return MISSING
    only = sql.SQL("" if row[0] else "ONLY ")  # children by inheritance are published and compared as tables
    query = sql.SQL("SELECT count(*), coalesce(sum({hash}), 0)::text FROM {only}{table} AS t")
    cursor = await connection.execute(query.format(hash=expression(columns), only=only, table=identifier))
    row = await cursor.fetchone()
    if row is None:
        return MISSING
    return int(row[0]), text(row[1], columns)
