"""What the destinations and the archiver tell of a cluster's backups. Blocking: asks every destination.

Beside `gather` because it needs what ``understudy[backup]`` brings, and a light is shown without that too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from understudy.backup import archiving, wal
from understudy.backup.manifest import Kind, Manifest
from understudy.backup.shelf import Shelf
from understudy.backup.store import Store, StoreError
from understudy.config import Config
from understudy.errors import UnderstudyError
from understudy.model import Cluster
from understudy.readiness.kept import Archive
from understudy.readiness.light import Facts
from understudy.strict_json import RecordError


def add_backups(facts: Facts, config: Config, cluster: Cluster, now: datetime) -> Facts:
    """The facts with those of the backups. What cannot be looked at is said in them; raises nothing of ours."""
    try:
        shelf = Shelf(config, cluster)
    except UnderstudyError as error:  # no key, a package that is missing
        return replace(facts, key=str(error), storage={"destinations": str(error)})
    storage = {store.name: _answer(store, cluster.name) for store in shelf.stores}
    facts = replace(facts, storage=storage)
    if all(storage.values()):
        return facts
    if shelf.pgbackrest is not None:
        facts = replace(facts, storage=storage | {shelf.pgbackrest.name: shelf.pgbackrest.trouble()})
    survey, proofs = shelf.survey(), shelf.ledger()
    return replace(
        facts,
        backups=survey.backups,
        places=survey.places,
        problems=(*survey.problems, *proofs.problems),
        verifications=proofs.lines,
        key=shelf.key_trouble(),
        gap=_gap(shelf, survey.backups, storage),
        unstored=_unstored(config, cluster, now),
    )


def _answer(store: Store, cluster: str) -> str:
    try:
        store.folders(f"{cluster}/")
    except StoreError as error:
        return str(error)
    return ""


def _gap(shelf: Shelf, backups: Sequence[Manifest], storage: dict[str, str]) -> str:
    """Why the newest base backup cannot be rolled forward to now, from any destination that answers."""
    if shelf.policy.physical is None or not shelf.policy.physical.wal:
        return ""
    if not any(manifest.kind is Kind.PHYSICAL for manifest in backups):
        return "there is no base backup to begin from: `understudy backup create --physical`"
    reasons = []
    for store in shelf.stores:
        if storage[store.name]:
            continue
        try:
            covered: tuple[wal.Coverage, ...] = shelf.coverage(store)
        except UnderstudyError as error:
            reasons.append(str(error))
            continue
        if covered and covered[-1].whole:
            return ""
        reasons.append(f"{store.name}: {covered[-1].reason if covered else 'nothing is archived'}")
    return "; ".join(reasons)


def _unstored(config: Config, cluster: Cluster, now: datetime) -> float | None:
    """Seconds of commits that only one destination or none has; None: the archiver says nothing."""
    found = archive(config, cluster, now)
    return None if found is None or found.until is None else max(0.0, now.timestamp() - found.until)


def archive(config: Config, cluster: Cluster, now: datetime) -> Archive | None:
    """How the archiver stands; None where it has told nothing lately."""
    try:
        status = archiving.read(archiving.path_of(config.directory, cluster.name), now)
    except (RecordError, OSError):
        return None
    if status is None:
        return None
    until = [place.until for place in status.destinations]
    known = [moment for moment in until if moment is not None]
    errors = (f"{place.destination}: {place.error}" for place in status.destinations if place.error)
    return Archive(
        receiving=status.receiving,
        until=min(known) if known and len(known) == len(until) else None,
        retained=status.retained,
        spool=status.spool,
        trouble="; ".join(filter(None, (status.trouble, *errors))),
    )
