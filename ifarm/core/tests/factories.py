"""People and tenants for tests. Everything of a tenant is made by an actor, so nothing can be made without a tenant."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from uuid import UUID

from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.permissions.models import Membership
from ifarm.permissions.services import actor_for, add_member, create_token, membership_of
from ifarm.tenants.services import create_tenant
from ifarm.users.models import User

_number = itertools.count(1)


def make_user(name: str = "somebody") -> User:
    return User.objects.create_user(f"{name}{next(_number)}@example.org")


def make_owner(name: str = "Hill Farm") -> Actor:
    """A new tenant; its owner acts."""
    return create_tenant(make_user("owner"), name=name)[1]


def make_member(owner: Actor, role: Role, farm_ids: Collection[UUID] | None = None) -> Actor:
    """Somebody else in the tenant; with all farms unless some are named."""
    user = make_user(role)
    with unit_of_work(owner.tenant_id):
        add_member(owner, user=user, role=role, all_farms=farm_ids is None, farm_ids=farm_ids or ())
        return actor_for(user.id)


def make_token(actor: Actor) -> str:
    """What a device of this actor sends: the value of `Authorization`."""
    with unit_of_work(actor.tenant_id):
        owner = actor
        if actor.role is not Role.OWNER or actor.farm_ids is not None:
            boss = Membership.objects.filter(role=Role.OWNER, all_farms=True).first()
            assert boss is not None
            owner = actor_for(boss.user_id)
        return f"Bearer {create_token(owner, membership_id=membership_of(actor).id, name='test')[1].text}"
