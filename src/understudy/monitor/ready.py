"""From what is kept of a cluster's readiness to conditions: one for each reason of the light. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from understudy.config_alerts import Severity
from understudy.monitor.edges import Condition
from understudy.readiness.kept import STALE, Told
from understudy.readiness.light import Light

LOOKS: Final = 90.0
"""Seconds for which a light must last: two looks, so that one answer that did not come wakes nobody."""

_TITLES: Final = {
    "backup": "there is no recent backup",
    "verification": "no backup was proven lately",
    "wal": "the write-ahead log is not safe",
    "recovery_time": "recovering takes too long",
    "data_loss": "too much would be lost",
    "key": "the key does not open the backups",
    "storage": "a destination of the backups fails",
}
"""By item of the light. `standby` is not here: `unprotected` and `lag` tell it within seconds."""
_UNSURE: Final = {
    "backup": "the newest backup gets old",
    "verification": "the newest proof of a backup gets old",
    "wal": "the write-ahead log falls behind",
    "recovery_time": "nobody knows how long recovering takes",
    "data_loss": "nobody knows how much would be lost",
}
"""Where amber means another thing than red."""
KEYS: Final = (*(f"ready:{item}" for item in _TITLES), "archiver")


def conditions(told: Told, age: float) -> Iterator[Condition]:
    """What is wrong. ``age``: seconds since it was told."""
    if age > STALE:
        why = "a destination hangs, or the state directory is full"
        text = f"The last look was {age / 60:.0f} minutes ago: {why}."
        yield _of("ready:unseen", Severity.WARNING, "nobody looks how ready the cluster is", text)
        return
    for item in told.readiness.items:
        if item.name in _TITLES and item.light in (Light.AMBER, Light.RED):
            red = item.light is Light.RED
            title = _TITLES[item.name] if red else _UNSURE.get(item.name, _TITLES[item.name])
            severity = Severity.CRITICAL if red else Severity.WARNING
            yield _of(f"ready:{item.name}", severity, title, item.detail)
    if told.archiving and (trouble := _archiver(told)):
        yield _of("archiver", Severity.WARNING, "the write-ahead log is not archived", trouble)


def _archiver(told: Told) -> str:
    if told.archive is None:
        return "The archiver says nothing: it does not run, or ends again and again (`archiver_ended` in the log)."
    return told.archive.trouble or ("" if told.archive.receiving else "pg_receivewal does not run.")


def _of(key: str, severity: Severity, title: str, text: str) -> Condition:
    return Condition(key=key, severity=severity, title=title, text=text, patience=LOOKS)
