"""Backups in a folder: of this host, or of a file server that it has mounted.

An object is written under another name in the same file system, flushed, and linked into its place: it is there
whole or not at all, and an existing one is never replaced by accident. Files are 0600, folders 0700.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from understudy.backup.store import (
    READ_LIMIT,
    AlreadyThere,
    Item,
    Locked,
    Missing,
    Refused,
    Store,
    Stored,
    StoreError,
    Unreachable,
)

CHUNK: Final = 2**20
UNFINISHED: Final = ".unfinished"
"""Folder, below the destination, of objects that are being written; never listed."""
MKDIR_TRIES: Final = 20
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_KINDS: Final = {
    errno.EACCES: Refused, errno.EPERM: Refused, errno.EROFS: Refused, errno.ESTALE: Unreachable,
    errno.EIO: Unreachable, errno.ETIMEDOUT: Unreachable, errno.EHOSTDOWN: Unreachable,
}  # fmt: skip


class FolderStore(Store):
    """One folder; it must exist, because an unmounted file server looks like an empty folder."""

    def __init__(self, name: str, root: Path) -> None:
        super().__init__(name, str(root))
        self._root = root

    def put(self, key: str, chunks: Iterable[bytes], *, replace: bool = False) -> Stored:
        path = self._path(key)
        unfinished = self._unfinished(key) / secrets.token_hex(16)
        try:
            stored = self._write(key, unfinished, chunks)
            self._place(key, unfinished, path, stored, replace=replace)
        finally:
            unfinished.unlink(missing_ok=True)
        return stored

    def _write(self, key: str, path: Path, chunks: Iterable[bytes]) -> Stored:
        digest, count = hashlib.sha256(), 0
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._error(key, error) from None
        with open(file, "wb", buffering=0) as out:  # noqa: PTH123 - a descriptor, not a path
            for chunk in chunks:  # an error of theirs passes through as it is
                try:
                    _write_all(out.fileno(), chunk)
                except OSError as error:
                    raise self._error(key, error) from None
                digest.update(chunk)
                count += len(chunk)
            try:
                os.fsync(out.fileno())
            except OSError as error:
                raise self._error(key, error) from None
        return Stored(count, digest.hexdigest())

    def resume(self, key: str, chunks: Iterable[bytes]) -> int:
        path = self._path(key)
        name = hashlib.sha256(key.encode()).hexdigest()  # found again by the next attempt
        unfinished = self._unfinished(key) / name
        try:
            file = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._error(key, error) from None
        try:
            stored, sent = self._go_on(key, file, chunks)
        finally:
            os.close(file)
        self._place(key, unfinished, path, stored, replace=False)
        unfinished.unlink(missing_ok=True)
        return sent

    def _go_on(self, key: str, file: int, chunks: Iterable[bytes]) -> tuple[Stored, int]:
        """Make the file hold these bytes; writes from the first on that are not there."""
        digest, count, sent = hashlib.sha256(), 0, 0
        for chunk in chunks:  # an error of theirs passes through as it is
            try:
                if sent or os.pread(file, len(chunk), count) != chunk:
                    os.lseek(file, count, os.SEEK_SET)
                    _write_all(file, chunk)
                    sent += len(chunk)
            except OSError as error:
                raise self._error(key, error) from None
            digest.update(chunk)
            count += len(chunk)
        try:
            os.ftruncate(file, count)
            os.fsync(file)
        except OSError as error:
            raise self._error(key, error) from None
        return Stored(count, digest.hexdigest()), sent

    def _unfinished(self, key: str) -> Path:
        """The folder of objects that are being written."""
        place = self._root / UNFINISHED
        try:
            self._root.stat()
            place.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise self._error(key, error) from None
        return place

    def _place(self, key: str, unfinished: Path, path: Path, stored: Stored, *, replace: bool) -> None:
        try:
            self._appear(unfinished, path, replace=replace)
            for folder in (path.parent, *path.parent.relative_to(self._root).parents):
                _flush(self._root / folder)
        except FileExistsError:
            if stored.bytes > READ_LIMIT or hashlib.sha256(self.read(key)).hexdigest() != stored.sha256:
                raise self._already(key) from None
        except OSError as error:
            raise self._error(key, error) from None

    def _appear(self, unfinished: Path, path: Path, *, replace: bool) -> None:
        """Give it its name. Raises FileExistsError."""
        for _ in range(MKDIR_TRIES):
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            except (FileNotFoundError, FileExistsError):
                if path.parent.is_file():
                    raise
                continue  # a delete has just removed a folder on the way, which was empty
            try:
                if replace:
                    unfinished.replace(path)
                else:
                    _link(unfinished, path)
                return
            except FileNotFoundError:  # the same; or all of it is gone
                self._root.stat()
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def get(self, key: str, *, start: int = 0) -> Iterator[bytes]:
        try:
            with self._path(key).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(start)
                count = start
                while chunk := file.read(CHUNK):
                    count += len(chunk)
                    yield chunk
        except OSError as error:
            raise self._error(key, error) from None
        if count != max(size, start):
            raise self.wrong(key, f"expected {size} bytes, found {count}", "it changed while it was read")

    def list(self, prefix: str) -> Iterator[Item]:
        top = self._path(prefix.rstrip("/")) if prefix else self._root
        for folder, folders, names in os.walk(top, onerror=self._walk_error(prefix)):
            if Path(folder) == self._root and UNFINISHED in folders:
                folders.remove(UNFINISHED)
            for name in names:
                path = Path(folder, name)
                try:
                    found = path.stat()
                except FileNotFoundError:  # deleted meanwhile
                    continue
                key = path.relative_to(self._root).as_posix()
                yield Item(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def folders(self, prefix: str) -> tuple[str, ...]:
        top = self._path(prefix.rstrip("/")) if prefix else self._root
        try:
            with os.scandir(top) as entries:
                return tuple(sorted(e.name for e in entries if e.is_dir() and e.name != UNFINISHED))
        except FileNotFoundError:
            self._present(prefix)
            return ()
        except OSError as error:
            raise self._error(prefix, error) from None

    def exists(self, key: str) -> bool:
        try:
            self._path(key).stat()
        except FileNotFoundError:
            self._present(key)
            return False
        except OSError as error:
            raise self._error(key, error) from None
        return True

    def delete(self, keys: Iterable[str]) -> None:
        kept: list[tuple[str, OSError]] = []
        for key in keys:
            path = self._path(key)
            try:
                path.unlink(missing_ok=True)
                self._tidy(path.parent)
            except OSError as error:
                kept.append((key, error))
        if kept:
            key, why = kept[0]
            more = f" and {len(kept) - 1} more" if len(kept) > 1 else ""
            raise self.wrong(key, f"not deleted{more} ({_reason(why)})", "the folder's owner decides", Locked)

    def sweep(self, prefix: str, before: datetime, *, confirm: bool) -> Sequence[str]:
        told = []
        try:
            for path in sorted((self._root / UNFINISHED).iterdir()):
                written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                if written < before:
                    told.append(f"{self.name}: {path.name}: unfinished object of {written:%Y-%m-%d}")
                    if confirm:
                        path.unlink(missing_ok=True)
        except FileNotFoundError:  # nothing was ever written here, or another sweep was first
            self._present("")
        except OSError as error:
            raise self._error("", error) from None
        return told

    def _tidy(self, folder: Path) -> None:
        """Remove folders that have become empty, up to the destination itself."""
        while folder != self._root:
            try:
                folder.rmdir()
            except OSError:  # not empty, or somebody else was first
                return
            folder = folder.parent

    def _path(self, key: str) -> Path:
        return self._root / self.checked(key)

    def _present(self, key: str) -> None:
        try:
            self._root.stat()
        except OSError as error:
            raise self._error(key, error) from None

    def _already(self, key: str) -> StoreError:
        return self.wrong(key, "it is there already", "objects of a backup are never replaced", AlreadyThere)

    def _walk_error(self, prefix: str) -> Callable[[OSError], None]:
        def stop(error: OSError) -> None:
            if isinstance(error, FileNotFoundError):
                self._present(prefix)
                return
            raise self._error(prefix, error) from None

        return stop

    def _error(self, key: str, error: OSError) -> StoreError:
        if isinstance(error, FileNotFoundError):
            if not self._root.is_dir():
                hint = f"create {self.place}, or mount it"
                return self.wrong(key, "the folder of the destination is not there", hint, Unreachable)
            return self.wrong(key, "not found", "", Missing)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return self.wrong(key, _reason(error), "free space, or shorten [backup.retention]")
        return self.wrong(key, _reason(error), "", _KINDS.get(error.errno or 0, StoreError))


def _link(unfinished: Path, path: Path) -> None:
    """Rename, unless the name is taken: FileExistsError then.

    Where the file system has no links (SMB, FAT) somebody else could take the name between the look and the rename.
    """
    try:
        os.link(unfinished, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            raise FileExistsError from None
        unfinished.rename(path)


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _flush(folder: Path) -> None:
    """Make the names in a folder survive a crash of the host."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file servers know no such thing
            raise
    finally:
        os.close(file)
