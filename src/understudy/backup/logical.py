"""Dumps: pg_dump of the primary in one snapshot, streamed into the destinations, with what was in that snapshot.

A backup of one cluster is made by one process of a host at a time. Its parts:

    archive   pg_dump's custom format, or a tar of its directory format; not compressed by pg_dump
    roles     the server's roles without passwords (`roles`)
    ranges    sums of ranges of keys, to say where a restored table differs (`contents`)

Scope ``all`` is everything; ``schema-only`` no rows; names of tables: the schema of everything with the rows of these.
"""

from __future__ import annotations

import contextlib
import tarfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import psycopg

import understudy
from understudy.backup import contents, roles, snapshot, staging
from understudy.backup.catalog import Catalog, discard_failed
from understudy.backup.contents import Divided, Ranges, Relation
from understudy.backup.keys import Keys
from understudy.backup.manifest import Kind, Manifest, Part, Table
from understudy.backup.manifest import Sequence as SequenceValue
from understudy.backup.programs import READ, Child, command_line, program, version_of
from understudy.backup.snapshot import Facts, Snapshot
from understudy.backup.source import (
    BackupError,
    BackupRefused,
    Guard,
    Source,
    alone,
    clean,
    new_id,
    now_text,
    primary_of,
    still,
)
from understudy.backup.store import Store, Tell
from understudy.backup.stream import Progress, write_part
from understudy.config import Config
from understudy.model import Cluster

ARCHIVE: Final = "archive"
ROLES: Final = "roles"
RANGES: Final = "ranges"
FORMS: Final = ("custom", "directory")
TIMEOUT_S: Final = 12 * 3600.0
JOBS: Final = 2
ATTEMPTS: Final = 5
QUEUE_MS: Final = 2000
"""How long pg_dump waits for a lock. We have them all already, so whoever keeps one from it waits for us: where a
migration came between, pg_dump gives up, we let go of everything, the migration goes on, and we begin again."""
_PROVIDER_SCHEMAS: Final = frozenset(
    {"vault", "pgsodium", "pgsodium_masks", "realtime", "_realtime", "supabase_functions", "supabase_migrations",
     "graphql", "graphql_public", "net", "cron", "pgbouncer", "extensions", "_analytics", "_supavisor", "pgtle"}
)  # fmt: skip
"""Schemas that a provider keeps for itself. Where their tables are closed to us they are left out, and the manifest
says so. Supabase's ``auth`` and ``storage`` are not among them: their rows are the application's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What one backup is made with."""

    id: str
    source: Source
    stores: tuple[Store, ...]
    keys: Keys | None
    scope: tuple[str, ...]
    form: str
    tell: Tell

    def write(self, name: str, chunks: Iterator[bytes] | bytes, total: int | None = None) -> Part:
        """One part into every destination. Raises StoreError where none takes it."""
        progress = Progress(f"{self.id} {name}", total, self.tell)
        key = f"{self.source.cluster}/{self.id}/{name}"
        pieces = [chunks] if isinstance(chunks, bytes) else chunks
        return write_part(pieces, self.stores, key, name, self.keys, progress)


def create(
    config: Config,
    cluster: Cluster,
    stores: Sequence[Store],
    keys: Keys | None,
    *,
    scope: tuple[str, ...] = ("all",),
    form: str = "custom",
    tell: Tell = lambda _: None,
    cancel: threading.Event | None = None,
    timeout: float = TIMEOUT_S,
) -> Manifest:
    """Make a backup of the cluster's primary. When this returns, the backup exists wherever its parts are whole.

    Args:
        scope: ``("all",)``, ``("schema-only",)``, or names of tables, ``name`` or ``schema.name``.
        form: ``custom``, or ``directory`` (several sessions at once; needs room for the whole dump beneath TMPDIR).
        tell: gets a line now and then, and each problem that did not stop the backup.
        cancel: set it, from any thread, to give the backup up.
        timeout: seconds after which it is given up.

    Raises `BackupRefused` (nothing was begun), `BackupAborted` (the primary changed, cancelled, too long),
    `BackupError`, StoreError, KeysError. No manifest is written then, and what was stored is removed again where
    that is possible.
    """
    assert form in FORMS
    source = primary_of(config, cluster)
    job = _Job(
        id=new_id(Kind.LOGICAL), source=source, stores=tuple(stores), keys=keys, scope=scope, form=form, tell=tell
    )  # fmt: skip
    with (
        alone(config.directory, f"backup-{cluster.name}"),
        Guard(source, cancel=cancel or threading.Event(), timeout=timeout) as guard,
    ):
        try:
            return _create(job, guard)
        except Exception as error:
            discard_failed(job.stores, job.source.cluster, job.id, job.tell)
            raise guard.reason(error) from error
        except BaseException:  # Ctrl-C, the end of the process
            discard_failed(job.stores, job.source.cluster, job.id, job.tell)
            raise


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """What one snapshot gave."""

    facts: Facts
    left_out: frozenset[str]
    client_version: str
    archive: Part
    tables: tuple[Table, ...]
    ranges: tuple[Ranges, ...]
    sequences: tuple[SequenceValue, ...]
    roles: roles.Roles


class _LockedOut(BackupError):
    """Somebody queued up for a lock between ours and pg_dump's: pg_dump would wait for him, and he for us."""


def _create(job: _Job, guard: Guard) -> Manifest:
    started, source = now_text(), job.source
    taken = _taken(job, guard)
    parts = (
        taken.archive,
        job.write(ROLES, roles.encode(taken.roles)),
        job.write(RANGES, contents.encode(Divided(tables=taken.ranges))),
    )
    guard.check()
    still(source)
    scope = (*job.scope, *(f"-{name}" for name in sorted(taken.left_out)))
    facts = taken.facts
    manifest = Manifest(
        id=job.id, cluster=source.cluster, engine="postgresql", kind=Kind.LOGICAL, form=job.form, scope=scope,
        node=source.node, epoch=source.epoch, started=started, finished=now_text(), database=facts.database,
        encoding=facts.encoding, locale=facts.locale, server_version=facts.version, client_version=taken.client_version,
        system_identifier=facts.system, timeline=facts.timeline, start_lsn=facts.lsn, end_lsn=facts.lsn,
        extensions=facts.extensions, tables=taken.tables, sequences=taken.sequences, parts=parts,
        recipients=job.keys.recipients if job.keys is not None else (), tool=f"understudy {understudy.__version__}",
    )  # fmt: skip
    places = Catalog(job.stores, job.keys).commit(manifest)
    if absent := [store.name for store in job.stores if store.name not in places]:
        job.tell(f"{job.id}: NOT in {', '.join(absent)}; it is in {', '.join(places)}")
    return manifest


def _taken(job: _Job, guard: Guard) -> _Taken:
    """Everything from one snapshot; from another one where a schema change came in between."""
    for _ in range(ATTEMPTS):
        try:
            with snapshot.session(job.source) as connection:
                guard.on_abort(partial(snapshot.sever, connection))
                return _from_snapshot(job, guard, connection)
        except _LockedOut:
            job.tell(f"{job.id}: a schema change came in between; beginning again")
    raise BackupRefused(
        f"{job.source.node}: schema changes came in between in each of {ATTEMPTS} attempts; try again when no"
        " migration runs"
    )


def _from_snapshot(job: _Job, guard: Guard, connection: psycopg.Connection) -> _Taken:
    facts = snapshot.facts(connection)
    dump = program("pg_dump", facts.major)
    # Before the snapshot, and no lock on them is kept: pg_dump reads them again, and they only go further.
    standing = contents.sequences(connection) if job.scope == ("all",) else ()
    with snapshot.opened(connection, job.source, partial(_left_out, job.source, facts.role)) as moment:
        chosen = _chosen(job.scope, moment.tables)
        found_roles = roles.read(connection)
        wanted = [*_except(moment.left_out), *_without_rows(job.scope, moment.tables, chosen)]
        total = sum(t.all_bytes for t in chosen)
        counting = _Counting(job, guard, moment, chosen)
        with ThreadPoolExecutor(1, thread_name_prefix="fingerprints") as pool:
            counted = pool.submit(counting.run)
            try:
                archive = _archive(job, [str(dump), f"--snapshot={moment.id}", *wanted], total, guard)
            except BaseException:
                counting.stop()  # or the pool waits for the last table
                raise
            tables, ranges = counted.result()
        return _Taken(
            facts=moment.facts, left_out=moment.left_out, client_version=version_of(dump), archive=archive,
            tables=tables, ranges=ranges, sequences=standing, roles=found_roles,
        )  # fmt: skip


# --- what ---------------------------------------------------------------------------------------------------


def _left_out(source: Source, role: str, tables: Sequence[Relation]) -> frozenset[str]:
    """The provider's schemas that are closed to us. Raises `BackupRefused` for any other table that is."""
    closed = [t for t in tables if not t.readable]
    others = [t for t in closed if t.schema not in _PROVIDER_SCHEMAS]
    if others:
        names = ", ".join(t.full_name for t in others[:10]) + (" ..." if len(others) > 10 else "")
        schemas = ", ".join(sorted({_pattern(t.schema) for t in others}))
        raise BackupRefused(
            f"{source.node}: role {role} may not read {len(others)} tables ({names}), and a backup without them would"
            f' be none: GRANT USAGE ON SCHEMA {schemas} TO "{role}";'
            f' GRANT SELECT ON ALL TABLES IN SCHEMA {schemas} TO "{role}";'
        )
    return frozenset(t.schema for t in closed)


def _chosen(scope: tuple[str, ...], tables: Sequence[Relation]) -> list[Relation]:
    """The tables whose rows are backed up. Raises `BackupRefused` for a name that is none, or several."""
    with_rows = [t for t in tables if not t.partitioned]
    if scope == ("all",):
        return with_rows
    if scope == ("schema-only",):
        return []
    return [t for t in with_rows if t.full_name in named(scope, [(t.schema, t.name) for t in with_rows])]


def named(names: Sequence[str], known: Sequence[tuple[str, str]]) -> set[str]:
    """Full names of the tables that are asked for. Raises `BackupRefused`."""
    found = set()
    for name in names:
        hits = [f"{s}.{t}" for s, t in known if name in (t, f"{s}.{t}")]
        if len(hits) != 1:
            what = f"several: {', '.join(hits)}" if hits else "no such table with rows of its own"
            raise BackupRefused(f"table {name}: expected one table, found {what}; write schema.name")
        found.add(hits[0])
    return found


class _Counting:
    """Rows and fingerprint of every table, in the snapshot, while pg_dump reads them."""

    def __init__(self, job: _Job, guard: Guard, moment: Snapshot, tables: Sequence[Relation]) -> None:
        self._job, self._guard, self._moment, self._wanted = job, guard, moment, tables
        self._stopped = False

    def stop(self) -> None:
        """End it, at whichever table it is."""
        self._stopped = True
        snapshot.sever(self._moment.connection)

    def run(self) -> tuple[tuple[Table, ...], tuple[Ranges, ...]]:
        """Count. A failure of its own ends pg_dump too, and is told instead of pg_dump's."""
        tables, ranges = [], []
        try:
            for relation in self._wanted:
                table, divided = contents.fingerprint(self._moment.connection, relation)
                tables.append(table)
                if divided is not None:
                    ranges.append(divided)
            if self._job.scope == ("all",) and (objects := contents.large_objects(self._moment.connection)):
                tables.append(objects)
        except psycopg.Error as error:
            source = self._job.source
            failure = BackupError(f"{source.node}: counting rows: {clean(error, source.dsn)}")
            if not self._stopped:
                self._guard.give_up(failure)
            raise failure from None
        return tuple(tables), tuple(ranges)


# --- how ----------------------------------------------------------------------------------------------------


def _archive(job: _Job, arguments: list[str], total: int, guard: Guard) -> Part:
    """pg_dump into the part ``archive``."""
    line, environment = command_line(job.source.dsn, f"{job.source.cluster}/dump")
    arguments += [
        *(f"--format={job.form}", "--compress=0", "--no-password", "--no-subscriptions", f"--dbname={line}"),
        *(f"--lock-wait-timeout={QUEUE_MS}", "--exclude-schema=understudy"),
    ]
    if job.form == "custom":
        with Child(arguments, environment, dsn=job.source.dsn) as child, _told():
            guard.on_abort(child.end)
            return job.write(ARCHIVE, child.chunks(), total)
    with staging.folder() as place:
        staging.require_space(place, total, "the dump")
        target = place / "dump"
        more = [f"--file={target}", f"--jobs={JOBS}", "--no-sync"]
        with Child([*arguments, *more], environment, dsn=job.source.dsn, output=False) as child, _told():
            guard.on_abort(child.end)
            child.finish()
        return job.write(ARCHIVE, tarred(target), total)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Tell `_LockedOut` from other failures of pg_dump."""
    try:
        yield
    except BackupError as error:
        words = str(error)
        late = "could not obtain lock on relation" in words  # a worker of the directory form
        if late or ("canceling statement due to" in words and "LOCK TABLE" in words):
            raise _LockedOut(str(error)) from None
        raise


def _except(left_out: frozenset[str]) -> list[str]:
    return [f"--exclude-schema={_pattern(schema)}" for schema in sorted(left_out)]


def _without_rows(
    scope: tuple[str, ...], tables: Sequence[Relation], chosen: Sequence[Relation]
) -> list[str]:
    if scope == ("schema-only",):
        return ["--schema-only"]
    kept = {t.oid for t in chosen}
    others = [t for t in tables if t.oid not in kept and not t.partitioned]
    return [f"--exclude-table-data={_pattern(t.schema)}.{_pattern(t.name)}" for t in others]


def _pattern(name: str) -> str:
    """A name as pg_dump's patterns take it literally."""
    return '"' + name.replace('"', '""') + '"'


def tarred(folder: Path) -> Iterator[bytes]:
    """The files of a folder as one tar, in constant memory; each is removed when it has gone by."""
    for path in sorted(folder.iterdir()):
        info = tarfile.TarInfo(path.name)
        info.size = path.stat().st_size
        yield info.tobuf(tarfile.GNU_FORMAT)
        with path.open("rb") as file:
            while chunk := file.read(READ):
                yield chunk
        yield bytes(-info.size % tarfile.BLOCKSIZE)
        path.unlink()
    yield bytes(2 * tarfile.BLOCKSIZE)
