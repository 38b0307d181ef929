"""A new tenant, with its first owner, and what they change of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ifarm.audit import writes
from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.events import record_event
from ifarm.core.ids import uuid7
from ifarm.core.versions import Seen
from ifarm.permissions.models import Membership
from ifarm.permissions.services import rights_of
from ifarm.tenants.models import Tenant, TenantStatus
from ifarm.tenants.policies import TENANTS
from ifarm.users.models import User


def create_tenant(
    user: User,
    *,
    name: str,
    timezone: str = "UTC",
    currency: str = "EUR",
    status: TenantStatus = TenantStatus.TRIAL,
) -> tuple[Tenant, Actor]:
    """A tenant whose owner is ``user``, who is returned as the actor in it. A unit of work of its own."""
    tenant = Tenant(id=uuid7(), name=name, timezone=timezone, currency=currency, status=status)
    actor = Actor(user.id, tenant.id, Role.OWNER, rights_of(Role.OWNER), None)
    with unit_of_work(tenant.id):
        tenant.full_clean(validate_unique=False, validate_constraints=False)
        tenant.save(force_insert=True)
        writes.insert(actor, Membership(user=user, role=Role.OWNER, all_farms=True), reason="new tenant")
        record_event("tenant_created", tenant, name=name)
    return tenant, actor


def update_tenant(actor: Actor, changes: Mapping[str, Any], seen: Seen) -> Tenant:
    """Change the name, the time zone or the currency of the actor's tenant. Raises `StaleVersion`.

    The currency is the one that is proposed from now on: amounts keep theirs, and are never converted. The time zone
    decides when the tenant's own days begin (trial, bills); farms have theirs.
    """
    with unit_of_work():
        tenant = TENANTS.access(actor, actor.tenant_id, lock=True)
        seen.require(tenant)
        tenant = writes.update(actor, tenant, changes)
        record_event("tenant_updated", tenant, fields=sorted(changes))
        return tenant
