"""One shape for every error: `application/problem+json` (RFC 9457), from one handler."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from http import HTTPStatus
from typing import Any, Final

from django.apps import apps
from django.core.exceptions import PermissionDenied, RequestDataTooBig, ValidationError
from django.db import DataError, IntegrityError, connection
from django.db.models import ProtectedError, RestrictedError
from django.http import Http404, JsonResponse
from rest_framework import exceptions
from rest_framework.response import Response

from ifarm.core import errors
from ifarm.core.constraints import SameTenant, TenantKey
from understudy.integrations.django.errors import CommitInDoubt
from understudy.integrations.django.middleware import RETRY_AFTER, SAFE, DatabaseFailoverMiddleware, lost

TYPES: Final = "urn:ifarm:problem:"
CONTENT_TYPE: Final = "application/problem+json"
_NO_ROOM: Final = frozenset({"22001", "22003", "22008", "22009"})
"""SQLSTATEs of values that the types of the database cannot hold: too long a text, too large a number, a time that is
too far away or too far from UTC."""
_FOREIGN_KEY: Final = "23503"
_ID_IN_USE: Final = "Expected an id that nobody has used, found one in use. Take a new one."
_log = logging.getLogger(__name__)


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """The answer to an error; None for one that nobody expected, which is a 500 and is logged by Django.

    A safe request whose connection was lost gives None too: `Failover` runs it again.
    """
    request = context["request"]
    if lost(error):
        return None if request.method in SAFE else _unavailable(error)
    problem = as_problem(error)
    if problem is None:
        return None
    body = {**members(problem), "instance": request.path}
    return Response(body, problem.status, headers=problem.headers, content_type=CONTENT_TYPE)


def csrf_failure(request: Any, reason: str = "") -> JsonResponse:
    """Django's own refusal, in our shape."""
    return _plain(errors.NotAllowed(f"{reason} Send the cookie csrftoken's value as X-CSRFToken."))


def nothing_here(request: Any, exception: Exception) -> JsonResponse:
    """An address that nobody serves."""
    return _plain(errors.NotFound("There is nothing at this address."))


def fault_of_ours(request: Any) -> JsonResponse:
    """What nobody expected; the log has it."""
    return _plain(errors.Fault("Nothing of this request remains. The fault is recorded."))


class Failover(DatabaseFailoverMiddleware):
    """Understudy's, with our shape of errors."""

    def unavailable(self, request: Any, exception: Exception) -> JsonResponse:
        """The problem, for a read that was repeated in vain and for what was lost outside of a view."""
        return JsonResponse(
            _lost(exception), status=503, headers={"Retry-After": str(RETRY_AFTER)}, content_type=CONTENT_TYPE
        )


def members(problem: errors.Problem) -> dict[str, Any]:
    """What a problem says, also as a part of a larger answer."""
    return {
        "type": TYPES + problem.type,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        **problem.extra,
    }


def _plain(problem: errors.Problem) -> JsonResponse:
    return JsonResponse(members(problem), status=problem.status, content_type=CONTENT_TYPE)


def _unavailable(error: BaseException) -> Response:
    return Response(_lost(error), 503, headers={"Retry-After": str(RETRY_AFTER)}, content_type=CONTENT_TYPE)


def _lost(error: BaseException) -> dict[str, Any]:
    """503: nothing was done, or nobody knows; the same `Idempotency-Key` makes asking again harmless."""
    doubt = isinstance(error, CommitInDoubt)
    return {
        "type": TYPES + ("outcome-unknown" if doubt else "no-primary"),
        "title": "The outcome is unknown" if doubt else "The database changes its primary",
        "status": 503,
        "detail": (
            "The connection was lost while the change was committed. Send it again with the same Idempotency-Key."
            if doubt
            else "Nothing of this request remains. Send it again."
        ),
    }


def as_problem(error: Exception) -> errors.Problem | None:
    """The problem that an error of Django, DRF or the database is; None for one that is none."""
    if isinstance(error, errors.Problem):
        return error
    if isinstance(error, exceptions.ValidationError):
        return errors.Invalid("Some fields are not valid.", errors=list(_drf_fields(error.detail, "")))
    if isinstance(error, ValidationError):
        return errors.Invalid("Some fields are not valid.", errors=list(_django_fields(error)))
    if isinstance(error, ProtectedError | RestrictedError):
        return errors.Conflict("Something else refers to it, so it cannot be removed.")
    if isinstance(error, IntegrityError):
        return _of_constraint(error)
    if isinstance(error, DataError) and getattr(error.__cause__, "sqlstate", None) in _NO_ROOM:
        return errors.Invalid("A value is beyond what can be kept or compared: a number, a time or a text.")
    if isinstance(error, RequestDataTooBig):
        return errors.TooLarge("The body is larger than this server takes.")
    if isinstance(error, Http404):
        return errors.NotFound("There is nothing at this address.")
    if isinstance(error, PermissionDenied):
        return errors.NotAllowed("It is not allowed.")
    if isinstance(error, exceptions.APIException):
        return _of_drf(error)
    return None


def _of_drf(error: exceptions.APIException) -> errors.Problem:
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(round(wait))
    problem = errors.Problem(str(error.detail), headers=headers)
    problem.status = error.status_code
    problem.type = str(error.default_code).replace("_", "-")
    problem.title = HTTPStatus(error.status_code).phrase
    return problem


def _drf_fields(detail: Any, pointer: str) -> Iterator[dict[str, str]]:
    if isinstance(detail, dict):
        for key, value in detail.items():
            yield from _drf_fields(value, pointer if key == "non_field_errors" else f"{pointer}/{key}")
    elif isinstance(detail, list):
        for number, value in enumerate(detail):
            nested = isinstance(value, dict | list)
            yield from _drf_fields(value, f"{pointer}/{number}" if nested else pointer)
    else:
        yield {"pointer": f"#{pointer}", "detail": str(detail)}


def _django_fields(error: ValidationError) -> Iterator[dict[str, str]]:
    by_field = error.message_dict if hasattr(error, "error_dict") else {"": error.messages}
    for name, messages in by_field.items():
        pointer = f"#/{name}" if name and name != "__all__" else "#"
        for message in messages:
            yield {"pointer": pointer, "detail": str(message)}


def _of_constraint(error: IntegrityError) -> errors.Problem | None:
    """A constraint that has words is a conflict; any other is a fault of ours."""
    name = getattr(getattr(error.__cause__, "diag", None), "constraint_name", None) or ""
    reference = getattr(error.__cause__, "sqlstate", None) == _FOREIGN_KEY
    words = SameTenant.default_violation_error_message if reference else words_of(name)
    if words is None:
        _log.error("constraint %s was violated and has no words for it", name)
        return None
    return errors.Conflict(words, constraint=name)


def words_of(name: str) -> str | None:
    """What a client is told that met the constraint of this name; None where no request should meet it."""
    return _words().get(name)


@cache
def _words() -> dict[str, str]:
    """Constraints with a message of their own, keys (devices choose ids), and columns that hold nothing below zero."""
    words: dict[str, str] = {}
    for model in apps.get_models():
        table = model._meta.db_table
        words[f"{table}_pkey"] = _ID_IN_USE
        for field in model._meta.local_fields:
            if field.db_check(connection):
                words[f"{table}_{field.column}_check"] = f"Expected {field.verbose_name} of nothing or more."
        for constraint in model._meta.constraints:
            if isinstance(constraint, TenantKey):
                words[constraint.name] = _ID_IN_USE
            elif constraint.violation_error_message != constraint.default_violation_error_message:
                words[constraint.name] = str(constraint.get_violation_error_message())
    return words
