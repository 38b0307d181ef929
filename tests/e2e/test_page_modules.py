"""The page's own rules, asked in the browser that runs them: headlines, arrows, history, the stream's format."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Page, sync_playwright

from understudy.web.page import mount

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: make peers")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A browser on the page's files alone: without an API it shows nothing, and its modules can be called."""
    app = FastAPI()
    mount(app)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    started = threading.Event()
    startup = server.startup

    async def tell(*arguments: Any, **options: Any) -> None:
        await startup(*arguments, **options)
        started.set()

    server.startup = tell  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert started.wait(60)
        port = server.servers[0].sockets[0].getsockname()[1]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{port}/")
            yield page
            browser.close()
    finally:
        server.should_exit = True
        thread.join()


def call(page: Page, module: str, name: str, *arguments: object) -> Any:
    """What a module's function returns, in the browser."""
    script = "async ([module, name, args]) => (await import(`/assets/${module}.js`))[name](...args)"
    return page.evaluate(script, [module, name, arguments])


def node(name: str, role: str, **changes: object) -> dict[str, object]:
    facts: dict[str, object] = {"up": True, "fenced": role != "primary", "priority": 1 if name == "a" else 2}
    return {"name": name, "role": role, "verified": True, "error": "", **facts, **changes}


def cluster(a: dict[str, object] | None = None, b: dict[str, object] | None = None, **changes: object) -> Any:
    state = {"name": "c", "rpo": "bounded", "epoch": 3, "primary": "a", "paused": False, "in_sync": False}
    seen = {"acting": True, "lag_seconds": 0.2, "plan": None, "answer": "", "rule": "steady", "reason": ""}
    mode = changes.get("rpo", "bounded")
    seen["promise"] = {"mode": mode, "max_lag_seconds": 10 if mode == "bounded" else None}
    return {**state, **seen, "nodes": [a or node("a", "primary"), b or node("b", "standby")], **changes}


PLAN = {"kind": "switchover", "target": "b", "done": [], "step": "hold"}
HEADLINES = [
    (cluster(), "ok", "a is primary, b stands by"),
    (cluster(plan=PLAN), "busy", "Switchover to b under way"),
    (cluster(plan={**PLAN, "kind": "rejoin"}), "ok", "a is primary, b stands by"),
    (cluster(node("a", "primary", up=False)), "bad", "Primary a does not answer"),
    (cluster(node("a", "primary", fenced=True)), "bad", "Primary a is read-only"),
    (cluster(b=node("b", "standby", up=False)), "warn", "a is primary, nobody could take over"),
    (cluster(b=node("b", "detached")), "warn", "a is primary, nobody could take over"),
    (cluster(rpo="zero"), "warn", "a is primary, b is not in sync"),
    (cluster(rpo="zero", in_sync=True), "ok", "a is primary, b stands by"),
    (cluster(lag_seconds=None), "warn", "a is primary, the lag of b is unknown"),
    (cluster(lag_seconds=10), "ok", "a is primary, b stands by"),
    (cluster(lag_seconds=10.5), "warn", "a is primary, b is 10.5 s behind: a failover would be refused"),
    (cluster(rpo="zero", in_sync=True, lag_seconds=60), "ok", "a is primary, b stands by"),
    (cluster(paused=True), "warn", "a is primary, automatic changes are paused"),
    (cluster(acting=False), "warn", "This agent looks on; another one acts"),
    (cluster(primary=None, nodes=[]), "warn", "Not set up yet"),
]


@pytest.mark.parametrize(("seen", "level", "text"), HEADLINES, ids=lambda value: str(value)[:30])
def test_the_headline_is_never_better_than_the_state(page: Page, seen: Any, level: str, text: str) -> None:
    assert call(page, "words", "verdict", seen) == {"level": level, "text": text}


PROMISES = [
    ({"mode": "zero", "max_lag_seconds": None}, "zero: no acknowledged commit is lost"),
    (
        {"mode": "bounded", "max_lag_seconds": 10},
        "bounded: a failover leaves at most 10 s behind, which is rescued",
    ),
]


@pytest.mark.parametrize(("promise", "text"), PROMISES)
def test_the_promise_in_words(page: Page, promise: Any, text: str) -> None:
    assert call(page, "words", "promised", cluster(promise=promise)) == text


def test_below_the_headline_stands_why(page: Page) -> None:
    plan = {**PLAN, "reason": "asked for by ada"}
    assert call(page, "words", "why", cluster(reason="all is well")) == "all is well"
    assert (
        call(page, "words", "why", cluster(plan=plan, reason="step hold")) == "asked for by ada – step hold"
    )
    assert call(page, "words", "why", cluster(plan=plan, reason="asked for by ada")) == "asked for by ada"


def test_the_arrow_points_from_the_primary(page: Page) -> None:
    a, b = node("a", "primary"), node("b", "standby")
    forward = call(page, "words", "replication", cluster(), a, b)
    assert (forward["direction"], forward["level"], forward["text"]) == ("forward", "ok", "Replicating")
    a, b = node("a", "standby"), node("b", "primary")
    assert call(page, "words", "replication", cluster(a, b, primary="b"), a, b)["direction"] == "backward"
    a = node("a", "detached", up=False)
    lost = call(page, "words", "replication", cluster(a, b, primary="b", lag_seconds=None), a, b)
    assert (lost["level"], lost["text"]) == ("bad", "Not replicating")


def test_what_is_announced_is_what_changed(page: Page) -> None:
    assert call(page, "words", "differences", cluster(), cluster(lag_seconds=3.0)) == ""
    now = cluster(node("a", "detached", up=False), node("b", "primary"), primary="b")
    said = call(page, "words", "differences", cluster(), now)
    assert said == "Cluster c: b is the primary now, a does not answer."


def test_steps_stand_beneath_the_decision_that_began_them(page: Page) -> None:
    kinds = [
        "primary_down",
        "step:announce",
        "node_up",
        "step:publish",
        "returned",
        "step:fence",
        "node_down",
    ]
    events = [{"id": i, "kind": kind, "wall": i, "epoch": 2, "message": ""} for i, kind in enumerate(kinds)]
    found = call(page, "timeline", "grouped", events)
    assert [(e["event"]["kind"], [s["kind"] for s in e["steps"]]) for e in found] == [
        ("primary_down", ["step:announce", "step:publish"]),
        ("node_up", []),
        ("returned", ["step:fence"]),
        ("node_down", []),
    ]


def test_a_job_that_runs_beside_a_change_takes_none_of_its_steps(page: Page) -> None:
    lines = [("agent", "primary_down"), ("schedule", "logical_backup_failed"), ("agent", "step:publish")]
    events = [
        {"id": i, "kind": kind, "agent": who, "wall": i, "epoch": 2, "message": ""}
        for i, (who, kind) in enumerate(lines)
    ]
    found = call(page, "timeline", "grouped", events)
    assert [(e["event"]["kind"], len(e["steps"])) for e in found] == [
        ("primary_down", 1),
        ("logical_backup_failed", 0),
    ]
    assert call(page, "words", "eventIcon", "logical_backup_failed") == "warn"


@pytest.mark.parametrize(
    ("light", "fresh", "level", "text"),
    [
        ("green", True, "ok", "Ready"),
        ("amber", True, "warn", "Not quite ready: newest backup"),
        ("red", True, "bad", "Not ready: newest backup"),
        ("off", True, "note", "No backup is configured"),
        (None, False, "warn", "Nobody looks any more: what stands below is old"),
    ],
)
def test_readiness_in_words(page: Page, light: str | None, fresh: bool, level: str, text: str) -> None:
    items = [
        {"name": "backup", "light": light, "detail": ""},
        {"name": "key", "light": "other", "detail": ""},
    ]
    seen = {"at": "2026-11-21T12:00:00+00:00", "fresh": fresh, "light": light, "items": items}
    assert call(page, "words", "readinessText", seen) == {"level": level, "text": text}


def test_a_proof_never_sounds_better_than_it_is(page: Page) -> None:
    line = {"at": "2026-11-21T12:00:00+00:00", "level": "restore", "verdict": "pass"}
    assert call(page, "words", "proven", None) == {"level": "note", "text": "Never proven"}
    assert call(page, "words", "proven", line)["text"].endswith("restored and compared")
    assert call(page, "words", "proven", {**line, "verdict": "fail"})["level"] == "bad"
    assert call(page, "words", "proven", {**line, "verdict": "inconclusive"})["level"] == "warn"
    assert call(page, "words", "proven", {**line, "level": "bytes"})["text"].endswith("authentic")


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (63 * 2**20, "63 MiB")]
)
def test_sizes(page: Page, count: int, text: str) -> None:
    assert call(page, "words", "bytes", count) == text


def test_blocks_of_the_stream(page: Page) -> None:
    block = 'id: 7\nevent: event\ndata: {"a":\ndata: "x: y"}\n: a comment'
    assert call(page, "api", "parseBlock", block) == {"event": "event", "data": '{"a":\n"x: y"}', "id": "7"}
    assert call(page, "api", "parseBlock", ": ping")["data"] == ""


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (0.9, 1), (1.2, 2), (3, 5), (7, 10), (10, 10), (340, 500)]
)
def test_scales_end_at_round_numbers_above_the_highest(page: Page, value: float, top: float) -> None:
    assert call(page, "plots", "ceiling", value, 1) == top


def test_an_address_with_a_broken_name_does_no_harm(page: Page) -> None:
    errors: list[str] = []
    tab = page.context.browser.new_page()  # type: ignore[union-attr]
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(f"{page.url}#%")
    tab.evaluate("() => { location.hash = '#%E0%A4%A'; }")
    tab.wait_for_function("() => document.getElementById('connection').dataset.state === 'waiting'")
    tab.close()
    assert errors == []
