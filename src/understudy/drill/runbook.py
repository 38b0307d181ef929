"""The disaster-recovery runbook, written from the definitions of the drills: what is practised is what is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from understudy.drill.catalogue import PRESETS, SCENARIOS
from understudy.drill.definition import AnyScenario

_HEAD: Final = """# Disaster-recovery runbook

Written by `understudy drill runbook` from the definitions of the drills: change those, not this page.

First, whatever has happened: `understudy status` says who is primary and what is under way, `understudy explain` why.
Nothing here removes a row: what is not on the primary is in a rescue folder (`understudy rescue list`).
"""


def markdown() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield _HEAD
    yield "## Practise"
    yield ""
    yield "| Preset | Drills |"
    yield "|---|---|"
    for preset, names in PRESETS.items():
        yield f"| `understudy drill run {preset}` | {', '.join(names)} |"
    yield ""
    yield (
        "Every drill happens on servers made for it, where backups are configured with a clone of the cluster's data,"
        " unless the cluster's name is given twice (`--production`)."
    )
    for scenario in SCENARIOS:
        yield ""
        yield from _section(scenario)


def _section(scenario: AnyScenario) -> Iterator[str]:
    yield f"## {scenario.title}"
    yield ""
    expected = " (broken on purpose: the drill passes where this is noticed)" if scenario.must_fail else ""
    yield f"Drill `{scenario.name}`{expected}. Expected: {scenario.hypothesis}."
    yield ""
    yield "When it happens:"
    yield ""
    for number, line in enumerate(scenario.by_hand, 1):
        yield f"{number}. {_code(line)}"
    yield ""
    yield "What the drill does:"
    yield ""
    for number, line in enumerate(scenario.method, 1):
        yield f"{number}. {line}"
    yield ""
    yield f"It is stopped when {scenario.abort_rule}."


def _code(line: str) -> str:
    """A line that is a command stands as one."""
    command, colon, rest = line.partition(": ")
    if command.startswith("understudy ") and "`" not in command:
        return f"`{command}`{colon}{rest}"
    return line
