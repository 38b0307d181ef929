"""What a clone is made of, and what becomes of its canaries' writes: pure, but for a small file."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.backup_records import manifest, verification

from understudy.backup.manifest import Kind, Level, Manifest, Verdict, Verification
from understudy.demo.workload import _name, rescued_tokens
from understudy.drill.clone import newest_proven

NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)
OLD, NEW = NOW - timedelta(days=2), NOW - timedelta(days=1)
KNOWN = [manifest("old", OLD), manifest("new", NEW)]


def line(backup: str, verdict: Verdict = Verdict.PASS, level: Level = Level.RESTORE) -> Verification:
    return verification(backup, NOW, level, verdict)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], None),
        ([line("old")], "old"),
        ([line("old"), line("new", level=Level.BYTES)], "new"),
        ([line("old"), line("new", Verdict.FAIL)], "old"),
        ([line("old"), line("new"), line("new", Verdict.FAIL)], "old"),
        ([line("old"), line("new", Verdict.FAIL), line("new")], "new"),
        ([line("old"), line("new"), line("new", Verdict.INCONCLUSIVE)], "new"),
        ([line("old"), line("new", Verdict.INCONCLUSIVE)], "old"),
        ([line("gone")], None),
    ],
)
def test_the_newest_that_was_proven_last(lines: list[Verification], expected: str | None) -> None:
    found = newest_proven(KNOWN, lines)
    assert (found.id if found is not None else None) == expected


@pytest.mark.parametrize(
    "unfit",
    [
        manifest("unfit", NOW, Kind.PHYSICAL),
        manifest("unfit", NOW, scope=("schema-only",)),
        manifest("unfit", NOW, scope=("public.animal",)),
    ],
)
def test_only_a_dump_of_everything_will_do(unfit: Manifest) -> None:
    found = newest_proven([*KNOWN, unfit], [line("old"), line("unfit")])
    assert found is not None
    assert found.id == "old"


def test_tokens_of_ones_own_canaries_are_found_among_what_was_rescued(tmp_path: Path) -> None:
    ours, others = 1 << 47 | 5, 1 << 47 | 6

    def record(table: str, canary: int, writer: int, seq: int, op: str = "insert") -> str:
        new = {"token": str(_name(canary, writer, seq)), "at": "2026-11-21 03:00:00+00"}
        return json.dumps({"schema": "understudy", "table": table, "op": op, "new": new})

    (tmp_path / "a").mkdir()
    lines = [
        record("commit_token", ours, 1, 7), record("commit_token", ours, 4, 2**40),
        record("commit_token", others, 1, 8),
        record("other", ours, 1, 9), record("commit_token", ours, 1, 10, "update"),
    ]  # fmt: skip
    (tmp_path / "a" / "changes.jsonl").write_text("".join(f"{text}\n" for text in lines))
    assert rescued_tokens(tmp_path, ours) == [(1, 7), (4, 2**40)]
