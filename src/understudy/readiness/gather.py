"""Looks at everything the traffic light is made of. Blocking: asks the witness, the lease and every destination."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from understudy.agent.looking import read_lease
from understudy.config import Config
from understudy.config_backup import Backup
from understudy.errors import LeaseError, WitnessError
from understudy.model import Cluster, ClusterState, Role, Rpo
from understudy.readiness import kept
from understudy.readiness.journal import Journals
from understudy.readiness.kept import Archive, Told
from understudy.readiness.light import DAY, Facts, Readiness, Wanted, judge
from understudy.witness import SqliteWitness

DRILL_EVERY: Final = 35 * DAY
"""The documents ask for a failover test every month (backup-and-high-availability.md); a few days of grace."""


def look(config: Config, cluster: Cluster) -> Readiness:
    """The light of a cluster as it is now. What cannot be looked at is said in its items; raises nothing of ours."""
    now = datetime.now(UTC)
    facts = facts_of(config, cluster, now, journals_of(config))
    return judge(cluster.name, facts, wanted(config.backup), now.timestamp())


def journals_of(config: Config) -> Journals:
    """The journals of drills, for `told`: keep it from one look to the next."""
    return Journals(config.directory / "drills")


def told(config: Config, cluster: Cluster, before: Told | None, journals: Journals) -> Told:
    """The light and all that it was made of. While no destination answers, the backups are as they were ``before``."""
    now = datetime.now(UTC)
    at = now.isoformat(timespec="seconds")
    facts, promised = facts_of(config, cluster, now, journals), wanted(config.backup)
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


def facts_of(config: Config, cluster: Cluster, now: datetime, journals: Journals) -> Facts:
    """What is known now. ``now``: in UTC."""
    drills, wrong = journals.all()
    ours = [found for found in drills if found.cluster == cluster.name]
    facts = replace(_standby(config, cluster), journals=ours, wrong=wrong)
    if config.backup is None:
        return facts
    from understudy.readiness.stored import add_backups

    return add_backups(facts, config, cluster, now)


def _archive(config: Config, cluster: Cluster, now: datetime) -> Archive | None:
    from understudy.readiness.stored import archive

    return archive(config, cluster, now)


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
        archiver="pgBackRest" if physical is not None and physical.tool == "pgbackrest" else "",
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
