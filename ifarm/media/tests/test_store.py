"""What a store must do, for S3 (moto) and for Supabase's API (a stand-in)."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import boto3
import httpx
import pytest

from ifarm.core.errors import NotFound
from ifarm.core.ids import uuid7
from ifarm.media.store import Missing, StoreAway, TenantFiles, Upload, store
from ifarm.media.tests.s3 import serving
from ifarm.media.tests.standin import standing_in
from understudy.embedded.postgresql import HOST, free_port

BUCKET = "documents"


@pytest.fixture(scope="module", params=["s3", "supabase"])
def place(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    if request.param == "supabase":
        with standing_in() as server:
            yield server.store
        return
    with serving() as options:
        client = boto3.client(
            "s3",
            endpoint_url=options["endpoint"],
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        client.create_bucket(Bucket=BUCKET)
        yield options


@pytest.fixture
def mine(place: dict[str, str], settings: Any) -> TenantFiles:
    settings.IFARM_STORE = place
    return TenantFiles(uuid7())


def send(upload: Upload, body: bytes) -> httpx.Response:
    """As a browser would."""
    if upload.method == "PUT":
        return httpx.put(upload.url, content=body, headers=dict(upload.headers), timeout=60)
    files = {"file": ("x.exe", body)}
    return httpx.post(upload.url, data=dict(upload.form), files=files, timeout=60)


def whole(files: TenantFiles, path: str) -> bytes:
    return b"".join(files.read(BUCKET, path))


def test_bytes_go_in_and_out(mine: TenantFiles) -> None:
    path = mine.path(uuid7(), "pdf")
    mine.put(BUCKET, path, b"%PDF-1", content_type="application/pdf")
    mine.put(BUCKET, path, io.BytesIO(b"%PDF-2"), content_type="application/pdf")
    assert whole(mine, path) == b"%PDF-2"
    shown = httpx.get(mine.sign_download(BUCKET, path), timeout=60)
    assert (shown.content, shown.headers["content-type"]) == (b"%PDF-2", "application/pdf")
    mine.delete(BUCKET, [path, mine.path(uuid7(), "jpg")])
    with pytest.raises(Missing):
        whole(mine, path)


def test_a_client_uploads_by_itself(mine: TenantFiles) -> None:
    path = mine.path(uuid7(), "upload")
    upload = mine.sign_upload(BUCKET, path, content_type="application/octet-stream", most_bytes=10)
    assert send(upload, b"1234567890").is_success
    assert whole(mine, path) == b"1234567890"


def test_a_signature_is_for_one_place(mine: TenantFiles) -> None:
    path, other = mine.path(uuid7(), "upload"), mine.path(uuid7(), "upload")
    upload = mine.sign_upload(BUCKET, path, content_type="application/octet-stream", most_bytes=10)
    if upload.method == "POST":
        pytest.skip("moto checks no policies; the next test looks at what is signed")
    assert httpx.put(upload.url.replace(path, other), content=b"x", timeout=60).is_error


def test_no_path_leads_to_another_tenant(mine: TenantFiles) -> None:
    theirs = f"{uuid7()}/{uuid7()}.pdf"
    own = str(mine.tenant_id)
    for path in (
        theirs,
        f"{own}/../{theirs}",
        f"{own}/x.pdf",
        f"/{own}/{uuid7()}.pdf",
        f"{own}/{uuid7()}.exe",
        "",
    ):
        for attempt in (
            lambda path=path: mine.sign_upload(BUCKET, path, content_type="x/y", most_bytes=1),
            lambda path=path: mine.sign_download(BUCKET, path),
            lambda path=path: mine.put(BUCKET, path, b"x", content_type="x/y"),
            lambda path=path: whole(mine, path),
            lambda path=path: mine.delete(BUCKET, [path]),
        ):
            with pytest.raises(NotFound):
                attempt()


@pytest.mark.parametrize("backend", ["s3", "supabase"])
def test_a_store_that_is_away_says_so_without_its_secret(settings: Any, backend: str) -> None:
    url, secret = f"http://{HOST}:{free_port()}", "very-secret"
    options: dict[str, str] = {"backend": "supabase", "url": url, "key": secret}
    if backend == "s3":
        options = {"backend": "s3", "endpoint": url, "region": "x", "access_key": "a", "secret_key": secret}
    settings.IFARM_STORE = options
    files = TenantFiles(UUID(int=1))
    with pytest.raises(StoreAway) as caught:
        files.put(BUCKET, files.path(uuid7(), "pdf"), b"x", content_type="x/y")
    assert secret not in str(caught.value)
    assert secret not in repr(store())


@pytest.mark.parametrize("options", [{"backend": "s3", "access_key": ""}, {"backend": "supabase", "key": ""}])
def test_without_keys_there_is_no_store(settings: Any, options: dict[str, str]) -> None:
    settings.IFARM_STORE = options
    with pytest.raises(StoreAway, match="no store is configured"):
        store()


def test_s3_is_told_the_limits(place: dict[str, str], mine: TenantFiles) -> None:
    if place["backend"] != "s3":
        pytest.skip("Supabase's limits are those of the bucket")
    path = mine.path(uuid7(), "upload")
    upload = mine.sign_upload(BUCKET, path, content_type="application/octet-stream", most_bytes=10)
    policy = json.loads(base64.b64decode(upload.form["policy"]))
    assert ["content-length-range", 1, 10] in policy["conditions"]
    assert {"key": path} in policy["conditions"]
    assert {"Content-Type": "application/octet-stream"} in policy["conditions"]
