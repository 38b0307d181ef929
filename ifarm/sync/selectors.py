"""What has changed since a device last asked.

Rows are read as they are now, not as they were at the cursor; and the cursor moves only over commits whose notes were
read before those rows. So a row may be told twice, and never too old.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection
from django.utils import timezone

from ifarm.core.actors import Actor
from ifarm.core.context import current_tenant
from ifarm.core.errors import Invalid
from ifarm.sync.cursors import Cursor, MustRestart, Seen, newest, opened, require_known, scope_of
from ifarm.sync.kinds import KINDS, visible_kinds

MOST_COMMITS: Final = 500
"""Looked at for one page; each has at least one change."""
LOAD: Final = "*"
"""The kind of the note that stands for a load."""
_NOBODY: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Changes:
    """A page, as `ChangesOutput` shows it."""

    changes: list[dict[str, Any]]
    cursor: str
    more: bool
    server_time: datetime


@dataclass(frozen=True, slots=True)
class _Note:
    """What the journal says: this changed in this commit, and readers of these farms (or of the tenant) hear it."""

    number: int
    kind: str
    object_id: UUID
    homes: list[UUID | None]


def pull(actor: Actor, *, since: str | None, wanted: Collection[str] | None, limit: int) -> Changes:
    """The next page. Raises `Invalid`, `MustRestart`."""
    if unknown := sorted(set(wanted or ()) - KINDS.keys()):
        raise Invalid(f"kinds: expected of {', '.join(KINDS)}, found {unknown[0]!r}.")
    if since is None:
        kinds = visible_kinds(actor, wanted or KINDS)
        start = newest()
        cursor = Cursor(scope_of(actor, kinds), tuple(kinds), start.number, start, first=("", ""))
    else:
        cursor = opened(since)
        kinds = visible_kinds(actor, cursor.kinds)
        if cursor.scope != scope_of(actor, kinds) or (
            wanted is not None and set(wanted) != set(cursor.kinds)
        ):
            raise MustRestart("expected the farms and kinds of the cursor, found others.", "scope")
    read = _deltas if cursor.first is None else _everything
    changes, following, more = read(actor, cursor, limit)
    now = require_known(cursor)
    more = more or following.first is not None or following.number < now.number
    # Newest of both: an empty journal has no mark yet.
    return Changes(changes, replace(following, seen=_later(cursor.seen, now)).sealed(), more, timezone.now())


def _later(one: Seen, other: Seen) -> Seen:
    return one if one.number > other.number else other


def _everything(actor: Actor, cursor: Cursor, limit: int) -> tuple[list[dict[str, Any]], Cursor, bool]:
    """A page of the first pull: kind by kind, by id. What changes meanwhile is told by the deltas that follow."""
    assert cursor.first is not None
    changes: list[dict[str, Any]] = []
    begun, after = cursor.first
    left = cursor.kinds[cursor.kinds.index(begun) :] if begun else cursor.kinds
    for name in left:
        rows = KINDS[name].rows(actor).order_by("id")
        if name == begun and after:
            rows = rows.filter(id__gt=after)
        found = list(KINDS[name].shown(rows[: limit - len(changes)]))
        changes += [_change(name, pk, row) for pk, row in found]
        if len(changes) == limit:
            return changes, replace(cursor, first=(name, str(found[-1][0]))), True
    return changes, replace(cursor, first=None), False


def _deltas(actor: Actor, cursor: Cursor, limit: int) -> tuple[list[dict[str, Any]], Cursor, bool]:
    """A page of what was changed, in the order of the commits."""
    partly = bool(cursor.kind)
    last = _last_number(cursor.number if partly else cursor.number + 1)
    if last is None:
        return [], cursor, False
    notes = _notes(actor, cursor, last, limit + 1)
    if any(note.kind == LOAD for note in notes):
        raise MustRestart("expected changes one by one, found a load of many rows.", "load")
    more = len(notes) > limit
    notes = notes[:limit]
    following = replace(cursor, number=last, kind="", object_id="")
    if more:
        end = notes[-1]
        following = replace(cursor, number=end.number, kind=end.kind, object_id=str(end.object_id))
    return _told(actor, notes), following, more


def _told(actor: Actor, notes: Sequence[_Note]) -> list[dict[str, Any]]:
    wanted: dict[str, dict[UUID, list[UUID | None]]] = {}
    for note in notes:
        wanted.setdefault(note.kind, {}).setdefault(note.object_id, []).extend(note.homes)
    changes: list[dict[str, Any]] = []
    for name, objects in wanted.items():
        found = KINDS[name].told(actor, objects)
        for pk, homes in objects.items():
            if pk in found:
                changes.append(_change(name, pk, found[pk]))
            elif any(_hears(actor, home) for home in homes):
                changes.append(_change(name, pk, None))
    return changes


def _hears(actor: Actor, home: UUID | None) -> bool:
    """Whether the actor may have known a row of this home. Of other farms' rows nobody learns, not even the ids."""
    if home is None:
        return False
    return actor.farm_ids is None or home == actor.tenant_id or home in actor.farm_ids


def _change(name: str, pk: UUID, row: dict[str, Any] | None) -> dict[str, Any]:
    owner = row["animal_id"] if row is not None and KINDS[name].belongs_to_animal else None
    return {"kind": name, "id": pk, "gone": row is None, "belongs_to": owner, "row": row}


def _last_number(lowest: int) -> int | None:
    """The last of the next commits; None where there is none."""
    with connection.cursor() as sql:
        sql.execute(
            "SELECT max(number) FROM (SELECT number FROM sync_commit WHERE tenant_id = %s AND number >= %s"
            " ORDER BY number LIMIT %s) c",
            (current_tenant(), lowest, MOST_COMMITS),
        )
        found: int | None = sql.fetchone()[0]
    return found


def _notes(actor: Actor, cursor: Cursor, last: int, limit: int) -> list[_Note]:
    query = _notes_query(tuple(cursor.kinds), moves=actor.farm_ids is not None)
    place = {
        "tenant": current_tenant(),
        "number": cursor.number if cursor.kind else cursor.number + 1,
        "kind": cursor.kind,
        "object": cursor.object_id or _NOBODY,
        "last": last,
        "kinds": [*cursor.kinds, LOAD],
        "limit": limit,
    }
    with connection.cursor() as sql:
        sql.execute(query, place)
        return [_Note(*row) for row in sql.fetchall()]


def _notes_query(kinds: tuple[str, ...], *, moves: bool) -> str:
    """Notes after a place. ``moves``: an animal that came to another farm brings what belongs to it, for those who
    may not have known it. A home that is an animal becomes the farm where that animal is.
    """
    noted = (
        "SELECT c.number, s.kind, s.object_id, s.home_id FROM sync_commit c JOIN sync_change s"
        " ON s.tenant_id = c.tenant_id AND s.commit_id = c.id WHERE c.tenant_id = %(tenant)s"
        " AND c.number BETWEEN %(number)s AND %(last)s AND s.kind = ANY(%(kinds)s)"
    )
    parts = [noted]
    for name in kinds if moves else ():
        if KINDS[name].belongs_to_animal:
            parts.append(
                f"SELECT c.number, '{name}', r.id, r.animal_id FROM sync_commit c JOIN sync_change s"
                " ON s.tenant_id = c.tenant_id AND s.commit_id = c.id AND s.kind = 'move'"
                f" JOIN {KINDS[name].model._meta.db_table} r"
                " ON r.tenant_id = c.tenant_id AND r.animal_id = s.object_id"
                " WHERE c.tenant_id = %(tenant)s AND c.number BETWEEN %(number)s AND %(last)s"
            )
    return (
        f"WITH noted AS ({' UNION ALL '.join(parts)})"
        ' SELECT number, kind COLLATE "C" AS kind, object_id, array_agg(DISTINCT coalesce(a.farm_id, home_id))'
        " FROM noted LEFT JOIN animals_animal a ON a.tenant_id = %(tenant)s AND a.id = home_id"
        ' WHERE (number, kind COLLATE "C", object_id) > (%(number)s, %(kind)s, %(object)s)'
        " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT %(limit)s"
    )
