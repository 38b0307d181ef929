"""Supabase Storage by its own API (`/storage/v1`), with the service key.

Sources: supabase.com/docs/reference/javascript (createSignedUploadUrl, createSignedUrl, remove), and the paths that the
published clients use. A signed upload is good for two hours there, whatever is asked, and takes what the *bucket's*
`file_size_limit` allows: make the buckets private, with that limit. The limit here is enforced at confirming.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import IO, Any, Final

import httpx

from ifarm.media.store import CHUNK, Missing, StoreAway, Upload

TIMEOUT: Final = httpx.Timeout(10, connect=5)


class SupabaseStore:
    """One project. The service key goes into headers only; it is in no error."""

    def __init__(self, *, url: str, key: str) -> None:
        self._root = f"{url.rstrip('/')}/storage/v1"
        headers = {"Authorization": f"Bearer {key}", "apikey": key}
        self._http = httpx.Client(base_url=self._root, headers=headers, timeout=TIMEOUT)

    def sign_upload(
        self, bucket: str, path: str, *, content_type: str, most_bytes: int, seconds: int
    ) -> Upload:
        """A PUT of the bare bytes."""
        answer = self._call("POST", f"/object/upload/sign/{bucket}/{path}", json={})
        return Upload("PUT", self._root + answer.json()["url"], headers={"Content-Type": content_type})

    def sign_download(self, bucket: str, path: str, *, seconds: int) -> str:
        """Asks the server. Raises `Missing`."""
        answer = self._call("POST", f"/object/sign/{bucket}/{path}", json={"expiresIn": seconds})
        return f"{self._root}{answer.json()['signedURL']}"

    def put(self, bucket: str, path: str, body: bytes | IO[bytes], *, content_type: str) -> None:
        """In one request."""
        headers = {"Content-Type": content_type, "x-upsert": "true"}
        self._call("POST", f"/object/{bucket}/{path}", content=body, headers=headers)

    def read(self, bucket: str, path: str) -> Iterator[bytes]:
        """Raises `Missing`."""
        with _told(), self._http.stream("GET", f"/object/authenticated/{bucket}/{path}") as answer:
            _require_good(answer)
            yield from answer.iter_bytes(CHUNK)

    def delete(self, bucket: str, paths: Sequence[str]) -> None:
        """In one request; what is not there is not in its answer."""
        if paths:
            self._call("DELETE", f"/object/{bucket}", json={"prefixes": list(paths)})

    def _call(self, method: str, path: str, **rest: Any) -> httpx.Response:
        with _told():
            answer = self._http.request(method, path, **rest)
            _require_good(answer)
            return answer


def _require_good(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    answer.read()
    # Supabase answers 400 with "statusCode": "404" in the body for an object that is not there.
    if answer.status_code == 404 or (answer.status_code == 400 and '"404"' in answer.text[:500]):
        raise Missing()
    raise StoreAway(f"the store answered {answer.status_code}. Try again later.")


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise StoreAway(f"the store was not reached ({type(error).__name__}). Try again later.") from error
