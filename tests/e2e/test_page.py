"""The page in a real browser, on a real agent with a real pair: what a person sees, hears of and can do."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect
from tests.e2e.page_world import (
    CHROMIUM,
    DESKTOP,
    PHONE,
    READER,
    SOON,
    chromium,
    fits,
    node,
    order_switchover,
    ready,
    serious,
    served,
    visit,
)

from understudy.demo.lab import CLUSTER, Lab
from understudy.model import Role
from understudy.readiness.kept import Reader
from understudy.witness.base import Entry

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: make peers")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Lab, str]]:
    with served() as found:
        yield found


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


def test_without_backups_a_plain_light_says_so(browser: Browser, pair: tuple[Lab, str]) -> None:
    lab, address = pair
    lab.await_true(lambda: Reader(lab.directory, CLUSTER).told() is not None, 60, "the agent's first look")
    with visit(browser, address) as page:
        ready(page, lab)
        reason = page.locator('[data-item="backup"]')
        expect(reason).to_contain_text("no backup is configured", timeout=SOON)
        expect(reason).to_have_attribute("data-light", "off")
        expect(page.locator(".light-headline")).not_to_have_text("Ready")
        expect(page.get_by_role("region", name="Backups")).to_contain_text("None is configured")
        assert serious(page) == []


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
        expect(decided).to_contain_text(re.compile(rf"primary {primary} missed \d+ probes"))
        expect(decided.locator("summary")).to_contain_text("8 steps in")
        lab.servers[primary].start()
        lab.await_state(lambda state: state.record(primary).role is Role.STANDBY, 60, "the rejoin")
        expect(node(page, primary).locator(".node-facts")).to_contain_text("verified equal", timeout=SOON)


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
