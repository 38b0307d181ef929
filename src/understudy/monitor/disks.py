"""How full the disk of a node is, as far as somebody lets us see it.

PostgreSQL does not tell. Three ways remain: the disk is this host's (``path``), the provider publishes metrics in
Prometheus' format (``metrics_url_env``: Supabase's Metrics API, a node_exporter), or its size is known and the server
adds up its files (``size``, a lower bound: temporary files and other tenants of the disk are not in it).
"""

from __future__ import annotations

import base64
import os
import re
import threading
from collections.abc import Callable
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import psycopg

from understudy.config_alerts import Disk
from understudy.engines.postgresql.sessions import ControlConnection

EVERY = 60.0
"""Seconds between two questions: Supabase publishes once a minute, a sum goes over every file of every database."""
_OLD = 300.0
"""Seconds after which an answer is worth nothing."""
_PATIENCE = 4.0
"""Seconds for connecting to where the metrics are, and for each read."""
_MAX_BYTES = 8 * 1024 * 1024
_MOUNTS = ("/data", "/var/lib/postgresql", "/")
"""Where the data may lie (Supabase: /data); the first of these that is published counts."""
_SAMPLE = re.compile(
    r'^node_filesystem_(size|free|avail)_bytes\{[^}]*mountpoint="([^"]*)"[^}]*\}\s+'
    r"([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,2})?)(?:\s|$)",
    re.MULTILINE,
)
_SIZE = """
SELECT (SELECT sum(pg_database_size(oid)) FROM pg_database WHERE datallowconn)
     + (SELECT coalesce(sum(size), 0) FROM pg_ls_waldir())
"""

Answer = tuple[float | None, str]
"""Share in use, 0 to 1, or None and why it is not known."""


_TOO_SLOW: Answer = (None, "the sum over its files takes too long: use path or metrics_url_env")


class Disks:
    """The disks of one cluster's nodes.

    A folder on a lost network mount, or a name that nobody resolves, can hang for minutes. So both are asked in a
    thread of their own, one per disk at a time, and nobody waits for it: `share` gives what it found last.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, disks: tuple[Disk, ...], clock: Callable[[], float]) -> None:
        self._disks = {disk.node: disk for disk in disks}
        self._clock = clock
        self._known: dict[str, tuple[float, Answer]] = {}
        self._asking: dict[str, threading.Thread] = {}

    async def share(self, node: str, connection: ControlConnection) -> Answer:
        """Share in use, 0 to 1, and why it is not known; (None, "") where nobody said how to see it, or not yet."""
        disk = self._disks.get(node)
        if disk is None:
            return None, ""
        if disk.size:
            if not self._recent(node):
                self._known[node] = (self._clock(), _TOO_SLOW)  # stays so where the look runs out of time
                self._known[node] = (self._clock(), await _summed(disk, connection))
            return self._known[node][1]
        if not self._recent(node):
            self._known.setdefault(node, (self._clock(), (None, "")))
            self._ask(disk)
        at, answer = self._known[node]
        age = self._clock() - at
        return answer if age < _OLD else (None, f"nobody has answered for {age:.0f} s")

    def _recent(self, node: str) -> bool:
        known = self._known.get(node)
        return known is not None and self._clock() - known[0] < EVERY

    def _ask(self, disk: Disk) -> None:
        running = self._asking.get(disk.node)
        if running is not None and running.is_alive():
            return
        thread = threading.Thread(target=self._answer, args=(disk,), name="disk", daemon=True)
        self._asking[disk.node] = thread
        thread.start()

    def _answer(self, disk: Disk) -> None:
        self._known[disk.node] = (self._clock(), scrape(disk.url) if disk.url else of_path(disk.path))


async def _summed(disk: Disk, connection: ControlConnection) -> Answer:
    try:
        row = await (await connection.execute(_SIZE)).fetchone()
    except psycopg.errors.InsufficientPrivilege as error:
        return None, f"{error.diag.message_primary}: GRANT pg_monitor TO the role of admin_dsn"
    return (None if row is None else float(row[0]) / disk.size), ""


def of_path(path: str) -> Answer:
    """As `df` counts: what only the superuser may use counts as neither used nor free."""
    try:
        found = os.statvfs(path)
    except OSError as error:
        return None, f"{path}: {error.strerror}"
    used = found.f_blocks - found.f_bfree
    return (used / (used + found.f_bavail) if used + found.f_bavail else None), ""


class _NoRedirect(HTTPRedirectHandler):
    """The key in the request is for one host only."""

    def redirect_request(self, *_: Any) -> None:
        return None


def scrape(url: str) -> Answer:
    """Share in use as metrics at ``url`` tell it, and why it is not known. No error holds a part of the URL."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    request = Request(urlunsplit(parts._replace(netloc=host)))  # noqa: S310 (http or https: see config_alerts)
    if parts.username is not None:
        key = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(key).decode()}")
    try:
        with build_opener(_NoRedirect).open(request, timeout=_PATIENCE) as answer:
            text = answer.read(_MAX_BYTES).decode(errors="replace")
    except HTTPError as error:
        return None, f"its metrics were answered with {error.code}"
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        return None, f"its metrics could not be read ({type(reason).__name__})"
    share = share_of(text)
    return share, "" if share is not None else "its metrics hold no node_filesystem_* of a disk with data"


def share_of(text: str) -> float | None:
    """Share in use by the node_filesystem_* samples of the disk that holds the data; None: they are not there."""
    found: dict[tuple[str, str], float] = {(m[2], m[1]): float(m[3]) for m in _SAMPLE.finditer(text)}
    for mount in _MOUNTS:
        size, left = found.get((mount, "size")), found.get((mount, "avail"))
        if size and left is not None:
            used = size - found.get((mount, "free"), left)
            return used / (used + left) if used + left else None
    return None
