"""The backups of one cluster as the configuration names them: one way in for commands, schedules and services."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from understudy.backup import (
    authentic,
    copying,
    logical,
    pgbackrest,
    physical,
    pitr,
    prune,
    retention,
    seal,
    verify,
    wal,
)
from understudy.backup import keys as backup_keys
from understudy.backup.authentic import Written
from understudy.backup.catalog import Catalog, Proofs, Survey, read_manifest
from understudy.backup.copying import Copied
from understudy.backup.keys import Keys
from understudy.backup.ledger import Ledger
from understudy.backup.manifest import Finding, Kind, Level, Manifest, Verdict, Verification
from understudy.backup.pgbackrest import PgBackRest
from understudy.backup.seal import SealError
from understudy.backup.source import BackupError, BackupRefused, alone, primary_of
from understudy.backup.store import Locked, Store, StoreError, Tell, open_store
from understudy.backup.stream import PartError
from understudy.config import Config
from understudy.config_backup import Backup
from understudy.errors import UnderstudyError, WitnessError
from understudy.model import Cluster
from understudy.witness import SqliteWitness

_PROBE: Final = "check"
_DAY: Final = 86400.0


class NoSuchBackup(UnderstudyError):
    """There is no backup of that name; says which there are, or how to list them."""


class Shelf:
    """Everything that is done with the backups of one cluster. Blocking; may be used from any thread.

    ``keys``: what opens, in the place of the configured keys, which then need not be there (an escrowed copy).
    Raises `BackupRefused` where the configuration has no table ``[backup]``, KeysError, StoreError.
    """

    def __init__(self, config: Config, cluster: Cluster, keys: Keys | None = None) -> None:
        self.config, self.cluster = config, cluster
        self.policy = configured(config)
        self.keys: Keys | None = backup_keys.load(self.policy.secrets) if keys is None else keys
        self.stores: tuple[Store, ...] = tuple(open_store(place) for place in self.policy.destinations)
        self.catalog = Catalog(self.stores, self.keys)
        physical_ones = self.policy.physical
        self.pgbackrest = (
            PgBackRest(physical_ones, cluster.name)
            if physical_ones is not None and physical_ones.tool == pgbackrest.NAME
            else None
        )

    # --- making -----------------------------------------------------------------------------------------

    def create(
        self,
        kind: Kind,
        *,
        scope: tuple[str, ...] | None = None,
        form: str | None = None,
        tell: Tell = lambda _: None,
        cancel: threading.Event | None = None,
    ) -> Manifest:
        """Make a backup of the present primary; ``scope`` and ``form`` as configured where they are None.

        Raises as `logical.create` and `physical.create` do.
        """
        if kind is Kind.PHYSICAL and self.pgbackrest is not None:
            return self.pgbackrest.create(self.config, self.cluster, tell=tell, cancel=cancel)
        if kind is Kind.PHYSICAL:
            return physical.create(
                self.config, self.cluster, self.stores, self.keys, tell=tell, cancel=cancel
            )
        wanted = self.policy.logical
        return logical.create(
            self.config,
            self.cluster,
            self.stores,
            self.keys,
            scope=wanted.scope if scope is None else scope,
            form=wanted.form if form is None else form,
            tell=tell,
            cancel=cancel,
        )

    # --- looking ----------------------------------------------------------------------------------------

    def survey(self) -> Survey:
        """Every backup, where it is, and what could not be read. Raises StoreError where no destination answers."""
        ours = self.catalog.survey(self.cluster.name)
        if self.pgbackrest is None:
            return ours
        try:
            theirs = self.pgbackrest.stanza()
        except BackupError as error:
            return replace(ours, problems=(*ours.problems, str(error)))
        return replace(
            ours,
            backups=tuple(sorted((*ours.backups, *theirs.backups), key=lambda manifest: manifest.order)),
            places={**ours.places, **dict.fromkeys(theirs.labels, (pgbackrest.NAME,))},
            problems=(*ours.problems, *theirs.problems),
        )

    def verifications(self, backup: str | None = None) -> list[Verification]:
        """What counts of the ledger, of one backup or of all, oldest first."""
        return list(self.ledger(backup).lines)

    def ledger(self, backup: str | None = None) -> Proofs:
        """The ledger, of one backup or of all."""
        ours = self.catalog.ledger(self.cluster.name, backup)
        lines = self._theirs.lines() if self.pgbackrest is not None else ()
        theirs = [line for line in lines if backup in (None, line.backup)]
        return replace(ours, lines=tuple(sorted((*ours.lines, *theirs), key=lambda line: line.moment)))

    def places(self, manifest: Manifest) -> list[str]:
        """The names of where a backup is."""
        if manifest.form == pgbackrest.NAME:
            return [pgbackrest.NAME]
        return [store.name for store in self.catalog.places(manifest.cluster, manifest.id)]

    def find(self, backup: str, kind: Kind | None = None) -> Manifest:
        """The backup of that id, or of a beginning that only one has; ``latest``: the newest, of that kind.

        Without a kind, ours come before pgBackRest's: only those lie in a destination. Raises `NoSuchBackup`.
        """
        known = [manifest for manifest in self.survey().backups if kind in (None, manifest.kind)]
        if backup == "latest" and kind is None:
            known = [manifest for manifest in known if manifest.form != pgbackrest.NAME] or known
        if not known:
            raise NoSuchBackup(
                f"cluster {self.cluster.name} has no {'' if kind is None else kind.value + ' '}backup: make one with"
                f" `understudy backup create{' --physical' if kind is Kind.PHYSICAL else ''}`"
            )
        found = known[-1:] if backup == "latest" else [m for m in known if m.id.startswith(backup)]
        if len(found) != 1:
            hint = "`understudy backup list` shows what there is"
            raise NoSuchBackup(f"{backup!r:.80}: expected one backup, found {len(found)}; {hint}")
        return found[0]

    def place(self, manifest: Manifest, destination: str = "") -> Store:
        """A destination that has the backup: that of the name, or the first. Raises `NoSuchBackup`."""
        places = self.catalog.places(self.cluster.name, manifest.id)
        for store in places:
            if destination in ("", store.name):
                return store
        names = ", ".join(store.name for store in places) or "nowhere"
        raise NoSuchBackup(
            f"{manifest.id} is not in {destination or 'any destination that answers'}; it is in: {names}"
        )

    def doubt(self, manifest: Manifest, store: Store) -> str:
        """Why nobody can say who wrote the backup there; empty where it was us, or where that is never known."""
        _, by = read_manifest(store, manifest, self.keys)
        known = by in (Written.US, Written.UNKEYED)
        return "" if known else f"{store.name}: the manifest of {manifest.id} {authentic.SAID[by]}"

    # --- proving and tidying ----------------------------------------------------------------------------

    def verify(
        self, manifest: Manifest, level: Level, *, destination: str = "", tell: Tell = lambda _: None
    ) -> Verification:
        """Prove a backup and add what came of it to the ledger. Raises as `verify.verify` does."""
        if self.pgbackrest is not None and manifest.form == pgbackrest.NAME:
            line = verify.verify_foreign(self.config, manifest, level, self.pgbackrest, tell=tell)
            self._theirs.add(line)
            return line
        store = self.place(manifest, destination)
        return verify.verify(self.catalog, manifest, level, self.keys, self.config, store=store, tell=tell)

    # --- copying ----------------------------------------------------------------------------------------

    def copy(
        self, manifest: Manifest, *, target: str = "", source: str = "", tell: Tell = lambda _: None
    ) -> Iterator[Copied]:
        """Copy a backup to the destination of that name, or to each that has it not; from one, or from any.

        Raises as `copying.copy`, `NoSuchBackup`, and `BackupRefused` where this host copies already.
        """
        if target not in ("", *(store.name for store in self.stores)):
            raise NoSuchBackup(f"expected the name of a [[backup.destination]], found {target!r:.80}")
        there = {store.name for store in self.catalog.places(self.cluster.name, manifest.id)}
        for store in self.stores:
            if store.name not in there and target in ("", store.name):
                with self._copying():
                    yield self._copy(manifest, store, source, tell)

    def catch_up(
        self, now: datetime, *, all_of_them: bool = False, tell: Tell = lambda _: None
    ) -> tuple[list[Copied], list[str]]:
        """Copy what each destination lacks of what retention keeps (`copying.missing`), and why some could not be.

        Raises StoreError where no destination answers, and `BackupRefused` where this host copies already.
        """
        done: list[Copied] = []
        failed: list[str] = []
        lacking = copying.missing(self.catalog.survey(self.cluster.name), all_of_them=all_of_them)
        if not lacking:
            return done, failed
        kept = {choice.id for choice in self.retention(now).keep}
        with self._copying():
            for manifest, name in lacking:
                if manifest.id not in kept:
                    continue
                try:
                    done.append(self._copy(manifest, self.catalog.store(name), "", tell))
                except (StoreError, PartError, NoSuchBackup) as error:
                    failed.append(f"{manifest.id}: not copied to {name}: {error}")
        return done, failed

    def _copy(self, manifest: Manifest, target: Store, source: str, tell: Tell) -> Copied:
        """From the destination of that name, or from the first whose bytes are those of the manifest."""
        damaged: PartError | None = None
        for store in self.catalog.places(self.cluster.name, manifest.id):
            if source in ("", store.name):
                try:
                    return copying.copy(manifest, store, target, tell)
                except PartError as error:
                    damaged = error
        raise damaged or NoSuchBackup(f"{manifest.id} is not in {source or 'any destination that answers'}")

    def _copying(self) -> contextlib.AbstractContextManager[None]:
        return alone(self.config.directory, f"copy-{self.cluster.name}")

    # --- what next --------------------------------------------------------------------------------------

    def due(self, now: datetime, every: float) -> tuple[Manifest, ...]:
        """What to verify in a run that happens every so many seconds. ``now``: in UTC."""
        known = self.survey().backups
        wanted = self.policy.verify
        ids = verify.due(
            known,
            self.verifications(),
            wanted.coverage / _DAY,
            now,
            level=Level(wanted.level),
            every_days=every / _DAY,
        )
        by_id = {manifest.id: manifest for manifest in known}
        return tuple(by_id[i] for i in ids)

    def restore_physical(
        self,
        manifest: Manifest,
        target: pitr.Target,
        folder: Path,
        *,
        destination: str = "",
        tell: Tell = lambda _: None,
    ) -> pitr.Restored:
        """Restore a base backup, ours or pgBackRest's. Raises as `pitr.restore` does."""
        if self.pgbackrest is not None and manifest.form == pgbackrest.NAME:
            return pitr.restore_from(self.pgbackrest, manifest, target, folder, say=tell)
        store = self.place(manifest, destination)
        if doubt := self.doubt(manifest, store):
            tell(doubt)
        return pitr.restore(manifest, store, self.keys, target, folder, say=tell)

    @property
    def _theirs(self) -> Ledger:
        """What was proven of backups that are in no destination of ours."""
        return Ledger(self.config.directory / f"{self.cluster.name}.proofs.json")

    def retention(self, now: datetime) -> retention.Plan:
        """What the rules keep and let go. ``now``: in UTC."""
        name = self.cluster.name
        known, proofs = self.catalog.backups(name), self.catalog.ledger(name)
        return retention.decide(known, proofs.lines, self.policy.retention, now, unvouched=proofs.unvouched)

    def prune(self, now: datetime, *, confirm: bool) -> prune.Pruned:
        """Carry `retention` out; without ``confirm`` only say what would go."""
        return prune.prune(self.catalog, self.cluster.name, self.retention(now), now, confirm=confirm)

    def coverage(self, store: Store) -> tuple[wal.Coverage, ...]:
        """What a destination lets be restored to a point in time, oldest base backup first."""
        known = self.catalog.backups(self.cluster.name)
        archived = wal.archives(store, self.cluster.name, self.keys)
        return wal.coverage(known, archived, self._present_system())

    def _present_system(self) -> str:
        """The system identifier of the present primary; empty where it is not known (then coverage does without)."""
        path = self.config.directory / "witness.db"
        try:
            with contextlib.closing(SqliteWitness(path, create=False)) as witness:
                state = witness.read(self.cluster.name)
        except WitnessError:
            return ""
        return "" if state is None else state.record(state.primary).identity.partition("/")[0]

    # --- checking that all of it works ------------------------------------------------------------------

    def storage(self) -> dict[str, str]:
        """By destination: why it cannot be written, read and deleted from; an empty text where it can."""
        return {store.name: _usable(store, self.cluster.name) for store in self.stores}

    def key_trouble(self, keys: Keys | None = None, manifest: Manifest | None = None) -> str | None:
        """Why ``keys`` (ours, or an escrowed copy) do not open a backup (the newest); empty where they do.

        None: backups are not encrypted, or there is none yet to be opened.
        """
        opening = self.keys if keys is None else keys
        if opening is None:
            return None
        known = [manifest] if manifest is not None else self.catalog.backups(self.cluster.name)
        sealed = [m for m in known if m.recipients and m.parts]
        if not sealed:
            return None
        newest = sealed[-1]
        key = f"{self.cluster.name}/{newest.id}/{newest.parts[0].name}"
        try:
            seal.opener(self.place(newest).get(key), opening, key)
        except (SealError, StoreError, NoSuchBackup) as error:
            return str(error)
        return ""

    def check(self) -> Iterator[Finding]:
        """Whether a backup could be made and opened now: destinations, keys, the primary, its privileges."""
        for name, why in self.storage().items():
            advice = () if why else self.catalog.store(name).advice()
            good = "; ".join(("an object was written, read and deleted", *advice))
            yield _finding(f"destination {name}", why, good)
        try:
            why_not = self.key_trouble()
        except StoreError as error:
            why_not = str(error)
        if why_not is None:
            detail = "no backup is sealed yet" if self.keys is not None else "backups are not encrypted"
            yield Finding(what="key", verdict=Verdict.INCONCLUSIVE, detail=detail)
        else:
            yield _finding("key", why_not, "it opens the newest backup")
        try:
            source = primary_of(self.config, self.cluster)
        except BackupError as error:
            yield _finding("primary", str(error), "")
            return
        yield _finding("primary", "", f"{source.node} at epoch {source.epoch}")
        if self.pgbackrest is not None:
            yield self.pgbackrest.check(self.config, self.cluster)
        elif self.policy.physical is not None:
            found = physical.obstacles(self.cluster.node(source.node))
            yield _finding("physical backups", "\n".join(found), "replication is allowed")


def configured(config: Config) -> Backup:
    """The table ``[backup]``. Raises `BackupRefused` where there is none."""
    if config.backup is None:
        raise BackupRefused(
            f"{config.source}: expected a table [backup] with a destination and a key, found none; "
            "docs/how-to/back-up-and-verify.md shows one"
        )
    return config.backup


def _finding(what: str, trouble: str, good: str) -> Finding:
    return Finding(what=what, verdict=Verdict.FAIL if trouble else Verdict.PASS, detail=trouble or good)


def _usable(store: Store, cluster: str) -> str:
    key, body = f"{cluster}/{_PROBE}/{secrets.token_hex(8)}", secrets.token_bytes(64)
    try:
        store.put(key, [body])
        if store.read(key) != body:
            return f"{store.name}: gave back something else than was written"
        with contextlib.suppress(Locked):  # Object Lock keeps it for its time, as it keeps backups
            store.delete([key])
    except StoreError as error:
        return str(error)
    return ""
