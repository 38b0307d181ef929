"""Delivery: nobody waits for it, it is tried a limited number of times, and no part of an address gets out."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from understudy.config_alerts import Route, Severity
from understudy.monitor import delivery, memory
from understudy.monitor.delivery import ATTEMPTS, WAITING, Courier, masked, scrubbed, send
from understudy.monitor.edges import Condition, EdgePolicy, Edges, Kind, Notice

SECRET = "T0kenS3cret"
NOTICE = Notice(kind=Kind.RAISED, severity=Severity.WARNING, key="slow:a", title="slow", text="very")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"slack://{SECRET}A/{SECRET}B/{SECRET}C/#barn", "slack://****"),
        (f"discord://4174216298/{SECRET}", "discord://****"),
        (f"mailtos://me:{SECRET}@mail.example.org?to=x@y.org", "mailtos://mail.example.org/****"),
        (
            f"json://u:{SECRET}@hooks.example.org:8443/{SECRET}?+X-Key={SECRET}",
            "json://hooks.example.org/****",
        ),
        (f"json://[{SECRET}", "json://****"),
        (SECRET, "****"),
    ],
)
def test_masked(url: str, shown: str) -> None:
    assert masked(url) == shown


@given(
    st.sampled_from(("slack", "tgram", "json", "mailto", "ntfy")), st.text(min_size=1), st.text(min_size=1)
)
def test_whatever_stands_where(kind: str, user: str, path: str) -> None:
    shown = masked(f"{kind}://{user}:{SECRET}@host.example/{path}/{SECRET}?x={SECRET}")
    assert SECRET not in shown
    assert SECRET.lower() not in shown


def test_scrubbed() -> None:
    url = f"json://u%C3%BCser:{SECRET}@hooks.example.org/a/{SECRET}X"
    text = f"error=500 at https://hooks.example.org/a/{SECRET}X for uüser and {SECRET}"
    assert scrubbed(text, url) == "error=500 at https://hooks.example.org/a/**** for **** and ****"


def test_scrubbed_of_a_secret_with_signs_in_it() -> None:
    url = "json://u:p%40ss%2Fw@hooks.example.org/0rd%2Fx"
    assert scrubbed("login as p@ss/w failed at 0rd/x", url) == "login as **** failed at ****"


def test_an_address_that_apprise_does_not_know() -> None:
    assert "does not know such an address" in send(f"barn://{SECRET}", NOTICE, "farm")
    assert "does not know such an address" in send("slack://short", NOTICE, "farm")


class Deliveries:
    """Stands in for the network: fails as often as told, and remembers."""

    def __init__(self, failures: int = 0) -> None:
        self.failures, self.seen = failures, list[str]()
        self.go = threading.Event()
        self.go.set()

    def __call__(self, url: str, notice: Notice, cluster: str) -> str:
        self.go.wait()
        self.seen.append(f"{url} {notice.title}")
        return "busy" if len(self.seen) <= self.failures else ""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "LONGEST_PAUSE", 0.01)


def route(*urls: str, severity: Severity = Severity.WARNING) -> Route:
    return Route(name="team", urls=urls, severity=severity)


def test_it_is_tried_again_until_it_gets_through(quick: None) -> None:
    deliveries = Deliveries(failures=ATTEMPTS - 1)
    courier = Courier([route("json://one")], deliveries)
    with structlog.testing.capture_logs() as logs:
        courier.give("farm", NOTICE)
        courier.close()
    assert len(deliveries.seen) == ATTEMPTS
    assert [line["event"] for line in logs] == ["alert_sent"]


def test_it_is_given_up_and_said_and_the_next_one_is_tried(quick: None) -> None:
    deliveries = Deliveries(failures=ATTEMPTS)
    courier = Courier([route(f"json://one/{SECRET}")], deliveries)
    with structlog.testing.capture_logs() as logs:
        courier.give("farm", NOTICE)
        courier.give("farm", NOTICE)
        courier.close()
    assert len(deliveries.seen) == ATTEMPTS + 1
    assert [line["event"] for line in logs] == ["alert_failed", "alert_sent"]
    assert logs[0]["error"] == f"busy (tried {ATTEMPTS} times)"
    assert SECRET not in str(logs)


def test_one_address_that_hangs_holds_up_no_other_and_nobody_waits() -> None:
    hanging, others = Deliveries(), Deliveries()
    hanging.go.clear()
    arrived = threading.Event()

    def deliver(url: str, notice: Notice, cluster: str) -> str:
        if url == "json://hangs":
            return hanging(url, notice, cluster)
        arrived.set()
        return others(url, notice, cluster)

    courier = Courier([route("json://hangs", "json://works")], deliver)
    with structlog.testing.capture_logs() as logs:
        for _ in range(WAITING + 10):
            courier.give("farm", NOTICE)
        assert arrived.wait(60)
        hanging.go.set()
        courier.close()
    assert any(line["event"] == "alert_dropped" for line in logs)


def test_routes_get_what_is_grave_enough_for_them() -> None:
    deliveries = Deliveries()
    pager = Route(name="pager", urls=("json://pager",), severity=Severity.CRITICAL)
    courier = Courier([route("json://team"), pager], deliveries)
    for severity in Severity:
        courier.give("farm", Notice(kind=Kind.EVENT, severity=severity, key="k", title=severity, text=""))
    courier.close()
    assert sorted(deliveries.seen) == ["json://pager critical", "json://team critical", "json://team warning"]


# --- what was told is kept ----------------------------------------------------------------------------------


def test_memory_is_kept_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    edges = Edges(policy=EdgePolicy(quiet_start=0.0), started=0.0)
    edges.look([Condition(key="lag", severity=Severity.WARNING, title="lag", text="")], [], (), 1.0)
    path = memory.path_of(tmp_path, "farm")
    memory.save(path, memory.Memory(edges=edges, last_event=7), now=1.0, wall=1000.0)
    assert path.stat().st_mode & 0o077 == 0
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    again = memory.load(path, EdgePolicy(), now=500.0, wall=1010.0)
    assert again.last_event == 7
    assert again.edges.held["lag"].told is Severity.WARNING
    assert again.edges.held["lag"].since == 490.0


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 2}', '{"version": 1}', '{"version": 1, "wall": "x"}']
)
def test_a_damaged_memory_is_said(tmp_path: Path, text: str) -> None:
    path = memory.path_of(tmp_path, "farm")
    path.write_text(text)
    with pytest.raises(memory.MemoryDamaged, match="begins anew"):
        memory.load(path, EdgePolicy(), now=0.0, wall=0.0)


def test_without_a_memory_it_begins_with_nothing(tmp_path: Path) -> None:
    found = memory.load(memory.path_of(tmp_path, "farm"), EdgePolicy(), now=5.0, wall=0.0)
    assert (found.last_event, found.edges.held) == (None, {})
