"""The page over two clusters of one agent, one of them `zero`; a rescue; a small phone; no mouse."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.e2e.page_world import (
    CHROMIUM,
    OPERATOR,
    SOON,
    chromium,
    fits,
    keys,
    node,
    order_switchover,
    ready,
    serious,
    serve,
    sign_in,
    visit,
)

from understudy.demo.agent_process import run
from understudy.demo.lab import CLUSTER, Lab
from understudy.embedded.postgresql import EmbeddedPostgreSQL
from understudy.model import ClusterState, Role, Rpo

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: make peers"),
    pytest.mark.slow,
]
SMALL = {"width": 360, "height": 740}
SAFE = "ledger"
"""The other cluster: two servers of its own, nothing acknowledged is lost."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@dataclass
class Two:
    """Cluster `demo` (a, b; bounded) and cluster `ledger` (north, south; zero), one agent, one page."""

    lab: Lab
    servers: dict[str, EmbeddedPostgreSQL]
    address: str

    @property
    def ledger(self) -> ClusterState:
        state = self.lab.witness.read(SAFE)
        assert state is not None
        return state

    def await_ledger(self, primary: str) -> None:
        """Until that one is primary, and the other follows in sync."""
        self.lab.await_true(
            lambda: (
                (s := self.ledger).primary == primary
                and s.plan is None
                and s.in_sync
                and s.record(s.other).role is Role.STANDBY
            ),
            60,
            f"a healthy pair {SAFE} with {primary} as primary",
        )


@pytest.fixture(scope="module")
def two() -> Iterator[Two]:
    password = secrets.token_urlsafe(18)
    with Lab(mode=Rpo.BOUNDED, scale=1) as lab:
        north = EmbeddedPostgreSQL(lab.folder / "north", name="north", die_with_parent=True)
        south = EmbeddedPostgreSQL(lab.folder / "south", name="south", die_with_parent=True)
        with north, south:
            lines = [f"[clusters.{SAFE}]", 'rpo = "zero"']
            for server in (north, south):
                server.prepare(SAFE, password=password)
                lines += [f"[[clusters.{SAFE}.nodes]]", f'name = "{server.name}"']
                lines += [f'dsn = "{server.dsn("app", SAFE, password)}"']
                lines += [f'admin_dsn = "{server.dsn("understudy", SAFE, password)}"']
            lines += [f"[clusters.{SAFE}.policy]", 'failback = "manual"']
            with psycopg.connect(north.dsn("app", SAFE, password)) as connection:
                connection.execute("CREATE TABLE entry (id int PRIMARY KEY, text text)")
            with lab.config_file.open("a") as file:
                file.write("\n".join(lines) + "\n")
            run(lab.config_file, "setup", "--cluster", SAFE)
            two = Two(lab, {"north": north, "south": south}, serve(lab))
            two.await_ledger("north")
            yield two
            lab.agent.stop()  # before its servers


def tab(page: Page, name: str) -> object:
    return page.get_by_role("navigation", name="Clusters").get_by_role("link", name=name)


def test_several_clusters_on_one_page(browser: Browser, two: Two) -> None:
    """Each has a tab with its state; trouble in the one that is not shown is seen and heard."""
    with visit(browser, two.address) as page:
        ready(page, two.lab)
        expect(tab(page, CLUSTER)).to_have_attribute("aria-current", "page")
        expect(tab(page, SAFE)).to_contain_text("well")
        two.servers["north"].kill()
        expect(tab(page, SAFE)).not_to_contain_text("well", timeout=SOON)
        expect(page.locator("#announce")).to_contain_text(f"Cluster {SAFE}", timeout=SOON)
        expect(page.locator(".verdict h2")).to_have_text("a is primary, b stands by")  # the one that is shown
        tab(page, SAFE).click()
        expect(page.locator(".verdict h2")).to_contain_text("south is primary", timeout=SOON)
        expect(node(page, "a")).to_have_count(0)
        expect(page.locator('.event[data-kind="primary_down"]')).to_have_count(1)
        lag = page.get_by_role("figure", name="Replication lag").get_by_role("status")
        expect(lag).to_have_text("unknown")  # nobody stands by
        assert serious(page) == []
        page.reload()
        expect(page.locator(".verdict h2")).to_contain_text("south is primary")  # its name is in the address
        two.servers["north"].start()
        two.await_ledger("south")
        expect(page.locator(".verdict h2")).to_have_text("south is primary, north stands by", timeout=SOON)


def test_a_zero_cluster(browser: Browser, two: Two) -> None:
    with visit(browser, f"{two.address}#{SAFE}") as page:
        sign_in(page, OPERATOR)
        primary, standby = two.ledger.primary, two.ledger.other
        expect(page.locator(".facts")).to_contain_text("zero")
        expect(page.locator(".link-text")).to_have_text("Synchronous", timeout=SOON)
        expect(page.locator(".verdict h2")).to_have_text(f"{primary} is primary, {standby} stands by")
        two.servers[standby].kill()
        expect(page.locator(".link-text")).to_have_text("Interrupted", timeout=SOON)
        expect(page.locator(".event", has_text="Going on without the standby").first).to_be_visible(
            timeout=SOON
        )
        expect(page.locator(".verdict h2")).to_contain_text("nobody could take over")
        two.servers[standby].start()
        expect(page.locator(".link-text")).to_have_text("Synchronous", timeout=SOON)
        two.await_ledger(primary)
        order_switchover(page)
        expect(page.locator(".outcome")).to_contain_text(f"Done: {standby} is the primary", timeout=SOON)
        two.await_ledger(standby)


def test_a_rescue_is_seen_as_soon_as_there_is_one(browser: Browser, two: Two) -> None:
    """The process that sends to the standby is stopped, the primary commits and dies: only it has those rows."""
    lab = two.lab
    with visit(browser, two.address) as page:
        primary, standby = ready(page, lab)
        expect(page.locator(".rescue-browser")).to_contain_text("None: no old primary came back")
        link = lab.state.link
        assert link is not None
        with lab.connect(primary, "postgres") as root:
            asked = "SELECT pid FROM pg_stat_replication WHERE application_name = %s"
            ((sender,),) = root.execute(asked, (link.name,))
        os.kill(sender, signal.SIGSTOP)
        with lab.connect(primary) as application:
            for seq in (1, 2):
                application.execute(
                    "INSERT INTO pgbench_history (delta, writer, seq) VALUES (31415, 77, %s)", (seq,)
                )
        lab.servers[primary].kill()
        lab.await_state(lambda s: s.primary == standby and s.plan is None, 60, "a failover")
        lab.servers[primary].start()
        rescue = page.locator(".rescue")
        expect(rescue).to_have_count(1, timeout=SOON)
        expect(rescue).to_contain_text(f"2 transactions of {primary}")
        expect(rescue.locator("[data-verdict=safe]")).to_contain_text("2 safe")
        (folder,) = lab.rescues.iterdir()
        expect(rescue).to_contain_text(f"understudy rescue apply {folder.name} --cluster {CLUSTER}")
        rescue.get_by_text("Manifest").click()
        expect(rescue.locator("dl")).to_contain_text("Transactions")
        assert "31415" not in page.locator("body").inner_text()  # rows stay on the host
        assert serious(page) == []
        page.set_viewport_size(SMALL)
        assert fits(page)
        lab.await_settled()
        run(lab.config_file, "rescue", "apply", folder.name, "--yes", "--cluster", CLUSTER)
        expect(page.locator(".event", has_text="Rescue applied")).to_have_count(1, timeout=SOON)


def test_a_switchover_without_a_mouse_on_a_small_phone(browser: Browser, two: Two) -> None:
    """From the address bar to the new primary by Tab and Enter; nothing is wider than 360 pixels meanwhile."""
    lab = two.lab
    lab.await_settled()
    primary, standby = lab.state.primary, lab.state.other
    with visit(browser, two.address, viewport=SMALL, has_touch=True, is_mobile=True) as page:
        keys(page, "Sign in")
        page.keyboard.type(OPERATOR)
        page.keyboard.press("Enter")
        expect(page.locator(".verdict h2")).to_have_text(
            f"{primary} is primary, {standby} stands by", timeout=SOON
        )
        assert fits(page)
        words = "Fail back" if standby == "a" else "Switch over"
        keys(page, f"{words} to {standby} …")
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_text("Nothing stands in the way.")).to_be_visible()
        assert fits(page)
        keys(page, f"{words} to {standby}")
        expect(page.locator(".outcome")).to_contain_text(f"Done: {standby} is the primary", timeout=SOON)
        expect(page.locator(".outcome")).to_be_focused()  # the button that was pressed is not there any more
        keys(page, f"{'Switch over' if standby == 'a' else 'Fail back'} to {primary} …")
        page.keyboard.press("Escape")
        for summary in page.locator(".event summary:visible").all():
            summary.click()
        assert fits(page)
        assert serious(page) == []
    lab.await_settled()
