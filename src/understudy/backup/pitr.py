"""Point-in-time recovery: a base backup rolled forward to a moment, a position, a name or the end, in its own folder.

    restored = pitr.restore(manifest, store, keys, Time(moment), folder)
    with restored.server: ...

The result is a server by itself that knows nothing of the cluster it came from: it reaches no other server (no
subscription, no archive command, no standby's name), it is on a new timeline, and its databases that belonged to a
cluster are read-only, as a fenced node is. It listens on 127.0.0.1 with a password of its own.

The log is fetched, opened and checked before the server is started, into a folder from which PostgreSQL copies by
itself: no key and no destination is ever on a command line. What it costs is disk: 16 MiB per segment from the base
backup on; `restore` says beforehand how much.

Sources: PostgreSQL 16 manual, "Continuous Archiving and Point-in-Time Recovery", "Recovery Target";
src/backend/access/transam/xlogrecovery.c for what is logged and when a target counts as reached.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import psycopg
from psycopg import sql

from understudy.backup import staging, wal
from understudy.backup.keys import Keys, KeysError
from understudy.backup.manifest import Finding, Kind, Manifest, Verdict
from understudy.backup.physical import PART
from understudy.backup.seal import SealError, WrongKey
from understudy.backup.source import BackupError, BackupRefused
from understudy.backup.store import Missing, Refused, Store, StoreError, Unreachable
from understudy.backup.stream import PartError, Progress, read_part
from understudy.backup.wal import Reach, lsn_text, segment_name
from understudy.embedded import EmbeddedError, EmbeddedPostgreSQL
from understudy.embedded import programs as wheels
from understudy.errors import UnderstudyError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

FETCHERS: Final = 4
FETCHING: Final = "fetching"
RECOVERY_S: Final = 24 * 3600.0
"""Seconds that PostgreSQL may take to replay."""
_STOP_S: Final = 600.0
_FLOOR: Final = 16
"""For settings that may be 0 on the source and have grown in the log that is replayed."""
_CHUNK: Final = 1024 * 1024
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


class OutOfReach(BackupError):
    """The target cannot be reached with what is archived; the text says what is missing and how far one can get."""


class NoRoom(BackupError):
    """The disk became full while a backup was restored, which says nothing about the backup."""


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


class Origin(Protocol):
    """Where a base backup and the log after it are fetched from.

    It may put what it needs for that into a folder `FETCHING` beside the data, which is removed afterwards.
    """

    @property
    def name(self) -> str:
        """For people."""

    @property
    def listed(self) -> bool:
        """Whether PostgreSQL's own list of checksums, `backup_manifest`, is among the files."""

    def reach(self, manifest: Manifest) -> Reach:
        """What there is of the log after it."""

    def fetch(self, manifest: Manifest, name: str, path: Path) -> None:
        """A file of the log, once all is unpacked. Raises `Missing`, or `SealError` or `PartError` (damaged)."""

    def unpack(self, manifest: Manifest, data: Path, say: Callable[[str], None]) -> None:
        """The files into a folder that is not there yet, for the user that servers run as."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One of our destinations."""

    store: Store
    keys: Keys | None
    listed: bool = True

    @property
    def name(self) -> str:
        """The destination's."""
        return self.store.name

    def reach(self, manifest: Manifest) -> Reach:
        """See `Origin`. Raises `StoreError`, `SealError`, `PartError`."""
        archived = wal.archive_of(self.store, manifest.cluster, manifest.system_identifier, self.keys)
        return wal.reach(manifest, archived)

    def fetch(self, manifest: Manifest, name: str, path: Path) -> None:
        """See `Origin`. Raises `StoreError`, `SealError`, `PartError`."""
        key = wal.prefix(manifest.cluster, manifest.system_identifier) + name
        with path.open("wb") as file:
            for chunk in wal.fetch(self.store, key, self.keys):
                file.write(chunk)
            if name.endswith(wal.PARTIAL):
                file.truncate(wal.SEGMENT_BYTES)  # zeros end the log; PostgreSQL gives up on a shorter file

    def unpack(self, manifest: Manifest, data: Path, say: Callable[[str], None]) -> None:
        """See `Origin`, and `unpack`."""
        unpack(manifest, self.store, self.keys, data, say)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What one restore is made with."""

    manifest: Manifest
    origin: Origin
    folder: Path
    path: Reach
    say: Callable[[str], None]

    @property
    def major(self) -> int:
        return int(self.manifest.server_version.split(".")[0])

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """Where PostgreSQL copies the log from."""
        return self.folder / "wal"

    def program(self, name: str) -> Path:
        return wheels.installation(self.major, wheels.account()) / "bin" / name


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
    job = _Job(manifest=manifest, origin=origin, folder=folder, path=_path(manifest, origin), say=say)
    _require(job, target)
    return _restore(job, target)


def _path(manifest: Manifest, origin: Origin) -> Reach:
    if manifest.kind is not Kind.PHYSICAL:
        raise BackupRefused(
            f"{manifest.id}: is a {manifest.kind} backup; only a physical one can be rolled forward"
        )
    return origin.reach(manifest)


def _require(job: _Job, target: Target) -> None:
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
        raise OutOfReach(_gap(job))
    _require_room(job)


def _gap(job: _Job) -> str:
    return (
        f"{job.origin.name}: segment {job.path.missing} of server {job.manifest.system_identifier} is missing although"
        f" later ones are there; the last position within reach of {job.manifest.id} is {lsn_text(job.path.ends)}"
        f" (--to-lsn {lsn_text(job.path.ends)}); try another destination"
    )


def _require_room(job: _Job) -> None:
    if job.folder.exists() and any(job.folder.iterdir()):
        raise BackupRefused(f"{job.folder}: expected a folder that is empty or not there, found files in it")
    try:
        job.program("postgres")
    except EmbeddedError as error:
        raise BackupRefused(f"{job.manifest.id}: needs a server of PostgreSQL {job.major}: {error}") from None
    there = next(p for p in (job.folder, *job.folder.absolute().parents) if p.exists())
    user = wheels.account()
    if user is not None and (closed := user.closed_folder(there.parent if there == job.folder else there)):
        raise BackupRefused(
            f"{closed}: closed to user {user.uid}, as whom the server runs (PostgreSQL refuses root);"
            " choose another folder, or chmod o+x it"
        )
    size = job.manifest.part(PART).raw_bytes + 2 * len(job.path.names) * wal.SEGMENT_BYTES
    staging.require_space(
        there, size, f"restoring {job.manifest.id} with {len(job.path.names)} segments of log"
    )


def _restore(job: _Job, target: Target) -> Restored:
    existed = job.folder.exists()
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
        job.origin.unpack(job.manifest, job.data, job.say)
        if job.origin.listed:
            _verify_files(job)
        broken = _fetch(job)
        shutil.rmtree(job.folder / FETCHING, ignore_errors=True)
        if broken is not None and isinstance(target, Latest):
            raise broken
        _configure(job)
        return _roll_forward(job, target, broken)
    except BaseException as error:
        full = isinstance(error, BackupError | EmbeddedError | OSError) and _full(job.folder)
        _empty(job.folder, existed=existed)
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


def _empty(folder: Path, *, existed: bool) -> None:
    for left in folder.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()
    if not existed:
        folder.rmdir()


# --- the files ----------------------------------------------------------------------------------------------


def _fetch(job: _Job) -> UnderstudyError | None:
    """Bring the log into `_Job.log`, in order up to the first file that is damaged; why that is, or None.

    What is behind a damaged file is of no use, and a target before it is still within reach. Raises what says nothing
    about the file: no key, no answer.
    """
    job.log.mkdir(mode=0o700)
    _give(job.log)

    def one(name: str) -> None:
        path = job.log / name.removesuffix(wal.PARTIAL)
        job.origin.fetch(job.manifest, name, path)
        _give(path)

    with ThreadPoolExecutor(FETCHERS, thread_name_prefix="wal fetch") as pool:
        waiting = {name: pool.submit(one, name) for name in job.path.names}
        for number, (name, result) in enumerate(waiting.items()):
            try:
                result.result()
            except (WrongKey, Unreachable, Refused):
                pool.shutdown(cancel_futures=True)
                raise
            except (SealError, PartError, Missing) as error:
                pool.shutdown(cancel_futures=True)
                for useless in list(waiting)[number:]:
                    (job.log / useless.removesuffix(wal.PARTIAL)).unlink(missing_ok=True)
                return OutOfReach(
                    f"{job.origin.name}: segment {name} of server {job.manifest.system_identifier} is damaged"
                    f" ({error}); nothing after it can be restored from there; try another destination"
                )
            if number % 64 == 0:
                job.say(f"{job.manifest.id} log: {number + 1} of {len(waiting)} segments")
    return None


def unpack(
    manifest: Manifest,
    store: Store,
    keys: Keys | None,
    data: Path,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """The base backup's files into the new folder ``data``, for the user that servers run as.

    Nothing is written outside it, whatever the tar says. Raises `BackupError`, StoreError, SealError, PartError.
    """
    user = wheels.account()
    uid, gid = (user.uid, user.gid) if user is not None else (os.geteuid(), os.getegid())

    def owned(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
        if not member.isreg() and not member.isdir():
            raise BackupError(
                f"{manifest.id}: {member.name[:80]!r} is neither a file nor a folder; not restored"
            )
        safe = tarfile.data_filter(member, path)
        mode = 0o700 if member.isdir() else 0o600
        return safe.replace(uid=uid, gid=gid, uname="", gname="", mode=mode, deep=False)

    data.mkdir(mode=0o700)
    _give(data)
    progress = Progress(f"{manifest.id} {PART}", manifest.part(PART).raw_bytes, say)
    stream = _Stream(read_part(store, manifest, PART, keys, progress=progress))
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK) as tar:
            for member in tar:
                tar.extract(member, data, filter=owned)
    except tarfile.TarError as error:
        raise BackupError(
            f"{manifest.id}: its tar is not whole or leads outside its folder: {error}"
        ) from None
    stream.drain()


class _Stream(io.RawIOBase):
    """Chunks as a file to read from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks, self._held = chunks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        """As `io.RawIOBase`: 0 at the end."""
        view = memoryview(buffer)
        if not self._held:
            self._held = next(self._chunks, b"")
        taken = min(len(view), len(self._held))
        view[:taken] = self._held[:taken]
        self._held = self._held[taken:]
        return taken

    def drain(self) -> None:
        """To the end: only there it is known that all of it was authentic."""
        for _ in self._chunks:
            pass


def _verify_files(job: _Job) -> None:
    """Compare every file with the CRC-32C that the server gave for it, and read the log that the backup holds."""
    job.say(f"{job.manifest.id}: compares every file with PostgreSQL's manifest")
    try:
        _run(job, "pg_verifybackup", "--quiet", "--exit-on-error", str(job.data))
    except EmbeddedError as error:
        raise BackupError(f"{job.manifest.id}: is not what PostgreSQL copied: {error}") from None


def _run(job: _Job, name: str, *arguments: str) -> str:
    return wheels.run(job.program(name), *arguments, user=wheels.account())


def _give(path: Path) -> None:
    """To the user that servers run as."""
    user = wheels.account()
    if user is not None:
        os.chown(path, user.uid, user.gid)


# --- the server ---------------------------------------------------------------------------------------------


def _configure(job: _Job) -> None:
    """Replace what the copied server was told: nobody but us gets in, and it reaches nobody."""
    for name in _UNWANTED:
        (job.data / name).unlink(missing_ok=True)
    hba = "host all postgres 127.0.0.1/32 scram-sha-256\n"
    for name, text in {"postgresql.conf": _CONFIGURATION, "pg_hba.conf": hba, "pg_ident.conf": ""}.items():
        path = job.data / name
        if path.exists():
            path.rename(path.with_name(f"{name}.source"))
        path.write_text(text)
        _give(path)
    signal = job.data / "recovery.signal"
    signal.touch()
    _give(signal)


def _roll_forward(job: _Job, target: Target, broken: UnderstudyError | None) -> Restored:
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
    _run(job, "initdb", "--sync-only", f"--pgdata={job.data}")  # replayed with fsync off, for speed
    (job.folder / "password").touch(mode=0o600)
    (job.folder / "password").write_text(password)
    server = _server(job, alone)
    server.create()
    server.start()
    _disarm(server)
    return Restored(server=server, ended=ended, last_commit=last)


def _server(job: _Job, settings: dict[str, str]) -> EmbeddedPostgreSQL:
    return EmbeddedPostgreSQL(
        job.folder,
        name=job.manifest.id,
        settings=settings,
        major=job.major,
        temporary=True,
        die_with_parent=True,
    )


def _sizes(job: _Job) -> dict[str, str]:
    """What recovery needs at least as large as it was on the source."""
    lines = _run(job, "pg_controldata", f"--pgdata={job.data}").splitlines()
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


def _source(job: _Job) -> dict[str, str]:
    place = shlex.quote(str(job.log)).replace("%", "%%")
    return {
        "recovery_target_timeline": str(job.path.timeline),
        # From 126 on PostgreSQL gives up; with another code it would take a full disk for the end of the log.
        "restore_command": f'test -f {place}/%f || exit 1; cp {place}/%f "%p" || exit 255',
    }


def _unreached(
    job: _Job, target: Target, server: EmbeddedPostgreSQL, broken: UnderstudyError | None
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


def _past_the_end(job: _Job, target: Target, end: str, last: str, broken: UnderstudyError | None) -> str:
    why = (
        str(broken)
        if broken is not None
        else _gap(job)
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


def _require_all_replayed(job: _Job, ended: int) -> None:
    """Raise where the replay stopped within a segment although later ones are there: that one is no log."""
    whole = [name for name in job.path.names if wal.is_segment(name)]
    if whole and ended < wal.segment_number(whole[-1]) * wal.SEGMENT_BYTES:
        name = segment_name(int(whole[-1][:8], 16), ended // wal.SEGMENT_BYTES)
        raise OutOfReach(
            f"{job.origin.name}: the log is unreadable from {lsn_text(ended)} on, in segment {name}, although segments"
            f" up to {whole[-1]} are there; try another destination, or --to-lsn {lsn_text(ended)}"
        )


def _open_for_us(job: _Job) -> str:
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
    with _connect(server, "postgres") as connection:
        rows = connection.execute("SELECT datname FROM pg_database WHERE datallowconn").fetchall()
    for (database,) in rows:
        with _connect(server, database) as connection:
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


def _connect(server: EmbeddedPostgreSQL, database: str) -> psycopg.Connection:
    return psycopg.connect(
        server.dsn(dbname=database), autocommit=True, options="-c default_transaction_read_only=off"
    )


# --- proving one --------------------------------------------------------------------------------------------


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
    path = _path(manifest, origin)
    job = _Job(manifest=manifest, origin=origin, folder=folder, path=path, say=say)
    _require_room(job)
    restored = _restore(job, Latest())
    with restored.server:
        by = "PostgreSQL's manifest says (CRC-32C)" if origin.listed else f"{origin.name} wrote it (checksum)"
        yield Finding(what="files", verdict=Verdict.PASS, detail=f"each is as {by}")
        verdict = Verdict.FAIL if path.missing else Verdict.PASS
        end = f"replayed to {lsn_text(restored.ended)}, last commit {restored.last_commit or 'before the backup'}"
        yield Finding(what="log", verdict=verdict, detail=_gap(job) if path.missing else end)
        with _connect(restored.server, "postgres") as connection:
            rows = connection.execute("SELECT datname FROM pg_database WHERE datallowconn").fetchall()
        for (database,) in rows:
            yield Finding(
                what=f"database {database}", verdict=Verdict.PASS, detail=_read(restored.server, database)
            )


def _read(server: EmbeddedPostgreSQL, database: str) -> str:
    """Read every table of a database to its end. Raises `BackupError` naming the one that cannot be read."""
    count = 0
    with _connect(server, database) as connection:
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
