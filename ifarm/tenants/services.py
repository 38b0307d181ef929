"""A new tenant, with its first owner."""

from __future__ import annotations

from ifarm.audit import writes
from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.events import record_event
from ifarm.core.ids import uuid7
from ifarm.permissions.models import Membership
from ifarm.permissions.services import rights_of
from ifarm.tenants.models import Tenant, TenantStatus
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
