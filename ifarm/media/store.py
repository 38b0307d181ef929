"""The port to an object store, and the wall between tenants in it.

Keys of a store know no tenants (Supabase's S3 keys pass by its row-level security, too). So nothing but `TenantFiles`
uses a store, and it refuses every path that does not begin with its tenant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import IO, Final, Protocol
from uuid import UUID

from django.conf import settings

from ifarm.core.context import current_tenant
from ifarm.core.errors import NotFound, Problem

SIGNED_SECONDS: Final = 3600
"""How long an address for a download or an upload is good (ifarm.md 1.2)."""
CHUNK: Final = 2**18
_PATH: Final = re.compile(
    r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"\.(?:jpg|pdf|upload|jsonl\.zst)"
)


class StoreAway(Problem):
    """The store does not answer, or refuses us."""

    status = 503
    type = "store-away"
    title = "The store of files does not answer"


class Missing(NotFound):
    """There is no object at this path."""

    def __init__(self) -> None:
        super().__init__("the file was not found.")


@dataclass(frozen=True, slots=True)
class Upload:
    """What a client sends its file with: the fields of ``form`` and then `file` (POST), or the bare bytes (PUT)."""

    method: str
    url: str
    form: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class ObjectStore(Protocol):
    """What a store must do. Each call takes seconds at most, and raises `StoreAway` where the store does not answer."""

    def sign_upload(
        self, bucket: str, path: str, *, content_type: str, most_bytes: int, seconds: int
    ) -> Upload:
        """Let whoever has the answer put one object there."""

    def sign_download(self, bucket: str, path: str, *, seconds: int) -> str:
        """An address that shows one object."""

    def put(self, bucket: str, path: str, body: bytes | IO[bytes], *, content_type: str) -> None:
        """Put one object there, instead of one that is there."""

    def read(self, bucket: str, path: str) -> Iterator[bytes]:
        """The object in pieces. Raises `Missing`."""

    def delete(self, bucket: str, paths: Sequence[str]) -> None:
        """Remove objects; one that is not there is no error."""


@cache
def _made(backend: str, options: tuple[tuple[str, str], ...]) -> ObjectStore:
    if backend == "supabase":
        from ifarm.media.store_supabase import SupabaseStore

        return SupabaseStore(**dict(options))
    if backend == "s3":
        from ifarm.media.store_s3 import S3Store

        return S3Store(**dict(options))
    raise ValueError(f"IFARM_STORE: expected the backend s3 or supabase, found {backend!r}.")


def store() -> ObjectStore:
    """The store of the settings (`IFARM_STORE`), made with its first use. Raises `StoreAway` where there is none."""
    options = dict(settings.IFARM_STORE)
    if not options.get("key", options.get("access_key")):
        # boto3 would look for somebody's keys elsewhere on this machine.
        raise StoreAway(
            "no store is configured: set SUPABASE_URL and SUPABASE_KEY, or IFARM_S3_…, and start again."
        )
    return _made(options.pop("backend"), tuple(sorted(options.items())))


@dataclass(frozen=True, slots=True)
class TenantFiles:
    """The files of one tenant. Each method raises `NotFound` for a path that is not the tenant's."""

    tenant_id: UUID

    def path(self, pk: UUID, extension: str) -> str:
        """Where a file of the tenant is: ``{tenant_id}/{uuid}.{ext}``."""
        return self._own(f"{self.tenant_id}/{pk}.{extension}")

    def sign_upload(self, bucket: str, path: str, *, content_type: str, most_bytes: int) -> Upload:
        """Let a client put one object there, within the hour."""
        return store().sign_upload(
            _bucket(bucket),
            self._own(path),
            content_type=content_type,
            most_bytes=most_bytes,
            seconds=SIGNED_SECONDS,
        )

    def sign_download(self, bucket: str, path: str, seconds: int = SIGNED_SECONDS) -> str:
        """An address for a client, good for an hour at most."""
        return store().sign_download(_bucket(bucket), self._own(path), seconds=min(seconds, SIGNED_SECONDS))

    def put(self, bucket: str, path: str, body: bytes | IO[bytes], *, content_type: str) -> None:
        """Write one object."""
        store().put(_bucket(bucket), self._own(path), body, content_type=content_type)

    def read(self, bucket: str, path: str) -> Iterator[bytes]:
        """Read one object in pieces. Raises `Missing`."""
        return store().read(_bucket(bucket), self._own(path))

    def delete(self, bucket: str, paths: Sequence[str]) -> None:
        """Remove objects."""
        store().delete(_bucket(bucket), [self._own(path) for path in paths])

    def _own(self, path: str) -> str:
        match = _PATH.fullmatch(path)
        if match is None or match[1] != str(self.tenant_id):
            raise NotFound("the file was not found.")
        return path


def files() -> TenantFiles:
    """Those of the present tenant. Raises `NoTenant`."""
    return TenantFiles(current_tenant())


def _bucket(kind: str) -> str:
    return f"{settings.IFARM_BUCKET_PREFIX}{kind}"
