"""A stand-in for Supabase Storage's API: the few paths we use, in memory, on loopback. Not the real thing."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from understudy.embedded.postgresql import HOST

KEY = "service-key-of-the-stand-in"


class StandIn(ThreadingHTTPServer):
    """Objects by "bucket/path"; tokens by what they allow.

    Args:
        broken: answer everything with 500.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Handler)
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.tokens: dict[str, str] = {}
        self.broken = False

    @property
    def store(self) -> dict[str, str]:
        """For `IFARM_STORE`."""
        return {"backend": "supabase", "url": f"http://{HOST}:{self.server_port}", "key": KEY}


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def _say(
        self, status: int, body: bytes | dict[str, Any] | list[Any], kind: str = "application/json"
    ) -> None:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self) -> None:
        body, parts = self._body(), urlsplit(self.path)
        path = parts.path.removeprefix("/storage/v1/object/")
        token = parse_qs(parts.query).get("token", [""])[0]
        server = self.server
        if server.broken:
            return self._say(500, {"message": "broken"})
        if token:
            if server.tokens.get(token) != f"{self.command} {path}":
                return self._say(400, {"statusCode": "403", "error": "InvalidJWT"})
        elif self.headers.get("Authorization") != f"Bearer {KEY}":
            return self._say(400, {"statusCode": "403", "error": "Unauthorized"})
        kind = self.headers.get("Content-Type", "")
        if self.command == "DELETE":
            gone = [server.objects.pop(f"{path}/{name}", None) for name in json.loads(body)["prefixes"]]
            return self._say(200, [{} for one in gone if one])
        for start in ("upload/sign/", "sign/", "authenticated/"):
            if path.startswith(start):
                break
        else:
            start = ""
        name = path.removeprefix(start)
        if self.command == "GET":
            found = server.objects.get(name)
            return self._say(200, *found) if found else self._say(400, {"statusCode": "404"})
        if start and self.command == "POST":
            if start == "sign/" and name not in server.objects:
                return self._say(400, {"statusCode": "404", "error": "not_found"})
            made, uses = secrets.token_hex(8), "PUT" if start == "upload/sign/" else "GET"
            server.tokens[made] = f"{uses} {path}"
            return self._say(200, {"url" if uses == "PUT" else "signedURL": f"/object/{path}?token={made}"})
        server.objects[name] = (body, kind)
        return self._say(200, {"Key": name})

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@contextmanager
def standing_in() -> Iterator[StandIn]:
    """One until the block ends."""
    server = StandIn()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)


@cache
def shared() -> StandIn:
    """One for the whole run, and the settings lead to it: for the tests of all routes."""
    from django.conf import settings

    server = StandIn()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.IFARM_STORE = server.store
    return server
