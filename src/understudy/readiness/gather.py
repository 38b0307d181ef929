"""Looks at everything the traffic light is made of. Blocking: asks the witness, the lease and every destination."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from understudy.agent.looking import read_lease
from understudy.backup import archiving, wal
from understudy.backup.manifest import Kind, Manifest
from understudy.backup.shelf import Shelf
from understudy.backup.store import Store, StoreError
from understudy.config import Config
from understudy.config_backup import Backup
from understudy.errors import LeaseError, UnderstudyError, WitnessError
from understudy.model import Cluster, ClusterState, Role, Rpo
from understudy.readiness import journal, kept
from understudy.readiness.kept import Archive, Told
from understudy.readiness.light import DAY, Facts, Readiness, Wanted, judge
from understudy.strict_json import RecordError
from understudy.witness import SqliteWitness

DRILL_EVERY: Final = 35 * DAY
"""The documents ask for a failover test every month (backup-and-high-availability.md); a few days of grace."""


def look(config: Config, cluster: Cluster) -> Readiness:
    """The light of a cluster as it is now. What cannot be looked at is said in its items; raises nothing of ours."""
    now = datetime.now(UTC)
    return judge(cluster.name, facts_of(config, cluster, now), wanted(config.backup), now.timestamp())


def told(config: Config, cluster: Cluster, before: Told | None) -> Told:
    """The light and all that it was made of. While no destination answers, the backups are as they were ``before``."""
    now = datetime.now(UTC)
    at = now.isoformat(timespec="seconds")
    facts, promised = facts_of(config, cluster, now), wanted(config.backup)
    stock = before.stock if before is not None else None
    if facts.places is not None:
        stock = kept.stock(at, facts.backups, facts.places, facts.verifications, facts.problems)
    return Told(
        at=at,
        readiness=judge(cluster.name, facts, promised, now.timestamp()),
        objectives=_objectives(promised),
        stock=stock,
        archiving=promised.wal is not None,
        archive=_archive(config, cluster, now) if promised.wal is not None else None,
        drills=kept.drilled(facts.journals),
        wrong=tuple(facts.wrong),
    )


def facts_of(config: Config, cluster: Cluster, now: datetime) -> Facts:
    """What is known now. ``now``: in UTC."""
    facts = _standby(config, cluster)
    journals, wrong = journal.all_of(config.directory / "drills")
    facts = replace(
        facts, journals=[found for found in journals if found.cluster == cluster.name], wrong=wrong
    )
    return facts if config.backup is None else _backups(facts, config, cluster, now)


def wanted(policy: Backup | None) -> Wanted:
    """What the configuration promises."""
    if policy is None:
        return Wanted()
    targets, physical = policy.targets, policy.physical
    return Wanted(
        backup_every=targets.backup_age,
        verify_every=targets.verification_age,
        drill_every=DRILL_EVERY if policy.drills else None,
        wal=targets.rpo if physical is not None and physical.wal else None,
        rto=targets.rto,
        rpo=targets.rpo,
    )


def _objectives(promised: Wanted) -> dict[str, float]:
    named = {
        "recovery_time": promised.rto,
        "data_loss": promised.rpo,
        "backup_age": promised.backup_every,
        "verification_age": promised.verify_every,
    }
    return {name: seconds for name, seconds in named.items() if seconds is not None}


# --- the standby --------------------------------------------------------------------------------------------


def _standby(config: Config, cluster: Cluster) -> Facts:
    path = config.directory / "witness.db"
    if not path.exists():
        return Facts()
    try:
        with contextlib.closing(SqliteWitness(path, create=False)) as witness:
            state = witness.read(cluster.name)
    except WitnessError:
        return Facts()
    if state is None:
        return Facts()
    lag = _lag(config, cluster)
    return Facts(in_sync=_could_take_over(cluster, state, lag), lag=lag)


def _lag(config: Config, cluster: Cluster) -> float | None:
    """Seconds that the standby is behind, as the agent wrote it into the lease; None: nobody knows."""
    try:
        lease, _ = read_lease(config.directory / f"{cluster.name}.lease")
    except LeaseError:
        return None
    return None if lease is None or lease.standby_lag < 0 else lease.standby_lag


def _could_take_over(cluster: Cluster, state: ClusterState, lag: float | None) -> bool:
    """Whether the loss of the primary at this moment would be answered by a failover (see `decide`)."""
    standby = state.record(state.other)
    if standby.role is not Role.STANDBY or not standby.verified:
        return False
    if cluster.policy.rpo is Rpo.ZERO:
        return state.in_sync
    return lag is not None and lag <= cluster.policy.max_lag_seconds


# --- backups ------------------------------------------------------------------------------------------------


def _backups(facts: Facts, config: Config, cluster: Cluster, now: datetime) -> Facts:
    try:
        shelf = Shelf(config, cluster)
    except UnderstudyError as error:  # no key, a package that is missing
        return replace(facts, key=str(error), storage={"destinations": str(error)})
    storage = {store.name: _answer(store, cluster.name) for store in shelf.stores}
    facts = replace(facts, storage=storage)
    if all(storage.values()):
        return facts
    survey = shelf.survey()
    return replace(
        facts,
        backups=survey.backups,
        places=survey.places,
        problems=survey.problems,
        verifications=shelf.catalog.verifications(cluster.name),
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
    archive = _archive(config, cluster, now)
    return None if archive is None or archive.until is None else max(0.0, now.timestamp() - archive.until)


def _archive(config: Config, cluster: Cluster, now: datetime) -> Archive | None:
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
