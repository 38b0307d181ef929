"""How far a device is: a place in the tenant's journal, signed, and meaningless to anybody else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final
from uuid import UUID

from django.core import signing
from django.db import connection

from ifarm.core.actors import Actor
from ifarm.core.context import current_tenant
from ifarm.core.errors import Invalid, Problem

_SALT: Final = "ifarm.sync"


class MustRestart(Problem):
    """The device forgets its copy (never its queue) and pulls without a cursor. ``reason`` is one of four words.

    Args:
        reason: "scope": it may see other farms or kinds than it did; "history": it knows what this database does not,
            after a failover or a restore; "age": what came since is no longer kept; "load": so much came at once
            that it was not noted one by one.
    """

    status = 410
    type = "sync-restart"
    title = "Start from the beginning"

    def __init__(self, detail: str, reason: str) -> None:
        super().__init__(detail, reason=reason)


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest commit that a device may have seen anything of, and its mark ("" before the first)."""

    number: int = 0
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place.

    Args:
        scope: a digest of who, which farms, which kinds.
        number: everything of the commits up to this one has been told,
        kind, object_id: or, where these are not empty, of this one only up to here.
        seen: rows are told as they are, which may be newer than ``number``.
        first: during the first pull: the kind and the id up to which rows have been told.
    """

    scope: str
    kinds: tuple[str, ...]
    number: int
    seen: Seen
    kind: str = ""
    object_id: str = ""
    first: tuple[str, str] | None = None

    def sealed(self) -> str:
        """As the device keeps it."""
        return signing.dumps(asdict(self), salt=_SALT, compress=True)


def opened(text: str) -> Cursor:
    """Raises `Invalid`."""
    try:
        found: dict[str, Any] = signing.loads(text, salt=_SALT)
        first = found.pop("first")
        kinds, seen = tuple(found.pop("kinds")), Seen(**found.pop("seen"))
        return Cursor(**found, kinds=kinds, seen=seen, first=None if first is None else (first[0], first[1]))
    except (signing.BadSignature, KeyError, TypeError):
        raise Invalid("since: expected a cursor of this server, found another. Start without.") from None


def scope_of(actor: Actor, kinds: Sequence[str]) -> str:
    """What must stay the same for deltas to make sense."""
    farms = "*" if actor.farm_ids is None else ",".join(sorted(map(str, actor.farm_ids)))
    told = f"{actor.tenant_id}/{actor.id}/{farms}/{','.join(kinds)}"
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def newest() -> Seen:
    """The tenant's newest commit that is visible now."""
    with connection.cursor() as sql:
        sql.execute(
            "SELECT number, mark FROM sync_commit WHERE tenant_id = %s ORDER BY number DESC LIMIT 1",
            (current_tenant(),),
        )
        row = sql.fetchone()
    return Seen() if row is None else Seen(row[0], str(row[1]))


def require_known(cursor: Cursor) -> Seen:
    """Asked after the rows were read, so that nothing can be removed in between. Raises `MustRestart`.

    Returns the newest commit, which everything that was read before is part of.
    """
    with connection.cursor() as sql:
        sql.execute(
            "SELECT (SELECT min(number) FROM sync_commit WHERE tenant_id = %(tenant)s),"
            " (SELECT mark FROM sync_commit WHERE tenant_id = %(tenant)s AND number = %(seen)s),"
            " n.number, n.mark"
            " FROM (VALUES (1)) one LEFT JOIN LATERAL (SELECT number, mark FROM sync_commit"
            " WHERE tenant_id = %(tenant)s ORDER BY number DESC LIMIT 1) n ON true",
            {"tenant": current_tenant(), "seen": cursor.seen.number},
        )
        oldest, mark, number, newest_mark = sql.fetchone()
    if oldest is not None and (cursor.number < oldest - 1 or 0 < cursor.seen.number < oldest):
        raise MustRestart(f"expected a cursor from commit {oldest} on, found {cursor.number}.", "age")
    if cursor.seen.number and mark != UUID(cursor.seen.mark):
        raise MustRestart(
            "expected a cursor of this database's history, found one of another: what was told after a certain point"
            " was lost in a failover or a restore. Send also what was answered lately once more.",
            "history",
        )
    return Seen() if number is None else Seen(number, str(newest_mark))
