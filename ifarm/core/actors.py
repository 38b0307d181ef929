"""Who acts: a person in a tenant, a device, or a job. Every service and selector takes one."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID


class Role(StrEnum):
    """What a membership allows."""

    OWNER = "owner"
    MANAGER = "manager"
    WORKER = "worker"
    VET = "vet"
    ACCOUNTANT = "accountant"
    READ_ONLY = "read_only"


EVERYONE = frozenset(Role)
LEADERS = frozenset({Role.OWNER, Role.MANAGER})
STOCKKEEPERS = LEADERS | {Role.WORKER}
CARERS = STOCKKEEPERS | {Role.VET}
BOOKKEEPERS = LEADERS | {Role.ACCOUNTANT}
NOBODY: frozenset[Role] = frozenset()


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts in one tenant.

    Args:
        id: the user's id, or the token's for a device.
        rights: names of rights, ``app.model.action``.
        farm_ids: farms whose rows may be seen; None means every farm of the tenant.
        membership_id: None for a job.
        token_id: the token that a device acts with; None for a person in a browser and for a job.
    """

    id: UUID
    tenant_id: UUID
    role: Role
    rights: frozenset[str] = field(repr=False)
    farm_ids: frozenset[UUID] | None
    membership_id: UUID | None = None
    token_id: UUID | None = None
