"""Who may work in a tenant, and that a right that was taken is gone with the next request."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.errors import NotFound, RuleBroken, StaleVersion
from ifarm.core.secrets import new_secret
from ifarm.core.tests.factories import make_member, make_owner, make_token, make_user
from ifarm.core.versions import Seen
from ifarm.farms.models import Farm
from ifarm.farms.services import create_farm
from ifarm.permissions.models import Invitation, Membership
from ifarm.permissions.services import (
    PermissionService,
    accept_invitation,
    actor_for,
    invite,
    membership_of,
    remove_member,
    revoke_token,
    update_membership,
)
from ifarm.tenants.models import Tenant
from ifarm.users.models import User

pytestmark = pytest.mark.django_db


def farms(owner: Actor, *names: str) -> list[Farm]:
    with unit_of_work(owner.tenant_id):
        return [create_farm(owner, name=name) for name in names]


def change(owner: Actor, member: Actor, **changes: object) -> Membership:
    with unit_of_work(owner.tenant_id):
        before = membership_of(member)
        return update_membership(owner, before.id, changes, Seen(before.version))


def status(token: str) -> int:
    return Client().get("/api/v1/animals/", headers={"Authorization": token}).status_code


def test_farms_that_were_taken_are_gone_with_the_next_request() -> None:
    owner = make_owner()
    hill, vale = farms(owner, "Hill", "Vale")
    member = make_member(owner, Role.WORKER, [hill.id, vale.id])
    headers = {"Authorization": make_token(member)}

    def seen() -> list[str]:
        return [row["name"] for row in Client().get("/api/v1/farms/", headers=headers).json()["results"]]

    assert seen() == ["Hill", "Vale"]
    change(owner, member, farm_ids=[vale.id])
    assert seen() == ["Vale"]
    change(owner, member, farm_ids=[])
    assert seen() == []  # an empty set is an answer, not a reason to ask again or to show all


def test_no_cache_can_bring_a_right_back() -> None:
    """A process whose cache was filled before, and was never told, must not use what it has."""
    owner = make_owner()
    (hill,) = farms(owner, "Hill")
    member = make_member(owner, Role.WORKER, [hill.id])
    user = User.objects.get(pk=member.id)
    assert user.get_accessible_farm_ids(owner.tenant_id) == [hill.id]
    with unit_of_work(owner.tenant_id):
        generation = membership_of(member).generation
    key = PermissionService.key(member.id, owner.tenant_id, generation)
    assert cache.get(key) == [str(hill.id)]
    change(owner, member, farm_ids=[])
    assert cache.get(key) == [str(hill.id)]
    assert user.get_accessible_farm_ids(owner.tenant_id) == []


def test_an_invalidated_cache_is_not_used_again() -> None:
    owner = make_owner()
    (hill,) = farms(owner, "Hill")
    member = make_member(owner, Role.WORKER, [hill.id])
    with unit_of_work(owner.tenant_id):
        generation = membership_of(member).generation
    cache.set(PermissionService.key(member.id, owner.tenant_id, generation), [])
    assert PermissionService.get_accessible_farm_ids(member.id, owner.tenant_id) == []
    PermissionService.invalidate_user_permissions_cache(member.id, owner.tenant_id)
    assert PermissionService.get_accessible_farm_ids(member.id, owner.tenant_id) == [hill.id]


def test_a_new_role_holds_at_once() -> None:
    owner = make_owner()
    member = make_member(owner, Role.MANAGER)
    assert "animals.animal.delete" in PermissionService.get_user_permissions(member.id, owner.tenant_id)
    change(owner, member, role="read_only")
    rights = PermissionService.get_user_permissions(member.id, owner.tenant_id)
    assert "animals.animal.delete" not in rights
    assert "animals.animal.view" in rights


def test_who_left_and_who_never_came_are_told_the_same() -> None:
    owner = make_owner()
    member = make_member(owner, Role.WORKER)
    token = make_token(member)
    assert status(token) == 200
    with unit_of_work(owner.tenant_id):
        remove_member(owner, membership_of(member).id)
    assert status(token) == 404
    assert PermissionService.get_user_permissions(member.id, owner.tenant_id) == frozenset()
    assert PermissionService.get_accessible_farm_ids(make_user().id, owner.tenant_id) == []


def test_a_suspended_tenant_is_closed() -> None:
    owner = make_owner()
    token = make_token(owner)
    with unit_of_work(owner.tenant_id):
        Tenant.objects.update(status="suspended")
    assert status(token) == 403


def test_a_revoked_token_is_refused_at_once() -> None:
    owner = make_owner()
    token = make_token(owner)
    assert status(token) == 200
    with unit_of_work(owner.tenant_id):
        revoke_token(owner, membership_of(owner).tokens.get().id)
    assert status(token) == 401
    assert status("Bearer " + new_secret("ifarm", owner.tenant_id).text) == 401


def test_an_owner_stays() -> None:
    owner = make_owner()
    for changes in ({"role": "manager"}, {"is_active": False}):
        with pytest.raises(RuleBroken, match="an owner to stay"):
            change(owner, owner, **changes)
    second = make_member(owner, Role.OWNER)
    change(second, owner, role="manager")


def test_nobody_gives_what_they_do_not_have() -> None:
    owner = make_owner()
    hill, vale = farms(owner, "Hill", "Vale")
    manager = make_member(owner, Role.MANAGER, [hill.id])
    worker = make_member(owner, Role.WORKER, [hill.id])
    for changes in ({"role": "owner"}, {"all_farms": True}, {"farm_ids": [vale.id]}):
        with pytest.raises(RuleBroken):
            change(manager, worker, **changes)
    with pytest.raises(RuleBroken):
        change(manager, owner, role="worker")
    change(manager, worker, role="vet")


def test_two_who_change_a_member_one_is_told() -> None:
    owner = make_owner()
    member = make_member(owner, Role.WORKER)
    with unit_of_work(owner.tenant_id):
        stale = Seen(membership_of(member).version)
    change(owner, member, role="vet")
    with unit_of_work(owner.tenant_id), pytest.raises(StaleVersion):
        update_membership(owner, membership_of(member).id, {"role": "manager"}, stale)


def test_an_invitation_is_for_one_person_once() -> None:
    owner = make_owner()
    (hill,) = farms(owner, "Hill")
    guest, other = make_user(), make_user()
    with unit_of_work(owner.tenant_id):
        _, secret = invite(owner, email=guest.email.upper(), role=Role.VET, farm_ids=[hill.id])
    with pytest.raises(NotFound):
        accept_invitation(other, secret)
    accept_invitation(guest, secret)
    with pytest.raises(NotFound):
        accept_invitation(guest, secret)
    with unit_of_work(owner.tenant_id):
        actor = actor_for(guest.id)
    assert (actor.role, actor.farm_ids) == (Role.VET, frozenset({hill.id}))


def test_an_invitation_ends() -> None:
    owner, guest = make_owner(), make_user()
    with unit_of_work(owner.tenant_id):
        _, secret = invite(owner, email=guest.email, role=Role.VET)
        Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(NotFound):
        accept_invitation(guest, secret)


def test_an_invitation_makes_no_owner_of_a_managers_guest() -> None:
    owner = make_owner()
    manager = make_member(owner, Role.MANAGER)
    with unit_of_work(owner.tenant_id), pytest.raises(RuleBroken):
        invite(manager, email="x@example.org", role=Role.OWNER)
