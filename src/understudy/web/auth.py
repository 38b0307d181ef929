"""Who may ask: roles by token, limits on wrong tokens, and nobody from another origin."""

from __future__ import annotations

import hmac
import secrets
import time
from collections import OrderedDict
from enum import IntEnum

from fastapi import HTTPException, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from understudy.config_api import Api

_BURST = 10.0
_PER_SECOND = 1.0
_ADDRESSES = 1024
"""Addresses remembered; past that the one that was quiet longest is forgotten."""
MAX_BODY = 16 * 1024
_TICKET = 900.0
"""Seconds for which a link with a ticket opens."""


class Role(IntEnum):
    """What a caller may do; each may do what the lower ones may."""

    NOBODY = 0
    READER = 1
    OPERATOR = 2


class Attempts:
    """Wrong tokens by address: ten at once, then one a second."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def blocked(self, address: str) -> bool:
        """So many wrong tokens came from there that the next one is not even looked at."""
        return self._now(address) < 1.0

    def wrong(self, address: str) -> None:
        """One more."""
        self._left[address] = (self._now(address) - 1.0, time.monotonic())
        self._left.move_to_end(address)
        while len(self._left) > _ADDRESSES:
            self._left.popitem(last=False)

    def _now(self, address: str) -> float:
        left, at = self._left.get(address, (_BURST, 0.0))
        return min(_BURST, left + (time.monotonic() - at) * _PER_SECOND)

    def __len__(self) -> int:
        return len(self._left)


class Guard:
    """Tells what the sender of a request may do."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._attempts = Attempts()
        self._key = secrets.token_bytes(32)

    def role(self, request: Request) -> Role:
        """The role of its token. Raises HTTPException 401 for a wrong one, 429 after too many of them."""
        given = request.headers.get("authorization")
        if given is None:
            return Role.NOBODY
        address = request.client.host if request.client is not None else ""
        if self._attempts.blocked(address):
            raise HTTPException(429, "too many wrong tokens; wait a moment", {"Retry-After": "2"})
        scheme, _, token = given.partition(" ")
        # Both are compared whatever the first says: the time taken tells nothing.
        operator, reader = (_same(token, known) for known in (self._api.operator_token, self._api.read_token))
        if scheme.lower() == "bearer" and (operator or reader):
            return Role.OPERATOR if operator else Role.READER
        self._attempts.wrong(address)
        raise HTTPException(401, "the token is wrong", {"WWW-Authenticate": "Bearer"})

    def reading(self, request: Request) -> Role:
        """A dependency: the caller may look. Without configured tokens everybody on this host may."""
        role = self.role(request)
        if role is Role.NOBODY and self._api.guarded:
            raise HTTPException(401, "a token is needed", {"WWW-Authenticate": "Bearer"})
        return role

    def acting(self, request: Request) -> Role:
        """A dependency: the caller may act."""
        role = self.role(request)
        if role is Role.OPERATOR:
            return role
        if not self._api.operator_token:
            raise HTTPException(403, "nobody may act: no operator_token is configured in [api]")
        if role is Role.READER:
            raise HTTPException(403, "this token may look, not act")
        raise HTTPException(401, "a token is needed", {"WWW-Authenticate": "Bearer"})

    # --- links -------------------------------------------------------------------------------------------

    def ticket(self, path: str) -> str:
        """What to add to a link to ``path``, so that it opens for some minutes without a token; empty: it is open."""
        if not self._api.guarded:
            return ""
        until = f"{int(time.time() + _TICKET)}"
        return f"?ticket={until}.{self._sign(until, path)}"

    def opened(self, ticket: str, path: str) -> Role:
        """The role of who shows a ticket: that of a reader where it is one of ours for ``path``, not too old."""
        until, _, signature = ticket.partition(".")
        good = hmac.compare_digest(signature.encode(), self._sign(until, path).encode())
        return Role.READER if good and float(until) > time.time() else Role.NOBODY

    def _sign(self, until: str, path: str) -> str:
        return hmac.new(self._key, f"{until} {path}".encode(), "sha256").hexdigest()


def _same(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode(), known.encode()) and bool(known)


class Gatekeeper:
    """Refuses requests that a browser was tricked into (a foreign Host), and bodies that are too long; adds headers."""

    def __init__(self, app: ASGIApp, *, api: Api) -> None:
        self._app = app
        # A name that somebody else's DNS leads here must not let his page read us (DNS rebinding).
        self._hosts = {"localhost", "127.0.0.1", "[::1]", api.host, f"[{api.host}]"} if api.loopback else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := self._refusal(scope)) is not None:
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
        # HTTP/1.0 probes send no Host; browsers always do.
        if self._hosts is not None and host and name not in self._hosts:
            return JSONResponse({"error": "this host is not known by that name"}, 421)
        if scope["method"] == "POST":
            length = headers.get(b"content-length", b"")
            if not length.isdigit():
                text = "expected a body and its Content-Length, found none: send {} with Content-Type: application/json"
                return JSONResponse({"error": text}, 411)
            if int(length) > MAX_BODY:
                return JSONResponse({"error": f"at most {MAX_BODY} bytes"}, 413)
        return None
