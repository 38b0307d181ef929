"""The drill of the alerts: a server dies, and somebody is told, and told when it is over."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from understudy.config_alerts import Alerting
from understudy.drill.definition import Scenario, Setting
from understudy.drill.pair import SETTLE, Sandbox, open_sandbox
from understudy.drill.stage import Aborted, Stage
from understudy.monitor.delivery import NoApprise, send_test
from understudy.readiness.journal import Check, Outcome, Radius

TOLD: Final = 60.0  # seconds in which somebody has to be told
_OVER: Final = "over: "  # how the title of an end begins (`monitor.delivery.title_of`)
_LARGEST: Final = 64 * 1024
_TABLES: Final = """
[monitor]
every = "1s"
[alerts]
clear_after = "1s"
quiet_start = "0s"
[[alerts.routes]]
name = "drill"
urls = ["json://127.0.0.1:{port}/"]
severity = "info"
"""


class Receiver:
    """Somebody on this host who is told: an HTTP server on the loopback interface that keeps the titles."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = min(int(self.headers.get("Content-Length") or 0), _LARGEST)
                body = json.loads(self.rfile.read(length))
                receiver.titles.append(str(body.get("title", "")))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="alert receiver", daemon=True)

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Watched:
    """A sandbox that is watched, or the routes of the configuration."""

    def __init__(
        self, alerting: Alerting | None, cluster: str, pair: Sandbox | None, receiver: Receiver
    ) -> None:
        self.alerting, self.cluster, self.pair, self.receiver = alerting, cluster, pair, receiver

    def steady(self) -> Iterator[Check]:
        """A healthy sandbox; in production routes to somebody."""
        if self.pair is not None:
            yield from self.pair.steady()
            return
        routes = self.alerting.routes if self.alerting is not None else ()
        yield Check(
            what="somebody is to be told",
            outcome=Outcome.PASS if routes else Outcome.FAIL,
            evidence=", ".join(route.name for route in routes) or "no [[alerts.routes]] is configured",
            seconds=0.0,
        )

    def trouble(self) -> str:
        """As the sandbox has it."""
        return self.pair.trouble() if self.pair is not None else ""

    def cleanup(self) -> Iterator[Check]:
        """Of the sandbox nothing is left."""
        if self.pair is not None:
            yield from self.pair.cleanup()


@contextlib.contextmanager
def open_watched(stage: Stage, setting: Setting) -> Iterator[Watched]:
    """A sandbox whose alerts go to a receiver of ours; in production the configured routes."""
    with Receiver() as receiver:
        if setting.radius is Radius.PRODUCTION:
            alerting = setting.config.alerting if setting.config is not None else None
            yield Watched(alerting, setting.cluster, None, receiver)
            return
        with open_sandbox(stage, setting, tables=_TABLES.format(port=receiver.port)) as pair:
            yield Watched(None, setting.cluster, pair, receiver)


def alert_fire(stage: Stage, watched: Watched) -> None:
    """A real fault and its end, or in production a notice to every address that says that it is a test."""
    if watched.pair is None:
        _every_address(stage, watched)
    else:
        _fault(stage, watched, watched.pair)


def _every_address(stage: Stage, watched: Watched) -> None:
    assert watched.alerting is not None, "steady() asked for routes"
    try:
        with stage.activity("send a test notice to every address of every route"):
            sent = send_test(watched.alerting.routes, watched.cluster)
    except NoApprise as error:
        raise Aborted(str(error)) from None
    for one in sent:
        stage.check(f"{one.route} takes a notice", not one.error, f"{one.to}: {one.error or 'it did'}")
    stage.skipped.append("that a fault is noticed: in production none is made; the sandbox's drill does that")


def _fault(stage: Stage, watched: Watched, pair: Sandbox) -> None:
    node, titles = pair.state.other, watched.receiver.titles
    down = f"{node} is down"
    before = len(titles)
    with stage.activity(f"kill -9 the standby's server {node}"):
        pair.lab.servers[node].kill()
    raised = _told(stage, watched, down, before, over=False)
    with stage.activity(f"start {node} again and wait until it follows, verified"):
        pair.lab.servers[node].start()
        stage.wait("a healthy pair", pair.settled, SETTLE)
    if raised:
        _told(stage, watched, down, before, over=True)
    told = [title for title in titles[before:] if down in title]
    stage.check("nobody is told twice", len(told) == 2, "; ".join(told) or "nothing was told")


def _told(stage: Stage, watched: Watched, down: str, before: int, *, over: bool) -> bool:
    """Wait for a notice; whether it came."""

    def came() -> bool:
        return any(down in title and (_OVER in title) is over for title in watched.receiver.titles[before:])

    what = f"the end of `{down}` is told" if over else f"`{down}` is told"
    try:
        with stage.activity(f"wait until {what}"):
            stage.wait(what, came, TOLD)
    except Aborted as error:
        return stage.check(what, False, str(error))
    return stage.check(what, True, f"after {stage.timeline[-1].seconds:.1f} s; {TOLD:g} s were given")


SCENARIOS: Final = (
    Scenario(
        name="alert-fire",
        title="Something breaks, and somebody has to be told",
        hypothesis="A server that dies is told within a minute, once, and so is its return",
        abort_rule="no canary was acknowledged anything for 30 s",
        method=(
            "in a sandbox: alerts go to a receiver on this host; kill -9 the standby's server while canaries write",
            "wait for the notice; start the server again; wait for the notice that it is over",
            "in production: send a test notice to every address of every route; nothing is broken",
        ),
        by_hand=(
            "understudy alerts test",
            "understudy alerts list",
            "an address that fails: correct it in the variable of its route, and send the test again",
        ),
        open=open_watched,
        run=alert_fire,
        radii=(Radius.SANDBOX, Radius.PRODUCTION),
    ),
)
