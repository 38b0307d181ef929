"""Proving a base backup: restore it with all the log after it, into a scratch folder, and read every table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
from psycopg import sql

from understudy.backup import staging
from understudy.backup.keys import Keys, KeysError
from understudy.backup.manifest import Finding, Manifest, Verdict
from understudy.backup.pitr.files import Job, NoRoom, Origin, Stored, gap, job_of, require_room
from understudy.backup.pitr.server import Latest, connect, recover
from understudy.backup.seal import WrongKey
from understudy.backup.source import BackupError, BackupRefused
from understudy.backup.store import Missing, Store, StoreError
from understudy.backup.wal import lsn_text
from understudy.embedded import EmbeddedError, EmbeddedPostgreSQL, programs
from understudy.errors import UnderstudyError


def verify_physical(
    manifest: Manifest, store: Store, keys: Keys | None, say: Callable[[str], None] = lambda _: None
) -> list[Finding]:
    """Restore a base backup, with all the log after it, into a scratch folder and look at the result.

    Every file is compared with the CRC-32C that PostgreSQL gave for it; the log must reach its end without a gap; the
    server must start and let each database be read. What cannot be tried (no key, no answer, no room, no such
    server here) is INCONCLUSIVE.
    """
    return verify_from(Stored(store, keys), manifest, keys, say)


def verify_from(
    origin: Origin, manifest: Manifest, keys: Keys | None, say: Callable[[str], None] = lambda _: None
) -> list[Finding]:
    """As `verify_physical`, from wherever the base backup lies."""
    try:
        with staging.folder() as place:
            return list(_tried(manifest, origin, place / "server", say))
    except (UnderstudyError, OSError) as error:
        return [Finding(what="restore", verdict=_whose(error, manifest, keys), detail=str(error))]


def _whose(error: Exception, manifest: Manifest, keys: Keys | None) -> Verdict:
    """A failure of the backup, or of what it was tried with."""
    no_key = isinstance(error, WrongKey | KeysError) or (keys is None and bool(manifest.recipients))
    elsewhere = isinstance(error, StoreError) and not isinstance(error, Missing)
    here = isinstance(error, BackupRefused | NoRoom | OSError) or isinstance(error.__cause__, EmbeddedError)
    return Verdict.INCONCLUSIVE if no_key or elsewhere or here else Verdict.FAIL


def _tried(manifest: Manifest, origin: Origin, folder: Path, say: Callable[[str], None]) -> Iterator[Finding]:
    job = job_of(origin, manifest, folder, say)
    require_room(job)
    restored = recover(job, Latest())
    with restored.server:
        by = "PostgreSQL's manifest says (CRC-32C)" if origin.listed else f"{origin.name} wrote it (checksum)"
        yield Finding(what="files", verdict=Verdict.PASS, detail=f"each is as {by}")
        verdict = Verdict.FAIL if job.path.missing else Verdict.PASS
        end = f"replayed to {lsn_text(restored.ended)}, last commit {restored.last_commit or 'before the backup'}"
        yield Finding(what="log", verdict=verdict, detail=gap(job) if job.path.missing else end)
        with connect(restored.server, "postgres") as connection:
            rows = connection.execute("SELECT datname FROM pg_database WHERE datallowconn").fetchall()
        for (database,) in rows:
            yield _proven(job, restored.server, database)


def _proven(job: Job, server: EmbeddedPostgreSQL, database: str) -> Finding:
    """Raises `BackupError` where a table cannot be read, and not for want of an extension's library here."""
    what = f"database {database}"
    try:
        return Finding(what=what, verdict=Verdict.PASS, detail=_read(server, database))
    except BackupError as error:
        if not (lacking := programs.lacking(job.major, programs.account(), job.manifest.extensions)):
            raise
        why = f"{error}; the scratch server lacks {', '.join(lacking)}: install PostgreSQL with them on this host"
        return Finding(what=what, verdict=Verdict.INCONCLUSIVE, detail=why)


def _read(server: EmbeddedPostgreSQL, database: str) -> str:
    """Read every table of a database to its end. Raises `BackupError` naming the one that cannot be read."""
    count = 0
    with connect(server, database) as connection:
        tables = connection.execute(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND (c.relkind = 'r' OR c.relispopulated)"
        ).fetchall()
        for schema, table in tables:
            name = sql.Identifier(schema, table)
            try:
                # As text, so that every value is looked at, wherever it is stored.
                connection.execute(sql.SQL("SELECT sum(length(t::text)) FROM {} t").format(name))
            except psycopg.Error as error:
                raise BackupError(f"database {database}: {schema}.{table} cannot be read: {error}") from None
            count += 1
    return f"{count} tables were read to their ends"
