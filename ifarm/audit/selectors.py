"""Reads of the audit."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db.models import QuerySet

from ifarm.audit.archive import BUCKET
from ifarm.audit.models import AuditArchive, AuditEntry
from ifarm.audit.policies import ARCHIVES, ENTRIES, access_archive
from ifarm.core.actors import Actor
from ifarm.media.store import files


@dataclass(frozen=True, slots=True)
class Download:
    """Where an archive can be fetched, for an hour."""

    url: str


def list_entries(actor: Actor) -> QuerySet[AuditEntry]:
    """The entries of the tenant that are in the database: a year and up to a month."""
    return ENTRIES.instances(actor)


def list_archives(actor: Actor) -> QuerySet[AuditArchive]:
    """The months that are in files."""
    return ARCHIVES.instances(actor)


def download_archive(actor: Actor, archive_id: UUID) -> Download:
    """An address for one file. Raises `NotFound`."""
    return Download(files().sign_download(BUCKET, access_archive(actor, archive_id).path))
