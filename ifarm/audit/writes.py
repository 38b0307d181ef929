"""The write path: every service writes rows by these three, so that each change is checked, counted and recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from django.db import models
from django.utils import timezone

from ifarm.audit.models import AuditEntry
from ifarm.core.actors import Actor
from ifarm.core.context import current_tenant
from ifarm.core.encoding import plain
from ifarm.core.many import insert_rows, insert_values
from ifarm.core.models import TenantModel, Tombstone

Row = TypeVar("Row", bound=TenantModel)
_UNTOLD = frozenset({"tenant", "created_at", "modified_at", "version", "digest"})
"""What nobody looks for in the audit, and the digests of secrets."""


def insert(actor: Actor, row: Row, *, reason: str = "") -> Row:
    """Check and add one row. Raises ValidationError; IntegrityError where the database says no."""
    _check(row)
    row.save(force_insert=True)
    record(actor, "created", row, _made(row), reason)
    return row


def insert_all(actor: Actor, rows: Sequence[Row]) -> Sequence[Row]:
    """Check and add many rows of one model, each as by `insert`, in few statements. Raises as that does, for all."""
    for row in rows:
        _check(row)
    insert_rows(rows)
    record_all(actor, "created", ((row, _made(row)) for row in rows))
    return rows


def update(actor: Actor, row: Row, changes: Mapping[str, Any], *, reason: str = "") -> Row:
    """Change fields of one row, whose lock the caller holds. Nothing happens where nothing differs."""
    before = _values(row)
    for name, value in changes.items():
        setattr(row, name, value)
    _check(row)
    after = _values(row)
    told = {key: [before[key], after[key]] for key in after if before[key] != after[key]}
    if not told:
        return row
    fields = {*told, "modified_at"}
    row.modified_at = timezone.now()
    if hasattr(row, "version"):
        row.version += 1
        fields.add("version")
    row.save(update_fields=fields)
    record(actor, "changed", row, told, reason)
    return row


def delete(actor: Actor, row: TenantModel, *, reason: str = "") -> None:
    """Remove one row, whose lock the caller holds. What it was stays in the audit; offline clients get a tombstone."""
    record(actor, "deleted", row, {k: [v, None] for k, v in _values(row).items() if v is not None}, reason)
    Tombstone.of(row).save(force_insert=True)
    row.delete()


def bury(actor: Actor, row: Row, changes: Mapping[str, Any], *, reason: str = "") -> Row:
    """Hide one row for good, whose lock the caller holds, where others refer to it; with a tombstone."""
    row = update(actor, row, changes, reason=reason)
    Tombstone.of(row).save(force_insert=True)
    return row


def record(
    actor: Actor, action: str, row: TenantModel, changes: Mapping[str, Any], reason: str = ""
) -> AuditEntry:
    """Record something that is no plain change (a login, an override). Raises `NoTenant` outside a unit of work."""
    _of_tenant(row, current_tenant())
    entry = AuditEntry(
        actor_id=actor.id,
        actor_role=actor.role,
        action=action,
        model=row._meta.label_lower,
        object_id=row.id,
        changes=plain(changes),
        reason=reason,
    )
    entry.save(force_insert=True)
    return entry


def record_all(actor: Actor, action: str, changes: Iterable[tuple[TenantModel, Mapping[str, Any]]]) -> None:
    """`record` for many rows of one model, in few statements: they share all but the row and its changes."""
    tenant_id = current_tenant()
    told = [(_of_tenant(row, tenant_id), made) for row, made in changes]
    if told:
        insert_values(
            AuditEntry,
            {
                "actor_id": actor.id,
                "actor_role": actor.role.value,
                "action": action,
                "model": told[0][0]._meta.label_lower,
                "reason": "",
            },
            [{"object_id": row.id, "changes": made} for row, made in told],
        )


def _of_tenant(row: Row, tenant_id: UUID) -> Row:
    if row.tenant_id != tenant_id:
        raise RuntimeError(f"expected a row of tenant {tenant_id}, found one of {row.tenant_id}")
    return row


def _made(row: models.Model) -> dict[str, Any]:
    return {name: [None, value] for name, value in _values(row).items() if value is not None}


def _check(row: models.Model) -> None:
    """What can be told without asking the database; it checks references and uniqueness itself, without a race."""
    row.clean_fields(exclude={field.name for field in row._meta.fields if field.is_relation})
    row.clean()


def _values(row: models.Model) -> dict[str, Any]:
    return {f.attname: getattr(row, f.attname) for f in row._meta.concrete_fields if f.name not in _UNTOLD}
