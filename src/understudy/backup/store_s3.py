"""Backups in a bucket of Amazon S3 or of a server that speaks its language, through obstore.

Small objects are written with one request that the server refuses where the object is there (If-None-Match).
Larger ones are written in parts; there the check comes before, and keys of backups hold a random number.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, Final, TypeVar

import obstore
import tenacity
from obstore import exceptions
from obstore.store import S3Store

from understudy.backup.store import (
    RETRY_SECONDS, AlreadyThere, Item, Locked, Missing, Refused, Store, StoreError, Stored, Unreachable,
)  # fmt: skip
from understudy.config_backup import Destination

CHUNK: Final = 2**20
CONCURRENT_PARTS: Final = 2
REQUEST_SECONDS: Final = 60
MAX_RESUMES: Final = 100
T = TypeVar("T")


class BucketStore(Store):
    """One bucket, below its prefix.

    Args:
        retry_seconds: how long errors that may pass are tried again.
    """

    def __init__(self, destination: Destination, *, retry_seconds: float = RETRY_SECONDS) -> None:
        super().__init__(destination.name, destination.place)
        self._prefix = f"{destination.prefix}/" if destination.prefix else ""
        self._part_bytes = destination.part_bytes
        self._retry_seconds = retry_seconds
        self._store = _open(destination, retry_seconds)

    def put(self, key: str, chunks: Iterable[bytes], *, replace: bool = False) -> Stored:
        path = self._path(key)
        digest, count = hashlib.sha256(), 0
        source = iter(chunks)
        first = bytearray()
        for chunk in source:
            digest.update(chunk)
            count += len(chunk)
            first += chunk
            if len(first) > self._part_bytes:
                break
        else:
            mode: Any = "overwrite" if replace else "create"
            self._retrying(
                key, lambda: obstore.put(self._store, path, bytes(first), mode=mode, use_multipart=False)
            )
            return Stored(count, digest.hexdigest())
        if not replace and self.exists(key):
            raise self._already(key)

        def rest() -> Iterator[bytes]:
            nonlocal count
            yield bytes(first)
            first.clear()
            for chunk in source:
                digest.update(chunk)
                count += len(chunk)
                yield chunk

        broken: list[BaseException] = []
        try:
            obstore.put(
                self._store, path, _remembering(rest(), broken), use_multipart=True,
                chunk_size=self._part_bytes, max_concurrency=CONCURRENT_PARTS,
            )  # fmt: skip
        except (exceptions.BaseError, OSError) as error:
            if broken:
                raise broken[0] from None
            raise self._error(key, error) from None
        return Stored(count, digest.hexdigest())

    def get(self, key: str, *, start: int = 0) -> Iterator[bytes]:
        path = self._path(key)
        at, etag, size = start, None, -1
        for _ in range(MAX_RESUMES):
            options: Any = {"range": {"offset": at}} if at else {}
            if etag:
                options["if_match"] = etag
            try:
                result = self._retrying(key, lambda o=options: obstore.get(self._store, path, options=o))
                etag, size = result.meta["e_tag"], result.meta["size"]
                for chunk in result.stream(min_chunk_size=CHUNK):
                    data = bytes(chunk)
                    at += len(data)
                    yield data
            except (exceptions.BaseError, OSError) as error:
                if not _passes(error):
                    raise self._error(key, error) from None
                continue
            if at >= size:
                return
        raise self.wrong(key, f"expected {size} bytes, found {at} in {MAX_RESUMES} tries", "", Unreachable)

    def list(self, prefix: str) -> Iterator[Item]:
        where = self._prefix + prefix
        pages = obstore.list(self._store, where.rstrip("/") or None, chunk_size=1000)
        while True:
            try:
                page = next(pages, None)
            except (exceptions.BaseError, OSError) as error:
                raise self._error(prefix, error) from None
            if page is None:
                return
            for found in page:
                yield Item(found["path"].removeprefix(self._prefix), found["size"], found["last_modified"])

    def folders(self, prefix: str) -> tuple[str, ...]:
        where = (self._prefix + prefix).rstrip("/") or None
        found = self._retrying(prefix, lambda: obstore.list_with_delimiter(self._store, where))
        return tuple(sorted(name.rstrip("/").rpartition("/")[2] for name in found["common_prefixes"]))

    def exists(self, key: str) -> bool:
        path = self._path(key)
        try:
            self._retrying(key, lambda: obstore.head(self._store, path))
        except Missing:
            return False
        return True

    def delete(self, keys: Iterable[str]) -> None:
        pending = iter(keys)
        while some := list(itertools.islice(pending, 1000)):
            paths = [self._path(key) for key in some]
            self._retrying(some[0], lambda p=paths: obstore.delete(self._store, p))

    def _retrying(self, key: str, call: Callable[[], T]) -> T:
        """Call again while the error is one that passes. Raises `StoreError`."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_passes),
            stop=tenacity.stop_after_delay(self._retry_seconds),
            wait=tenacity.wait_random_exponential(0.1, 10),
            reraise=True,
        )
        try:
            return retrying(call)
        except (exceptions.BaseError, OSError) as error:
            raise self._error(key, error) from None

    def _path(self, key: str) -> str:
        return self._prefix + self.checked(key)

    def _already(self, key: str) -> StoreError:
        return self.wrong(key, "it is there already", "objects of a backup are never replaced", AlreadyThere)

    def _error(self, key: str, error: Exception) -> StoreError:
        code = _code(error)
        if isinstance(error, exceptions.AlreadyExistsError | exceptions.PreconditionError):
            return self._already(key)
        if isinstance(error, exceptions.NotFoundError):
            return self.wrong(key, "not found", "", Missing)
        if code == "RequestTimeTooSkewed":
            return self.wrong(
                key, "the clock of this host differs from the server's", "set the clock (NTP)", Refused
            )
        if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
            return self.wrong(
                key,
                f"access denied ({code or 'no code'})",
                "check the credentials and the bucket's policy",
                Refused,
            )
        return self.wrong(key, f"{type(error).__name__} ({code or 'no code'})", "", Unreachable)


def _open(destination: Destination, retry_seconds: float) -> S3Store:
    config: Any = {"region": destination.region or "us-east-1"}
    if destination.endpoint:
        config["endpoint"] = destination.endpoint
    if destination.access_key:
        config |= {"access_key_id": destination.access_key, "secret_access_key": destination.secret_key}
    if destination.session_token:
        config["session_token"] = destination.session_token
    return S3Store(
        destination.bucket,
        config=config,
        virtual_hosted_style_request=False,
        client_options={
            "allow_http": destination.endpoint.startswith("http://"),
            "timeout": timedelta(seconds=REQUEST_SECONDS),
            "connect_timeout": timedelta(seconds=10),
        },
        retry_config={"max_retries": 50, "retry_timeout": timedelta(seconds=retry_seconds)},
    )


def _remembering(chunks: Iterator[bytes], broken: list[BaseException]) -> Iterator[bytes]:
    try:
        yield from chunks
    except BaseException as error:
        broken.append(error)
        raise


def _passes(error: BaseException) -> bool:
    return isinstance(error, exceptions.GenericError | OSError) or _code(error) == "RequestTimeTooSkewed"


def _code(error: BaseException) -> str:
    """The code of S3's error document, or the status, from the text of an error of obstore."""
    text = str(error)
    found = re.search(r"<Code>([A-Za-z]{1,60})</Code>", text) or re.search(
        r"status(?: code)?:? ?(\d{3})", text
    )
    return found[1] if found else ""
