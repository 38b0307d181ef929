"""What can be wrong with a request, in the words of RFC 9457: each has a type, a title and a status."""

from __future__ import annotations

from typing import Any


class Problem(Exception):
    """An answer that is no success. ``extra`` becomes members of the problem document."""

    status: int = 400
    type: str = "bad-request"
    title: str = "The request cannot be carried out"

    def __init__(self, detail: str, *, headers: dict[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail, self.extra, self.headers = detail, extra, headers or {}


class AmbiguousTenant(Problem):
    """No tenant was named and there is not exactly one."""

    type = "ambiguous-tenant"
    title = "Which tenant?"


class Invalid(Problem):
    """Fields that do not fit; ``errors`` is a list of {pointer, detail}."""

    type = "invalid"
    title = "The request has fields that are not valid"


class NotAllowed(Problem):
    """The actor's role does not include this."""

    status = 403
    type = "not-allowed"
    title = "Your role does not allow this"


class NotFound(Problem):
    """It does not exist, or not for this actor: the same words for both, so that nobody learns which."""

    status = 404
    type = "not-found"
    title = "Not found"


class Conflict(Problem):
    """It contradicts what is there."""

    status = 409
    type = "conflict"
    title = "This contradicts what is recorded"


class Busy(Conflict):
    """The same request is being carried out at this moment."""

    type = "in-progress"
    title = "The same request is in progress"


class TooLarge(Problem):
    """The body is too large."""

    status = 413
    type = "too-large"
    title = "Too large"


class StaleVersion(Conflict):
    """Somebody has changed the row since the editor saw it; the answer has both versions.

    Args:
        current: the row as it is.
        precondition: the version came as `If-Match` (412), not in the body (409).
    """

    type = "stale-version"
    title = "It was changed in the meantime"

    def __init__(self, *, current: Any, expected: int, precondition: bool) -> None:
        super().__init__(
            f"expected version {expected}, found version {current.version}. Look at both and send what shall hold."
        )
        self.current = current
        self.status = 412 if precondition else 409


class VersionMissing(Problem):
    """A change must say which version it is based on."""

    status = 428
    type = "version-missing"
    title = "Which version was changed?"


class RuleBroken(Problem):
    """The request is well-formed, and the rules of the farm say no."""

    status = 422
    type = "rule-broken"
    title = "A rule says no"


class Fault(Problem):
    """A mistake in iFarm."""

    status = 500
    type = "fault"
    title = "Something went wrong here"


class KeyReused(Problem):
    """The `Idempotency-Key` belongs to another request."""

    status = 422
    type = "idempotency-key-reused"
    title = "This key belongs to another request"
