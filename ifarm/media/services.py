"""Files: reserve, upload, confirm; and what is left over goes.

A client reserves a file and sends its bytes to the store itself, to a place nothing is ever shown from. Confirming
looks at them and writes what may be shown to the file's own place, for which no upload was ever signed: so what was
looked at is what is shown, whatever is sent later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db.models import Q

from ifarm.animals.policies import access_animal
from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import current_tenant, unit_of_work
from ifarm.core.errors import NotFound, RuleBroken
from ifarm.core.events import record_event
from ifarm.farms.policies import access_farm
from ifarm.media.looks import EXTENSIONS, Looked, look_at
from ifarm.media.models import Media
from ifarm.media.policies import access_media
from ifarm.media.store import SIGNED_SECONDS, TenantFiles, Upload, files
from ifarm.media.words import Bucket, MediaState
from ifarm.permissions.services import job_actor

MOST_BYTES: Final = {
    Bucket.PROFILE_PICTURES: 5 * 2**20,
    Bucket.ANIMAL_PHOTOS: 15 * 2**20,
    Bucket.FARM_PHOTOS: 15 * 2**20,
    Bucket.DOCUMENTS: 20 * 2**20,
}
ABANDONED: Final = timedelta(hours=24)
"""Nobody confirms any more; an upload was signed for an hour (Supabase: two)."""
GRACE: Final = timedelta(hours=3)
"""From deleting a row to removing its bytes: longer than any upload is signed for, and than any request takes."""
BATCH: Final = 100
_SUBJECTS: Final = {
    Bucket.ANIMAL_PHOTOS: (True, False),
    Bucket.FARM_PHOTOS: (False, True),
    Bucket.PROFILE_PICTURES: (False, False),
}
_UPLOAD: Final = "upload"
_ANYTHING: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Reserved:
    """A file that may be uploaded now."""

    id: UUID
    upload: Upload
    most_bytes: int
    expires_s: int = SIGNED_SECONDS


def reserve(
    actor: Actor,
    *,
    bucket: Bucket,
    name: str = "",
    animal_id: UUID | None = None,
    farm_id: UUID | None = None,
) -> Reserved:
    """A place for a file of an animal, a farm, or of the actor. Raises `NotFound`, `RuleBroken`, `StoreAway`."""
    with unit_of_work():
        _require_subject(bucket, animal_id, farm_id)
        row = Media(bucket=bucket.value, uploaded_by=actor.id, name=name)
        if animal_id is not None:
            row.animal = access_animal(actor, animal_id)
        if farm_id is not None:
            row.farm = access_farm(actor, farm_id)
        writes.insert(actor, row)
        place = files()
        signed = place.sign_upload(
            row.bucket,
            place.path(row.id, _UPLOAD),
            content_type=_ANYTHING,  # what it is, is looked at later
            most_bytes=MOST_BYTES[bucket],
        )
        return Reserved(row.id, signed, MOST_BYTES[bucket])


def _require_subject(bucket: Bucket, animal_id: UUID | None, farm_id: UUID | None) -> None:
    found = (animal_id is not None, farm_id is not None)
    if bucket is Bucket.DOCUMENTS or found == _SUBJECTS[bucket]:
        return
    raise RuleBroken(
        "expected an animal for its photo, a farm for its photo, neither for a face; found another."
    )


def confirm(actor: Actor, media_id: UUID) -> Media:
    """The bytes are there: look at them and keep what may be shown. A second time changes nothing.

    Raises `NotFound` (no file, or no bytes), `RuleBroken` (too large, not what may be), `StoreAway`.
    """
    with unit_of_work():
        row = access_media(actor, media_id)
        if row.state == MediaState.READY:
            return row
        place = files()
        incoming = place.path(row.id, _UPLOAD)
        looked = look_at(
            _bytes(place, Bucket(row.bucket), incoming), documents=row.bucket == Bucket.DOCUMENTS.value
        )
        row = _keep(actor, row, place, looked)
        place.delete(row.bucket, [incoming])
        return row


def _bytes(place: TenantFiles, bucket: Bucket, path: str) -> bytes:
    """All of them, if they are not too many."""
    most, body = MOST_BYTES[bucket], bytearray()
    for piece in place.read(bucket.value, path):
        body += piece
        if len(body) > most:
            raise RuleBroken(f"expected {most} bytes at most, found more.")
    return bytes(body)


def _keep(actor: Actor, row: Media, place: TenantFiles, looked: Looked) -> Media:
    path = place.path(row.id, EXTENSIONS[looked.content_type])
    place.put(row.bucket, path, looked.body, content_type=looked.content_type)
    locked = access_media(actor, row.id, lock=True)  # not while the store is spoken to
    if locked.state == MediaState.READY:
        return locked
    changes: dict[str, Any] = {
        "state": MediaState.READY.value,
        "path": path,
        "content_type": looked.content_type,
        "size_bytes": len(looked.body),
        "width_px": looked.width_px,
        "height_px": looked.height_px,
    }
    row = writes.update(actor, locked, changes)
    record_event("media_ready", row, bucket=row.bucket, animal_id=row.animal_id, farm_id=row.farm_id)
    return row


def delete(actor: Actor, media_id: UUID) -> None:
    """Nobody sees it any more; its bytes go with the next sweep. Raises `NotFound`."""
    with unit_of_work():
        row = access_media(actor, media_id, lock=True)
        writes.update(actor, row, {"state": MediaState.DELETED.value})
        record_event("media_deleted", row, bucket=row.bucket)


def sweep(now: datetime, *, limit: int = BATCH) -> int:
    """Remove a batch of what was deleted, and mark as deleted what was reserved and never confirmed.

    Bytes go before the row that knows of them, hours after it was marked: nothing that is being confirmed or uploaded
    meanwhile is left behind. As the owner; may run at any time, any number of times. Returns how many rows went.
    Raises `StoreAway`.
    """
    every = Media.objects.unscoped().order_by("modified_at", "id")
    over = Q(state=MediaState.DELETED.value, modified_at__lte=now - GRACE)
    found = list(every.filter(over).values_list("tenant_id", "id", "bucket")[:limit])
    gone = sum(_remove(*one) for one in found)
    abandoned = Q(state=MediaState.RESERVED.value, modified_at__lte=now - ABANDONED)
    for tenant_id, pk in list(every.filter(abandoned).values_list("tenant_id", "id")[:limit]):
        with unit_of_work(tenant_id):
            row = Media.objects.select_for_update().filter(abandoned, pk=pk).first()
            if row is not None:
                changes = {"state": MediaState.DELETED.value}
                writes.update(job_actor(tenant_id), row, changes, reason="never confirmed")
    return gone


def _remove(tenant_id: UUID, pk: UUID, bucket: str) -> bool:
    place = TenantFiles(tenant_id)
    place.delete(bucket, [place.path(pk, end) for end in (_UPLOAD, *EXTENSIONS.values())])
    with unit_of_work(tenant_id):
        row = Media.objects.select_for_update().filter(pk=pk).first()
        if row is not None:
            writes.delete(job_actor(tenant_id), row, reason="swept")
        return row is not None


class SupabaseStorageService:
    """The documents' face of the store: everything goes through `TenantFiles` and `look_at`, for any backend."""

    @staticmethod
    def upload_file(
        file: Any, bucket_type: str, tenant_id: UUID, file_name: str | None = None
    ) -> dict[str, str]:
        """Keep a file of the present tenant that the server itself has. ``file_name`` is a name for people only.

        ``url`` is signed, for an hour. Raises `RuleBroken`, `StoreAway`, and `NotFound` for another tenant.
        """
        with unit_of_work():
            _require_present(tenant_id)
            actor, bucket = job_actor(tenant_id), Bucket(bucket_type)
            body = file.read(MOST_BYTES[bucket] + 1)
            if len(body) > MOST_BYTES[bucket]:
                raise RuleBroken(f"expected {MOST_BYTES[bucket]} bytes at most, found more.")
            looked = look_at(body, documents=bucket is Bucket.DOCUMENTS)
            row = Media(bucket=bucket.value, uploaded_by=actor.id, name=file_name or "")
            writes.insert(actor, row)
            row = _keep(actor, row, files(), looked)
            return {
                "path": row.path,
                "url": files().sign_download(row.bucket, row.path),
                "bucket": row.bucket,
            }

    @staticmethod
    def delete_file(bucket: str, path: str) -> None:
        """Remove a file of the present tenant. Raises `NotFound` for a path that is not the tenant's."""
        with unit_of_work():
            row = Media.objects.filter(bucket=bucket, path=path).first()
            if row is None:
                raise NotFound("the file was not found.")
            delete(job_actor(current_tenant()), row.id)

    @staticmethod
    def get_signed_url(bucket: str, path: str, expires_in: int = SIGNED_SECONDS) -> str:
        """An address for a file of the present tenant, for an hour at most. Raises `NotFound`."""
        return files().sign_download(bucket, path, expires_in)


def _require_present(tenant_id: UUID) -> None:
    if tenant_id != current_tenant():
        raise NotFound(f"tenant {tenant_id} was not found.")
