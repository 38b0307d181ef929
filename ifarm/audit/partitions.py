"""The months of the audit as partitions, so that an old month leaves as a table and not as a million deletes.

By range of the *key*: a version 7 UUID begins with its time. So the primary key and (tenant, id) stay what they are in
every table of iFarm, and Understudy, which replicates by primary key, sees nothing special. Row-level security is made
for each partition as for the whole: a policy holds for the table that a statement names. Tables are made on both nodes,
by the schema editor, a year ahead; what fits no month (a clock that is far off) goes to a partition of its own, so
that no change of anything ever fails for the lack of a month. docs/decisions/0015-audit-by-month.md has the reasons.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from django.db import connection
from django.utils import timezone

from ifarm.core.constraints import TenantIsolation
from ifarm.core.ids import first_uuid7
from ifarm.core.locks import Lock, take
from understudy.integrations.schema_change import publish_new_tables

TABLE: Final = "audit_auditentry"
OTHER: Final = f"{TABLE}_other"
AHEAD: Final = 12
"""Months that are there before they begin."""
LOCK_TIMEOUT: Final = "SET LOCAL lock_timeout = '5s'"
"""Whoever writes waits behind a waiting schema change: not for long."""


@dataclass(frozen=True, slots=True)
class Made:
    """Months that were made, and those that were not because stray entries of theirs are in the partition `OTHER`."""

    months: list[date]
    blocked: list[date]


def month_of(moment: datetime) -> date:
    """Its first day, in UTC."""
    return moment.astimezone(UTC).date().replace(day=1)


def following(month: date) -> date:
    """The month after."""
    return (month + timedelta(days=31)).replace(day=1)


def begins(month: date) -> datetime:
    """Its first moment."""
    return datetime(month.year, month.month, 1, tzinfo=UTC)


def table_of(month: date) -> str:
    """The name of its table."""
    return f"{TABLE}_{month:%Y_%m}"


def months(first: date, count: int) -> Iterator[date]:
    """So many months from one on."""
    for _ in range(count):
        yield first
        first = following(first)


def statements(editor: Any, month: date | None) -> list[str]:
    """What makes the partition of a month; None: that of everything else."""
    table = OTHER if month is None else table_of(month)
    wall = TenantIsolation(field="tenant", name="audit_auditentry_isolation", append_only=True)
    bounds = "DEFAULT"
    if month is not None:
        first, end = first_uuid7(begins(month)), first_uuid7(begins(following(month)))
        bounds = f"FOR VALUES FROM ('{first}') TO ('{end}')"
    return [
        f"CREATE TABLE {table} (LIKE {TABLE} INCLUDING DEFAULTS)",
        *wall.on(table, "tenant_id", editor),
        f"ALTER TABLE {TABLE} ATTACH PARTITION {table} {bounds}",
    ]


def present() -> list[date]:
    """The months that have a partition, oldest first."""
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass ORDER BY 1"
    with connection.cursor() as cursor:
        cursor.execute(query, (TABLE,))
        names = [name.removeprefix(f"{TABLE}_") for (name,) in cursor.fetchall()]
    return [date(int(name[:4]), int(name[5:]), 1) for name in names if name != "other"]


def make_partitions(now: datetime | None = None) -> Made:
    """Make the months from ``now``'s on that are missing, on both nodes. May run at any time, any number of times.

    As the owner, outside a transaction. Raises `SchemaDrift` where a node is away (nothing is lost: there is a year).
    """
    made, blocked = [], []
    wanted = list(months(month_of(now or timezone.now()), AHEAD + 1))
    for month in sorted(set(wanted) - set(present())):
        with connection.schema_editor() as editor:
            take(Lock.AUDIT_MONTHS, "")
            if month in present():  # made by somebody else meanwhile
                continue
            if _strays(month):
                blocked.append(month)
                continue
            editor.execute(LOCK_TIMEOUT)
            for text in statements(editor, month):
                editor.execute(text)
        made.append(month)
    if made and not connection.direct:
        publish_new_tables(connection.target.cluster, lambda _: None)
    return Made(made, blocked)


def drop_partition(month: date, *, entries: int) -> None:
    """Remove a month that has left for the archive, on both nodes; nothing where it is gone already.

    Raises RuntimeError, and removes nothing, where it does not hold exactly so many entries.
    """
    table = table_of(month)
    with connection.schema_editor() as editor:
        take(Lock.AUDIT_MONTHS, "")
        if month not in present():
            return
        editor.execute(LOCK_TIMEOUT)
        editor.execute(f"ALTER TABLE {TABLE} DETACH PARTITION {table}")
        if (found := _count(table)) != entries:
            raise RuntimeError(
                f"{table}: expected the {entries} entries that are in its archives, found {found}. It is kept. "
                "Somebody has added entries to a month that was over: remove its archives' rows and run this again."
            )
        editor.execute(f"DROP TABLE {table}")


def _count(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        return int(cursor.fetchone()[0])


def _strays(month: date) -> bool:
    first, end = first_uuid7(begins(month)), first_uuid7(begins(following(month)))
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT EXISTS (SELECT FROM {OTHER} WHERE id >= %s AND id < %s)", (first, end))
        return bool(cursor.fetchone()[0])
