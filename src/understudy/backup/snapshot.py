"""One moment of a database, held open: what pg_dump copies and what is counted are the same rows.

Every table is locked in ACCESS SHARE mode *before* the snapshot is taken, as reading it would: until the backup ends,
schema changes and TRUNCATE wait. (Without it a TRUNCATE that comes between makes a table look empty to whoever reads
it later, whatever the snapshot.) Reading and writing go on; what comes behind a waiting schema change waits too.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from understudy.backup import contents
from understudy.backup.contents import Relation
from understudy.backup.source import BackupError, BackupRefused, Source, clean, connect
from understudy.engines.postgresql.tail import PINNED

PATIENCE_S = 60.0
"""How long we go on trying to get every lock."""
LOCK_MS = 2000
"""How long one lock is waited for before all are let go: who waits for those that we have already waits no longer."""
_PAUSE_S = 0.5
_CANCEL_S = 3.0

LeaveOut = Callable[[Sequence[Relation]], frozenset[str]]

_SETTINGS = {
    "statement_timeout": "0",
    "lock_timeout": str(LOCK_MS),
    "idle_in_transaction_session_timeout": "0",
    "row_security": "off",  # an error where a policy would hide rows from us
    "search_path": "pg_catalog",
}
_FACTS = """
SELECT current_setting('server_version'), current_setting('server_version_num')::int / 10000, current_database()::text,
    pg_encoding_to_char(d.encoding)::text, d.datcollate::text,
    (SELECT system_identifier::text FROM pg_control_system()),
    ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int,
    (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint,
    (SELECT coalesce(jsonb_object_agg(extname, extversion), '{}') FROM pg_extension),
    current_user::text
FROM pg_database d WHERE d.datname = current_database()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the server says about itself; positions in bytes."""

    version: str
    major: int
    database: str
    encoding: str
    locale: str
    system: str
    timeline: int
    lsn: int
    extensions: Mapping[str, str]
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An open transaction. ``id``: what other sessions give to SET TRANSACTION SNAPSHOT; ``left_out``: schemas."""

    connection: psycopg.Connection
    id: str
    facts: Facts
    tables: Sequence[Relation]
    left_out: frozenset[str]


@contextlib.contextmanager
def session(source: Source) -> Iterator[psycopg.Connection]:
    """A session for a backup of the source. Driver errors become `BackupError`, without a password."""
    try:
        with connect(source.dsn, f"{source.cluster}/snapshot", **_SETTINGS) as connection:
            yield connection
    except psycopg.Error as error:
        raise BackupError(f"{source.node}: {clean(error, source.dsn)}") from None


def facts(connection: psycopg.Connection) -> Facts:
    """Asked outside of any transaction. Raises psycopg's errors."""
    row = connection.execute(_FACTS).fetchone()
    assert row is not None, "a session has a database"
    return Facts(
        version=row[0], major=row[1], database=row[2], encoding=row[3], locale=row[4], system=row[5], timeline=row[6],
        lsn=row[7], extensions=row[8], role=row[9],
    )  # fmt: skip


@contextlib.contextmanager
def opened(connection: psycopg.Connection, source: Source, leave_out: LeaveOut) -> Iterator[Snapshot]:
    """Lock every table, take the snapshot, export it, and hold all of it for the block.

    Args:
        leave_out: tells from all tables which schemas are not backed up; may refuse.

    Raises `BackupRefused` where they are not to be had in `PATIENCE_S` seconds, and psycopg's errors.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = _try(connection, leave_out)
        if not isinstance(found, str):
            break
        if time.monotonic() > deadline:
            raise BackupRefused(
                f"{source.node}: not every table could be locked within {PATIENCE_S:g} s ({found}); find out what holds"
                " the lock (pg_locks), or try again when no migration runs"
            )
        time.sleep(_PAUSE_S)  # what we let go of may go on
    try:
        yield found
    finally:
        with contextlib.suppress(psycopg.Error):  # a lost connection has rolled back by itself
            connection.execute("ROLLBACK")


def _try(connection: psycopg.Connection, leave_out: LeaveOut) -> Snapshot | str:
    """The snapshot with every lock, or why it is not to be had now."""
    taken = False
    try:
        every = contents.relations(connection)
        left_out = leave_out(every)
        before = {t.oid: t for t in every if t.schema not in left_out}
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        _lock(connection, list(before.values()))
        row = connection.execute("SELECT pg_export_snapshot()").fetchone()
        connection.execute(PINNED)
        tables = [t for t in contents.relations(connection) if t.schema not in left_out]
        if {t.oid for t in tables} != set(before):
            return "tables come and go"
        assert row is not None
        taken = True
        return Snapshot(
            connection=connection, id=row[0], facts=facts(connection), tables=tables, left_out=left_out
        )
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return "tables come and go"
    except psycopg.errors.LockNotAvailable as error:
        return f"a table is locked: {' '.join(str(error).split())}"
    finally:
        if not taken and not connection.broken:
            connection.execute("ROLLBACK")


def _lock(connection: psycopg.Connection, tables: Sequence[Relation]) -> None:
    if tables:
        names = sql.SQL(", ").join(sql.SQL("ONLY {}").format(t.identifier) for t in tables)
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))


def sever(connection: psycopg.Connection) -> None:
    """End whatever a session is doing, from another thread; a frozen server is not waited for."""
    with contextlib.suppress(OSError, psycopg.Error):
        handle = socket.socket(fileno=os.dup(connection.fileno()))
        try:
            connection.cancel_safe(timeout=_CANCEL_S)
        finally:
            with contextlib.suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)
            handle.close()
