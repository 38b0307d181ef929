"""Files: two steps, looked at, shown from where nobody can put anything."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
from django.utils import timezone
from PIL import Image

from ifarm.animals.tests.examples import make_animal
from ifarm.api.tests.test_requests import Api, problem
from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.errors import NotFound, RuleBroken
from ifarm.core.ids import uuid7
from ifarm.core.tests.factories import make_member, make_owner
from ifarm.core.tests.roles import as_owner
from ifarm.farms.services import create_farm
from ifarm.media import looks
from ifarm.media.looks import kind_of, look_at
from ifarm.media.models import Media
from ifarm.media.services import ABANDONED, GRACE, MOST_BYTES, SupabaseStorageService, delete, sweep
from ifarm.media.store import SIGNED_SECONDS
from ifarm.media.tests.examples import picture
from ifarm.media.tests.standin import StandIn, standing_in
from ifarm.media.words import Bucket

PDF = b"%PDF-1.7\n%%EOF"


@pytest.fixture
def standin(settings: Any) -> Iterator[StandIn]:
    with standing_in() as server:
        settings.IFARM_STORE = server.store
        yield server


@pytest.fixture
def api(db: None, standin: StandIn) -> Api:
    return Api(make_owner())


def upload(api: Api, body: bytes, bucket: str = "documents", **rest: Any) -> str:
    """The first step, and the bytes; returns the id."""
    answer = api("POST", "media/", {"bucket": bucket, **rest})
    assert answer.status_code == 201, answer.content
    told = answer.json()
    assert told["upload"]["method"] == "PUT"
    sent = httpx.put(told["upload"]["url"], content=body, headers=told["upload"]["headers"], timeout=60)
    assert sent.is_success
    return str(told["id"])


def test_two_steps_lead_to_a_file_that_can_be_shown(api: Api, standin: StandIn) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a secret place"
    sent = picture("JPEG", (40, 20), exif=exif)
    pk = upload(api, sent, "profile-pictures", name="../../etc/passwd")
    assert problem(api("GET", f"media/{pk}/"))[0] == 404
    made = api("POST", f"media/{pk}/confirm/").json()
    assert (made["content_type"], made["width_px"], made["height_px"]) == ("image/jpeg", 20, 40)
    shown = api("GET", f"media/{pk}/").json()
    assert shown["expires_s"] == SIGNED_SECONDS == 3600
    body = httpx.get(shown["url"], timeout=60).content
    assert (kind_of(body), len(body)) == ("JPEG", made["size_bytes"])
    assert b"secret" not in body
    assert dict(Image.open(io.BytesIO(body)).getexif()) == {}
    assert list(standin.objects) == [f"profile-pictures/{api.actor.tenant_id}/{pk}.jpg"]
    assert api("POST", f"media/{pk}/confirm/").json() == made
    with unit_of_work(api.actor.tenant_id):
        row = Media.objects.get()
        assert (row.path, row.name) == (f"{api.actor.tenant_id}/{pk}.jpg", "../../etc/passwd")


def test_what_is_sent_after_confirming_is_never_shown(api: Api) -> None:
    told = api("POST", "media/", {"bucket": "documents"}).json()
    put = told["upload"]["url"]
    httpx.put(put, content=PDF, timeout=60)
    assert api("POST", f"media/{told['id']}/confirm/").json()["content_type"] == "application/pdf"
    httpx.put(put, content=b"<script>alert(1)</script>", timeout=60)
    assert api("POST", f"media/{told['id']}/confirm/").status_code == 200
    assert httpx.get(api("GET", f"media/{told['id']}/").json()["url"], timeout=60).content == PDF


@pytest.mark.parametrize(
    "body",
    [
        b"<html><script>alert(1)</script>",
        b"MZ\x90",
        b"GIF89a",
        b"",
        b"\x89PNG\r\n\x1a\nnot really",
        picture("JPEG", (64, 64))[:-200],
        picture("TIFF"),
    ],
    ids=["page", "program", "gif", "nothing", "head", "half", "tiff"],
)
def test_what_is_no_picture_is_refused_whatever_it_is_called(api: Api, body: bytes) -> None:
    pk = upload(api, body, "profile-pictures", name="cow.jpg")
    assert problem(api("POST", f"media/{pk}/confirm/")) == (422, "rule-broken")
    assert api("GET", "media/").json()["results"] == []


def test_a_pdf_is_a_document_and_no_photo(api: Api) -> None:
    assert problem(api("POST", f"media/{upload(api, PDF, 'profile-pictures')}/confirm/"))[0] == 422
    assert api("POST", f"media/{upload(api, PDF)}/confirm/").status_code == 200


def test_what_was_not_uploaded_cannot_be_confirmed(api: Api) -> None:
    pk = api("POST", "media/", {"bucket": "documents"}).json()["id"]
    assert problem(api("POST", f"media/{pk}/confirm/")) == (404, "not-found")


def test_too_many_bytes_are_refused_without_reading_all(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MOST_BYTES, Bucket.DOCUMENTS, 10)
    answer = api("POST", f"media/{upload(api, PDF)}/confirm/")
    assert problem(answer) == (422, "rule-broken")
    assert "10 bytes" in answer.json()["detail"]


def test_a_small_file_that_says_it_is_huge_is_refused() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    for side in (8000, 60_000):
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        bomb = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
        with pytest.raises(RuleBroken):
            look_at(bomb, documents=False)


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "LA", "I;16", "1"])
def test_every_kind_of_picture_becomes_one(mode: str) -> None:
    made = io.BytesIO()
    Image.new(mode, (5, 4)).save(made, "PNG")
    looked = look_at(made.getvalue(), documents=False)
    assert (looked.content_type, looked.width_px, looked.height_px) == ("image/jpeg", 5, 4)


def test_a_large_picture_becomes_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "LARGEST_SIDE_PX", 100)
    assert look_at(picture("WEBP", (400, 200)), documents=False).width_px == 100


def test_a_photo_needs_what_it_shows(api: Api) -> None:
    with unit_of_work(api.actor.tenant_id):
        farm = create_farm(api.actor, name="Hill").id
    animal = make_animal(api.actor, farm, "AT 1")
    for body, status in (
        ({"bucket": "animal-photos"}, 422),
        ({"bucket": "animal-photos", "farm_id": str(farm)}, 422),
        ({"bucket": "farm-photos", "animal_id": str(animal)}, 422),
        ({"bucket": "profile-pictures", "farm_id": str(farm)}, 422),
        ({"bucket": "animal-photos", "animal_id": str(animal)}, 201),
        ({"bucket": "farm-photos", "farm_id": str(farm)}, 201),
        ({"bucket": "farm-photos", "farm_id": str(uuid7())}, 404),
        ({"bucket": "elsewhere"}, 400),
    ):
        assert api("POST", "media/", body).status_code == status, body


def test_files_of_another_farm_are_not_found(api: Api) -> None:
    with unit_of_work(api.actor.tenant_id):
        hill, vale = (create_farm(api.actor, name=name).id for name in ("Hill", "Vale"))
    photo = upload(api, picture(), "farm-photos", farm_id=str(hill))
    face = upload(api, picture(), "profile-pictures")
    for pk in (photo, face):
        assert api("POST", f"media/{pk}/confirm/").status_code == 200
    worker = Api(make_member(api.actor, Role.WORKER, [vale]))
    assert [one["id"] for one in worker("GET", "media/").json()["results"]] == [face]
    assert problem(worker("GET", f"media/{photo}/"))[0] == 404


def test_a_store_that_is_away_changes_nothing(api: Api, standin: StandIn) -> None:
    pk = upload(api, PDF)
    standin.broken = True
    assert problem(api("POST", f"media/{pk}/confirm/")) == (503, "store-away")
    assert problem(api("POST", "media/", {"bucket": "documents"})) == (503, "store-away")
    standin.broken = False
    assert api("POST", f"media/{pk}/confirm/").status_code == 200
    with unit_of_work(api.actor.tenant_id):
        assert Media.objects.count() == 1


def count(owner: psycopg.Connection[Any]) -> int:
    ((found,),) = owner.execute("SELECT count(*) FROM media_media").fetchall()
    return int(found)


def test_what_is_left_over_goes_bytes_first(committed: psycopg.Connection[Any], standin: StandIn) -> None:
    api = Api(make_owner())
    abandoned, deleted, kept = (upload(api, PDF) for _ in range(3))
    for pk in (deleted, kept):
        assert api("POST", f"media/{pk}/confirm/").status_code == 200
    with unit_of_work(api.actor.tenant_id):
        delete(api.actor, UUID(deleted))
    assert problem(api("GET", f"media/{deleted}/"))[0] == 404
    now = timezone.now()
    with as_owner():
        assert sweep(now) == 0
        standin.broken = True
        with pytest.raises(Exception, match="500"):
            sweep(now + GRACE + timedelta(minutes=1))
        standin.broken = False
        assert count(committed) == 3
        assert sweep(now + GRACE + timedelta(minutes=1)) == 1
        assert any(abandoned in name for name in standin.objects)
        assert sweep(now + ABANDONED + timedelta(minutes=1)) == 0  # marked: nobody can confirm it now
        assert problem(api("POST", f"media/{abandoned}/confirm/"))[0] == 404
        assert sweep(now + ABANDONED + GRACE + timedelta(minutes=2)) == 1
        assert sweep(now + ABANDONED + GRACE + timedelta(minutes=2)) == 0
    assert [name for name in standin.objects if kept not in name] == []
    assert count(committed) == 1


@pytest.mark.django_db
def test_the_documents_face(standin: StandIn) -> None:
    owner, other = make_owner(), make_owner("Other")

    def as_tenant(actor: Actor, work: Any) -> Any:
        with unit_of_work(actor.tenant_id):
            return work()

    face = SupabaseStorageService
    kept = as_tenant(
        owner, lambda: face.upload_file(io.BytesIO(picture()), "animal-photos", owner.tenant_id, "cow.exe")
    )
    assert kept["path"].startswith(f"{owner.tenant_id}/")
    assert kept["path"].endswith(".jpg")
    assert kind_of(httpx.get(kept["url"], timeout=60).content) == "JPEG"
    url = as_tenant(owner, lambda: face.get_signed_url("animal-photos", kept["path"]))
    assert httpx.get(url, timeout=60).status_code == 200
    for work in (
        lambda: face.get_signed_url("animal-photos", kept["path"]),
        lambda: face.delete_file("animal-photos", kept["path"]),
        lambda: face.upload_file(io.BytesIO(picture()), "animal-photos", owner.tenant_id),
    ):
        with pytest.raises(NotFound):
            as_tenant(other, work)
    as_tenant(owner, lambda: face.delete_file("animal-photos", kept["path"]))
    assert as_tenant(owner, Media.objects.get).state == "deleted"
