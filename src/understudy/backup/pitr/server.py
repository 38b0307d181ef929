"""The server of a restore: files of `files`, rolled forward to a target, taken out of every cluster and started.

Sources: PostgreSQL 16 manual, "Continuous Archiving and Point-in-Time Recovery", "Recovery Target";
src/backend/access/transam/xlogrecovery.c for what is logged and when a target counts as reached.
"""

from __future__ import annotations

import re
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from understudy.backup import wal
from understudy.backup.keys import Keys
from understudy.backup.manifest import Manifest
from understudy.backup.pitr.files import (
    Job,
    NoRoom,
    Origin,
    OutOfReach,
    Stored,
    empty,
    gap,
    give,
    job_of,
    lay_out,
    require_room,
    run,
)
from understudy.backup.source import BackupError, BackupRefused
from understudy.backup.store import Store
from understudy.backup.wal import lsn_text, segment_name
from understudy.embedded import EmbeddedError, EmbeddedPostgreSQL
from understudy.embedded import programs as wheels
from understudy.errors import UnderstudyError

RECOVERY_S: Final = 24 * 3600.0
"""Seconds that PostgreSQL may take to replay."""
_STOP_S: Final = 600.0
_FLOOR: Final = 16
"""For settings that may be 0 on the source and have grown in the log that is replayed."""
_UNWANTED: Final = (
    "postmaster.pid",
    "postmaster.opts",
    "standby.signal",
    "recovery.signal",
    "postgresql.auto.conf",
)
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{1,63}")

# What the copied server said in its own configuration is not read: it may archive, load what is not here, dial others.
_CONFIGURATION: Final = "include_if_exists = 'embedded.conf'\n"
_ALONE: Final = {
    "archive_mode": "off",
    "primary_conninfo": "",
    "synchronous_standby_names": "",
    "max_logical_replication_workers": "0",
    "shared_preload_libraries": "",
    "autovacuum": "off",
}
_REPLAY: Final = {
    "hot_standby": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "recovery_target_action": "promote",
    "log_min_messages": "log",
}
# The replayed log may need as much of each as the source had (pg_control holds it).
_FROM_CONTROL: Final = {
    "max_connections": "max_connections setting",
    "max_worker_processes": "max_worker_processes setting",
    "max_wal_senders": "max_wal_senders setting",
    "max_prepared_transactions": "max_prepared_xacts setting",
    "max_locks_per_transaction": "max_locks_per_xact setting",
}
_NO_SPACE: Final = "No space left on device"
_ENDED_BEFORE: Final = "recovery ended before configured recovery target was reached"
_NOT_CONSISTENT: Final = "requested recovery stop point is before consistent recovery point"


@dataclass(frozen=True, slots=True)
class Latest:
    """As far as the log goes."""


@dataclass(frozen=True, slots=True)
class Time:
    """Everything that was committed up to and at this moment (with a time zone)."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Lsn:
    """Everything whose commit lies wholly before this position: what ``pg_current_wal_insert_lsn()`` said after it."""

    position: int


@dataclass(frozen=True, slots=True)
class Name:
    """Up to ``pg_create_restore_point(name)``."""

    name: str


Target = Latest | Time | Lsn | Name


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A restored server, running.

    Args:
        ended: position at which the replay ended; everything before it is there (bytes).
        last_commit: when the last replayed transaction was committed, as the source's clock said; empty: none was.
    """

    server: EmbeddedPostgreSQL
    ended: int
    last_commit: str


def restore(
    manifest: Manifest,
    store: Store,
    keys: Keys | None,
    target: Target,
    folder: Path,
    *,
    say: Callable[[str], None] = lambda _: None,
) -> Restored:
    """Restore into a new folder and start the result there; it ends with the calling thread, unless stopped before.

    Args:
        folder: absent or empty; emptied again where this fails.
        say: gets a line for each stage, and for the progress of each.

    Raises `BackupRefused` (nothing was written), `OutOfReach`, `NoRoom`, `BackupError`, StoreError, SealError,
    PartError.
    """
    return restore_from(Stored(store, keys), manifest, target, folder, say=say)


def restore_from(
    origin: Origin,
    manifest: Manifest,
    target: Target,
    folder: Path,
    *,
    say: Callable[[str], None] = lambda _: None,
) -> Restored:
    """As `restore`, from wherever the base backup lies."""
    job = job_of(origin, manifest, folder, say)
    _require(job, target)
    return recover(job, target)


def _require(job: Job, target: Target) -> None:
    """Raise unless the target can be within reach, and there is room for it."""
    manifest, path = job.manifest, job.path
    if isinstance(target, Time) and target.at.tzinfo is None:
        raise BackupRefused("the time to restore to has no time zone; write 2026-11-21T08:15:00+00:00")
    if isinstance(target, Time) and target.at < datetime.fromisoformat(manifest.finished):
        # PostgreSQL would stop at the first commit after the backup, and be silent about those before it.
        raise OutOfReach(
            f"{manifest.id}: was finished at {manifest.finished}, after {target.at.isoformat()};"
            " restore from an older base backup"
        )
    if isinstance(target, Name) and not _NAME.fullmatch(target.name):
        raise BackupRefused("expected the name of a restore point, 1 to 63 printable characters")
    if isinstance(target, Lsn) and target.position < manifest.end_lsn:
        raise OutOfReach(
            f"{manifest.id}: ends at {lsn_text(manifest.end_lsn)}, after {lsn_text(target.position)};"
            " restore from an older base backup"
        )
    beyond = isinstance(target, Latest) or (isinstance(target, Lsn) and target.position > path.ends)
    if path.missing and beyond:
        raise OutOfReach(gap(job))
    require_room(job)


def recover(job: Job, target: Target) -> Restored:
    """As `restore_from`, whatever the names of the log say about the target. The folder is emptied on any error."""
    existed = job.folder.exists()
    try:
        broken = lay_out(job)
        if broken is not None and isinstance(target, Latest):
            raise broken
        _configure(job)
        return _roll_forward(job, target, broken)
    except BaseException as error:
        full = isinstance(error, BackupError | EmbeddedError | OSError) and _full(job.folder)
        empty(job.folder, existed=existed)
        if full:
            raise NoRoom(
                f"{job.folder}: its disk became full while {job.manifest.id} was restored; free space"
            ) from error
        if isinstance(error, EmbeddedError):
            raise BackupError(f"{job.manifest.id}: {error}") from error
        raise


def _full(folder: Path) -> bool:
    """Whether there is no room for another segment, or was none when PostgreSQL needed it."""
    logs = [path.read_text(errors="replace") for path in folder.glob("*.log")]
    return shutil.disk_usage(folder).free < wal.SEGMENT_BYTES or any(_NO_SPACE in log for log in logs)


def _configure(job: Job) -> None:
    """Replace what the copied server was told: nobody but us gets in, and it reaches nobody."""
    for name in _UNWANTED:
        (job.data / name).unlink(missing_ok=True)
    hba = "host all postgres 127.0.0.1/32 scram-sha-256\n"
    for name, text in {"postgresql.conf": _CONFIGURATION, "pg_hba.conf": hba, "pg_ident.conf": ""}.items():
        path = job.data / name
        if path.exists():
            path.rename(path.with_name(f"{name}.source"))
        path.write_text(text)
        give(path)
    signal = job.data / "recovery.signal"
    signal.touch()
    give(signal)


def _roll_forward(job: Job, target: Target, broken: UnderstudyError | None) -> Restored:
    alone = _ALONE | _sizes(job)
    settings = alone | _REPLAY | _target(target) | _source(job)
    server = _server(job, settings)
    server.create()
    job.say(f"{job.manifest.id}: replays the log")
    try:
        server.start(RECOVERY_S)
    except EmbeddedError:
        if not isinstance(target, Lsn) or _ENDED_BEFORE not in server.log.read_text(errors="replace"):
            raise _unreached(job, target, server, broken) from None
        # A position at the very end is reached when everything is replayed, but no record follows to say so.
        server = _server(job, alone | _REPLAY | _target(Latest()) | _source(job))
        server.create()
        server.start(RECOVERY_S)
    server.stop("fast", timeout_s=_STOP_S)
    ended = _ended(job.data)
    last = _last_commit(server)
    if isinstance(target, Lsn) and wal.first_record(ended) < target.position:
        raise OutOfReach(_past_the_end(job, target, lsn_text(ended), last, broken))
    if isinstance(target, Latest):
        _require_all_replayed(job, ended)
    shutil.rmtree(job.log)
    password = _open_for_us(job)
    run(job, "initdb", "--sync-only", f"--pgdata={job.data}")  # replayed with fsync off, for speed
    (job.folder / "password").touch(mode=0o600)
    (job.folder / "password").write_text(password)
    server = _server(job, alone)
    server.create()
    server.start()
    _disarm(server)
    return Restored(server=server, ended=ended, last_commit=last)


def _server(job: Job, settings: dict[str, str]) -> EmbeddedPostgreSQL:
    return EmbeddedPostgreSQL(
        job.folder,
        name=job.manifest.id,
        settings=settings,
        major=job.major,
        extensions=job.manifest.extensions,
        temporary=True,
        die_with_parent=True,
    )


def _sizes(job: Job) -> dict[str, str]:
    """What recovery needs at least as large as it was on the source."""
    lines = run(job, "pg_controldata", f"--pgdata={job.data}").splitlines()
    control = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return {name: str(max(int(control[key]), _FLOOR)) for name, key in _FROM_CONTROL.items()}


def _target(target: Target) -> dict[str, str]:
    match target:
        case Time(at):
            return {"recovery_target_time": at.astimezone(UTC).isoformat(sep=" ")}
        case Lsn(position):
            # Exclusive: a record that begins there was written after somebody was told this position.
            return {"recovery_target_lsn": lsn_text(position), "recovery_target_inclusive": "off"}
        case Name(name):
            return {"recovery_target_name": name}
        case Latest():
            return {}


def _source(job: Job) -> dict[str, str]:
    place = shlex.quote(str(job.log)).replace("%", "%%")
    return {
        "recovery_target_timeline": str(job.path.timeline),
        # From 126 on PostgreSQL gives up; with another code it would take a full disk for the end of the log.
        "restore_command": f'test -f {place}/%f || exit 1; cp {place}/%f "%p" || exit 255',
    }


def _unreached(
    job: Job, target: Target, server: EmbeddedPostgreSQL, broken: UnderstudyError | None
) -> BackupError:
    """Why recovery did not end where it should."""
    log = server.log.read_text(errors="replace")
    if _NOT_CONSISTENT in log:
        return OutOfReach(
            f"{_text(target)} is before {job.manifest.id} was complete ({job.manifest.finished},"
            f" {lsn_text(job.manifest.end_lsn)}); restore from an older base backup"
        )
    if _ENDED_BEFORE in log:
        replayed = re.findall(r"redo done at ([0-9A-F]+/[0-9A-F]+)", log)
        end = replayed[-1] if replayed else lsn_text(job.manifest.end_lsn)
        return OutOfReach(_past_the_end(job, target, end, _last_commit(server), broken))
    return BackupError(
        f"{job.manifest.id}: recovery failed; the end of the server's log:\n{server.log_tail()}"
    )


def _past_the_end(job: Job, target: Target, end: str, last: str, broken: UnderstudyError | None) -> str:
    why = (
        str(broken)
        if broken is not None
        else gap(job)
        if job.path.missing
        else "newer log is not archived yet"
    )
    commit = f", the last transaction before it was committed at {last}" if last else ""
    return f"{_text(target)} was not reached: the log ends at {end}{commit}; {why}"


def _text(target: Target) -> str:
    match target:
        case Time(at):
            return f"time {at.isoformat()}"
        case Lsn(position):
            return f"position {lsn_text(position)}"
        case Name(name):
            return f"restore point {name!r}"
        case Latest():
            return "the end of the log"


def _last_commit(server: EmbeddedPostgreSQL) -> str:
    found = re.findall(
        r"last completed transaction was at log time (.+)", server.log.read_text(errors="replace")
    )
    return str(found[-1]) if found else ""


def _ended(data: Path) -> int:
    """Where the new timeline begins: the end of what was replayed."""
    newest = max((data / "pg_wal").glob("????????.history"))
    return wal.branch_point(newest.read_text())


def _require_all_replayed(job: Job, ended: int) -> None:
    """Raise where the replay stopped within a segment although later ones are there: that one is no log."""
    whole = [name for name in job.path.names if wal.is_segment(name)]
    if whole and ended < wal.segment_number(whole[-1]) * wal.SEGMENT_BYTES:
        name = segment_name(int(whole[-1][:8], 16), ended // wal.SEGMENT_BYTES)
        raise OutOfReach(
            f"{job.origin.name}: the log is unreadable from {lsn_text(ended)} on, in segment {name}, although segments"
            f" up to {whole[-1]} are there; try another destination, or --to-lsn {lsn_text(ended)}"
        )


def _open_for_us(job: Job) -> str:
    """Give the superuser `postgres` a new password, through a server that listens to nobody; returns it."""
    password, user = secrets.token_urlsafe(24), wheels.account()
    # One statement a line; the role may be missing (initdb --username), or limited.
    statements = (
        "SET default_transaction_read_only = off;",
        "DO $$BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'postgres')"
        " THEN CREATE ROLE postgres; END IF; END$$;",
        "ALTER ROLE postgres RESET ALL;",
        f"ALTER ROLE postgres SUPERUSER LOGIN CONNECTION LIMIT -1 VALID UNTIL 'infinity' PASSWORD '{password}';",
    )
    done = subprocess.run(
        [job.program("postgres"), "--single", "-D", job.data, "-c", "exit_on_error=on", "template1"],
        input="\n".join(statements) + "\n", user=user.uid if user else None, group=user.gid if user else None,
        extra_groups=[] if user else None, cwd="/", env=wheels.ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        told = wheels.last_lines(done.stderr.replace(password, "****"))
        raise BackupError(f"{job.manifest.id}: the restored server does not open:\n{told}")
    return password


def _disarm(server: EmbeddedPostgreSQL) -> None:
    """Drop subscriptions, and make databases of a cluster read-only: this server is nobody's node."""
    with connect(server, "postgres") as connection:
        rows = connection.execute("SELECT datname FROM pg_database WHERE datallowconn").fetchall()
    for (database,) in rows:
        with connect(server, database) as connection:
            ours = connection.execute(
                "SELECT subname FROM pg_subscription WHERE subdbid ="
                " (SELECT oid FROM pg_database WHERE datname = current_database())"
            ).fetchall()
            for (name,) in ours:
                subscription = sql.Identifier(name)
                for what in ("ALTER SUBSCRIPTION {} DISABLE", "ALTER SUBSCRIPTION {} SET (slot_name = NONE)",
                             "DROP SUBSCRIPTION {}"):  # fmt: skip
                    connection.execute(sql.SQL(what).format(subscription))
            if (
                connection.execute("SELECT FROM pg_namespace WHERE nspname = 'understudy'").fetchone()
                is not None
            ):
                connection.execute(
                    sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(
                        sql.Identifier(database)
                    )
                )


def connect(server: EmbeddedPostgreSQL, database: str) -> psycopg.Connection:
    """A session of a restored server that may write, also where its databases are read-only."""
    return psycopg.connect(
        server.dsn(dbname=database), autocommit=True, options="-c default_transaction_read_only=off"
    )
