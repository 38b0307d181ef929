"""Telling people, through apprise: a thread and a bounded queue per address, so that nobody ever waits for it.

An address holds secrets at places that only its service knows, so no part of it is shown except its kind, and its host
where that is certainly one.
"""

from __future__ import annotations

import logging
import queue
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import structlog
from tenacity import (
    RetryError,
    Retrying,
    retry_if_result,
    stop_after_attempt,
    stop_when_event_set,
    wait_random_exponential,
)
from tenacity.nap import sleep_using_event

from understudy.config import mask
from understudy.config_alerts import Route, Severity
from understudy.errors import UnderstudyError
from understudy.monitor.edges import Kind, Notice

ATTEMPTS = 5
"""Times one address is tried for one notice."""
LONGEST_PAUSE = 30.0
"""Seconds between two attempts at most; together they take about a minute."""
WAITING = 100
"""Notices that may wait for one address; past that they are dropped and counted in the log."""
FAREWELL = 1.0
"""Seconds that the threads get to finish when the agent ends or reads its configuration again: it must not be away
for long. What an address is taking at that moment still goes out, what waits behind it does not."""

_LOOK_UP = 0.2
"""Seconds after which an idle thread looks whether it is to end."""

_HOST_IS_A_HOST = ("json", "jsons", "xml", "xmls", "form", "forms", "mailto", "mailtos")
_PIECES = re.compile(r"[:/?&=@+#,;\s]+")


class NoApprise(UnderstudyError):
    """The extra is not installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """How the delivery to one address ended. ``to``: the masked address; ``error``: why it failed, or empty."""

    route: str
    to: str
    error: str


def masked(url: str) -> str:
    """An address for people, without anything secret: ``slack://****``, ``mailto://mail.example.org/****``."""
    kind, divider, _ = url.partition("://")
    if not divider:
        return "****"
    kind = kind.lower()
    if kind not in _HOST_IS_A_HOST:
        return f"{kind}://****"
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    return f"{kind}://{host}/****" if re.fullmatch(r"[A-Za-z0-9.\-]+", host) else f"{kind}://****"


def scrubbed(text: str, url: str) -> str:
    """A service's own words without any piece of the address (except what `masked` shows)."""
    shown = set(_PIECES.split(masked(url)))
    parts = [*_PIECES.split(url), *_PIECES.split(unquote(url))]
    pieces = {p for part in parts for p in (part, unquote(part)) if len(p) >= 4} - shown
    for piece in sorted(pieces, key=len, reverse=True):
        text = text.replace(piece, "****")
    return " ".join(text.split())[:300]


class _Words(logging.Handler):
    """Keeps what apprise logs in this thread: the only place where it says why something failed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._thread = threading.get_ident()
        self.words: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread and len(self.words) < 10:
            self.words.append(record.getMessage())


def send(url: str, notice: Notice, cluster: str) -> str:
    """Send one notice to one address, once. Returns why it failed, without secrets, or an empty text.

    Takes as long as the service's own limits allow (apprise: some seconds). Raises `NoApprise`.
    """
    try:
        import apprise
    except ImportError:
        raise NoApprise("alerts need apprise: pip install 'understudy[alerts]'") from None
    logger = logging.getLogger("apprise")
    logger.propagate = False  # its own lines hold addresses; what matters of them is in ours
    logger.setLevel(logging.WARNING)  # whatever the root has: ours say why
    words = _Words()
    logger.addHandler(words)
    try:
        service = apprise.Apprise.instantiate(url, suppress_exceptions=True)
        if service is None:
            return "apprise does not know such an address, or a part of it is missing"
        types = {
            Severity.INFO: apprise.NotifyType.INFO,
            Severity.WARNING: apprise.NotifyType.WARNING,
            Severity.CRITICAL: apprise.NotifyType.FAILURE,
        }
        good = service.notify(
            title=mask(title_of(notice, cluster)),
            body=mask(notice.text or notice.title),
            notify_type=apprise.NotifyType.SUCCESS
            if notice.kind is Kind.RECOVERED
            else types[notice.severity],
            body_format=apprise.NotifyFormat.TEXT,
        )
    except Exception as error:  # noqa: BLE001 - a plugin's fault is reported like any other failure
        return scrubbed(f"{type(error).__name__}: {error}", url)
    finally:
        logger.removeHandler(words)
    return (
        "" if good else scrubbed("; ".join(words.words), url) or "the service refused it and does not say why"
    )


def title_of(notice: Notice, cluster: str) -> str:
    """One line: what, where, how grave."""
    words = {Kind.RECOVERED: "over: ", Kind.WORSE: "worse: "}.get(notice.kind, "")
    return f"[{notice.severity}] {cluster}: {words}{notice.title}"


class Courier:
    """Delivers to all routes, each address in a thread of its own: one that hangs holds up no other.

    Args:
        deliver: sends one notice to one address and returns why that failed (`send`).
    """

    def __init__(self, routes: Sequence[Route], deliver: Callable[[str, Notice, str], str] = send) -> None:
        self._leave = threading.Event()
        self._boxes = [_Box(route, url, deliver, self._leave) for route in routes for url in route.urls]

    def give(self, cluster: str, notice: Notice) -> None:
        """Hand a notice to every route that wants its severity. Never waits."""
        for box in self._boxes:
            box.put(cluster, notice)

    def close(self) -> None:
        """Give what waits a last moment; blocks for at most `FAREWELL` seconds in all."""
        until = time.monotonic() + FAREWELL
        while any(box.busy for box in self._boxes) and time.monotonic() < until:
            time.sleep(0.02)  # a queue cannot be waited for with a limit
        self._leave.set()
        for box in self._boxes:
            box.join(max(0.0, until - time.monotonic()))


class _Box:
    """One address: what waits for it, and the thread that delivers."""

    def __init__(
        self, route: Route, url: str, deliver: Callable[[str, Notice, str], str], leave: threading.Event
    ) -> None:
        self._route, self._url, self._deliver, self._leave = route, url, deliver, leave
        self._waiting = queue.Queue[tuple[str, Notice]](WAITING)
        self._log = structlog.get_logger().bind(route=route.name, to=masked(url))
        self._thread = threading.Thread(target=self._work, name=f"alerts-{route.name}", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        return self._waiting.unfinished_tasks > 0

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def put(self, cluster: str, notice: Notice) -> None:
        if notice.severity.rank < self._route.severity.rank:
            return
        try:
            self._waiting.put_nowait((cluster, notice))
        except queue.Full:
            self._log.error("alert_dropped", title=notice.title, message=f"{WAITING} wait already")

    def _work(self) -> None:
        while not self._leave.is_set():
            try:
                cluster, notice = self._waiting.get(timeout=_LOOK_UP)
            except queue.Empty:
                continue
            error = self._tried(cluster, notice)
            self._waiting.task_done()
            if error:
                self._log.error("alert_failed", cluster=cluster, title=notice.title, error=error)
            else:
                self._log.info("alert_sent", cluster=cluster, title=notice.title)

    def _tried(self, cluster: str, notice: Notice) -> str:
        """Try until the address takes the notice, a limited number of times. Returns why it did not, or nothing."""
        retrying = Retrying(
            retry=retry_if_result(bool),
            stop=stop_after_attempt(ATTEMPTS) | stop_when_event_set(self._leave),
            wait=wait_random_exponential(multiplier=1.0, max=LONGEST_PAUSE),
            sleep=sleep_using_event(self._leave),
        )
        try:
            retrying(self._deliver, self._url, notice, cluster)
        except NoApprise as error:
            return str(error)
        except RetryError as error:
            return f"{error.last_attempt.result()} (tried {error.last_attempt.attempt_number} times)"
        return ""


def send_test(routes: Sequence[Route], cluster: str) -> list[Sent]:
    """Send a test notice to every address of every route, once each, whatever their severity. Raises `NoApprise`."""
    notice = Notice(
        kind=Kind.EVENT,
        severity=Severity.INFO,
        key="test",
        title="this is a test",
        text="`understudy alerts test` sent it. Nothing is wrong.",
    )
    return [
        Sent(route=route.name, to=masked(url), error=send(url, notice, cluster))
        for route in routes
        for url in route.urls
    ]
