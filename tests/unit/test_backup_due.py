"""Which backup is verified next: every one gets its turn in time, whatever comes and goes meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.backup_records import manifest, verification

from understudy.backup.manifest import Finding, Level, Manifest, Verdict, Verification
from understudy.backup.verify import due, verdict

NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)
COVER = 10


def backups(*ages: float) -> list[Manifest]:
    """Ids tell the age in days."""
    return [manifest(f"d{age:g}", NOW - timedelta(days=age)) for age in ages]


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def test_nothing_to_do() -> None:
    assert due([], [], COVER, NOW) == []


def test_the_newest_at_once_then_a_share_of_the_rest() -> None:
    assert due(backups(*range(20)), [], COVER, NOW) == ["d0", "d19", "d18"]


def test_those_longest_without_a_turn_first() -> None:
    lines = [
        verification("d0", ago(0.1)),
        verification("d3", ago(5)),
        verification("d2", ago(7)),
        verification("d1", ago(6)),
    ]
    assert due(backups(0, 1, 2, 3), lines, COVER, NOW) == ["d2"]


@pytest.mark.parametrize(
    ("level", "outcome", "again"),
    [
        (Level.RESTORE, Verdict.PASS, False),
        (Level.RESTORE, Verdict.FAIL, False),
        (Level.RESTORE, Verdict.INCONCLUSIVE, True),
        (Level.ARCHIVE, Verdict.PASS, True),
    ],
)
def test_what_counts_as_a_turn(level: Level, outcome: Verdict, again: bool) -> None:
    lines = [verification("d0", ago(0.1), level, outcome)]
    found = due(backups(0, *(n + 0.5 for n in range(1, 4))), lines, COVER, NOW)
    assert ("d0" in found) is again


def test_an_overdue_one_is_chosen_whatever_the_share() -> None:
    lines = [verification(f"d{n}", ago(9)) for n in range(20)]
    assert set(due(backups(*range(20)), lines, COVER, NOW)) == {f"d{n}" for n in range(20)}


@settings(max_examples=60)
@given(
    made=st.lists(st.integers(0, 3), min_size=30, max_size=45), keep=st.integers(1, 40), first=st.integers(0, 60)
)  # fmt: skip
def test_every_backup_has_its_turn_in_time(made: list[int], keep: int, first: int) -> None:
    """Day after day: ``made`` backups come, those older than ``keep`` days go."""
    have = [manifest(f"old{n}", NOW - timedelta(days=n % 30, seconds=n)) for n in range(first)]
    lines: list[Verification] = []
    for day, count in enumerate(made):
        now = NOW + timedelta(days=day)
        have += [manifest(f"{day}-{n}", now - timedelta(minutes=n + 1)) for n in range(count)]
        have = [m for m in have if now - datetime.fromisoformat(m.finished) < timedelta(days=keep)]
        chosen = due(have, lines, COVER, now)
        assert len(chosen) == len(set(chosen))
        lines += [verification(backup, now) for backup in chosen]
        for one in have:
            turns = [datetime.fromisoformat(v.at) for v in lines if v.backup == one.id]
            since = max([*turns, datetime.fromisoformat(one.finished), NOW])
            assert now - since < timedelta(days=COVER)


def test_verdicts_are_the_worst_of_all_checks() -> None:
    def of(*found: Verdict) -> Verdict:
        return verdict(Finding(what="x", verdict=v, detail="") for v in found)

    assert of(Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL) is Verdict.FAIL
    assert of(Verdict.PASS, Verdict.INCONCLUSIVE) is Verdict.INCONCLUSIVE
    assert of(Verdict.PASS) is Verdict.PASS
    assert of() is Verdict.INCONCLUSIVE
