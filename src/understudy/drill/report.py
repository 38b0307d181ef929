"""Journals for people and for machines: Markdown, JUnit, and one HTML page with the timeline drawn.

Pure: a journal goes in, a text comes out. The page needs nothing but itself (no script, no font, no network).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from understudy import config_values
from understudy.readiness.journal import Activity, Check, Journal, Outcome, Recovery

_TEMPLATE: Final = Path(__file__).with_name("report.html.j2")
_WIDTH: Final = 640.0  # units of the drawing, for the whole drill
_TREND: Final = 10  # earlier drills that are compared with


def groups(journal: Journal) -> Iterator[tuple[str, Sequence[Check]]]:
    """All checks under the names of their groups, empty ones left out."""
    named = (
        ("Before", journal.before),
        ("Evidence", journal.evidence),
        ("After", journal.after),
        ("Cleanup", journal.cleanup),
    )
    return ((name, checks) for name, checks in named if checks)


def backup(journal: Journal) -> str:
    """What was restored. pgBackRest has no SHA-256 of the whole of a backup."""
    return ", SHA-256 ".join(filter(None, (journal.backup, journal.backup_sha256)))


def figures(journal: Journal) -> list[tuple[str, str, str]]:
    """What was measured: name, figure, target."""
    found: list[tuple[str, str, str]] = []
    if (recovery := journal.recovery) is not None:
        if recovery.writes:
            found.append(("longest time without an answer", f"{recovery.writes:.3f} s", ""))
        found += [
            ("time to recover", f"{recovery.total:.3f} s", config_values.seconds(journal.rto)),
            *((f"  until {name}", f"{spent:.3f} s", "") for name, spent in _split(recovery)),
        ]
    if (loss := journal.loss) is not None:
        found += [
            ("acknowledged writes", f"{loss.acknowledged:,}", ""),
            ("of these lost", f"{loss.lost:,}", ""),
            ("rescued", f"{loss.rescued:,}", ""),
        ]
        if loss.lost:
            found.append(
                ("age of the oldest lost one", f"{loss.seconds:.3f} s", config_values.seconds(journal.rpo))
            )
    return found


def measured(journal: Journal) -> str:
    """What was measured, in a few words for one line; empty where nothing was."""
    found = []
    if (recovery := journal.recovery) is not None:
        silent = f"{recovery.writes:.2f} s without an answer, " if recovery.writes else ""
        found.append(f"{silent}recovered and proven after {recovery.total:.1f} s")
    if (loss := journal.loss) is not None:
        found.append(f"{loss.lost:,} of {loss.acknowledged:,} acknowledged writes lost")
    return "; ".join(found)


def _split(recovery: Recovery) -> list[tuple[str, float]]:
    """The parts of the time to recover. Where no writes were waited for, something was restored."""
    return [
        ("it was seen", recovery.detect),
        ("it was decided", recovery.decide),
        ("writes went on" if recovery.writes else "all of it was there", recovery.act),
        ("it was proven", recovery.verify),
    ]


def trend(journal: Journal, earlier: Sequence[Journal]) -> str:
    """A drill against earlier ones of the same kind and place, in one sentence; empty where there is none."""
    past = [
        found.recovery.total
        for found in earlier
        if found.recovery is not None and found.id < journal.id and _alike(found) == _alike(journal)
    ][-_TREND:]
    if journal.recovery is None or not past:
        return ""
    middle = sorted(past)[len(past) // 2]
    change = (journal.recovery.total - middle) / middle * 100 if middle else 0.0
    return (
        f"{journal.recovery.total:.2f} s to recover; the median of the last {len(past)} was {middle:.2f} s "
        f"({change:+.0f} %)"
    )


def _alike(journal: Journal) -> tuple[str, str, str]:
    """A sandbox's times say nothing about production's."""
    return journal.scenario, journal.cluster, journal.radius


# --- Markdown -----------------------------------------------------------------------------------------------


def markdown(journal: Journal, earlier: Sequence[Journal] = ()) -> str:
    """The journal as Markdown."""
    return "\n".join(_markdown(journal, earlier)) + "\n"


def _markdown(journal: Journal, earlier: Sequence[Journal]) -> Iterator[str]:
    yield f"# Drill {journal.scenario}: {journal.outcome.value}"
    yield ""
    yield _cell(journal.summary)
    yield ""
    rows = [
        ("cluster", f"{journal.cluster} ({journal.radius.value})"),
        ("hypothesis", journal.hypothesis),
        ("abort rule", journal.abort_rule),
        ("started, finished", f"{journal.started}, {journal.finished} ({journal.seconds:.1f} s)"),
        ("operator", journal.operator),
        ("versions", ", ".join(f"{name} {version}" for name, version in sorted(journal.versions.items()))),
    ]
    if journal.backup:
        rows.append(("backup", backup(journal)))
    if compared := trend(journal, earlier):
        rows.append(("trend", compared))
    yield from _table(("", ""), rows)
    yield ""
    if found := figures(journal):
        yield "## Measured"
        yield ""
        yield from _table(("", "", "target"), found)
        yield ""
    for name, checks in groups(journal):
        yield f"## {name}"
        yield ""
        yield from _table(
            ("", "outcome", "evidence", "s"),
            [(c.what, c.outcome.value, c.evidence, f"{c.seconds:.2f}") for c in checks],
        )
        yield ""
    yield "## Timeline"
    yield ""
    yield from _table(
        ("at s", "for s", "", "outcome", ""),
        [
            (f"{a.offset:.3f}", f"{a.seconds:.3f}", a.name, a.outcome.value, a.output)
            for a in journal.timeline
        ],
    )
    if journal.skipped:
        yield ""
        yield "Not checked: " + _cell("; ".join(journal.skipped))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(_cell(cell) for cell in row) + " |"


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|")


# --- JUnit --------------------------------------------------------------------------------------------------


def junit(journals: Sequence[Journal]) -> str:
    """One suite a drill, one case a check, for continuous integration: failed, skipped (inconclusive) or passed."""
    root = ElementTree.Element("testsuites")
    for journal in journals:
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=journal.scenario,
            timestamp=journal.started.partition("+")[0],
            time=f"{journal.seconds:.3f}",
        )
        cases = [
            *_cases(journal),
            (f"{journal.scenario}: outcome", journal.outcome, journal.summary, journal.seconds),
        ]
        for name, outcome, evidence, seconds in cases:
            case = ElementTree.SubElement(
                suite, "testcase", classname=journal.scenario, name=_xml(name), time=f"{seconds:.3f}"
            )
            if outcome is Outcome.FAIL:
                ElementTree.SubElement(case, "failure", message=_xml(evidence))
            elif outcome is Outcome.INCONCLUSIVE:
                ElementTree.SubElement(case, "skipped", message=_xml(evidence))
        outcomes = [case[1] for case in cases]
        suite.set("tests", str(len(cases)))
        suite.set("failures", str(outcomes.count(Outcome.FAIL)))
        suite.set("skipped", str(outcomes.count(Outcome.INCONCLUSIVE)))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _cases(journal: Journal) -> Iterator[tuple[str, Outcome, str, float]]:
    for group, checks in groups(journal):
        for check in checks:
            yield f"{group}: {check.what}", check.outcome, check.evidence, check.seconds


def _xml(text: str) -> str:
    """Without the characters that XML 1.0 has no place for."""
    return "".join(c for c in text if c in "\t\n\r" or " " <= c <= "\ud7ff" or c >= "\ue000")


# --- HTML ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One line of the drawing; positions in units of the drawing."""

    left: float
    width: float
    activity: Activity


def bars(journal: Journal) -> list[Bar]:
    """What took time as bars of `_WIDTH` together, as narrow as can be seen. Moments are in the table beneath."""
    whole = max([journal.seconds, *(a.offset + a.seconds for a in journal.timeline)], default=1.0) or 1.0
    return [
        Bar(left=a.offset / whole * _WIDTH, width=max(1.5, a.seconds / whole * _WIDTH), activity=a)
        for a in journal.timeline
        if a.seconds
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of the time to recover; ``left`` and ``width`` in percent of the whole."""

    name: str
    seconds: float
    left: float
    width: float


def pieces(journal: Journal) -> list[Piece]:
    """Where the time to recover went, in its order; empty where it was not measured."""
    if journal.recovery is None:
        return []
    found, left, whole = [], 0.0, journal.recovery.total or 1.0
    for name, spent in _split(journal.recovery):
        found.append(Piece(name=name, seconds=spent, left=left, width=spent / whole * 100))
        left += found[-1].width
    return found


def html(journal: Journal, earlier: Sequence[Journal] = ()) -> str:
    """The journal as one page that needs no other file."""
    from jinja2 import Environment, StrictUndefined

    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return page.from_string(_TEMPLATE.read_text()).render(
        journal=journal,
        backup=backup(journal),
        figures=figures(journal),
        groups=list(groups(journal)),
        bars=bars(journal),
        pieces=pieces(journal),
        width=_WIDTH,
        trend=trend(journal, earlier),
    )
