"""Routes of the audit."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet

from ifarm.api.pages import Order
from ifarm.api.views import TenantView, operation
from ifarm.audit import selectors
from ifarm.audit.filters import EntryFilters
from ifarm.audit.models import AuditArchive, AuditEntry
from ifarm.audit.policies import ARCHIVES, ENTRIES
from ifarm.audit.serializers import ArchiveOutput, DownloadOutput, EntryOutput


class EntriesApi(TenantView):
    """Who changed what, and when."""

    @operation(ENTRIES, "view", output=EntryOutput, order=Order(AuditEntry, "id"), filters=EntryFilters)
    def get(self) -> QuerySet[AuditEntry]:
        """Entries of a year; older ones are in archives. By their key, which is by time."""
        return selectors.list_entries(self.actor)


class ArchivesApi(TenantView):
    """What has left the database."""

    @operation(ARCHIVES, "view", output=ArchiveOutput, order=Order(AuditArchive, "month"))
    def get(self) -> QuerySet[AuditArchive]:
        """A file for each month."""
        return selectors.list_archives(self.actor)


class ArchiveDownloadApi(TenantView):
    """One file."""

    @operation(ARCHIVES, "view", output=DownloadOutput)
    def get(self, archive_id: UUID) -> selectors.Download:
        """Where to fetch it."""
        return selectors.download_archive(self.actor, archive_id)
