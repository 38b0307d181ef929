"""Indexes cost every write: none is the beginning of another."""

from __future__ import annotations

from typing import Any, Final

import pytest
from django.db import connection

from ifarm.config.django.test import OWNER

pytestmark = pytest.mark.django_db

BEGINNINGS: Final = """
SELECT ia.relname, ib.relname
FROM pg_index a JOIN pg_index b ON b.indrelid = a.indrelid AND b.indexrelid <> a.indexrelid
JOIN pg_class c ON c.oid = a.indrelid
JOIN pg_class ia ON ia.oid = a.indexrelid JOIN pg_class ib ON ib.oid = b.indexrelid
WHERE c.relnamespace = 'public'::regnamespace AND NOT c.relispartition AND ia.relam = ib.relam
    AND NOT a.indisunique AND a.indexprs IS NULL AND c.relname !~ '^(account|auth|django|mfa)_'
    AND a.indpred IS NOT DISTINCT FROM b.indpred
    AND b.indkey::text || ' ' LIKE a.indkey::text || ' %' AND b.indclass::text || ' ' LIKE a.indclass::text || ' %'
    AND b.indoption::text || ' ' LIKE a.indoption::text || ' %'
ORDER BY 1, 2
"""


def beginnings() -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(BEGINNINGS)
        return list(cursor.fetchall())


def test_no_index_is_the_beginning_of_another() -> None:
    assert beginnings() == []


def test_one_that_is_would_be_found() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET ROLE {OWNER}")
        cursor.execute("CREATE INDEX superfluous ON farms_paddock (tenant_id)")
        cursor.execute("SET ROLE ifarm_app")
    assert {one for one, _ in beginnings()} == {"superfluous"}
