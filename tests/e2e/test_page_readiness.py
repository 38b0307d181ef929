"""The page of a pair with real backups, a proof and a drill: the light, the lists, the report, a lost disk."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.e2e.page_world import CHROMIUM, DESKTOP, PHONE, SOON, chromium, fits, serious, sign_in, visit
from tests.integration.ready_world import READER, Ready, ready_lab

from understudy.readiness.light import NAMES, Light

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: make peers"),
    pytest.mark.slow,
    pytest.mark.timeout(400),
]
SMALL = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with ready_lab(tmp_path_factory.mktemp("ready")) as made:
        made.again()
        made.await_light(Light.GREEN, *NAMES)
        yield made


def light(page: Page, item: str) -> str:
    return page.locator(f'[data-item="{item}"]').get_attribute("data-light") or ""


def test_the_light_the_backups_and_the_drills_are_shown(browser: Browser, ready: Ready) -> None:
    with visit(browser, ready.address) as page:
        sign_in(page, READER)
        expect(page.locator("[data-item]")).to_have_count(len(NAMES), timeout=SOON)
        expect(page.locator(".light-headline")).to_have_text("Ready")
        for item in NAMES:
            reason = page.locator(f'[data-item="{item}"]')
            expect(reason).to_contain_text("good")  # in words, not by its colour alone
            assert len(reason.inner_text()) > 20
        backups = page.get_by_role("region", name="Backups")
        expect(backups.locator(".backup")).to_have_count(2)
        expect(backups).to_contain_text("restored and compared")
        expect(backups).to_contain_text("Never proven")  # the base backup
        expect(backups).to_contain_text("in disk")
        drills = page.get_by_role("region", name="Drills")
        expect(drills).to_contain_text("Failover crash")
        expect(drills).to_contain_text("0 of")
        assert serious(page) == []
        for size in (DESKTOP, PHONE, SMALL):
            page.set_viewport_size(size)
            assert fits(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_a_phone_either(browser: Browser, ready: Ready, scheme: str) -> None:
    with visit(browser, ready.address, viewport=SMALL, color_scheme=scheme) as page:
        sign_in(page, READER)
        expect(page.locator("[data-item]")).to_have_count(len(NAMES), timeout=SOON)
        assert serious(page) == []


def test_the_report_of_a_drill_opens_by_the_keyboard(browser: Browser, ready: Ready) -> None:
    with visit(browser, ready.address) as page:
        sign_in(page, READER)
        link = page.get_by_role("link", name=re.compile("Report of failover-crash"))
        expect(link).to_be_visible(timeout=SOON)
        link.focus()
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Tab")  # focus is shown to whoever uses the keyboard, and to nobody else
        expect(link).to_be_focused()
        assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
        with page.context.expect_page() as opened:
            page.keyboard.press("Enter")
        report = opened.value
        said: list[str] = []
        report.on("console", lambda message: said.append(message.text))
        report.reload()
        expect(report.get_by_role("heading", level=1)).to_contain_text("Drill failover-crash: pass")
        assert (
            report.evaluate("() => getComputedStyle(document.body).maxWidth") != "none"
        )  # its style is let in
        assert said == []
    (file,) = (ready.lab.directory / "drills").glob("*.html")
    with visit(browser, file.as_uri()) as kept:  # as it is served, not even axe may run in it
        assert serious(kept) == []


def test_a_destination_that_is_gone_turns_the_light_red(browser: Browser, ready: Ready) -> None:
    away = ready.folder.with_name("away")
    ready.folder.rename(away)
    try:
        ready.again()
        ready.await_light(Light.RED, "storage")
        with visit(browser, ready.address) as page:
            sign_in(page, READER)
            expect(page.locator(".light-headline")).to_contain_text("Not ready", timeout=SOON)
            expect(page.locator(".light-headline")).to_contain_text("destinations")
            assert light(page, "storage") == "red"
            assert light(page, "backup") == "amber"  # nobody can say what is in it
            expect(page.locator(".backup")).to_have_count(2)  # as they were seen last
            assert serious(page) == []
    finally:
        away.rename(ready.folder)
