from __future__ import annotations

from datetime import date
from uuid import UUID, uuid5

from ifarm.api.tests.examples import Examples, Ids
from ifarm.audit import writes
from ifarm.audit.models import AuditArchive
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.farms.services import create_farm
from ifarm.media.store import TenantFiles
from ifarm.media.tests.standin import shared

examples = Examples()


def archive_of(actor: Actor, month: date) -> UUID:
    path = TenantFiles(actor.tenant_id).path(uuid5(actor.tenant_id, str(month)), "jsonl.zst")
    shared().objects[f"audit-archive/{path}"] = (b"", "application/zstd")
    row = AuditArchive(month=month, entries=3, size_bytes=100, sha256="0" * 64, path=path)
    return writes.insert(actor, row).id


@examples.row("archive_id")
def archive(actor: Actor, ids: Ids) -> UUID:
    with unit_of_work(actor.tenant_id):
        return archive_of(actor, date(2020, 1, 1))


@examples.fill("audit-archives")
def more_archives(actor: Actor, ids: Ids, number: int) -> None:
    with unit_of_work(actor.tenant_id):
        archive_of(actor, date(2021, number, 1))


@examples.fill("audit")
def more_entries(actor: Actor, ids: Ids, number: int) -> None:
    with unit_of_work(actor.tenant_id):
        create_farm(actor, name=f"Farm {number}")
