"""A tar of ours into a new folder: files and folders only, never outside of it.

`tarfile`'s own filters would do it, but came with Python 3.11.4; Debian 12 has 3.11.2.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

_CHUNK: Final = 1 << 20


class Source(Protocol):
    """What a tar is read from, front to back."""

    def read(self, size: int, /) -> bytes | None:
        """At most so many bytes; none at the end."""


def unpack(source: Source, folder: Path, owner: tuple[int, int] | None = None) -> None:
    """All members of the tar that ``source`` streams, below ``folder``, which is empty and nobody else's.

    Files get mode 0600 and folders 0700, and belong to ``owner`` (user and group id) where one is given. Nothing
    that is there is overwritten. Raises tarfile.TarError where the tar is not whole, leads outside of the folder, or
    holds a link or a device.
    """
    with tarfile.open(fileobj=source, mode="r|", bufsize=_CHUNK) as tar:  # type: ignore[call-overload]
        for member in tar:
            path = folder / _inside(member)
            if member.isdir():
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            else:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _file(tar, member, path)
            if owner is not None:
                os.chown(path, *owner)


def _inside(member: tarfile.TarInfo) -> PurePosixPath:
    path = PurePosixPath(member.name)
    if not member.isreg() and not member.isdir():
        raise tarfile.TarError(f"{member.name[:80]!r} is neither a file nor a folder")
    if path.is_absolute() or ".." in path.parts:
        raise tarfile.TarError(f"{member.name[:80]!r} leads outside its folder")
    return path


def _file(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    content = tar.extractfile(member)
    assert content is not None  # a regular file has contents
    with content, open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 - a descriptor
        shutil.copyfileobj(content, file, _CHUNK)
    if path.stat().st_size != member.size:
        raise tarfile.ReadError(f"{member.name[:80]!r} ends early")
