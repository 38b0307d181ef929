"""The page in a real browser, on a real agent with a real pair: what a person sees, hears of and can do."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from understudy.demo.lab import CLUSTER, Lab
from understudy.model import Role, Rpo
from understudy.witness.base import Entry

CHROMIUM = shutil.which("chromium")
AXE = Path(__file__).parent / "assets" / "axe-core" / "axe.min.js"
OPERATOR, READER = "operator-of-the-test-0123456789abcdef", "reader-of-the-test-0123456789abcdef"
SOON = 20_000  # ms until something that a real failover brings must be seen
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 812}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: make peers")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
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


def listens(port: int) -> bool:
    """Somebody accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def served() -> Iterator[tuple[Lab, str]]:
    """A lab whose agent serves the page, and the page's address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Lab(mode=Rpo.BOUNDED, scale=1) as lab:
        section = (
            f'[api]\nlisten = "127.0.0.1:{port}"\noperator_token = "{OPERATOR}"\nread_token = "{READER}"\n'
        )
        lab.config_file.write_text(lab.config_file.read_text() + section)
        before, pid = lab.last_event, lab.agent.pid
        assert pid is not None
        os.kill(pid, signal.SIGHUP)
        lab.await_event("agent_started", 20, after=before)
        lab.await_true(lambda: listens(port), 20, "the page to be served")
        yield lab, f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Lab, str]]:
    with served() as found:
        yield found


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


def test_a_switchover_by_clicking(browser: Browser, pair: tuple[Lab, str]) -> None:
    lab, address = pair
    with visit(browser, address) as page:
        primary, standby = ready(page, lab)
        order_switchover(page)
        expect(page.locator(".outcome")).to_contain_text(f"Done: {standby} is the primary", timeout=SOON)
        expect(node(page, standby).locator(".role")).to_have_text("Primary")
        expect(node(page, primary).locator(".role")).to_have_text("Standby")
        expect(page.locator("#announce")).to_contain_text("Cluster demo")
        entry = page.locator('.event[data-kind="request"]').first
        expect(entry).to_contain_text(f"switchover to {standby} was asked for")
        entry.locator("summary").click()
        expect(entry.locator(".steps-done li", has_text="Publish")).to_be_visible()
        assert lab.state.primary == standby
        lab.await_settled()
        lab.switchover(primary)  # by somebody else
        expect(page.locator(".outcome")).to_be_hidden(timeout=SOON)


def test_a_killed_primary_changes_the_page(browser: Browser, pair: tuple[Lab, str]) -> None:
    lab, address = pair
    with visit(browser, address) as page:
        primary, standby = ready(page, lab)
        lab.servers[primary].kill()
        expect(node(page, primary).locator(".node-state")).to_contain_text("Does not answer", timeout=SOON)
        expect(node(page, standby).locator(".role")).to_have_text("Primary", timeout=SOON)
        expect(node(page, primary).locator(".role")).to_have_text("Detached")
        expect(page.locator(".verdict h2")).to_have_text(f"{standby} is primary, nobody could take over")
        decided = page.locator('.event[data-kind="primary_down"]').first
        expect(decided).to_contain_text(f"primary {primary} missed 3 probes")
        expect(decided.locator("summary")).to_contain_text("8 steps in")
        lab.servers[primary].start()
        lab.await_state(lambda state: state.record(primary).role is Role.STANDBY, 60, "the rejoin")
        expect(node(page, primary).locator(".node-facts")).to_contain_text("verified equal", timeout=SOON)


def fits(page: Page) -> bool:
    """Nothing makes the page wider than the screen."""
    return bool(page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"))


@pytest.mark.slow
def test_a_text_that_looks_like_markup_is_shown_as_text(browser: Browser, pair: tuple[Lab, str]) -> None:
    lab, address = pair
    text = "<img src=x onerror=\"document.title='taken'\"><script>alert(1)</script>"
    with visit(browser, address) as page:
        ready(page, lab)
        lab.witness.log(
            CLUSTER, epoch=lab.state.epoch, entry=Entry(agent="test", kind="<b>odd", message=text)
        )
        expect(page.locator(".event-why").first).to_have_text(text, timeout=SOON)
        expect(page.locator("main img, main script, main b")).to_have_count(0)


@pytest.mark.slow
@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_serious(
    browser: Browser, pair: tuple[Lab, str], colours: str, viewport: dict[str, int]
) -> None:
    lab, address = pair
    with visit(browser, address, color_scheme=colours, viewport=viewport) as page:
        ready(page, lab)
        for summary in page.locator(".event summary:visible").all():
            summary.click()
        assert serious(page) == []
        assert fits(page)
        page.locator("[data-order=failover]").click()
        page.get_by_label("Accept loss").check()
        assert serious(page) == []
        assert fits(page)


@pytest.mark.slow
def test_a_silent_agent_is_never_taken_for_a_quiet_one(browser: Browser, pair: tuple[Lab, str]) -> None:
    lab, address = pair
    with visit(browser, address) as page:
        ready(page, lab)
        for silence, end in ((lab.agent.freeze, lab.agent.thaw), (lab.agent.kill, lab.start_agent)):
            expect(page.locator("#connection")).to_have_text("Live", timeout=SOON)
            silence()
            expect(page.locator("#stale")).to_contain_text("No connection since", timeout=SOON)
            expect(page.locator("#announce")).to_contain_text("No connection to the agent since")
            expect(page.locator("[data-order]:visible:enabled")).to_have_count(0)
            assert serious(page) == []
            end()
        expect(page.locator("#stale")).to_be_hidden(timeout=SOON)
        expect(page.locator(".event", has_text="Agent started")).not_to_have_count(
            1
        )  # what it missed is there


@pytest.mark.slow
def test_accepting_loss_asks_for_the_name(browser: Browser, pair: tuple[Lab, str]) -> None:
    lab, address = pair
    with visit(browser, address) as page:
        primary, standby = ready(page, lab)
        page.locator("[data-order=failover]").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text(f"{primary} answers. A switchover")
        go = dialog.get_by_role("button", name=f"Fail over to {standby}")
        expect(go).to_be_enabled()
        dialog.get_by_label("Accept loss").check()
        expect(go).to_be_disabled()
        dialog.get_by_label("Type the cluster").fill("dem")
        expect(go).to_be_disabled()
        dialog.get_by_label("Type the cluster").fill(CLUSTER)
        go.click()
        expect(page.locator(".outcome")).to_contain_text(f"Done: {standby} is the primary", timeout=SOON)
        lab.await_settled()


@pytest.mark.slow
def test_the_keyboard_is_enough(browser: Browser, pair: tuple[Lab, str]) -> None:
    lab, address = pair
    with visit(browser, address) as page:
        ready(page, lab)
        page.evaluate("() => document.activeElement.blur()")
        reached = ""
        for _ in range(12):
            page.keyboard.press("Tab")
            reached = page.evaluate("() => document.activeElement.dataset.order ?? ''")
            assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
            if reached == "pause":
                break
        assert reached == "pause"
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_contain_text("nothing fails over or back by itself")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert page.evaluate("() => document.activeElement.dataset.order") == "pause"
        for state, word in ((True, "paused"), (False, "stands by")):
            page.keyboard.press("Enter")
            page.keyboard.press("Tab")
            page.keyboard.press("Enter")
            expect(page.locator(".verdict h2")).to_contain_text(word, timeout=SOON)
            assert lab.state.paused is state


@pytest.mark.slow
def test_a_reader_may_look_and_not_act(browser: Browser, pair: tuple[Lab, str]) -> None:
    lab, address = pair
    with visit(browser, address, refused="403") as page:
        ready(page, lab, READER)
        page.locator("[data-order=pause]").click()
        page.get_by_role("dialog").locator("button[type=submit]").click()
        expect(page.get_by_role("alert")).to_contain_text("may look, not act")
        assert not lab.state.paused


@pytest.mark.slow
def test_without_a_token_nothing_is_seen(browser: Browser, pair: tuple[Lab, str]) -> None:
    lab, address = pair
    with visit(browser, address, refused="401") as page:
        expect(page.locator("main")).to_have_text("Sign in with a token to see the clusters.")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_label("Token").fill("guessed-guessed-guessed")
        page.get_by_role("dialog").locator("button[type=submit]").click()
        expect(page.get_by_role("alert")).to_contain_text("the token is wrong")
        assert page.evaluate("() => sessionStorage.length") == 0
        page.keyboard.press("Escape")
        ready(page, lab)
        page.get_by_role("button", name="Sign out").click()
        expect(page.locator("main")).to_have_text("Sign in with a token to see the clusters.")
        assert page.evaluate("() => sessionStorage.length") == 0
