"""Carries a plan of `retention` out, in every destination. Without ``confirm`` it only says what it would do.

Of a backup the manifest goes first: what is half deleted is no backup any more, and its rest goes with the next run.
A lock (Object Lock, a legal hold) that keeps something is told and is no failure: that copy stays whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from understudy.backup import wal
from understudy.backup.catalog import Catalog, Survey, discard
from understudy.backup.retention import LEFTOVER_AGE, Plan
from understudy.backup.store import Locked, Store, StoreError


@dataclass
class Pruned:
    """What went, or would go where ``confirmed`` is False; one sentence each, with the destination's name.

    Args:
        backups: of the plan. wal: how many segments of which server. leftovers: of runs that were killed.
        locked: what a lock kept. failed: what went wrong; the next run tries again.
    """

    confirmed: bool
    backups: list[str] = field(default_factory=list)
    wal: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    locked: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def prune(catalog: Catalog, cluster: str, plan: Plan, now: datetime, *, confirm: bool = False) -> Pruned:
    """Delete what the plan lets go, the log that no kept backup needs, and what killed runs left two days ago.

    The log stays while any manifest or destination cannot be read: it might belong to that backup. ``now``: in UTC.
    Raises `StoreError` where no destination answers.
    """
    done = Pruned(confirm)
    survey = catalog.survey(cluster)
    for choice in plan.delete:
        for name in survey.places.get(choice.id, ()):
            store = catalog.store(name)
            _tried(done, lambda s=store, i=choice.id: _backup(done, s, cluster, i))  # type: ignore[misc]
    for store in catalog.stores:
        _tried(done, lambda s=store: _leftovers(done, s, cluster, survey, now))  # type: ignore[misc]
        if not survey.problems:
            _tried(done, lambda s=store: _wal(done, s, cluster, plan, now))  # type: ignore[misc]
    if survey.problems:
        done.failed.append(f"the write-ahead log was left as it is: {survey.problems[0]}")
    return done


def _tried(done: Pruned, step: Callable[[], None]) -> None:
    try:
        step()
    except Locked as error:
        done.locked.append(str(error))
    except StoreError as error:
        done.failed.append(str(error))


def _backup(done: Pruned, store: Store, cluster: str, backup: str) -> None:
    if done.confirmed:
        discard(store, cluster, backup)
    done.backups.append(f"{store.name}: {backup}")


def _leftovers(done: Pruned, store: Store, cluster: str, survey: Survey, now: datetime) -> None:
    """Parts without a manifest, and objects that were never finished."""
    before = now.astimezone(UTC) - LEFTOVER_AGE
    for backup in survey.unfinished.get(store.name, ()):
        items = list(store.list(f"{cluster}/{backup}/"))
        if items and max(item.modified for item in items) < before:
            if done.confirmed:
                store.delete([item.key for item in items])
            done.leftovers.append(f"{store.name}: {backup}: {len(items)} objects without a manifest")
    done.leftovers += store.sweep(f"{cluster}/", before, confirm=done.confirmed)


def _wal(done: Pruned, store: Store, cluster: str, plan: Plan, now: datetime) -> None:
    top = f"{cluster}/wal/"
    for system in store.folders(top):
        stored = {
            item.key.rpartition("/")[2]: item.modified.strftime("%Y-%m-%dT%H:%M:%SZ")
            for item in store.list(f"{top}{system}/")
        }
        names = wal.unneeded(plan.wal.get(system, ()), wal.Archived(system=system, stored=stored), now)
        if names and done.confirmed:
            store.delete(f"{top}{system}/{name}" for name in names)
        if names:
            done.wal.append(
                f"{store.name}: {len(names)} segments of server {system}, {names[0]} to {names[-1]}"
            )
