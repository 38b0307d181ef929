"""Backups that Supabase makes of a project by itself, as its Management API lists them. They are not ours.

They can be restored in Supabase's own dashboard only, into that project; nobody else has seen what is in them. The
request: https://supabase.com/docs/reference/api/v1-list-all-backups. There are no pages: a project keeps some weeks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from understudy.config_backup import Supabase
from understudy.errors import UnderstudyError

PATIENCE: Final = 10.0
"""Seconds for connecting, and for each read."""
MAX_BYTES: Final = 1024 * 1024
SHOWN: Final = 1000
"""Backups that are told; Supabase keeps thirty days at most."""

_REFUSED: Final = {
    401: "the token is refused: make one in the account's settings, Access Tokens, and set {token}",
    403: "the token may not look at this project's backups: it needs the permission to read them",
    404: "there is no such project for this token: the reference stands in the project's settings, General",
    429: "too many requests for this account: try again in a minute",
}


class SupabaseError(UnderstudyError):
    """The list could not be had; says why and what to do next, without the token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """One of its backups. ``made``: ISO 8601 in UTC. ``status``: its word: COMPLETED, FAILED, PENDING, ..."""

    kind: str
    status: str
    made: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What it has of a project.

    Args:
        backups: newest first.
        pitr: point-in-time recovery is booked. earliest, latest: the moments that can be recovered to (ISO 8601, UTC);
            empty where there are none.
    """

    project: str
    region: str
    backups: tuple[Foreign, ...]
    pitr: bool
    earliest: str
    latest: str


def listing(settings: Supabase) -> Listing:
    """Ask once. Raises `SupabaseError`."""
    where = f"Supabase project {settings.project}"
    status, body = _asked(settings, where)
    if status != 200:
        text = _REFUSED.get(status, "try again later; https://status.supabase.com says how it is")
        raise SupabaseError(
            f"{where}: expected a list, found {status}: {text.format(token=settings.token_env)}"
        )
    try:
        return _listing(settings.project, json.loads(body))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise SupabaseError(
            f"{where}: expected backups as its API documents them, found another shape ({type(error).__name__}: "
            f"{error!s:.60}); upgrade Understudy, and look into the dashboard meanwhile"
        ) from None


def _asked(settings: Supabase, where: str) -> tuple[int, bytes]:
    try:
        import httpx
    except ImportError:
        raise SupabaseError(f"{where}: httpx is not installed; pip install 'understudy[backup]'") from None
    url = f"{settings.api}/v1/projects/{settings.project}/database/backups"
    head = {"Authorization": f"Bearer {settings.token}", "Accept": "application/json"}
    body = b""
    try:
        with httpx.Client(timeout=PATIENCE) as client, client.stream("GET", url, headers=head) as answer:
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise SupabaseError(f"{where}: expected at most {MAX_BYTES} bytes, found more")
            return answer.status_code, body
    except httpx.HTTPError as error:
        raise SupabaseError(
            f"{where}: its API does not answer ({type(error).__name__}); our own backups are not touched by that"
        ) from None


def _listing(project: str, found: dict[str, Any]) -> Listing:
    window = found.get("physical_backup_data") or {}
    backups = [
        Foreign(
            kind="physical" if one["is_physical_backup"] else "logical",
            status=_word(one["status"]),
            made=datetime.fromisoformat(one["inserted_at"]).astimezone(UTC).isoformat(timespec="seconds"),
        )
        for one in found["backups"][:SHOWN]
    ]
    return Listing(
        project=project,
        region=_word(found["region"]),
        backups=tuple(sorted(backups, key=lambda one: one.made, reverse=True)),
        pitr=bool(found["pitr_enabled"]),
        earliest=_moment(window.get("earliest_physical_backup_date_unix")),
        latest=_moment(window.get("latest_physical_backup_date_unix")),
    )


def _word(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a text that cannot be printed")
    return text[:40]


def _moment(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else ""
