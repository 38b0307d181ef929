"""Where backups are kept: one contract for a folder and for a bucket. `open_store` makes either.

A key is a path of at most 512 characters from ``A-Z a-z 0-9 _ . : = + -`` and ``/``. Objects appear whole or not
at all. Every call is bounded in time, retries what is worth retrying by itself, and may come from any thread.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from understudy.config_backup import Destination
from understudy.errors import UnderstudyError

Tell = Callable[[str], None]
"""Gets a sentence for people."""

READ_LIMIT: Final = 64 * 2**20
"""Bytes that `Store.read` takes into memory at most."""
RETRY_SECONDS: Final = 120.0
"""How long a call goes on trying while the destination answers with errors that may pass."""

_KEY = re.compile(r"[A-Za-z0-9_.:=+\-]+(?:/[A-Za-z0-9_.:=+\-]+)*")


class StoreError(UnderstudyError):
    """A destination did not do what was asked.

    Args:
        destination: its name. key: the object; empty: the destination as a whole.
        problem: what happened, without secrets. hint: what to do next.
    """

    def __init__(self, destination: str, key: str, problem: str, hint: str = "") -> None:
        self.destination, self.key, self.problem, self.hint = destination, key, problem, hint
        place = f"{destination}: {key}" if key else destination
        super().__init__(f"{place}: {problem}" + (f"; {hint}" if hint else ""))


class Missing(StoreError):
    """The object is not there."""


class AlreadyThere(StoreError):
    """The object is there already and was not to be replaced. Nothing was changed."""


class Locked(StoreError):
    """The destination keeps the object (Object Lock, a legal hold, a read-only folder): it was not deleted."""


class Unreachable(StoreError):
    """The destination did not answer in time, or answered with errors that pass. Trying again later may work."""


class Refused(StoreError):
    """The destination forbids it: credentials, permissions, a wrong clock. Trying again will not help."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What `Store.put` wrote: its length and the SHA-256 of its bytes (hexadecimal)."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Item:
    """One object of a listing."""

    key: str
    bytes: int
    modified: datetime


class Store(ABC):
    """One destination.

    Args:
        name: as configured. place: where it is, for people.
        limit: bytes that an object can have; None: as many as there is room for.
    """

    def __init__(self, name: str, place: str, limit: int | None = None) -> None:
        self.name, self.place, self.limit = name, place, limit

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.place!r})"

    @abstractmethod
    def put(self, key: str, chunks: Iterable[bytes], *, replace: bool = False) -> Stored:
        """Write an object from a stream, in constant memory.

        An exception raised by ``chunks`` passes through and leaves no object. Raises `AlreadyThere` unless
        ``replace``, and `StoreError`. A small object that is there with the same bytes counts as written.
        """

    @abstractmethod
    def resume(self, key: str, chunks: Iterable[bytes]) -> int:
        """Write an object like `put`, without the bytes that an earlier attempt left here; how many bytes were sent.

        ``chunks`` are all of it: what is here is compared with them, and sent again where it differs. Unlike after
        `put`, what was sent before an error (also one of ``chunks``, which leaves no object) stays for the next
        attempt, or for `sweep`. Two attempts for one key exclude one another by the caller's care.

        Raises `AlreadyThere` and `StoreError`.
        """

    @abstractmethod
    def get(self, key: str, *, start: int = 0) -> Iterator[bytes]:
        """The bytes of an object from ``start`` on.

        Goes on where a connection broke, and ends only when all bytes of the object that was opened have come.
        Raises `Missing`, and `StoreError`.
        """

    @abstractmethod
    def list(self, prefix: str) -> Iterator[Item]:
        """Every object below the folder ``prefix`` (``a/b`` or ``a/b/``; empty: all), in no particular order."""

    @abstractmethod
    def folders(self, prefix: str) -> tuple[str, ...]:
        """The names directly below the folder ``prefix`` that have objects below them, sorted."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether the object is there. Raises `StoreError` where that cannot be told."""

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; one that is not there is no error. Raises `Locked`, with the others deleted."""

    @abstractmethod
    def sweep(self, prefix: str, before: datetime, *, confirm: bool) -> Sequence[str]:
        """Remove what killed processes left half written below that folder before that time; each as a sentence.

        Without ``confirm`` nothing is removed.
        """

    def advice(self) -> Sequence[str]:
        """What would protect the backups here better, one phrase each; empty: nothing is known."""
        return ()

    def read(self, key: str) -> bytes:
        """A small object whole. Raises `Missing`, and `StoreError` past `READ_LIMIT`."""
        data = bytearray()
        for chunk in self.get(key):
            data += chunk
            if len(data) > READ_LIMIT:
                raise self.wrong(key, f"more than {READ_LIMIT} bytes", "this is no record of ours")
        return bytes(data)

    def wrong(
        self, key: str, problem: str, hint: str = "", kind: type[StoreError] = StoreError
    ) -> StoreError:
        """An error of this destination."""
        return kind(self.name, key, problem, hint)

    def checked(self, key: str) -> str:
        """The key, once it is known to be one."""
        if len(key) > 512 or not _KEY.fullmatch(key) or {".", ".."} & set(key.split("/")):
            raise self.wrong(
                key[:80], "expected a key of A-Z a-z 0-9 _ . : = + - and /", "this is a bug, report it"
            )
        return key


def open_store(destination: Destination) -> Store:
    """The store of a destination; nothing is asked of it yet. Raises `StoreError` where a package is missing."""
    if destination.folder is not None:
        from understudy.backup.store_folder import FolderStore

        return FolderStore(destination.name, destination.folder)
    try:
        from understudy.backup.store_s3 import BucketStore
    except ImportError:
        hint = "pip install 'understudy[backup,s3]'"
        raise StoreError(destination.name, "", "the package boto3 is not installed", hint) from None
    return BucketStore(destination)
