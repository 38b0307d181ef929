"""One traffic light for a cluster, from what was measured. Pure: no I/O, the time is passed in.

What could not be looked at is amber, never green: "could not check" is not "good" (the lesson of every verifier that
reported success because it saw nothing).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from understudy.backup.manifest import Level, Manifest, Verdict, Verification
from understudy.readiness.journal import Journal, Outcome

DAY: Final = 86400.0
_UNSEEN: Final = "the destinations could not be looked at"
_PARTIAL: Final = "there are dumps of single tables or without rows only, none of the whole database"
_NO_BACKUP: Final = (
    "no backup is configured: both nodes copy a wrong DELETE within a second. A table [backup] makes one;"
    " those of other tools are not seen here"
)


class Light(StrEnum):
    """OFF: not configured, so nothing is promised. AMBER: look at it this week. RED: today."""

    OFF = "off"
    GREEN = "green"
    AMBER = "amber"
    RED = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One reason of the light.

    Args:
        name: stable, for machines; one of `NAMES`.
        value: what was measured, in seconds where it is a time; None where there is no figure.
    """

    name: str
    light: Light
    detail: str
    value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """The worst of its items; OFF, instead of GREEN, where no backup is configured: nobody is ready without one."""

    cluster: str
    light: Light
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the configuration asks for; seconds. None: not configured.

    Args:
        backup_every, verify_every, drill_every: the longest time that may lie between two.
        wal: seconds of write-ahead log that may be outside the destinations. archiver: another tool that stores it.
        rto, rpo: targets for drills.
    """

    backup_every: float | None = None
    verify_every: float | None = None
    drill_every: float | None = None
    wal: float | None = None
    archiver: str = ""
    rto: float = 3600.0
    rpo: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a cluster just now.

    Args:
        backups, verifications: of this cluster, in any order. places: by id, the destinations that have it; None: no
        destination could be looked at.
        problems: what could not be read there. journals: of its drills, oldest first; wrong: what is wrong with them.
        unstored: seconds of write-ahead log that no destination has; None: not known.
        gap: why there is no unbroken log since the newest base backup, or empty.
        in_sync: None where nothing was seen of the standby. lag: how far it is behind, in seconds.
        key, storage: why the key, or a destination, cannot be reached; an empty text where it can.
    """

    backups: Sequence[Manifest] = ()
    verifications: Sequence[Verification] = ()
    places: Mapping[str, tuple[str, ...]] | None = None
    problems: Sequence[str] = ()
    journals: Sequence[Journal] = ()
    wrong: Sequence[str] = ()
    unstored: float | None = None
    gap: str = ""
    in_sync: bool | None = None
    lag: float | None = None
    key: str | None = None
    storage: Mapping[str, str] = field(default_factory=dict)


NAMES: Final = ("standby", "backup", "verification", "wal", "recovery_time", "data_loss", "key", "storage")


def judge(cluster: str, facts: Facts, wanted: Wanted, now: float) -> Readiness:
    """The light. ``now``: seconds since 1970."""
    items = tuple(_items(facts, wanted, now))
    order = list(Light)
    worst = max((item.light for item in items), key=order.index)
    if wanted.backup_every is None and worst is Light.GREEN:
        worst = Light.OFF
    return Readiness(cluster=cluster, light=worst, items=items)


def _items(facts: Facts, wanted: Wanted, now: float) -> Iterator[Item]:
    yield _standby(facts)
    yield _backup(facts, wanted, now)
    yield _verification(facts, wanted, now)
    yield _wal(facts, wanted)
    yield from _drills(facts, wanted, now)
    yield _key(facts, wanted)
    yield _storage(facts)


def _standby(facts: Facts) -> Item:
    if facts.in_sync is None:
        return Item(
            name="standby", light=Light.AMBER, detail="nothing is known of the standby: is the agent running?"
        )
    behind = "" if facts.lag is None else f", {facts.lag:.1f} s behind"
    if not facts.in_sync:
        return Item(
            name="standby", light=Light.RED, detail=f"no standby could take over now{behind}", value=facts.lag
        )
    return Item(name="standby", light=Light.GREEN, detail=f"in sync{behind}", value=facts.lag)


def _backup(facts: Facts, wanted: Wanted, now: float) -> Item:
    if wanted.backup_every is None:
        return Item(name="backup", light=Light.OFF, detail=_NO_BACKUP)
    if _silent(facts):
        return Item(name="backup", light=Light.AMBER, detail=_UNSEEN)
    whole = [manifest for manifest in facts.backups if manifest.whole]
    if not whole:
        return Item(
            name="backup", light=Light.RED, detail=_PARTIAL if facts.backups else "there is no backup"
        )
    newest = max(whole, key=lambda manifest: manifest.order)
    age = now - _when(newest.finished)
    return Item(
        name="backup",
        light=_by_age(age, wanted.backup_every),
        detail=f"{newest.id}, {_span(age)} old; wanted at least every {_span(wanted.backup_every)}",
        value=age,
    )


def _verification(facts: Facts, wanted: Wanted, now: float) -> Item:
    name = "verification"
    if wanted.verify_every is None:
        return Item(name=name, light=Light.OFF, detail="there is nothing to be proven")
    if _silent(facts):
        return Item(name=name, light=Light.AMBER, detail=_UNSEEN)
    newest = max(facts.verifications, key=lambda found: found.moment, default=None)
    if newest is not None and newest.verdict is Verdict.FAIL:
        return Item(name=name, light=Light.RED, detail=f"the newest one, of {newest.backup}, failed")
    whole = {manifest.id for manifest in facts.backups if manifest.whole}
    proven = [
        found
        for found in facts.verifications
        if found.verdict is Verdict.PASS and found.level is Level.RESTORE and found.backup in whole
    ]
    if not proven:
        return Item(
            name=name,
            light=Light.RED,
            detail="no backup of the whole database was ever restored and compared",
        )
    last = max(proven, key=lambda found: found.moment)
    age = now - _when(last.at)
    return Item(
        name=name,
        light=_by_age(age, wanted.verify_every),
        detail=f"{last.backup} was restored and compared {_span(age)} ago, in {_span(last.restore_seconds)}",
        value=age,
    )


def _silent(facts: Facts) -> bool:
    """No destination could be looked at: nobody can say what is in them."""
    return bool(facts.storage) and all(facts.storage.values())


def _wal(facts: Facts, wanted: Wanted) -> Item:
    if wanted.archiver:
        detail = f"{wanted.archiver} stores the log; whether it arrives, `understudy backup check` says"
        return Item(name="wal", light=Light.OFF, detail=detail)
    if wanted.wal is None:
        return Item(
            name="wal", light=Light.OFF, detail="the write-ahead log is not stored: no point-in-time recovery"
        )
    if facts.gap:
        return Item(name="wal", light=Light.RED, detail=facts.gap)
    if facts.unstored is None:
        return Item(name="wal", light=Light.AMBER, detail="it is not known how much log is not stored yet")
    return Item(
        name="wal",
        light=_by_age(facts.unstored, wanted.wal),
        detail=f"all but the last {_span(facts.unstored)} is stored; wanted {_span(wanted.wal)}",
        value=facts.unstored,
    )


def _drills(facts: Facts, wanted: Wanted, now: float) -> Iterator[Item]:
    """What the newest drill that measured each of them says."""
    every = wanted.drill_every
    measured = [journal for journal in facts.journals if not journal.must_fail]
    recovery = next((journal for journal in reversed(measured) if journal.recovery is not None), None)
    loss = next((journal for journal in reversed(measured) if journal.loss is not None), None)
    if recovery is None or recovery.recovery is None:
        yield _unmeasured("recovery_time", wanted)
    else:
        yield _measured("recovery_time", recovery, recovery.recovery.total, wanted.rto, every=every, now=now)
    if loss is None or loss.loss is None:
        yield _unmeasured("data_loss", wanted)
    else:
        yield _measured("data_loss", loss, loss.loss.seconds, wanted.rpo, every=every, now=now)


def _unmeasured(name: str, wanted: Wanted) -> Item:
    if wanted.drill_every is None:
        return Item(name=name, light=Light.OFF, detail="never measured, and no drill is scheduled")
    return Item(name=name, light=Light.AMBER, detail="never measured: `understudy drill run`")


def _measured(
    name: str, journal: Journal, found: float, target: float, *, every: float | None, now: float
) -> Item:
    age = now - _when(journal.finished)
    detail = f"{_span(found)} measured by {journal.scenario} {_span(age)} ago; target {_span(target)}"
    if journal.outcome is Outcome.FAIL or found > target:
        return Item(name=name, light=Light.RED, detail=detail, value=found)
    late = every is not None and age > every
    unsure = journal.outcome is Outcome.INCONCLUSIVE
    return Item(name=name, light=Light.AMBER if late or unsure else Light.GREEN, detail=detail, value=found)


def _key(facts: Facts, wanted: Wanted) -> Item:
    if wanted.backup_every is None:
        return Item(name="key", light=Light.OFF, detail="there is nothing to be opened")
    if facts.key is None:
        return Item(name="key", light=Light.OFF, detail="backups are not encrypted")
    if facts.key:
        return Item(name="key", light=Light.RED, detail=facts.key)
    return Item(name="key", light=Light.GREEN, detail="the key opens the newest backup")


def _storage(facts: Facts) -> Item:
    if not facts.storage:
        return Item(name="storage", light=Light.OFF, detail="no destination is configured")
    broken = {name: why for name, why in facts.storage.items() if why}
    if not broken:
        return Item(name="storage", light=Light.GREEN, detail=f"{', '.join(sorted(facts.storage))} answered")
    light = Light.RED if len(broken) == len(facts.storage) else Light.AMBER
    return Item(
        name="storage",
        light=light,
        detail="; ".join(f"{name}: {why}" for name, why in sorted(broken.items())),
    )


def _by_age(age: float, wanted: float) -> Light:
    """Amber from the wanted age on, red from twice of it."""
    if age <= wanted:
        return Light.GREEN
    return Light.AMBER if age <= 2 * wanted else Light.RED


def _when(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _span(seconds: float) -> str:
    """For people: `0.2 s`, `90 s`, `5 min`, `1 h`, `3.5 h`, `2 d`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    size, unit = (3600, "h") if seconds < 2 * DAY else (DAY, "d")
    return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
