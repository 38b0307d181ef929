"""Conditions over time become notices: when one begins, gets worse, and ends. No I/O, no clock of its own.

What it promises, whatever the conditions do:

- A condition that holds is told once. Its end is told once, and only where its beginning was.
- Nothing is told of what was shorter than its patience, nor in the first seconds after a start.
- Three beginnings of the same condition within an hour are *flapping*: the third notice says so, and its end is
  told only once it has been gone for a quarter of an hour, so that there is silence meanwhile.
- At most ``per_hour`` notices in any hour, the gravest first. What had to wait is told later if it still holds; one
  notice says how many wait.
- What nobody can see just now has neither begun nor ended.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from understudy.config_alerts import Severity

HOUR = 3600.0
FLAPPING = 3
"""Beginnings within an hour that make a condition flapping."""
CALM = 900.0
"""Seconds a flapping condition must be gone before its end is told."""
MAX_WAITING = 50
"""Happenings that may wait for their turn; the least grave, oldest ones give way."""


class Kind(StrEnum):
    """What a notice says of its condition. EVENT: something happened that has no end. SUMMARY: others wait."""

    RAISED = "raised"
    WORSE = "worse"
    RECOVERED = "recovered"
    EVENT = "event"
    SUMMARY = "summary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that is wrong now. ``key`` names it for ever; ``patience``: seconds it must last to be told."""

    key: str
    severity: Severity
    title: str
    text: str
    patience: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One message to people."""

    kind: Kind
    severity: Severity
    key: str
    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A condition that holds, or has ended so recently that its end is not told yet.

    Args:
        since: when it began (monotonic).
        told: the gravest severity that was told; None: nothing yet.
        gone_since: since when it does not hold any more; None: it does, or nobody can see.
    """

    condition: Condition
    since: float
    told: Severity | None = None
    gone_since: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgePolicy:
    """See `config_alerts.Alerting`."""

    per_hour: int = 20
    clear_after: float = 60.0
    quiet_start: float = 30.0


@dataclass(slots=True)
class Edges:
    """What was told of one cluster, and what is to be told now.

    Args:
        started: when watching began (monotonic seconds).
    """

    policy: EdgePolicy
    started: float
    held: dict[str, Held] = field(default_factory=dict)
    raises: dict[str, tuple[float, ...]] = field(default_factory=dict)
    sent: tuple[float, ...] = ()
    waiting: tuple[Notice, ...] = ()
    summarised: float | None = None

    def look(
        self,
        conditions: Sequence[Condition],
        happenings: Sequence[Notice],
        unseen: Collection[str],
        now: float,
    ) -> list[Notice]:
        """What is to be told now.

        Args:
            conditions: all that hold; at most one per key.
            happenings: what has happened since the last call.
            unseen: keys of which nothing is known just now.
        """
        self._follow({c.key: c for c in conditions}, unseen, now)
        self.sent = tuple(at for at in self.sent if now - at < HOUR)
        recent = {key: tuple(at for at in times if now - at < HOUR) for key, times in self.raises.items()}
        self.raises = {key: times for key, times in recent.items() if times}
        wanted = [*self.waiting, *happenings, *self._due(unseen, now)]
        wanted.sort(key=lambda notice: -notice.severity.rank)  # stable: the oldest of the same severity first
        chosen = self._affordable(wanted, now)
        left = [n for n in wanted if n.kind is Kind.EVENT and n not in chosen]
        self.waiting = tuple(left[:MAX_WAITING])
        for notice in chosen:
            self._told(notice, now)
        return chosen

    def _follow(self, present: Mapping[str, Condition], unseen: Collection[str], now: float) -> None:
        """Bring ``held`` up to date."""
        for key, condition in present.items():
            before = self.held.get(key)
            if before is None:
                self.held[key] = Held(condition=condition, since=now)
            else:
                self.held[key] = replace(before, condition=condition, gone_since=None)
        for key, held in list(self.held.items()):
            if key in present:
                continue
            if key in unseen:
                self.held[key] = replace(held, gone_since=None)
            elif held.told is None:
                del self.held[key]
            elif held.gone_since is None:
                self.held[key] = replace(held, gone_since=now)

    def _due(self, unseen: Collection[str], now: float) -> list[Notice]:
        """What the conditions give to tell, were there no limit."""
        quiet = now - self.started < self.policy.quiet_start
        due = [self._notice_of(held, now) for key, held in self.held.items() if key not in unseen]
        return [n for n in due if n is not None and not (quiet and n.kind is not Kind.RECOVERED)]

    def _notice_of(self, held: Held, now: float) -> Notice | None:
        condition = held.condition
        times = len(self.raises.get(condition.key, ()))
        if held.gone_since is not None:
            patience = CALM if times >= FLAPPING else self.policy.clear_after
            if now - held.gone_since < patience:
                return None
            return _notice(Kind.RECOVERED, condition, held.told or condition.severity, "")
        if held.told is None:
            if now - held.since < condition.patience:
                return None
            flaps = times + 1 >= FLAPPING
            more = f" (number {times + 1} in an hour: quiet until it has been gone for {CALM / 60:g} min)"
            return _notice(Kind.RAISED, condition, condition.severity, more if flaps else "")
        if condition.severity.rank > held.told.rank:
            return _notice(Kind.WORSE, condition, condition.severity, "")
        return None

    def _affordable(self, wanted: list[Notice], now: float) -> list[Notice]:
        """As many as the hour has room for; where not all, the last place is for a sentence about the rest."""
        room = self.policy.per_hour - len(self.sent)
        if len(wanted) <= room:
            return wanted
        if room <= 0:
            return []
        if self.summarised is not None and now - self.summarised < HOUR:
            return wanted[:room]
        first, rest = wanted[: room - 1], wanted[room - 1 :]
        self.summarised = now
        titles = "; ".join(notice.title for notice in rest[:10]) + ("; ..." if len(rest) > 10 else "")
        return [
            *first,
            Notice(
                kind=Kind.SUMMARY,
                severity=rest[0].severity,
                key="summary",
                title=f"{len(rest)} more notices wait",
                text=f"{self.policy.per_hour} an hour is the limit. Waiting: {titles}. See `understudy alerts list`.",
            ),
        ]

    def _told(self, notice: Notice, now: float) -> None:
        self.sent = (*self.sent, now)
        held = self.held.get(notice.key)
        if held is None or notice.kind in (Kind.EVENT, Kind.SUMMARY):
            return
        if notice.kind is Kind.RECOVERED:
            del self.held[notice.key]
            return
        if notice.kind is Kind.RAISED:
            self.raises[notice.key] = (*self.raises.get(notice.key, ()), now)
        self.held[notice.key] = replace(held, told=notice.severity)

    # --- what survives a restart ------------------------------------------------------------------------

    def dump(self, now: float) -> dict[str, Any]:
        """As what JSON knows. Times become ages, which another clock can go on from."""
        return {
            "held": [
                {
                    "key": h.condition.key,
                    "severity": h.condition.severity,
                    "title": h.condition.title,
                    "text": h.condition.text,
                    "patience": h.condition.patience,
                    "age": now - h.since,
                    "told": h.told,
                }
                for h in self.held.values()
            ],
            "raises": {key: [now - at for at in times] for key, times in self.raises.items()},
            "sent": [now - at for at in self.sent],
            "waiting": [_plain(notice) for notice in self.waiting],
            "summarised": None if self.summarised is None else now - self.summarised,
        }


def restored(policy: EdgePolicy, dumped: Mapping[str, Any], *, now: float, elapsed: float) -> Edges:
    """`Edges` as they were ``elapsed`` seconds ago. Of what was told nothing is told again.

    What had begun and was not told yet begins anew. Raises KeyError, TypeError, ValueError and AttributeError where
    ``dumped`` is not what `Edges.dump` gives.
    """
    at = now - max(0.0, elapsed)
    edges = Edges(policy=policy, started=now)
    for item in dumped["held"]:
        condition = Condition(
            key=str(item["key"]),
            severity=Severity(item["severity"]),
            title=str(item["title"]),
            text=str(item["text"]),
            patience=float(item["patience"]),
        )
        if item["told"] is not None:
            edges.held[condition.key] = Held(
                condition=condition, since=at - float(item["age"]), told=Severity(item["told"])
            )
    edges.raises = {str(k): tuple(at - float(age) for age in ages) for k, ages in dumped["raises"].items()}
    edges.sent = tuple(at - float(age) for age in dumped["sent"])
    edges.waiting = tuple(_from_plain(item) for item in dumped["waiting"])[:MAX_WAITING]
    edges.summarised = None if dumped["summarised"] is None else at - float(dumped["summarised"])
    return edges


def _notice(kind: Kind, condition: Condition, severity: Severity, more: str) -> Notice:
    return Notice(
        kind=kind, severity=severity, key=condition.key, title=condition.title, text=condition.text + more
    )


def _plain(notice: Notice) -> dict[str, str]:
    return {name: str(getattr(notice, name)) for name in ("kind", "severity", "key", "title", "text")}


def _from_plain(item: Mapping[str, Any]) -> Notice:
    return Notice(
        kind=Kind(item["kind"]),
        severity=Severity(item["severity"]),
        key=str(item["key"]),
        title=str(item["title"]),
        text=str(item["text"]),
    )
