"""Proving a backup, as deep as wanted, and deciding which is proven next.

Three verdicts. FAIL: the backup is not what was written, or does not restore to it. INCONCLUSIVE: it could not be
checked here (no key, no room, a missing extension, a destination that does not answer); that says nothing about the
backup and never counts as a proof. Every verification is a line of the ledger (`catalog.Catalog.record`).
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import psycopg

import understudy
from understudy.backup import authentic, contents, pitr, restore, roles, staging
from understudy.backup.authentic import Written
from understudy.backup.catalog import Catalog, read_manifest
from understudy.backup.keys import Keys, KeysError
from understudy.backup.logical import ARCHIVE, RANGES, ROLES
from understudy.backup.manifest import Finding, Kind, Level, Manifest, Verdict, Verification, moment
from understudy.backup.pgbackrest import PgBackRest
from understudy.backup.programs import version_of
from understudy.backup.restore import Staged
from understudy.backup.seal import SealError, WrongKey
from understudy.backup.source import BackupError, BackupRefused, alone, clean, now_text
from understudy.backup.store import Missing, Store, StoreError, Tell
from understudy.backup.stream import PartError, Progress, read_part
from understudy.config import Config
from understudy.embedded import EmbeddedError
from understudy.strict_json import RecordError

SCRATCH_FACTOR: Final = 4
"""Room that a scratch restore needs, in sizes of the opened archive: itself, the database with indexes, its log."""
_MANIFEST: Final = "manifest"
_WRITTEN: Final = {
    Written.US: Verdict.PASS,
    Written.SOMEBODY: Verdict.FAIL,
    Written.ANYBODY: Verdict.INCONCLUSIVE,
    Written.ELSEWHERE: Verdict.INCONCLUSIVE,
}
_HERE: Final = (
    "No space left on device", "could not extend file", "out of memory", "server closed the connection unexpectedly",
    "could not resize shared memory", "connection to server at",
)  # fmt: skip
"""In pg_restore's words: what is wrong with this machine, not with the backup."""


@dataclass(slots=True)
class _Run:
    """A verification under way."""

    manifest: Manifest
    store: Store
    keys: Keys | None
    tell: Tell
    checks: list[Finding] = field(default_factory=list)
    sha256: dict[str, str] = field(default_factory=dict)
    restore_seconds: float = 0.0
    where: str = ""

    def add(self, what: str, verdict: Verdict, detail: str) -> None:
        self.checks.append(Finding(what=what, verdict=verdict, detail=detail))

    @property
    def clear(self) -> bool:
        """Nothing so far stands against going deeper. Who wrote the manifest matters to the verdict alone."""
        return all(check.verdict is Verdict.PASS for check in self.checks if check.what != _MANIFEST)


def verify(
    catalog: Catalog,
    manifest: Manifest,
    level: Level,
    keys: Keys | None,
    config: Config,
    *,
    store: Store | None = None,
    tell: Tell = lambda _: None,
) -> Verification:
    """Prove a dump from one destination (the first that has it), and record what came of it.

    A physical backup is restored and read from level ``archive`` on (`pitr.verify_physical`). Raises `BackupRefused`
    where this host verifies one already, and StoreError where nothing can be recorded.
    """
    began = time.monotonic()
    source = store or next(iter(catalog.places(manifest.cluster, manifest.id)), catalog.stores[0])
    run = _Run(manifest=manifest, store=source, keys=keys, tell=tell)
    with alone(config.directory, f"verify-{manifest.cluster}"):
        _look(run, level)
    verification = Verification(
        backup=manifest.id, level=level, verdict=verdict(run.checks), destination=source.name, at=now_text(),
        seconds=round(time.monotonic() - began, 3), restore_seconds=round(run.restore_seconds, 3), sha256=run.sha256,
        checks=tuple(run.checks), where=f"{platform.node()}; understudy {understudy.__version__}{run.where}",
    )  # fmt: skip
    catalog.record(manifest.cluster, verification)
    return verification


def verify_foreign(
    config: Config, manifest: Manifest, level: Level, origin: PgBackRest, *, tell: Tell = lambda _: None
) -> Verification:
    """Prove a backup of pgBackRest's: ``bytes`` by its own `verify`, else by a restore that is read to its end.

    Nothing is recorded. Raises `BackupRefused` where this host verifies one already.
    """
    began = time.monotonic()
    with alone(config.directory, f"verify-{manifest.cluster}"):
        if level is Level.BYTES:
            checks = list(origin.verify())
        else:
            checks = pitr.verify_from(origin, manifest, None, tell)
    seconds = round(time.monotonic() - began, 3)
    return Verification(
        backup=manifest.id, level=level, verdict=verdict(checks), destination=origin.name, at=now_text(),
        seconds=seconds, restore_seconds=0.0 if level is Level.BYTES else seconds, sha256={}, checks=tuple(checks),
        where=f"{platform.node()}; understudy {understudy.__version__}",
    )  # fmt: skip


def verdict(checks: Iterable[Finding]) -> Verdict:
    """The worst there is; what was not checked at all is not proven."""
    found = {check.verdict for check in checks}
    for worst in (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS):
        if worst in found:
            return worst
    return Verdict.INCONCLUSIVE


def _look(run: _Run, level: Level) -> None:
    """Every level up to this one, as far as the ones before it went well."""
    _manifest(run)
    if any(check.verdict is Verdict.FAIL for check in run.checks):
        return
    if level is Level.BYTES:
        for part in run.manifest.parts:
            _part(run, part.name, _discard)
        return
    if run.manifest.kind is Kind.PHYSICAL:
        _physical(run)
        return
    try:
        with staging.folder() as place:
            _deeper(run, level, place)
    except BackupRefused as refusal:  # no room, no program
        run.add("machine", Verdict.INCONCLUSIVE, str(refusal))
    except OSError as error:
        run.add("machine", Verdict.INCONCLUSIVE, f"{error.filename or 'disk'}: {error.strerror or error}")


def _physical(run: _Run) -> None:
    began = time.monotonic()
    found = pitr.verify_physical(run.manifest, run.store, run.keys, run.tell)
    run.checks += found
    run.restore_seconds = time.monotonic() - began
    if verdict(found) is Verdict.PASS:
        run.sha256 = {part.name: part.sha256 for part in run.manifest.parts}


def _deeper(run: _Run, level: Level, place: Path) -> None:
    factor = SCRATCH_FACTOR if level is Level.RESTORE else 1
    staging.require_space(
        place, run.manifest.part(ARCHIVE).raw_bytes * factor, f"verifying {run.manifest.id}"
    )
    restore.restore_program(run.manifest)  # refuses before anything is fetched
    held: dict[str, bytes] = {}
    staged: list[Path] = []
    for name in (ROLES, RANGES):
        _part(run, name, partial(_hold, held, name))
    _part(run, ARCHIVE, lambda chunks: staged.append(restore.put_archive(run.manifest, chunks, place)))
    if not run.clear:
        return
    _decode(run, staged[0])
    if level is Level.RESTORE and run.clear:
        where = f"{run.store.name}: {run.manifest.id}"
        try:
            role_list = roles.decode(held[ROLES], f"{where}/{ROLES}")
            divided = contents.decode(held[RANGES], f"{where}/{RANGES}")
        except RecordError as error:
            run.add("records", Verdict.FAIL, str(error))
            return
        _restore(run, Staged(archive=staged[0], roles=role_list, divided=divided), place)


# --- bytes --------------------------------------------------------------------------------------------------


def _manifest(run: _Run) -> None:
    """Whether the manifest in this destination is that of the backup, and was written with a key of ours."""
    what = _MANIFEST
    try:
        found, by = read_manifest(run.store, run.manifest, run.keys)
    except (RecordError, Missing) as error:
        run.add(what, Verdict.FAIL, str(error))
        return
    except StoreError as error:
        run.add(what, Verdict.INCONCLUSIVE, str(error))
        return
    if (found.cluster, found.id) != (run.manifest.cluster, run.manifest.id):
        run.add(
            what, Verdict.FAIL, f"{run.store.name}: expected that of {run.manifest.id}, found another one"
        )
    elif by is not Written.UNKEYED:
        run.add(what, _WRITTEN[by], authentic.SAID[by])


def _discard(chunks: Iterable[bytes]) -> None:
    for _ in chunks:
        pass


def _hold(held: dict[str, bytes], name: str, chunks: Iterable[bytes]) -> None:
    held[name] = b"".join(chunks)


def _part(run: _Run, name: str, sink: Callable[[Iterable[bytes]], object]) -> None:
    """Read one part to its end: there, whole, authentic, the bytes of the manifest."""
    part = run.manifest.part(name)
    progress = Progress(f"{run.manifest.id} {name}", part.raw_bytes, run.tell)
    what = f"part {name}"
    try:
        sink(read_part(run.store, run.manifest, name, run.keys, progress=progress))
    except (WrongKey, KeysError) as error:
        run.add(what, Verdict.INCONCLUSIVE, str(error))
    except (SealError, Missing) as error:
        run.add(what, Verdict.FAIL, str(error))
    except PartError as error:
        no_key = run.keys is None and bool(run.manifest.recipients)
        run.add(what, Verdict.INCONCLUSIVE if no_key else Verdict.FAIL, str(error))
    except StoreError as error:
        run.add(what, Verdict.INCONCLUSIVE, str(error))
    else:
        sealed = "authentic" if run.manifest.recipients else "not encrypted"
        run.sha256[name] = part.sha256
        run.add(what, Verdict.PASS, f"{part.stored_bytes} bytes as in the manifest, {sealed}")


# --- archive ------------------------------------------------------------------------------------------------


def _decode(run: _Run, archive: Path) -> None:
    run.tell(f"{run.manifest.id}: decoding the archive")
    try:
        restore.read_archive(run.manifest, archive)
    except BackupRefused:
        raise
    except BackupError as error:
        run.add("archive", whose(str(error)), str(error))
    else:
        run.add("archive", Verdict.PASS, "pg_restore decodes all of it")


def whose(words: str) -> Verdict:
    """A failure of pg_restore: the backup's, or this machine's."""
    return Verdict.INCONCLUSIVE if any(phrase in words for phrase in _HERE) else Verdict.FAIL


# --- restore ------------------------------------------------------------------------------------------------


def _restore(run: _Run, staged: Staged, place: Path) -> None:
    """Into a scratch server of the same major, and compare."""
    try:
        with restore.scratch(run.manifest, place) as server:
            bin_folder = server.bin_folder
            run.where = f"; scratch server {version_of(bin_folder / 'postgres')}"
            _restore_on(run, staged, server.dsn())
    except EmbeddedError as error:
        run.add("scratch server", Verdict.INCONCLUSIVE, str(error))
    except psycopg.Error as error:
        run.add("scratch server", Verdict.INCONCLUSIVE, clean(error, ""))


def _restore_on(run: _Run, staged: Staged, dsn: str) -> None:
    manifest = run.manifest
    with psycopg.connect(dsn, autocommit=True) as connection:
        if lacking := restore.missing_extensions(connection, manifest):
            detail = (
                f"the scratch server lacks {', '.join(lacking)}; restore it once to a server that has them"
            )
            run.add("extensions", Verdict.INCONCLUSIVE, detail)
            return
        _, problems = roles.make_missing(connection, staged.roles)
        verdict_of_roles = Verdict.FAIL if problems else Verdict.PASS
        text = (
            "; ".join(problems[:5]) or f"{len(staged.roles.roles)} made, with their memberships and settings"
        )
        run.add("roles", verdict_of_roles, text)
        notes = restore.make_database(connection, manifest, restore.DATABASE)
    inside = psycopg.conninfo.make_conninfo(dsn, dbname=restore.DATABASE)
    run.tell(f"{manifest.id}: restoring into a scratch server")
    began = time.monotonic()
    try:
        restore.run_restore(manifest, staged, inside)
    except BackupError as error:
        # Without the locale of the original, a constraint or a partition on texts may rightly refuse a row.
        run.add("restore", Verdict.INCONCLUSIVE if notes else whose(str(error)), str(error))
        run.checks += notes
        return
    run.restore_seconds = time.monotonic() - began
    run.add(
        "restore",
        Verdict.PASS,
        f"restored in {run.restore_seconds:.1f} s, without an error (sandbox settings)",
    )
    run.tell(f"{manifest.id}: comparing {len(manifest.tables)} tables with the manifest")
    run.checks += restore.compare(manifest, inside, staged.divided)


# --- what next ----------------------------------------------------------------------------------------------


def due(
    manifests: Sequence[Manifest],
    verifications: Sequence[Verification],
    cover_days: float,
    now: datetime,
    *,
    level: Level = Level.RESTORE,
    every_days: float = 1.0,
) -> list[str]:
    """Ids of the backups to verify in this run, most urgent first. Pure.

    Run every ``every_days``, it gives each backup a turn at least once in ``cover_days`` (from when it was made, or
    from the first verification that the ledger knows, whichever came later): what would be overdue at the next run, an
    equal share of all (those longest without a turn first), and the newest at once. Only a verdict of this level or
    deeper, PASS or FAIL, is a turn; one that was INCONCLUSIVE is tried again, after the others.

    Args:
        now: aware, as every time in manifests is UTC.
    """
    finished = {m.id: moment(m.finished) for m in manifests}
    if not finished:
        return []
    tried: dict[str, datetime] = {}
    proven: dict[str, datetime] = {}
    for line in verifications:
        if line.backup in finished and _DEPTH.index(line.level) >= _DEPTH.index(level):
            at = line.moment
            tried[line.backup] = max(at, tried.get(line.backup, at))
            if line.verdict is not Verdict.INCONCLUSIVE:
                proven[line.backup] = max(at, proven.get(line.backup, at))
    begun = min((v.moment for v in verifications), default=now)
    since = {i: proven.get(i, max(made, begun)) for i, made in finished.items()}
    newest = max(manifests, key=lambda m: m.order).id
    last_call = now - timedelta(days=cover_days - 2 * every_days)
    share = math.ceil(len(finished) * every_days / cover_days)
    queue = sorted(finished, key=lambda i: (tried.get(i, since[i]), i in tried, finished[i], i))
    chosen = {i for i in finished if since[i] <= last_call} | set(queue[:share])
    if newest not in proven:
        chosen.add(newest)
    return sorted(chosen, key=lambda i: (i != newest, queue.index(i)))


_DEPTH: Final = (Level.BYTES, Level.ARCHIVE, Level.RESTORE)
