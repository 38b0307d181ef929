"""Reads of files."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db.models import QuerySet

from ifarm.core.actors import Actor
from ifarm.core.errors import NotFound
from ifarm.media.models import Media
from ifarm.media.policies import MEDIA, access_media
from ifarm.media.store import SIGNED_SECONDS, files
from ifarm.media.words import MediaState


@dataclass(frozen=True, slots=True)
class Shown:
    """A file and where to fetch it."""

    media: Media
    url: str
    expires_s: int = SIGNED_SECONDS


def list_media(actor: Actor) -> QuerySet[Media]:
    """The files that can be shown."""
    return MEDIA.instances(actor).filter(state=MediaState.READY.value)


def show(actor: Actor, media_id: UUID) -> Shown:
    """One of them, with an address for an hour. Raises `NotFound`, also for one that is not confirmed."""
    media = access_media(actor, media_id)
    if media.state != MediaState.READY:
        raise NotFound(f"file {media_id} was not found.")
    return Shown(media, files().sign_download(media.bucket, media.path))
