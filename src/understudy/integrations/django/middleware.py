"""Requests that were hit by a change of primary: repeated where that is safe, else answered with 503."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.core.signals import got_request_exception
from django.db import OperationalError, connections
from django.http import HttpRequest, HttpResponse, JsonResponse

from understudy.client.outcome import is_connection_error
from understudy.integrations.django.errors import CommitInDoubt, NoPrimaryAvailable, PrimaryLost
from understudy.integrations.problems import LOST, MEDIA_TYPE, problem_of

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing by definition (RFC 9110, 9.2.1), so that sending them twice harms nobody."""
RETRY_AFTER: Final = 5
"""Seconds a client is told to wait: about what a failover takes."""
_REPEATS: Final = 2
_UNKNOWN = (
    "The outcome is unknown: the connection was lost while a commit was under way. "
    "Look before you send this again."
)
_NONE = "The database changes its primary. Nothing of the interrupted transaction remains."
_JSON = (MEDIA_TYPE, "application/json")
_SHAPES = ("text/plain", *_JSON)  # of two that are as welcome, the first


_NOTED = "_understudy_error"


def _note(sender: object, request: HttpRequest | None = None, **ignored: object) -> None:
    if request is not None:
        setattr(request, _NOTED, sys.exc_info()[1])


got_request_exception.connect(_note)


class _Repeat(HttpResponse):
    """Asks for the request to be run again; never leaves this module."""


class DatabaseFailoverMiddleware:
    """As early in ``MIDDLEWARE`` as possible: what is repeated is everything further in.

    A view's errors become responses before a ``try`` in a middleware could see them, so the work is done in
    `process_exception`; those of a middleware are known by Django's signal `got_request_exception`. Only lost
    connections count: an IntegrityError says nothing about a server.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._async = iscoroutinefunction(get_response)
        if self._async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        if self._async:
            return self._call_async(request)
        request._understudy_repeats = _REPEATS if request.method in SAFE else 0
        response = self._judged(request, self.get_response(request))
        while isinstance(response, _Repeat):
            _drop_broken()
            response = self._judged(request, self.get_response(request))
        return response

    async def _call_async(self, request: HttpRequest) -> HttpResponse:
        request._understudy_repeats = _REPEATS if request.method in SAFE else 0
        response = self._judged(request, await self.get_response(request))
        while isinstance(response, _Repeat):
            await sync_to_async(_drop_broken, thread_sensitive=True)()
            response = self._judged(request, await self.get_response(request))
        return response

    def _judged(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """The response; another one where it is the 500 of what a middleware further in has lost (saving a session)."""
        error = request.__dict__.pop(_NOTED, None)
        if error is None or response.status_code < 500:
            return response
        return self.process_exception(request, error) or response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """What to answer in place of a 500; None for errors that are not ours."""
        if not lost(exception):
            return None
        left = getattr(request, "_understudy_repeats", 0)
        if left and not isinstance(exception, NoPrimaryAvailable):  # which has waited already
            request._understudy_repeats = left - 1
            return _Repeat()
        return self.unavailable(request, exception)

    def unavailable(self, request: HttpRequest, exception: Exception) -> HttpResponse:
        """The 503 for a request that was hit and is not repeated. Override it where errors have another shape.

        A problem (RFC 9457) where ``Accept`` would rather have JSON than text, else text.
        """
        headers = {"Retry-After": str(RETRY_AFTER), "Vary": "Accept"}
        if request.get_preferred_type(_SHAPES) in _JSON:
            body = (problem_of(exception) or LOST).body
            return JsonResponse(body, status=503, content_type=MEDIA_TYPE, headers=headers)
        text = _UNKNOWN if isinstance(exception, CommitInDoubt) else _NONE
        return HttpResponse(text, status=503, content_type="text/plain", headers=headers)

    @staticmethod
    def _is_database_error(exception: BaseException) -> bool:
        """Whether the error says that a database, or the way to it, was lost."""
        return lost(exception)


def lost(error: BaseException) -> bool:
    """Whether this error means that the connection or the primary was lost."""
    if isinstance(error, CommitInDoubt | NoPrimaryAvailable | PrimaryLost):
        return True
    return (
        isinstance(error, OperationalError)
        and error.__cause__ is not None
        and is_connection_error(error.__cause__)
    )


def _drop_broken() -> None:
    for connection in connections.all(initialized_only=True):
        connection.close_if_unusable_or_obsolete()
