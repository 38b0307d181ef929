"""What a web application answers while the database is not to be had: one set of problems (RFC 9457) for every kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from psycopg_pool import PoolTimeout

from understudy.client import CommitInDoubt, NoPrimaryAvailable
from understudy.client.errors import PrimaryLost
from understudy.client.outcome import is_connection_error

MEDIA_TYPE: Final = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Problem:
    """A body after RFC 9457 (problem details for HTTP) and, where asking again is safe, after how many seconds."""

    type: str
    title: str
    detail: str
    outcome: str
    retry_after: int | None
    status: int = 503

    @property
    def body(self) -> dict[str, str | int]:
        """The members of the JSON object."""
        return {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "outcome": self.outcome,
        }


IN_DOUBT = Problem(
    "urn:understudy:commit-in-doubt",
    "The outcome is unknown",
    "The database went away while the work of this request was being committed. It may have been done, or not. "
    "Look for it before you ask again.",
    "unknown",
    None,
)
NO_PRIMARY = Problem(
    "urn:understudy:no-primary",
    "The database takes no writes at the moment",
    "Nothing was sent to it. It is safe to ask again.",
    "not committed",
    5,
)
LOST = Problem(
    "urn:understudy:connection-lost",
    "The connection to the database was lost",
    "The transaction was certainly not committed. It is safe to run it again.",
    "not committed",
    1,
)
FULL = Problem(
    "urn:understudy:no-connection",
    "Too many requests use the database",
    "No connection became free in time, and nothing was sent. It is safe to ask again.",
    "not committed",
    1,
)


def problem_of(error: BaseException) -> Problem | None:
    """What to answer to an error, or None where it says nothing about the database's availability."""
    if isinstance(error, CommitInDoubt):
        return IN_DOUBT
    if isinstance(error, NoPrimaryAvailable):
        return NO_PRIMARY
    if isinstance(error, PoolTimeout):
        return FULL
    cause = getattr(error, "orig", None) or error  # SQLAlchemy's errors hold the driver's
    return LOST if isinstance(cause, PrimaryLost) or is_connection_error(cause) else None
