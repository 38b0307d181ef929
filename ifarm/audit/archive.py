"""Old months of the audit leave the database: a file for each tenant in the object store, then the table goes.

Each file is read back and compared before the table it came from is dropped, and the drop counts the entries once more.
Every step may be repeated: a file has one name and, for the same entries, the same bytes. Run it as the owner.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import IO, Final
from uuid import UUID, uuid5

import zstandard
from django.db import ProgrammingError, connection, transaction
from django.db.models import Sum
from django.utils import timezone

from ifarm.audit import partitions, writes
from ifarm.audit.models import AuditArchive
from ifarm.core.context import unit_of_work
from ifarm.core.events import record_event
from ifarm.core.locks import Lock, take
from ifarm.media.store import TenantFiles
from ifarm.permissions.services import job_actor

BUCKET: Final = "audit-archive"
KEPT_DAYS: Final = 365
CONTENT_TYPE: Final = "application/zstd"
_IN_MEMORY: Final = 2**22
_ROWS: Final = 2000


@dataclass(frozen=True, slots=True)
class _File:
    entries: int
    size_bytes: int
    sha256: str


def archive_old_logs(now: datetime | None = None, days: int = KEPT_DAYS) -> list[date]:
    """Archive the months whose every entry is older than so many days; returns them, oldest first.

    May run at any time, any number of times, and twice at once. Raises `StoreAway` where the store does not answer,
    `SchemaDrift` where a node is away: what was done is done, and the next run goes on from there.
    """
    before = (now or timezone.now()) - timedelta(days=days)
    over = [
        month for month in partitions.present() if partitions.begins(partitions.following(month)) <= before
    ]
    for month in over:
        try:
            _archive_month(month)
        except ProgrammingError:
            if month in partitions.present():
                raise  # else another run has finished it meanwhile
    return over


def _archive_month(month: date) -> None:
    for tenant_id in _tenants(partitions.table_of(month)):
        _archive(tenant_id, month)
    filed = AuditArchive.objects.unscoped().filter(month=month).aggregate(entries=Sum("entries"))
    partitions.drop_partition(month, entries=filed["entries"] or 0)


def _tenants(table: str) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT DISTINCT tenant_id FROM {table} ORDER BY 1")
        return [row[0] for row in cursor.fetchall()]


def _archive(tenant_id: UUID, month: date) -> None:
    """One tenant's month: write, read back, record. No transaction is open while the store is spoken to."""
    if AuditArchive.objects.unscoped().filter(tenant_id=tenant_id, month=month).exists():
        return
    files = TenantFiles(tenant_id)
    path = files.path(uuid5(tenant_id, f"audit/{month}"), "jsonl.zst")
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        made = _write(tenant_id, partitions.table_of(month), file)
        file.seek(0)
        files.put(BUCKET, path, file, content_type=CONTENT_TYPE)
    digest = hashlib.sha256()
    for piece in files.read(BUCKET, path):
        digest.update(piece)
    if digest.hexdigest() != made.sha256:
        raise RuntimeError(
            f"{path}: expected SHA-256 {made.sha256}, found {digest.hexdigest()}. Run it again."
        )
    with unit_of_work(tenant_id):
        take(Lock.AUDIT_ARCHIVE, f"{tenant_id}/{month}")
        if AuditArchive.objects.filter(month=month).exists():
            return
        row = AuditArchive(
            month=month, entries=made.entries, size_bytes=made.size_bytes, sha256=made.sha256, path=path
        )
        writes.insert(job_actor(tenant_id), row)
        record_event("audit_archived", row, month=month, entries=made.entries)


def _write(tenant_id: UUID, table: str, file: IO[bytes]) -> _File:
    """Compress the entries, a line each. A file of the same entries has the same bytes."""
    digest, entries = hashlib.sha256(), 0
    compressor = zstandard.ZstdCompressor(level=10, write_checksum=True).compressobj()
    for line in _lines(tenant_id, table):
        entries += 1
        _add(file, digest, compressor.compress(line.encode() + b"\n"))
    _add(file, digest, compressor.flush())
    return _File(entries, file.tell(), digest.hexdigest())


def _add(file: IO[bytes], digest: hashlib._Hash, piece: bytes) -> None:
    file.write(piece)
    digest.update(piece)


def _lines(tenant_id: UUID, table: str) -> Iterator[str]:
    """Entries as JSON, as the database writes it: times in UTC with microseconds, oldest first; some at a time."""
    query = f"SELECT row_to_json(t)::text FROM {table} t WHERE tenant_id = %s ORDER BY id"
    with transaction.atomic(durable=True), connection.chunked_cursor() as cursor:
        cursor.execute(query, (tenant_id,))
        while rows := cursor.fetchmany(_ROWS):
            for (line,) in rows:
                yield line
