"""Reports hold everything the journal holds, and nothing that could harm who reads them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_drill_runner import Glass
from tests.unit.test_drill_runner import drill as run_drill
from tests.unit.test_journal import drill

from understudy.drill import report, runbook
from understudy.drill.catalogue import SCENARIOS
from understudy.drill.stage import Stage
from understudy.readiness.journal import Activity, Check, Loss, Outcome, Radius, Recovery

TRICKY = '<script>alert("x")</script> | \x00 \ud800 & ]]>'


def tricky() -> object:
    check = Check(what=TRICKY, outcome=Outcome.FAIL, evidence=TRICKY, seconds=1.0)
    line = Activity(name=TRICKY, offset=1.0, seconds=2.0, outcome=Outcome.INCONCLUSIVE, output=TRICKY)
    return replace(drill(), evidence=(check,), timeline=(line,), summary=TRICKY, skipped=(TRICKY,))


def test_markdown_says_what_was_measured() -> None:
    text = report.markdown(drill())
    for part in (
        "failover-crash: pass",
        "0.120 s",
        "1.120 s",
        "400",
        "kill -9",
        "412 in 2 s",
        "no browser here",
    ):
        assert part in text


def test_what_was_lost_stands_there_once() -> None:
    """The figures say it; the sentence of a drill that passed does not say it again."""

    def lose(stage: Stage, glass: Glass) -> None:
        stage.loss = Loss(acknowledged=54321, lost=0, rescued=17, seconds=0.0)
        stage.recovery = Recovery(detect=1.0, decide=0.5, act=0.25, verify=0.125, writes=1.625)

    found = run_drill(lose)
    assert (found.outcome, found.summary) == (Outcome.PASS, "3 checks passed")
    for text in (report.markdown(found), report.html(found)):
        assert text.count("54,321") == 1
        assert text.count("lost") == 1
        assert text.count("1.875 s") == 1  # the time to recover
    assert report.measured(found) == (
        "1.62 s without an answer, recovered and proven after 1.9 s; 0 of 54,321 acknowledged writes lost"
    )


def test_the_page_escapes_and_needs_nothing_else() -> None:
    page = report.html(tricky())
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert "http://" not in page
    assert "https://" not in page


def test_a_table_of_markdown_keeps_its_columns() -> None:
    rows = [
        line for line in report.markdown(tricky()).splitlines() if "alert" in line and line.startswith("|")
    ]
    assert rows
    for row in rows:
        assert row.replace("\\|", "").count("|") in (5, 6)


def test_junit_is_xml_whatever_was_found() -> None:
    root = ElementTree.fromstring(report.junit([drill(), tricky()]))
    suites = root.findall("testsuite")
    assert [suite.get("failures") for suite in suites] == ["0", "1"]
    assert all(len(suite.findall("testcase")) == int(suite.get("tests", 0)) for suite in suites)


@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e4)), max_size=20), st.floats(0, 1e4))
def test_bars_lie_in_the_drawing(times: list[tuple[float, float]], seconds: float) -> None:
    lines = tuple(Activity(name="x", offset=o, seconds=s, outcome=Outcome.PASS, output="") for o, s in times)
    for bar in report.bars(replace(drill(), timeline=lines, seconds=seconds)):
        assert 0 <= bar.left <= 640
        assert bar.left + bar.width <= 640 + 1.5 + 1e-6


@given(st.lists(st.floats(0, 1e4), min_size=4, max_size=4), st.floats(0, 10))
def test_the_pieces_fill_the_time_to_recover(spent: list[float], writes: float) -> None:
    detect, decide, act, verify = spent
    recovery = Recovery(detect=detect, decide=decide, act=act, verify=verify, writes=writes)
    found = report.pieces(replace(drill(), recovery=recovery))
    assert [piece.seconds for piece in found] == spent
    assert found[2].name == ("writes went on" if writes else "all of it was there")
    for before, after in pairwise(found):
        assert after.left == pytest.approx(before.left + before.width, abs=1e-6)
    assert sum(piece.width for piece in found) == pytest.approx(100 if sum(spent) else 0)
    assert report.pieces(replace(drill(), recovery=None)) == []


def test_moments_are_in_the_table_and_not_among_the_bars() -> None:
    moment = Activity(name="step:promote", offset=1.0, seconds=0.0, outcome=Outcome.PASS, output="")
    found = replace(drill(), timeline=(moment,))
    assert report.bars(found) == []
    assert "step:promote" in report.html(found)


def test_the_trend_compares_with_drills_of_the_same_kind() -> None:
    def took(number: int, seconds: float, scenario: str = "failover-crash") -> object:
        recovery = Recovery(detect=0, decide=0, act=seconds, verify=0, writes=0)
        return replace(drill(number), recovery=recovery, scenario=scenario)

    elsewhere = replace(took(3, 77.0), radius=Radius.PRODUCTION)
    earlier = [took(1, 1.0), took(2, 99.0, "switchover"), elsewhere, took(3, 1.2)]
    assert (
        report.trend(took(4, 2.4), earlier)
        == "2.40 s to recover; the median of the last 2 was 1.20 s (+100 %)"
    )
    assert report.trend(took(1, 2.4), earlier) == ""


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_runbook_has_every_drill(scenario) -> None:  # type: ignore[no-untyped-def]
    page = runbook.markdown()
    assert f"## {scenario.title}\n" in page
    assert scenario.hypothesis in page


def test_the_runbook_in_the_documentation_is_the_one_that_is_printed() -> None:
    """After a change: `understudy drill runbook > docs/reference/runbook.md`."""
    page = Path(__file__).resolve().parents[2] / "docs" / "reference" / "runbook.md"
    assert page.read_text() == runbook.markdown()
