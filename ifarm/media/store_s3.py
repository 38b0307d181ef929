"""S3 and what speaks its language: Amazon, MinIO, and Supabase's own S3 endpoint (path style, signature 4)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import IO, Any, Final

import boto3  # type: ignore[import-untyped, unused-ignore]
from botocore.config import Config  # type: ignore[import-untyped, unused-ignore]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped, unused-ignore]

from ifarm.media.store import CHUNK, Missing, StoreAway, Upload

AT_ONCE: Final = 1000
"""Keys of one request to delete."""


class S3Store:
    """One account of one server. Secrets are held by boto3's client alone."""

    def __init__(self, *, endpoint: str, region: str, access_key: str, secret_key: str) -> None:
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint or None,
            region_name=region,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                connect_timeout=5,
                read_timeout=10,
                retries={"total_max_attempts": 2},
            ),
        )

    def sign_upload(
        self, bucket: str, path: str, *, content_type: str, most_bytes: int, seconds: int
    ) -> Upload:
        """A form for POST: this key, this type, so many bytes at most; the server itself refuses anything else."""
        signed = self._client.generate_presigned_post(
            bucket,
            path,
            Fields={"Content-Type": content_type},
            Conditions=[{"Content-Type": content_type}, ["content-length-range", 1, most_bytes]],
            ExpiresIn=seconds,
        )
        return Upload("POST", signed["url"], signed["fields"])

    def sign_download(self, bucket: str, path: str, *, seconds: int) -> str:
        """Signed here; no server is asked."""
        parameters = {"Bucket": bucket, "Key": path}
        url: str = self._client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds)
        return url

    def put(self, bucket: str, path: str, body: bytes | IO[bytes], *, content_type: str) -> None:
        """In one request, or in parts where it is large."""
        with _told():
            if isinstance(body, bytes):
                self._client.put_object(Bucket=bucket, Key=path, Body=body, ContentType=content_type)
            else:
                self._client.upload_fileobj(body, bucket, path, ExtraArgs={"ContentType": content_type})

    def read(self, bucket: str, path: str) -> Iterator[bytes]:
        """Raises `Missing`."""
        with _told():
            body = self._client.get_object(Bucket=bucket, Key=path)["Body"]
            with contextlib.closing(body):
                yield from body.iter_chunks(CHUNK)

    def delete(self, bucket: str, paths: Sequence[str]) -> None:
        """A thousand at a time."""
        for start in range(0, len(paths), AT_ONCE):
            keys = [{"Key": path} for path in paths[start : start + AT_ONCE]]
            with _told():
                done = self._client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
            if refused := done.get("Errors"):
                raise StoreAway(f"expected {len(keys)} objects removed, found {refused[0].get('Code')}.")


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in ("NoSuchKey", "404"):
            raise Missing() from None
        raise StoreAway(f"the store answered {code}. Try again later.") from error
    except BotoCoreError as error:
        raise StoreAway(f"the store was not reached ({type(error).__name__}). Try again later.") from error
