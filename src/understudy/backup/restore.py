"""From a dump back to a database: into a scratch server of our own, or into a new database of a given server.

A restore never touches what is there: not a node of a cluster, not a database with anything in it. It works under a
temporary name and gives the database its own only after every table was compared with the manifest. Foreign keys are
checked by PostgreSQL while they are restored.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from understudy.backup import contents, roles, staging, untar
from understudy.backup.keys import Keys
from understudy.backup.logical import ARCHIVE, RANGES, ROLES, named
from understudy.backup.manifest import Finding, Kind, Manifest, Verdict
from understudy.backup.programs import Child, command_line, program
from understudy.backup.source import BackupError, BackupRefused, clean, connect
from understudy.backup.store import Store, Tell
from understudy.backup.stream import PartError, Progress, read_part
from understudy.config import Config
from understudy.config_dsn import parse_dsn
from understudy.embedded import EmbeddedPostgreSQL
from understudy.engines.postgresql.tail import PINNED

SANDBOX: Final[Mapping[str, str]] = MappingProxyType(
    {
        "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off", "jit": "off",
        "wal_level": "minimal", "max_wal_senders": "0", "max_wal_size": "2GB", "shared_buffers": "256MB",
        "maintenance_work_mem": "128MB", "checkpoint_timeout": "1h", "max_locks_per_transaction": "256",
    }
)  # fmt: skip
"""Settings of a scratch server: nothing on it outlives it, so nothing waits for a disk. Its time to restore is better
than that of a real server, and is to be called the sandbox's."""
JOBS: Final = 2
DATABASE: Final = "restored"
"""The database of a scratch server."""


_EMPTY = """
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
UNION ALL SELECT nspname FROM pg_namespace WHERE nspname = 'understudy'
LIMIT 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A backup's parts, opened and checked. ``archive``: a file (custom) or a folder (directory)."""

    archive: Path
    roles: roles.Roles
    divided: contents.Divided


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore came to.

    Args:
        database: the name it has. Another one than asked for: its contents differ from the manifest.
        seconds: of pg_restore alone.
        findings: everything that was looked at, and what was left out.
    """

    database: str
    seconds: float
    findings: tuple[Finding, ...]

    @property
    def equal(self) -> bool:
        """Nothing failed."""
        return all(f.verdict is not Verdict.FAIL for f in self.findings)


def restore_logical(
    config: Config,
    manifest: Manifest,
    store: Store,
    keys: Keys | None,
    dsn: str,
    *,
    tables: Sequence[str] = (),
    jobs: int = JOBS,
    tell: Tell = lambda _: None,
) -> Restored:
    """Restore a dump into the database that ``dsn`` names: it is made, or is empty. What is there is never touched.

    Args:
        dsn: of a role that may make databases there. Owners and grants are restored where it is a superuser.
        tables: only these have rows (``name`` or ``schema.name``); foreign keys are left out then.

    Raises `BackupRefused` (nothing was changed), `BackupError`, and what `stream.read_part` raises.
    """
    if manifest.kind is not Kind.LOGICAL:
        raise BackupRefused(f"{manifest.id}: is a {manifest.kind} backup; this restores dumps")
    chosen = _chosen_tables(manifest, tables)
    database = _database(dsn)
    refuse_nodes(config, dsn)
    try:
        with _maintenance(dsn) as server, staging.folder() as place:
            exists = _refuse_unfit(server, manifest, dsn, database)
            staged = stage(manifest, store, keys, place, tell=tell)
            notes = _make_roles(server, staged.roles)
            name = database if exists else f"{database[:40]}_restoring_{secrets.token_hex(3)}"
            if not exists:
                notes += make_database(server, manifest, name)
            work = _Work(manifest=manifest, staged=staged, chosen=chosen, jobs=jobs, tell=tell)
            try:
                restored = _restored(work, server, make_conninfo(dsn, dbname=name), notes)
            except BaseException:
                if not exists:
                    _drop(server, name)
                raise
            if not restored.equal or name == database:
                return restored
            query = sql.SQL("ALTER DATABASE {} RENAME TO {}")
            server.execute(query.format(sql.Identifier(name), sql.Identifier(database)))
            return replace(restored, database=database)
    except psycopg.Error as error:
        raise BackupError(f"restoring into {database}: {clean(error, dsn)}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What is restored, and how."""

    manifest: Manifest
    staged: Staged
    chosen: frozenset[str] | None
    jobs: int
    tell: Tell


def _restored(work: _Work, server: psycopg.Connection, inside: str, notes: Sequence[Finding]) -> Restored:
    """Restore into the database of the DSN ``inside``, and compare."""
    manifest, name = work.manifest, _database(inside)
    work.tell(f"{manifest.id}: restoring into {name}")
    began = time.monotonic()
    lacking = any(n.what == "roles" and n.verdict is not Verdict.PASS for n in notes)
    owners = _is_superuser(server) and not lacking
    run_restore(manifest, work.staged, inside, tables=work.chosen, owners=owners, jobs=work.jobs)
    seconds = time.monotonic() - began
    left = () if owners else (note("owners", "all of it belongs to the role that restored it; no grants"),)
    work.tell(f"{manifest.id}: comparing with the manifest")
    findings = compare(manifest, inside, work.staged.divided, work.chosen)
    with connect(inside, "analyze", statement_timeout="0") as connection:
        connection.execute("ANALYZE")
    return Restored(database=name, seconds=seconds, findings=(*notes, *left, *findings))


# --- the backup's parts -------------------------------------------------------------------------------------


def stage(
    manifest: Manifest, store: Store, keys: Keys | None, place: Path, *, tell: Tell = lambda _: None
) -> Staged:
    """Fetch, open and check every part; the archive goes to ``place``. Raises `BackupRefused` where it has no room."""
    size = manifest.part(ARCHIVE).raw_bytes
    staging.require_space(place, size, "the opened archive")
    progress = Progress(f"{manifest.id} {ARCHIVE}", size, tell)
    small = {name: b"".join(read_part(store, manifest, name, keys)) for name in (ROLES, RANGES)}
    chunks = read_part(store, manifest, ARCHIVE, keys, progress=progress)
    where = f"{store.name}: {manifest.id}"
    return Staged(
        archive=put_archive(manifest, chunks, place),
        roles=roles.decode(small[ROLES], f"{where}/{ROLES}"),
        divided=contents.decode(small[RANGES], f"{where}/{RANGES}"),
    )


def put_archive(manifest: Manifest, chunks: Iterable[bytes], place: Path) -> Path:
    """The archive as pg_restore takes it, a file or a folder, where nobody else can read it."""
    private = place / "opened"
    private.mkdir(mode=0o700)  # the one it is in is open to the user that a scratch server runs as
    target = private / ARCHIVE
    if manifest.form == "custom":
        with target.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
        return target
    target.mkdir()
    source = _Readable(iter(chunks))
    try:
        untar.unpack(source, target)
        source.drain()
    except tarfile.TarError as error:
        raise PartError(
            f"{manifest.id}: {ARCHIVE}: expected a tar of the dump, found none: {error}"
        ) from None
    return target


class _Readable:
    """Chunks as a file to read from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._held = chunks, b""

    def read(self, size: int) -> bytes:
        while len(self._held) < size and (chunk := next(self._chunks, None)) is not None:
            self._held += chunk
        taken, self._held = self._held[:size], self._held[size:]
        return taken

    def drain(self) -> None:
        """Read what is left: a part is complete and authentic only when it has been read to its end."""
        for _ in self._chunks:
            pass


# --- where to -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def scratch(manifest: Manifest, place: Path) -> Iterator[EmbeddedPostgreSQL]:
    """A server of the backup's major version that is gone after the block. Raises EmbeddedError where there is none.

    With the backup's extensions where this host has a PostgreSQL that has them.
    """
    major = int(manifest.server_version.split(".")[0])
    with EmbeddedPostgreSQL(
        place / "scratch",
        name="scratch",
        settings=SANDBOX,
        major=major,
        extensions=manifest.extensions,
        temporary=True,
        die_with_parent=True,
    ) as server:
        yield server


def refuse_nodes(config: Config, dsn: str) -> None:
    """Raise `BackupRefused` where a DSN leads to the database of a configured node, by whatever name."""
    endpoint = parse_dsn(dsn, "the target").endpoint
    for cluster in config.clusters:
        for node in cluster.nodes:
            known = {
                parse_dsn(d, node.name).endpoint for d in (node.dsn, node.admin_dsn, node.replication_dsn)
            }
            same = endpoint in known or (
                endpoint[2] in {e[2] for e in known} and _identity(dsn) == _identity(node.admin_dsn) != ""
            )
            if same:
                raise BackupRefused(
                    f"the target is {node.name}, a node of cluster {cluster.name}: a restore never goes onto a node;"
                    " name a new database (docs: how to restore)"
                )


def _identity(dsn: str) -> str:
    """Which server a DSN leads to; empty where it does not say."""
    with contextlib.suppress(psycopg.Error), _maintenance(dsn) as connection:
        row = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
        return str(row[0]) if row is not None else ""
    return ""


@contextlib.contextmanager
def _maintenance(dsn: str) -> Iterator[psycopg.Connection]:
    """A session on the server of a DSN, in a database that is always there."""
    errors = []
    for name in ("postgres", "template1", _database(dsn)):
        try:
            connection = connect(make_conninfo(dsn, dbname=name), "restore", statement_timeout="0")
        except psycopg.OperationalError as error:
            errors.append(error)
            continue
        with connection:
            yield connection
        return
    raise errors[0]


def _database(dsn: str) -> str:
    parameters = conninfo_to_dict(dsn)
    return str(parameters.get("dbname") or parameters.get("user") or "")


def _refuse_unfit(server: psycopg.Connection, manifest: Manifest, dsn: str, database: str) -> bool:
    """Whether the database exists. Raises `BackupRefused` where it is not empty, or the server cannot take the dump."""
    if lacking := missing_extensions(server, manifest):
        raise BackupRefused(
            f"the target lacks the extensions {', '.join(lacking)}, which the backup needs; install their packages"
        )
    wanted, found = int(manifest.server_version.split(".")[0]), server.info.server_version // 10000
    if found < wanted:
        raise BackupRefused(
            f"the target is PostgreSQL {found}, the backup of {wanted}: an older server cannot take it"
        )
    query = "SELECT FROM pg_database WHERE datname = %s"
    if server.execute(query, (database,)).fetchone() is None:
        return False
    with connect(make_conninfo(dsn, dbname=database), "restore") as inside:
        row = inside.execute(_EMPTY).fetchone()
    if row is not None:
        raise BackupRefused(
            f"database {database} exists and is not empty ({row[0]}): nothing is ever overwritten; name another one"
        )
    return True


def missing_extensions(server: psycopg.Connection, manifest: Manifest) -> list[str]:
    """Extensions of the backup that the server could not create."""
    have = {row[0] for row in server.execute("SELECT name::text FROM pg_available_extensions").fetchall()}
    return sorted(set(manifest.extensions) - have)


def make_database(server: psycopg.Connection, manifest: Manifest, name: str) -> list[Finding]:
    """A database with the backup's encoding and locale. Where the locale is not there it is C, and a finding."""
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} LOCALE {}")
    for locale in (manifest.locale, "C"):
        try:
            server.execute(
                statement.format(sql.Identifier(name), sql.Literal(manifest.encoding), sql.Literal(locale))
            )
        except (psycopg.errors.WrongObjectType, psycopg.errors.InvalidParameterValue):
            if locale == "C":
                raise
            continue
        if locale == manifest.locale:
            return []
        return [
            _unsure("locale", f"{manifest.locale} is not on this machine: C instead, texts sort differently")
        ]
    raise AssertionError("the loop returns or raises")


def _make_roles(server: psycopg.Connection, wanted: roles.Roles) -> list[Finding]:
    made, problems = roles.make_missing(server, wanted)
    found = []
    if made:
        text = (
            f"made without passwords: {', '.join(made)}; give those that log in one (ALTER ROLE ... PASSWORD)"
        )
        found.append(note("roles", text))
    if problems:
        found.append(_unsure("roles", f"not all were made: {'; '.join(problems[:5])}"))
    return found


def _is_superuser(server: psycopg.Connection) -> bool:
    row = server.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    return row is not None and bool(row[0])


def _drop(server: psycopg.Connection, name: str) -> None:
    with contextlib.suppress(psycopg.Error):  # what is raised already says what happened
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


# --- pg_restore ---------------------------------------------------------------------------------------------


def run_restore(
    manifest: Manifest,
    staged: Staged,
    dsn: str,
    *,
    tables: frozenset[str] | None = None,
    owners: bool = True,
    rows: bool = True,
    jobs: int = JOBS,
) -> None:
    """pg_restore into an empty database; the first error ends it. Raises `BackupError` with its words.

    ``tables``: full names of those that get rows; None: all. ``rows``: False: the schema only, whole.
    """
    tool = restore_program(manifest)
    partial = tables is not None or manifest.scope[0] not in {"all", "schema-only"}
    with _listed(tool, manifest, staged.archive, tables, partial=partial) as contents_list:
        line, environment = command_line(dsn, "restore")
        arguments = [
            *(str(tool), f"--dbname={line}", f"--use-list={contents_list}", f"--jobs={jobs}"),
            *("--exit-on-error", "--no-password"),
            *(() if owners else ("--no-owner", "--no-privileges")),
            *(() if rows else ("--schema-only",)),
            str(staged.archive),
        ]
        with Child(arguments, environment, dsn=dsn, output=False) as child:
            child.finish()


def restore_program(manifest: Manifest) -> Path:
    """The pg_restore that reads the backup's archive. Raises `BackupRefused` where it is not here."""
    return program("pg_restore", int(manifest.client_version.split(".")[0]))


def read_archive(manifest: Manifest, archive: Path) -> None:
    """Decode every byte of an archive, into nothing. Raises `BackupError` with pg_restore's words."""
    arguments = [str(restore_program(manifest)), "--file=/dev/null", str(archive)]
    with Child(arguments, command_line("", "decode")[1], dsn="", output=False) as child:
        child.finish()


@contextlib.contextmanager
def _listed(
    tool: Path, manifest: Manifest, archive: Path, tables: frozenset[str] | None, *, partial: bool
) -> Iterator[Path]:
    """The archive's table of contents without what is not to be restored, in a file."""
    with Child([str(tool), "--list", str(archive)], command_line("", "list")[1], dsn="") as child:
        text = b"".join(child.chunks()).decode("utf-8", "surrogateescape")
    path = archive.with_name("contents.list")
    known = {f"{t.schema} {t.name} ": f"{t.schema}.{t.name}" for t in manifest.tables}
    chosen = None if tables is None else {line for line, name in known.items() if name in tables}
    lines = [line for line in text.splitlines() if _kept(line, known, chosen, partial=partial)]
    path.write_text("\n".join(lines) + "\n", "utf-8", "surrogateescape")
    try:
        yield path
    finally:
        path.unlink()


# Understudy's publications belong to a pair, and a restored database is in none.
_OUR_PUBLICATION = re.compile(r"^\d+; \d+ \d+ PUBLICATION(?: TABLE)? \S+ understudy_")
_ROWS = re.compile(r"^\d+; \d+ \d+ TABLE DATA ")
_NOT_PARTIAL = re.compile(r"^\d+; \d+ \d+ (?:FK CONSTRAINT|MATERIALIZED VIEW DATA) ")


def _kept(line: str, known: Iterable[str], chosen: set[str] | None, *, partial: bool) -> bool:
    """Whether a line of the table of contents stays. Names in it are not quoted, so the longest known one counts."""
    if _OUR_PUBLICATION.match(line) or (partial and _NOT_PARTIAL.match(line)):
        return False
    if chosen is None or (match := _ROWS.match(line)) is None:
        return True
    rest = line[match.end() :]
    return max((name for name in known if rest.startswith(name)), key=len, default="") in chosen


# --- comparing ----------------------------------------------------------------------------------------------


def compare(
    manifest: Manifest,
    dsn: str,
    divided: contents.Divided | None = None,
    only: frozenset[str] | None = None,
) -> list[Finding]:
    """A restored database against the manifest: every table's rows and fingerprint, sequences, foreign keys.

    Raises psycopg's errors.
    """
    with connect(dsn, "compare", statement_timeout="0", row_security="off") as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute(PINNED)
        return contents.compare(connection, manifest, divided, only)


def _chosen_tables(manifest: Manifest, tables: Sequence[str]) -> frozenset[str] | None:
    return frozenset(named(tables, [(t.schema, t.name) for t in manifest.tables])) if tables else None


def note(what: str, detail: str) -> Finding:
    """Something to know that is neither good nor bad."""
    return Finding(what=what, verdict=Verdict.PASS, detail=detail)


def _unsure(what: str, detail: str) -> Finding:
    return Finding(what=what, verdict=Verdict.INCONCLUSIVE, detail=detail)
