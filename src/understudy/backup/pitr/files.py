"""The files of a restore: the base backup unpacked, every file compared, and the log beside it. No server runs here.

The log is fetched, opened and checked before a server is started, into a folder from which PostgreSQL copies by
itself: no key and no destination is ever on a command line. What it costs is disk: 16 MiB per segment from the base
backup on; `require_room` says beforehand how much.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from understudy.backup import staging, untar, wal
from understudy.backup.keys import Keys
from understudy.backup.manifest import Kind, Manifest
from understudy.backup.physical import PART
from understudy.backup.seal import SealError, WrongKey
from understudy.backup.source import BackupError, BackupRefused
from understudy.backup.store import Missing, Refused, Store, Unreachable
from understudy.backup.stream import PartError, Progress, read_part
from understudy.backup.wal import Reach, lsn_text
from understudy.embedded import EmbeddedError
from understudy.embedded import programs as wheels
from understudy.errors import UnderstudyError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

FETCHERS: Final = 4
FETCHING: Final = "fetching"
_CHUNK: Final = 1024 * 1024


class OutOfReach(BackupError):
    """The target cannot be reached with what is archived; the text says what is missing and how far one can get."""


class NoRoom(BackupError):
    """The disk became full while a backup was restored, which says nothing about the backup."""


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
class Job:
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
        """The server with the backup's extensions, where there is one; of what needs no server, the wheel's."""
        user = wheels.account()
        if name == "postgres":
            return wheels.server(self.major, user, self.manifest.extensions) / name
        return wheels.installation(self.major, user) / "bin" / name


def job_of(
    origin: Origin, manifest: Manifest, folder: Path, say: Callable[[str], None] = lambda _: None
) -> Job:
    """A restore into that folder. Raises as `Origin.reach`, and `BackupRefused` where the backup is not physical."""
    if manifest.kind is not Kind.PHYSICAL:
        raise BackupRefused(
            f"{manifest.id}: is a {manifest.kind} backup; only a physical one can be rolled forward"
        )
    return Job(manifest=manifest, origin=origin, folder=folder, path=origin.reach(manifest), say=say)


def gap(job: Job) -> str:
    """What to say of the first segment that is missing."""
    return (
        f"{job.origin.name}: segment {job.path.missing} of server {job.manifest.system_identifier} is missing although"
        f" later ones are there; the last position within reach of {job.manifest.id} is {lsn_text(job.path.ends)}"
        f" (--to-lsn {lsn_text(job.path.ends)}); try another destination"
    )


def require_room(job: Job) -> None:
    """Raise `BackupRefused` unless folder, disk and this host's programs allow it."""
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


def lay_out(job: Job) -> UnderstudyError | None:
    """All that a server needs, into `Job.folder`; why the log ends before its end (a damaged segment), or None.

    Raises `BackupError`, StoreError, SealError, PartError: no server can be made of what is there then.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    job.origin.unpack(job.manifest, job.data, job.say)
    if job.origin.listed:
        verify_files(job)
    broken = _fetch(job)
    shutil.rmtree(job.folder / FETCHING, ignore_errors=True)
    return broken


def empty(folder: Path, *, existed: bool) -> None:
    """Take away what a restore that failed has made; the folder too where it was not there before."""
    for left in folder.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()
    if not existed:
        folder.rmdir()


def _fetch(job: Job) -> UnderstudyError | None:
    """Bring the log into `Job.log`, in order up to the first file that is damaged; why that is, or None.

    What is behind a damaged file is of no use, and a target before it is still within reach. Raises what says nothing
    about the file: no key, no answer.
    """
    job.log.mkdir(mode=0o700)
    give(job.log)

    def one(name: str) -> None:
        path = job.log / name.removesuffix(wal.PARTIAL)
        job.origin.fetch(job.manifest, name, path)
        give(path)

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
    data.mkdir(mode=0o700)
    give(data)
    progress = Progress(f"{manifest.id} {PART}", manifest.part(PART).raw_bytes, say)
    stream = _Stream(read_part(store, manifest, PART, keys, progress=progress))
    try:
        untar.unpack(stream, data, None if user is None else (user.uid, user.gid))
    except tarfile.TarError as error:
        raise BackupError(
            f"{manifest.id}: its tar is not whole, or not only files of its own folder: {error}"
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


def verify_files(job: Job) -> None:
    """Compare every file with the CRC-32C that the server gave for it, and read the log that the backup holds."""
    job.say(f"{job.manifest.id}: compares every file with PostgreSQL's manifest")
    try:
        run(job, "pg_verifybackup", "--quiet", "--exit-on-error", str(job.data))
    except EmbeddedError as error:
        raise BackupError(f"{job.manifest.id}: is not what PostgreSQL copied: {error}") from None


def run(job: Job, name: str, *arguments: str) -> str:
    """The output of a program of PostgreSQL, of the backup's version, as the user that servers run as."""
    return wheels.run(job.program(name), *arguments, user=wheels.account())


def give(path: Path) -> None:
    """To the user that servers run as."""
    user = wheels.account()
    if user is not None:
        os.chown(path, user.uid, user.gid)
