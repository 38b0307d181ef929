"""The page in a real browser, on a real agent with a real pair: what its tests share."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from understudy.demo.lab import Lab
from understudy.embedded.postgresql import free_port
from understudy.model import Rpo

CHROMIUM = shutil.which("chromium")
AXE = Path(__file__).parent / "assets" / "axe-core" / "axe.min.js"
OPERATOR, READER = "operator-of-the-test-0123456789abcdef", "reader-of-the-test-0123456789abcdef"
SOON = 60_000  # ms in which something must be seen
expect.set_options(timeout=SOON)
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 812}


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's own Chromium."""
    with sync_playwright() as playwright:
        # Chromium refuses its sandbox to root; the only pages it opens are ours.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def visit(browser: Browser, address: str, *, refused: str = "", **options: Any) -> Iterator[Page]:
    """A page in a tab of its own. At the end its console must be empty: no error, no violation of the policy.

    Chromium itself logs connections that end and answers such as ``refused``, e.g. "403".
    """
    context: BrowserContext = browser.new_context(
        **({"viewport": DESKTOP, "reduced_motion": "reduce"} | options)
    )
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"uncaught: {error}"))
    try:
        page.goto(address)
        yield page
        known = [
            "ERR_CONNECTION_REFUSED",
            "ERR_CONNECTION_RESET",
            "ERR_INCOMPLETE_CHUNKED_ENCODING",
            "ERR_EMPTY_RESPONSE",
        ]
        known += [f"status of {refused}"] if refused else []
        assert [line for line in said if not any(one in line for one in known)] == []
    finally:
        context.close()


def node(page: Page, name: str) -> Any:
    return page.locator(f'.node[data-node="{name}"]')


def sign_in(page: Page, token: str) -> None:
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("Token").fill(token)
    page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def serious(page: Page) -> list[str]:
    """What axe calls serious or critical, and where. It enters by the debugger: the policy lets no script in."""
    page.evaluate(AXE.read_text() + "\n;0")
    found = page.evaluate("() => axe.run()")
    assert len(found["passes"]) > 20
    return [
        f"{one['id']}: {[n['target'] for n in one['nodes']]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def keys(page: Page, label: str, *, limit: int = 30) -> None:
    """Press Tab until the button of that name has the focus, then Enter. Wherever the focus is, it must be seen."""
    for _ in range(limit):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement === document.body"):
            continue  # once round, by way of the browser's own buttons
        name = page.evaluate("() => document.activeElement.textContent.trim()")
        assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid", name
        if name == label:
            page.keyboard.press("Enter")
            return
    raise AssertionError(f"no way to {label!r} by the Tab key")


def listens(port: int) -> bool:
    """Somebody accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def serve(lab: Lab) -> str:
    """Let the lab's agent serve the page; its address."""
    port = free_port()
    section = f'[api]\nlisten = "127.0.0.1:{port}"\noperator_token = "{OPERATOR}"\nread_token = "{READER}"\n'
    lab.config_file.write_text(lab.config_file.read_text() + section)
    before, pid = lab.last_event, lab.agent.pid
    assert pid is not None
    os.kill(pid, signal.SIGHUP)
    lab.await_event("agent_started", 60, after=before)
    lab.await_true(lambda: listens(port), 60, "the page to be served")
    return f"http://127.0.0.1:{port}/"


@contextmanager
def served() -> Iterator[tuple[Lab, str]]:
    """A lab whose agent serves the page, and the page's address."""
    with Lab(mode=Rpo.BOUNDED, scale=1) as lab:
        yield lab, serve(lab)


def ready(page: Page, lab: Lab, token: str = OPERATOR) -> tuple[str, str]:
    """Sign in and wait until the page says that all is well. Returns primary and standby."""
    lab.await_settled()
    sign_in(page, token)
    primary, standby = lab.state.primary, lab.state.other
    expect(page.locator(".verdict h2")).to_have_text(
        f"{primary} is primary, {standby} stands by", timeout=SOON
    )
    return primary, standby


def order_switchover(page: Page) -> None:
    page.locator("[data-order=switchover]:visible, [data-order=failback]:visible").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("Nothing stands in the way.")).to_be_visible()
    dialog.locator("button[type=submit]").click()


def fits(page: Page) -> bool:
    """Nothing makes the page wider than the screen."""
    return bool(page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"))
