"""Which backups may go, and which write-ahead log with them: pure functions. `prune` carries a plan out.

A backup stays as long as one rule keeps it. Rules count within a *series*: the backups of one kind and one scope (a
dump of one table never takes the place of a dump of everything). One whose newest conclusive verdict is FAIL takes
nobody's place: only its age may keep it. Whatever the rules: the newest of a series, the newest ``verified`` ones
that passed (at each level), and what point-in-time recovery begins with, stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from understudy.backup.manifest import Kind, Level, Manifest, Verdict, Verification, moment
from understudy.config_backup import Retention

LEFTOVER_AGE: Final = timedelta(days=2)
"""How old objects of a backup without a manifest are before they count as left behind by a run that died."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One backup, and every reason for what becomes of it."""

    id: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """Write-ahead log from ``start`` to ``end`` (positions; None: without an end)."""

    start: int
    end: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What stays, what goes, oldest first; and by system identifier the log that the kept physical backups need."""

    keep: tuple[Choice, ...]
    delete: tuple[Choice, ...]
    wal: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)


def decide(
    backups: Sequence[Manifest], verifications: Sequence[Verification], policy: Retention, now: datetime, *,
    unvouched: Sequence[Verification] = (),
) -> Plan:  # fmt: skip
    """What to keep. ``now`` is in UTC; ``backups`` are of one cluster, in any order.

    Args:
        unvouched: lines of the ledger of which nobody can say who wrote them. What they say was proven takes no
            place from what was, and is not deleted either: it may be true.
    """
    reasons: dict[str, list[str]] = {b.id: [] for b in backups}
    ordered = sorted(backups, key=lambda b: (moment(b.finished), b.order))
    verdicts, claims = _verdicts(verifications), _verdicts(unvouched)
    if policy.unlimited:
        _add(reasons, ordered, "no rule of [backup.retention] lets anything go")
    by_series: dict[tuple[str, ...], list[Manifest]] = {}
    for backup in ordered:
        by_series.setdefault((backup.kind, *sorted(backup.scope)), []).append(backup)
    for series in by_series.values():
        good = [b for b in series if verdicts.get(b.id, {}) is not None]
        _by_rules(reasons, series, good, policy, now)
        for level in Level:
            why = f"one of the newest {policy.verified} that passed {level}"
            _add(reasons, _passed(good, verdicts, level)[-policy.verified :], why)
            if claimed := [b for b in _passed(good, claims, level) if b.id not in verdicts]:
                _add(reasons, claimed[-policy.verified :], f"{why}, as unsigned lines say: verify it again")
        _add(reasons, good[-1:], "the newest")
    _window(reasons, ordered, verdicts, policy, now)
    keep = tuple(Choice(b.id, tuple(reasons[b.id])) for b in ordered if reasons[b.id])
    delete = tuple(Choice(b.id, ("no rule keeps it",)) for b in ordered if not reasons[b.id])
    kept = [b for b in ordered if reasons[b.id]]
    return Plan(keep, delete, _wal(kept, verdicts, policy, now))


def _verdicts(verifications: Sequence[Verification]) -> dict[str, dict[Level, bool] | None]:
    """By backup: the levels it passed; None where the newest conclusive verdict is FAIL."""
    found: dict[str, dict[Level, bool] | None] = {}
    # Of two at the same time FAIL wins.
    for one in sorted(verifications, key=lambda v: (v.moment, v.verdict is Verdict.FAIL)):
        if one.verdict is Verdict.FAIL:
            found[one.backup] = None
        elif one.verdict is Verdict.PASS:
            levels = list(Level)
            passed = dict.fromkeys(levels[: levels.index(one.level) + 1], True)
            found[one.backup] = {**(found.get(one.backup) or {}), **passed}
    return found


def _passed(
    good: list[Manifest], verdicts: Mapping[str, dict[Level, bool] | None], level: Level
) -> list[Manifest]:
    return [b for b in good if (verdicts.get(b.id) or {}).get(level)]


def _by_rules(
    reasons: dict[str, list[str]],
    series: list[Manifest],
    good: list[Manifest],
    policy: Retention,
    now: datetime,
) -> None:
    if policy.days:
        young = [b for b in series if _time(b) > now - timedelta(days=policy.days)]
        _add(reasons, young, f"not yet {policy.days} days old")
    if policy.last:
        _add(reasons, good[-policy.last :], f"one of the last {policy.last}")
    for count, name, slot in (
        (policy.daily, "day", lambda t: t.date().isoformat()),
        (policy.weekly, "week", lambda t: f"{t.isocalendar().year}-W{t.isocalendar().week:02}"),
        (policy.monthly, "month", lambda t: f"{t:%Y-%m}"),
        (policy.yearly, "year", lambda t: f"{t:%Y}"),
    ):
        if count:
            _add_slots(reasons, good, count, name, slot)
    _add(reasons, [b for b in series if _time(b) > now], "from the future: a clock was wrong")


def _add_slots(
    reasons: dict[str, list[str]],
    good: list[Manifest],
    count: int,
    name: str,
    slot: Callable[[datetime], str],
) -> None:
    """The newest of each of the last ``count`` slots that have any."""
    newest = {key: list(some)[-1] for key, some in groupby(good, key=lambda b: slot(_time(b)))}
    for key, backup in list(newest.items())[-count:]:
        _add(reasons, [backup], f"the newest of {name} {key}")


def _window(
    reasons: dict[str, list[str]], ordered: list[Manifest],
    verdicts: Mapping[str, dict[Level, bool] | None], policy: Retention, now: datetime,
) -> None:  # fmt: skip
    """Keep the physical backup of each server from which the beginning of the window can be reached."""
    if not policy.pitr:
        return
    for base in _bases([b for b in ordered if verdicts.get(b.id, {}) is not None], policy, now).values():
        _add(reasons, [base], "the window of point-in-time recovery begins with it")


def _bases(backups: list[Manifest], policy: Retention, now: datetime) -> dict[str, Manifest]:
    """By system: the newest physical backup that was finished before the window begins, else the oldest."""
    begin = now - timedelta(seconds=policy.pitr)
    found: dict[str, Manifest] = {}
    for backup in backups:
        if backup.kind is Kind.PHYSICAL and (backup.system_identifier not in found or _time(backup) <= begin):
            found[backup.system_identifier] = backup
    return found


def _wal(
    kept: list[Manifest], verdicts: Mapping[str, dict[Level, bool] | None], policy: Retention, now: datetime
) -> dict[str, tuple[Span, ...]]:
    """The log each kept physical backup needs to be consistent, and all of it from the window's base on."""
    good = [b for b in kept if verdicts.get(b.id, {}) is not None]
    bases = {**_bases(kept, policy, now), **_bases(good, policy, now)}
    spans: dict[str, list[Span]] = {}
    for backup in kept:
        if backup.kind is Kind.PHYSICAL:
            spans.setdefault(backup.system_identifier, []).append(Span(backup.start_lsn, backup.end_lsn))
    for system, base in bases.items():
        spans[system].append(Span(base.start_lsn, None))
    return {system: tuple(some) for system, some in spans.items()}


def _add(reasons: dict[str, list[str]], backups: Iterable[Manifest], reason: str) -> None:
    for backup in backups:
        reasons[backup.id].append(reason)


def _time(backup: Manifest) -> datetime:
    return moment(backup.finished)
