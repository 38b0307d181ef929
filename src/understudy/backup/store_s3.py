"""Backups in a bucket of Amazon S3 or of a server that speaks its language, through boto3.

Every request is signed anew when it is tried again, so a slow line or a clock that was just set does not end a
backup. An object of at most one part is one request, which the server refuses where the object is there
(If-None-Match). A larger one is sent in parts; only the last request makes it appear. What a killed process leaves
of it is invisible, costs storage, and goes with `sweep`, unless `resume` goes on with it: a part whose length and MD5
(its ETag) are those of the bytes is not sent again. Where a bucket encrypts with a key of a KMS an ETag is no MD5, and
all is sent.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import boto3  # type: ignore[import-untyped]
import tenacity
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    SSLError,
)

from understudy.backup.store import (
    RETRY_SECONDS,
    AlreadyThere,
    Item,
    Locked,
    Missing,
    Refused,
    Store,
    Stored,
    StoreError,
    Unreachable,
)  # fmt: skip
from understudy.config_backup import Destination

CHUNK: Final = 2**20
CONCURRENT_PARTS: Final = 3
"""Parts in memory: being filled, or on their way."""
MAX_PARTS: Final = 10_000
MAX_LOOKED_AT: Final = 10
"""Unfinished uploads of one object among which the one to go on with is chosen."""
MAX_BATCH: Final = 1000
"""Keys of one request to delete, and of one page of a listing."""
CONNECT_SECONDS: Final = 10
READ_SECONDS: Final = 60
PAUSE: Final = 0.2
"""Seconds before a body that was cut is asked for again."""
PASSING: Final = frozenset({
    "SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "RequestTimeTooSkewed", "TooManyRequests",
    "Throttling", "ThrottlingException", "RequestLimitExceeded", "OperationAborted", "IncompleteBody", "BadDigest",
    "ConditionalRequestConflict", "ExpiredToken",
})  # fmt: skip
"""Errors worth trying again. BadDigest: it was changed on its way. ExpiredToken: the host gets a new one."""
_THERE: Final = frozenset({"PreconditionFailed", "412"})
_FAILURES: Final = (BotoCoreError, ClientError, OSError)
T = TypeVar("T")


class _PastEnd(StoreError):
    """The object has no such byte."""


class _Unable(StoreError):
    """The server does not know this kind of request."""


_REGION: Final = ("the bucket is in another region", "correct region in [[backup.destination]]", Refused)
_MEANINGS: Final[Mapping[str, tuple[str, str, type[StoreError]]]] = {
    **dict.fromkeys(("NoSuchKey", "404", "NotFound", "NoSuchUpload"), ("not found", "", Missing)),
    **dict.fromkeys(("InvalidRange", "416"), ("it ends before that", "", _PastEnd)),
    "NotImplemented": ("the server cannot do that", "", _Unable),
    "NoSuchBucket": ("there is no such bucket", "create it, or correct url", Refused),
    "RequestTimeTooSkewed": ("the clock of this host differs from the server's", "set it (NTP)", Refused),
    "NoCredentialsError": (
        "there are no credentials", "set access_key_env and secret_key_env, or give this host a role", Refused,
    ),
    **dict.fromkeys(
        ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"), _REGION
    ),
}  # fmt: skip
"""By code: the problem, what to do, and the kind of error."""


class BucketStore(Store):
    """One bucket, below its prefix.

    Args:
        retry_seconds: how long errors that may pass are tried again, without any progress.
    """

    def __init__(self, destination: Destination, *, retry_seconds: float = RETRY_SECONDS) -> None:
        super().__init__(destination.name, destination.place, MAX_PARTS * destination.part_bytes)
        self.bucket = destination.bucket
        self._prefix = f"{destination.prefix}/" if destination.prefix else ""
        self._part_bytes = destination.part_bytes
        self._retry_seconds = retry_seconds
        self._region = destination.region
        self.client = _client(destination)
        self._conditional = True

    def put(self, key: str, chunks: Iterable[bytes], *, replace: bool = False) -> Stored:
        self.checked(key)
        digest = hashlib.sha256()
        parts = _parts(chunks, self._part_bytes, digest)
        begun = list(itertools.islice(parts, 2))
        if len(begun) == 1:
            self._put_small(key, begun[0], replace=replace)
            return Stored(len(begun[0]), digest.hexdigest())
        if not replace and self.exists(key):
            raise self._already(key)
        count = _Upload(self, key, replace=replace).run(itertools.chain(_emptied(begun), parts))
        return Stored(count, digest.hexdigest())

    def resume(self, key: str, chunks: Iterable[bytes]) -> int:
        self.checked(key)
        parts = _parts(chunks, self._part_bytes, hashlib.sha256())
        begun = list(itertools.islice(parts, 2))
        if len(begun) == 1:
            self._put_small(key, begun[0], replace=False)
            return len(begun[0])
        if self.exists(key):
            raise self._already(key)
        upload = _Upload(self, key, replace=False, resumed=True)
        upload.run(itertools.chain(_emptied(begun), parts))
        return upload.sent

    def _put_small(self, key: str, body: bytes, *, replace: bool) -> None:
        condition = {} if replace or not self._conditional else {"IfNoneMatch": "*"}
        try:
            if not replace and not condition and self.exists(key):
                raise self._already(key)
            self.ask(key, self.client.put_object, Body=body, ContentMD5=md5(body), **condition)
        except AlreadyThere:
            if self.read(key) != body:  # else it is ours: only the answer to it was lost
                raise
        except _Unable:  # no If-None-Match here: look first, from now on
            if not condition:
                raise
            self._conditional = False
            self._put_small(key, body, replace=replace)

    def get(self, key: str, *, start: int = 0) -> Iterator[bytes]:
        self.checked(key)
        at = start
        etag, size = "", start + 1  # until the first answer tells
        deadline = time.monotonic() + self._retry_seconds
        while at < size:
            try:
                found = self.ask(key, self.client.get_object, **_from(at, etag))
            except _PastEnd:
                return
            etag, size = found["ETag"], at + int(found["ContentLength"])
            try:
                while chunk := found["Body"].read(CHUNK):
                    at += len(chunk)
                    deadline = time.monotonic() + self._retry_seconds
                    yield chunk
            except _FAILURES as error:  # the body was cut: go on from there
                if time.monotonic() > deadline:
                    raise self.failure(key, error) from None
                time.sleep(PAUSE)
            finally:
                found["Body"].close()

    def list(self, prefix: str) -> Iterator[Item]:
        for page in self._pages(prefix):
            for found in page.get("Contents", ()):
                modified = found["LastModified"].astimezone(UTC)
                yield Item(found["Key"].removeprefix(self._prefix), found["Size"], modified)

    def folders(self, prefix: str) -> tuple[str, ...]:
        pages = self._pages(prefix, Delimiter="/")
        names = (
            f["Prefix"].rstrip("/").rpartition("/")[2]
            for page in pages
            for f in page.get("CommonPrefixes", ())
        )
        return tuple(sorted(names))

    def exists(self, key: str) -> bool:
        # One byte, not HEAD: the answer to a HEAD has no body, so it could not say why it was refused.
        try:
            self.ask(self.checked(key), self.client.get_object, Range="bytes=0-0")["Body"].close()
        except Missing:
            return False
        except _PastEnd:  # it is empty
            return True
        return True

    def size(self, key: str) -> int:
        """Bytes of an object. Raises `Missing`."""
        return int(self.ask(key, self.client.head_object)["ContentLength"])

    def delete(self, keys: Iterable[str]) -> None:
        pending = iter(keys)
        kept: Sequence[str] = ()
        while some := list(itertools.islice(pending, MAX_BATCH)):
            kept = [*kept, *self._delete_batch(some)]
        if kept:
            more = f" and {len(kept) - 1} more" if len(kept) > 1 else ""
            hint = "Object Lock, a legal hold or the bucket's policy keeps it"
            raise self.wrong(kept[0], f"not deleted{more} (AccessDenied)", hint, Locked)

    def _delete_batch(self, keys: Sequence[str]) -> Sequence[str]:
        """Delete at most `MAX_BATCH`; those that were refused are returned."""
        left = {self._prefix + self.checked(key): key for key in keys}
        kept: Sequence[str] = ()
        deadline = time.monotonic() + self._retry_seconds
        while left:
            objects = [{"Key": path} for path in left]
            answer = self.ask("", self.client.delete_objects, Delete={"Objects": objects, "Quiet": True})
            errors = {e["Key"]: e.get("Code", "") for e in answer.get("Errors", ())}
            kept = [*kept, *(left[p] for p, code in errors.items() if code == "AccessDenied" and p in left)]
            again = {path: code for path, code in errors.items() if code not in ("AccessDenied", "NoSuchKey")}
            left = {path: left[path] for path in again if path in left}
            if left and time.monotonic() > deadline:
                raise self.wrong(
                    next(iter(left.values())), f"not deleted ({next(iter(again.values()))})", "", Unreachable
                )
        return kept

    def sweep(self, prefix: str, before: datetime, *, confirm: bool) -> Sequence[str]:
        told = []
        for upload in [u for u in self.uploads(prefix) if u["Initiated"] < before]:
            key = upload["Key"].removeprefix(self._prefix)
            told.append(f"{self.name}: {key}: unfinished upload of {upload['Initiated']:%Y-%m-%d}")
            if confirm:
                self.abort(key, upload["UploadId"])
        return told

    def advice(self) -> Sequence[str]:
        from understudy.backup.bucket import protection

        return protection(self).notes

    def uploads(self, prefix: str) -> Iterator[Mapping[str, Any]]:
        """Uploads in parts below a folder that were begun and not finished, as boto3 tells them."""
        marker: dict[str, str] = {}
        while True:
            page = self.ask("", self.client.list_multipart_uploads, Prefix=self._prefix + prefix, **marker)
            yield from page.get("Uploads", ())
            if not page.get("IsTruncated"):
                return
            marker = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def unfinished(self, key: str) -> tuple[str, Mapping[int, tuple[int, str]]]:
        """The upload of this object that came furthest, and the length and ETag of each of its parts.

        Empty where there is none, or where these credentials may not look.
        """
        path = self._prefix + self.checked(key)
        try:
            begun = [one["UploadId"] for one in self.uploads(key) if one["Key"] == path]
            found = [(upload, self._sent_parts(key, upload)) for upload in begun[:MAX_LOOKED_AT]]
        except Refused:
            return "", {}
        return max(found, key=lambda one: len(one[1]), default=("", {}))

    def _sent_parts(self, key: str, upload: str) -> Mapping[int, tuple[int, str]]:
        found: dict[int, tuple[int, str]] = {}
        marker: dict[str, int] = {}
        while True:
            page = self.ask(key, self.client.list_parts, UploadId=upload, **marker)
            for part in page.get("Parts", ()):
                found[part["PartNumber"]] = part["Size"], part["ETag"]
            if not page.get("IsTruncated"):
                return found
            marker = {"PartNumberMarker": page["NextPartNumberMarker"]}

    def abort(self, key: str, upload: str) -> None:
        """Forget an unfinished upload; one that is gone is no error."""
        try:
            self.ask(key, self.client.abort_multipart_upload, UploadId=upload)
        except Missing:
            return

    def ask(self, key: str, call: Callable[..., T], **arguments: Any) -> T:
        """One request about an object (about the bucket where ``key`` is empty). Raises `StoreError`."""
        about: dict[str, Any] = {"Bucket": self.bucket, **({"Key": self._prefix + key} if key else {})}
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_passes),
            stop=tenacity.stop_before_delay(self._retry_seconds),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=10),
            reraise=True,
        )
        try:
            return retrying(call, **about, **arguments)
        except _FAILURES as error:
            raise self.failure(key, error) from None

    def _pages(self, prefix: str, **arguments: Any) -> Iterator[Mapping[str, Any]]:
        where = self._prefix + (f"{self.checked(prefix.rstrip('/'))}/" if prefix else "")
        token: dict[str, str] = {}
        while True:
            page = self.ask("", self.client.list_objects_v2, Prefix=where, **token, **arguments)
            yield page
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _already(self, key: str) -> StoreError:
        return self.wrong(key, "it is there already", "objects of a backup are never replaced", AlreadyThere)

    def failure(self, key: str, error: Exception) -> StoreError:
        """What an error of boto3 means here."""
        code = _code(error)
        if code in _THERE:
            return self._already(key)
        if code in _MEANINGS:
            return self.wrong(key, *_MEANINGS[code])
        if isinstance(error, SSLError):
            return self.wrong(key, "its certificate is not trusted, or TLS failed", "check endpoint", Refused)
        if _status(error) in (401, 403):
            hint = "check the credentials and the bucket's policy"
            return self.wrong(key, f"access denied ({code})", hint, Refused)
        if _passes(error):
            problem = f"no good answer in {self._retry_seconds:g} s ({code})"
            return self.wrong(key, problem, "try again later", Unreachable)
        return self.wrong(key, code)


class _Upload:
    """One object in parts, a few of them on their way at the same time.

    Args:
        resumed: go on with what is there of an earlier one, and leave what is there where this one fails.
    """

    def __init__(self, store: BucketStore, key: str, *, replace: bool, resumed: bool = False) -> None:
        self._store, self._key, self._replace, self._resumed = store, key, replace, resumed
        self.sent = 0
        self._room = threading.Semaphore(CONCURRENT_PARTS)
        self._sent: list[Future[Mapping[str, Any]]] = []

    def run(self, parts: Iterator[bytes]) -> int:
        """Send all parts and make the object appear; its length. On any error nothing is left, unless ``resumed``."""
        upload, there = self._store.unfinished(self._key) if self._resumed else ("", {})
        if not upload:
            upload = self._store.ask(self._key, self._store.client.create_multipart_upload)["UploadId"]
        count = 0
        try:
            with ThreadPoolExecutor(
                CONCURRENT_PARTS, thread_name_prefix=f"backup to {self._store.name}"
            ) as pool:
                for number in itertools.count(1):
                    self._room.acquire()  # before the next part is made: parts are what takes memory
                    self._check()
                    part = next(parts, None)
                    if part is None:
                        break
                    if number > MAX_PARTS:
                        raise self._store.wrong(self._key, f"more than {MAX_PARTS} parts", "raise part_size")
                    count += len(part)
                    if number in there and _is(part, *there[number]):
                        self._skip(number, there[number][1])
                    else:
                        self.sent += len(part)
                        self._sent.append(pool.submit(self._send, upload, number, part))
                    del part
            self._complete(upload, [future.result() for future in self._sent], count)
        except BaseException:
            if self._resumed:
                raise
            with contextlib.suppress(StoreError):  # `sweep` finds what is left
                self._store.abort(self._key, upload)
            raise
        return count

    def _send(self, upload: str, number: int, part: bytes) -> Mapping[str, Any]:
        try:
            answer = self._store.ask(
                self._key, self._store.client.upload_part, UploadId=upload, PartNumber=number, Body=part,
                ContentMD5=md5(part),
            )  # fmt: skip
            return {"PartNumber": number, "ETag": answer["ETag"]}
        finally:
            self._room.release()

    def _skip(self, number: int, etag: str) -> None:
        """A part that is there already."""
        done: Future[Mapping[str, Any]] = Future()
        done.set_result({"PartNumber": number, "ETag": etag})
        self._sent.append(done)
        self._room.release()

    def _check(self) -> None:
        """Raise the error of a part that has failed meanwhile."""
        for future in self._sent[-CONCURRENT_PARTS - 1 :]:
            if future.done():
                future.result()

    def _complete(self, upload: str, parts: list[Mapping[str, Any]], count: int) -> None:
        condition = {} if self._replace else {"IfNoneMatch": "*"}
        try:
            self._store.ask(
                self._key, self._store.client.complete_multipart_upload, UploadId=upload,
                MultipartUpload={"Parts": parts}, **condition,
            )  # fmt: skip
        except Missing:  # the answer to an earlier try was lost: then the object is there
            if self._store.size(self._key) != count:
                raise


def _is(part: bytes, size: int, etag: str) -> bool:
    """Whether what is there are these bytes, as far as a length and an MD5 tell."""
    return size == len(part) and etag.strip('"') == hashlib.md5(part, usedforsecurity=False).hexdigest()


def md5(body: bytes) -> str:
    """What a server compares the body with; buckets with Object Lock ask for it."""
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def _client(destination: Destination) -> Any:
    given: dict[str, Any] = {}
    if destination.endpoint:
        given["endpoint_url"] = destination.endpoint
    if destination.access_key:
        given |= {
            "aws_access_key_id": destination.access_key,
            "aws_secret_access_key": destination.secret_key,
        }
    if destination.session_token:
        given["aws_session_token"] = destination.session_token
    config = Config(
        s3={"addressing_style": "path" if destination.endpoint else "auto"},
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 1},  # ours sign anew, and are bounded in time
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        max_pool_connections=16,
    )
    region = destination.region or ("us-east-1" if destination.endpoint else None)
    return boto3.session.Session().client("s3", region_name=region, config=config, **given)


def _from(at: int, etag: str) -> dict[str, str]:
    """What to ask for: the object from a byte on; only the one that was begun with, where that is known."""
    return {**({"Range": f"bytes={at}-"} if at else {}), **({"IfMatch": etag} if etag else {})}


def _parts(chunks: Iterable[bytes], size: int, digest: Any) -> Iterator[bytes]:
    """Pieces of ``size`` bytes, at least one; the last one is shorter, and empty only where all is."""
    held: list[memoryview] = []
    count = 0
    for chunk in chunks:
        digest.update(chunk)
        rest = memoryview(chunk)
        while count + len(rest) > size:
            held.append(rest[: size - count])
            rest = rest[size - count :]
            yield _joined(held)
            count = 0
        held.append(rest)
        count += len(rest)
    yield _joined(held)


def _joined(pieces: list[memoryview]) -> bytes:
    """Them as one; the list is emptied, for nobody else needs their memory."""
    whole = b"".join(pieces)
    pieces.clear()
    return whole


def _emptied(begun: list[bytes]) -> Iterator[bytes]:
    """The parts of a list, which keeps none of them."""
    while begun:
        yield begun.pop(0)


def _code(error: Exception) -> str:
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code") or _status(error))
    return type(error).__name__


def _status(error: Exception) -> int:
    if isinstance(error, ClientError):
        return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    return 0


def _passes(error: BaseException) -> bool:
    """Whether trying again may help."""
    if isinstance(error, ClientError):
        return (
            _code(error) in PASSING
            or (_status(error) >= 500 and _status(error) != 501)
            or _status(error) in (408, 429)
        )
    if isinstance(error, NoCredentialsError | SSLError):
        return False
    return isinstance(error, BotoCoreError | OSError)
