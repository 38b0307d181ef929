"""What retention may never do, for any history of backups and verdicts; and what each rule keeps."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.backup_records import manifest, verification

from understudy.backup.manifest import Kind, Level, Manifest, Verdict, Verification
from understudy.backup.retention import Plan, decide
from understudy.config_backup import Retention

NOW = datetime(2026, 11, 21, 7, 45, tzinfo=UTC)
LEVELS = list(Level)


def kept(plan: Plan) -> list[str]:
    return [choice.id for choice in plan.keep]


def gone(plan: Plan) -> list[str]:
    return [choice.id for choice in plan.delete]


def every(hours: float, count: int, kind: Kind = Kind.LOGICAL) -> list[Manifest]:
    """``count`` backups, ``hours`` apart, the newest one an hour old; named by their number, 1 is the oldest."""
    times = [NOW - timedelta(hours=1 + hours * (count - number)) for number in range(1, count + 1)]
    return [manifest(f"b{i:03}", t, kind, start=1000 * i, end=1000 * i + 500) for i, t in enumerate(times, 1)]


policies = st.builds(
    Retention, days=st.integers(0, 40), last=st.integers(0, 6), daily=st.integers(0, 4), weekly=st.integers(0, 3),
    monthly=st.integers(0, 3), yearly=st.integers(0, 2), verified=st.integers(1, 4),
    pitr=st.sampled_from([0.0, 3600.0, 86400.0, 20 * 86400.0]),
)  # fmt: skip


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Manifest], list[Verification]]:
    ages = draw(st.lists(st.floats(-48, 24 * 400), max_size=12))
    backups = []
    for number, age in enumerate(ages):
        kind = draw(st.sampled_from(list(Kind)))
        scope = draw(st.sampled_from([("all",), ("public.cow",)])) if kind is Kind.LOGICAL else ("all",)
        start = draw(st.integers(0, 10**6))
        system = draw(st.sampled_from(["1", "2"]))
        time = NOW - timedelta(hours=age)
        backups.append(
            manifest(f"b{number:02}", time, kind, scope=scope, start=start, end=start + 10, system=system)
        )
    verifications = [
        verification(
            backup.id, NOW - timedelta(minutes=draw(st.integers(0, 10**5))), draw(st.sampled_from(LEVELS)),
            draw(st.sampled_from(list(Verdict))),
        )
        for backup in backups
        for _ in range(draw(st.integers(0, 3)))
    ]  # fmt: skip
    return backups, verifications


def passed(backup: str, level: Level, verifications: list[Verification]) -> bool:
    """By the words of the rule: it passed at that level or deeper, and has not failed since."""
    lines = [
        v
        for v in sorted(verifications, key=lambda v: (v.at, v.verdict is Verdict.FAIL))
        if v.backup == backup
    ]
    since = max((i for i, v in enumerate(lines) if v.verdict is Verdict.FAIL), default=-1)
    good = [v for v in lines[since + 1 :] if v.verdict is Verdict.PASS]
    return any(LEVELS.index(v.level) >= LEVELS.index(level) for v in good)


@given(histories(), policies)
def test_the_last_verified_ones_are_never_deleted(
    history: tuple[list[Manifest], list[Verification]], policy: Retention
) -> None:
    backups, verifications = history
    stays = set(kept(decide(backups, verifications, policy, NOW)))
    for level in LEVELS:
        for series in {(b.kind, b.scope) for b in backups}:
            some = [b for b in backups if (b.kind, b.scope) == series and passed(b.id, level, verifications)]
            newest = sorted(some, key=lambda b: (b.finished, b.id))[-policy.verified :]
            assert {b.id for b in newest} <= stays


@given(histories(), policies)
def test_every_backup_is_either_kept_or_deleted_with_a_reason(
    history: tuple[list[Manifest], list[Verification]], policy: Retention
) -> None:
    backups, verifications = history
    plan = decide(backups, verifications, policy, NOW)
    assert Counter(kept(plan) + gone(plan)) == Counter(b.id for b in backups)
    assert all(choice.reasons for choice in (*plan.keep, *plan.delete))
    assert plan == decide(backups[::-1], verifications[::-1], policy, NOW)


@given(histories(), policies)
def test_the_log_of_every_kept_physical_backup_stays(
    history: tuple[list[Manifest], list[Verification]], policy: Retention
) -> None:
    backups, verifications = history
    plan = decide(backups, verifications, policy, NOW)
    for backup in backups:
        if backup.kind is Kind.PHYSICAL and backup.id in kept(plan):
            spans = plan.wal[backup.system_identifier]
            assert any(
                s.start <= backup.start_lsn and (s.end is None or s.end >= backup.end_lsn) for s in spans
            )
            assert any(span.end is None for span in spans)


@given(histories(), policies)
def test_applying_a_plan_twice_deletes_nothing_more(
    history: tuple[list[Manifest], list[Verification]], policy: Retention
) -> None:
    backups, verifications = history
    stays = set(kept(decide(backups, verifications, policy, NOW)))
    again = decide([b for b in backups if b.id in stays], verifications, policy, NOW)
    assert gone(again) == []


@given(histories(), policies, st.integers(1, 3))
def test_a_more_generous_rule_never_deletes_more(
    history: tuple[list[Manifest], list[Verification]], policy: Retention, more: int
) -> None:
    if policy.unlimited:
        return
    backups, verifications = history
    stays = set(kept(decide(backups, verifications, policy, NOW)))
    for rule in ("last", "daily", "weekly", "monthly", "yearly", "verified", "days"):
        wider = replace(policy, **{rule: getattr(policy, rule) + more})
        assert stays <= set(kept(decide(backups, verifications, wider, NOW)))


def test_without_a_rule_nothing_is_deleted() -> None:
    assert gone(decide(every(24, 400), [], Retention(), NOW)) == []


def test_days() -> None:
    plan = decide(every(24, 10), [], Retention(days=3), NOW)
    assert kept(plan) == ["b008", "b009", "b010"]
    assert plan.keep[0].reasons == ("not yet 3 days old",)


def test_thirty_bad_days_do_not_delete_the_last_good_backup() -> None:
    backups = every(24, 60)
    verdicts = [verification("b020", NOW - timedelta(days=40))]
    verdicts += [verification(b.id, NOW, verdict=Verdict.FAIL) for b in backups[20:]]
    plan = decide(backups, verdicts, Retention(days=30, last=5, verified=1), NOW)
    assert "b020" in kept(plan)
    assert kept(decide(backups, verdicts, Retention(last=5, verified=1), NOW)) == [
        "b016",
        "b017",
        "b018",
        "b019",
        "b020",
    ]


def test_a_failed_backup_takes_nobodys_place() -> None:
    backups = every(24, 5)
    failed = [verification("b005", NOW, verdict=Verdict.FAIL)]
    assert kept(decide(backups, failed, Retention(last=2), NOW)) == ["b003", "b004"]
    healed = [*failed, verification("b005", NOW + timedelta(minutes=1))]
    assert kept(decide(backups, healed, Retention(last=2), NOW)) == ["b004", "b005"]


def test_inconclusive_is_neither_good_nor_bad() -> None:
    verdicts = [verification("b001", NOW, verdict=Verdict.INCONCLUSIVE)]
    assert kept(decide(every(24, 3), verdicts, Retention(last=1, verified=3), NOW)) == ["b003"]
    both = [verification("b001", NOW - timedelta(days=1)), *verdicts]
    assert kept(decide(every(24, 3), both, Retention(last=1, verified=3), NOW)) == ["b001", "b003"]


def test_grandfather_father_son() -> None:
    backups = every(12, 2 * 400)
    plan = decide(backups, [], Retention(daily=7, weekly=4, monthly=6, yearly=2), NOW)
    times = {b.id: datetime.fromisoformat(b.finished) for b in backups}
    stays = [times[i] for i in kept(plan)]
    assert len({t.date() for t in stays if t > NOW - timedelta(days=7)}) >= 7
    assert len({(t.year, t.month) for t in stays}) >= 6
    assert {t.year for t in stays} == {2025, 2026}
    assert times["b800"] in stays
    newest_of_2025 = max(t for t in times.values() if t.year == 2025)
    assert newest_of_2025 in stays
    assert len(stays) <= 7 + 4 + 6 + 2


def test_slots_are_counted_where_there_are_backups_not_in_the_calendar() -> None:
    old = [manifest("old", NOW - timedelta(days=300)), manifest("older", NOW - timedelta(days=301))]
    assert kept(decide(old, [], Retention(daily=2, verified=1), NOW)) == ["older", "old"]


def test_a_dump_of_one_table_does_not_take_the_place_of_everything() -> None:
    whole, table = every(24, 3), [manifest("t", NOW - timedelta(minutes=1), scope=("public.cow",))]
    assert kept(decide([*whole, *table], [], Retention(last=1), NOW)) == ["b003", "t"]


def test_a_backup_from_the_future_stays() -> None:
    backups = [*every(24, 3), manifest("later", NOW + timedelta(days=3))]
    plan = decide(backups, [], Retention(last=1), NOW)
    assert "later" in kept(plan)


def test_the_window_of_point_in_time_recovery_has_its_base() -> None:
    backups = every(24, 10, Kind.PHYSICAL)
    plan = decide(backups, [], Retention(last=1, pitr=3 * 86400.0), NOW)
    assert kept(plan) == ["b007", "b010"]
    (spans,) = plan.wal.values()
    assert [(s.start, s.end) for s in spans] == [(7000, 7500), (10000, 10500), (7000, None)]


def test_a_failed_base_does_not_serve_the_window() -> None:
    backups = every(24, 10, Kind.PHYSICAL)
    failed = [verification("b007", NOW, verdict=Verdict.FAIL)]
    plan = decide(backups, failed, Retention(last=1, days=5, pitr=3 * 86400.0), NOW)
    assert "b006" in kept(plan)
    (spans,) = plan.wal.values()
    assert min(s.start for s in spans if s.end is None) == 6000


@pytest.mark.parametrize(
    "finished", ["2026-11-21T07:45:00Z", "2026-11-21T07:45:00+00:00", "2026-11-21T07:45:00"]
)
def test_times_are_utc_however_they_are_written(finished: str) -> None:
    backup = replace(manifest("b", NOW), finished=finished)
    assert kept(decide([backup], [], Retention(days=1), NOW + timedelta(hours=23))) == ["b"]
