import datetime

import django.utils.timezone
import ifarm.core.constraints
from django.db import migrations
from django.db.migrations.operations.base import Operation

from ifarm.audit.partitions import AHEAD, TABLE, month_of, months, statements

BEFORE = f"{TABLE}_before"


def _definitions(editor):
    """Constraints and indexes as they are, to be made again."""
    with editor.connection.cursor() as cursor:
        cursor.execute(
            "SELECT format('ALTER TABLE %%I ADD CONSTRAINT %%I %%s', %s, conname, pg_get_constraintdef(oid))"
            " FROM pg_constraint WHERE conrelid = %s::regclass AND contype <> 'n' ORDER BY contype DESC, conname",
            (TABLE, TABLE),
        )
        found = [row[0] for row in cursor.fetchall()]
        cursor.execute(
            "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = %s::regclass AND NOT EXISTS"
            " (SELECT FROM pg_constraint WHERE conindid = indexrelid) ORDER BY 1",
            (TABLE,),
        )
        return found + [row[0].replace(" ON ONLY ", " ON ") for row in cursor.fetchall()]


def _first(editor):
    """When the oldest entry was made, by its key."""
    now = django.utils.timezone.now()
    with editor.connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM {TABLE} ORDER BY id LIMIT 1")
        for (oldest,) in cursor.fetchall():
            return min(now, datetime.datetime.fromtimestamp((oldest.int >> 80) / 1000, datetime.UTC))
    return now


def _again(editor, partitioned):
    """The same table, with its rows, in the other form."""
    again = _definitions(editor)
    wall = ifarm.core.constraints.TenantIsolation(
        field="tenant", name="audit_auditentry_isolation", append_only=True
    )
    editor.execute(f"ALTER TABLE {TABLE} RENAME TO {BEFORE}")
    form = " PARTITION BY RANGE (id)" if partitioned else ""
    editor.execute(f"CREATE TABLE {TABLE} (LIKE {BEFORE} INCLUDING DEFAULTS){form}")
    for text in wall.on(TABLE, "tenant_id", editor):
        editor.execute(text)
    return again


def _move(editor, again):
    editor.execute(f"INSERT INTO {TABLE} SELECT * FROM {BEFORE}")
    editor.execute(f"DROP TABLE {BEFORE}")
    for text in again:
        editor.execute(text)


class ByMonth(Operation):
    """Not RunPython: that has every model rendered once more for each operation that follows."""

    reversible = True

    def state_forwards(self, app_label, state):
        pass

    def database_forwards(self, app_label, editor, from_state, to_state):
        first = month_of(_first(editor))
        now = month_of(django.utils.timezone.now())
        count = (now.year - first.year) * 12 + now.month - first.month + AHEAD + 1
        again = _again(editor, partitioned=True)
        for month in (None, *months(first, count)):
            for text in statements(editor, month):
                editor.execute(text)
        _move(editor, again)

    def database_backwards(self, app_label, editor, from_state, to_state):
        _move(editor, _again(editor, partitioned=False))


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial"), ("core", "0002_ranges")]

    operations = [ByMonth()]
