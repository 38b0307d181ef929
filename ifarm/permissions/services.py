"""Memberships, invitations, tokens: who may work in a tenant, and the cache of what that means."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.core.cache import cache
from django.utils import timezone

from ifarm.audit import writes
from ifarm.core.actors import Actor, Role
from ifarm.core.context import current_tenant, unit_of_work
from ifarm.core.errors import NotAllowed, NotFound, RuleBroken
from ifarm.core.events import record_event
from ifarm.core.policies import POLICIES
from ifarm.core.secrets import Secret, new_secret
from ifarm.core.versions import Seen
from ifarm.farms.models import Farm
from ifarm.permissions.models import ApiToken, FarmAccess, Invitation, Membership
from ifarm.permissions.policies import INVITATIONS, MEMBERSHIPS, TOKENS
from ifarm.tenants.models import TenantStatus
from ifarm.users.models import User

CACHE_SECONDS: Final = 3600
JOB: Final = UUID(int=0)
"""The actor of jobs in the audit."""
INVITATION_LIFE: Final = timedelta(days=14)
_OPEN = frozenset({TenantStatus.ACTIVE, TenantStatus.TRIAL})


def rights_of(role: Role) -> frozenset[str]:
    """The names of all rights of a role."""
    return frozenset(
        policy.right(action)
        for policy in POLICIES.values()
        for action in policy.roles
        if role in policy.roles[action]
    )


class PermissionService:
    """What a person may do in a tenant, cached under the generation of the membership.

    The generation is read with every request. So a right that was revoked is gone with the next one, in every process,
    whatever the cache holds.
    """

    @staticmethod
    def key(user_id: UUID, tenant_id: UUID, generation: int) -> str:
        """Where the farms of one generation are kept."""
        return f"permissions:user:{user_id}:tenant:{tenant_id}:{generation}"

    @staticmethod
    def get_user_permissions(user_id: UUID, tenant_id: UUID) -> frozenset[str]:
        """Names of rights, ``app.model.action``; none for somebody who is no member."""
        with unit_of_work(tenant_id):
            try:
                return actor_for(user_id).rights
            except (NotFound, NotAllowed):
                return frozenset()

    get_user_permissions_cached = get_user_permissions

    @staticmethod
    def get_accessible_farm_ids(user_id: UUID, tenant_id: UUID) -> list[UUID]:
        """Ids of the farms whose rows the person may see; none for somebody who is no member."""
        with unit_of_work(tenant_id):
            try:
                farm_ids = actor_for(user_id).farm_ids
            except (NotFound, NotAllowed):
                return []
            return list(Farm.objects.values_list("id", flat=True)) if farm_ids is None else sorted(farm_ids)

    @staticmethod
    def invalidate_user_permissions_cache(user_id: UUID, tenant_id: UUID) -> None:
        """Let nothing be taken from a cache that was put there before."""
        with unit_of_work(tenant_id):
            membership = Membership.objects.select_for_update().filter(user_id=user_id).first()
            if membership is not None:
                _next_generation(membership)


def _next_generation(membership: Membership) -> None:
    membership.generation += 1
    membership.save(update_fields=["generation"])


def job_actor(tenant_id: UUID) -> Actor:
    """Who acts in a job: every right, every farm, and `JOB` in the audit."""
    return Actor(JOB, tenant_id, Role.OWNER, rights_of(Role.OWNER), None)


def actor_for(user_id: UUID) -> Actor:
    """The person in the tenant of the unit of work. Raises `NotFound` (no member), `NotAllowed` (closed tenant)."""
    membership = Membership.objects.select_related("tenant").filter(user_id=user_id).first()
    return actor_of(membership)


def membership_of(actor: Actor) -> Membership:
    """The membership that the actor acts for. Raises `NotFound` for a job, which has none."""
    membership = Membership.objects.filter(user_id=actor.id).first()
    if membership is None:
        raise NotFound("the membership was not found.")
    return membership


def actor_of(membership: Membership | None, token: ApiToken | None = None) -> Actor:
    """The actor that a membership (with its tenant) makes, or a token of it. Raises as `actor_for`."""
    if membership is None or not membership.is_active:
        raise NotFound(f"tenant {current_tenant()} was not found.")
    if membership.tenant.status not in _OPEN:
        raise NotAllowed(f"expected an open tenant, found one that is {membership.tenant.status}.")
    role = Role(membership.role)
    rights = rights_of(role)
    return Actor(
        id=membership.user_id,
        tenant_id=membership.tenant_id,
        role=role,
        rights=rights if token is None or token.rights is None else rights & frozenset(token.rights),
        farm_ids=None if membership.all_farms else _farm_ids(membership),
        membership_id=membership.id,
        token_id=None if token is None else token.id,
    )


def _farm_ids(membership: Membership) -> frozenset[UUID]:
    key = PermissionService.key(membership.user_id, membership.tenant_id, membership.generation)
    kept = cache.get(key)
    if kept is None:  # an empty list is an answer
        kept = [str(pk) for pk in membership.farm_accesses.values_list("farm_id", flat=True)]
        cache.set(key, kept, CACHE_SECONDS)
    return frozenset(UUID(pk) for pk in kept)


def add_member(
    actor: Actor, *, user: User, role: Role, all_farms: bool, farm_ids: Collection[UUID] = ()
) -> Membership:
    """A new member. Raises `RuleBroken` where the actor gives more than they have, `NotFound` for a strange farm."""
    with unit_of_work():
        _require_no_more(actor, role, all_farms, farm_ids)
        membership = writes.insert(actor, Membership(user=user, role=role, all_farms=all_farms))
        _set_farms(membership, farm_ids)
        record_event("user_joined", membership, user_id=user.id, role=role)
        return membership


def update_membership(
    actor: Actor, membership_id: UUID, changes: Mapping[str, Any], seen: Seen
) -> Membership:
    """Change role, farms or activity. Raises `StaleVersion`, `RuleBroken` (the last owner must stay one)."""
    with unit_of_work():
        membership = MEMBERSHIPS.access(actor, membership_id, lock=True)
        seen.require(membership)
        farm_ids = changes.get("farm_ids")
        role = Role(changes.get("role", membership.role))
        all_farms = changes.get("all_farms", membership.all_farms)
        _require_no_more(actor, role, all_farms, farm_ids or ())
        _require_no_more(actor, Role(membership.role), False, ())
        fields = {key: value for key, value in changes.items() if key in {"role", "all_farms", "is_active"}}
        before = membership.version
        membership = writes.update(actor, membership, fields)
        if farm_ids is not None and _set_farms(membership, farm_ids) and membership.version == before:
            membership.version += 1
            membership.save(update_fields=["version"])
        if farm_ids is not None:
            writes.record(actor, "farms_set", membership, {"farm_ids": [None, sorted(map(str, farm_ids))]})
        _require_an_owner()
        _next_generation(membership)
        record_event("user_role_changed", membership, user_id=membership.user_id, role=membership.role)
        return membership


def remove_member(actor: Actor, membership_id: UUID) -> None:
    """End a membership; what the person recorded stays. Raises `RuleBroken` for the last owner."""
    with unit_of_work():
        membership = MEMBERSHIPS.access(actor, membership_id, lock=True)
        _require_no_more(actor, Role(membership.role), False, ())
        writes.update(actor, membership, {"is_active": False})
        _require_an_owner()
        _next_generation(membership)
        record_event("user_deactivated", membership, user_id=membership.user_id)


def _require_no_more(actor: Actor, role: Role, all_farms: bool, farm_ids: Collection[UUID]) -> None:
    """Nobody gives what they do not have, nor takes it from those who have more."""
    if role is Role.OWNER and actor.role is not Role.OWNER:
        raise RuleBroken("expected an owner to decide about owners, found another role.")
    if actor.farm_ids is not None and (all_farms or not set(farm_ids) <= actor.farm_ids):
        raise RuleBroken("expected farms of your own only, found others.")
    known = Farm.objects.filter(id__in=farm_ids).count() if farm_ids else 0
    if known != len(set(farm_ids)):
        raise NotFound("one of the farms was not found.")


def _require_an_owner() -> None:
    if not Membership.objects.select_for_update().filter(role=Role.OWNER, is_active=True).exists():
        raise RuleBroken("expected an owner to stay, found none. Make somebody else owner first.")


def _set_farms(membership: Membership, farm_ids: Collection[UUID]) -> bool:
    have = set(membership.farm_accesses.values_list("farm_id", flat=True))
    want = set(farm_ids)
    membership.farm_accesses.filter(farm_id__in=have - want).delete()
    FarmAccess.objects.bulk_create(
        [FarmAccess(membership=membership, farm_id=pk) for pk in sorted(want - have)], batch_size=500
    )
    return have != want


def invite(
    actor: Actor, *, email: str, role: Role, all_farms: bool = False, farm_ids: Collection[UUID] = ()
) -> tuple[Invitation, Secret]:
    """Ask somebody to join. The secret is told once, by whoever sends the message; it is good for 14 days."""
    with unit_of_work() as tenant_id:
        _require_no_more(actor, role, all_farms, farm_ids)
        secret = new_secret("invite", tenant_id)
        invitation = Invitation(
            email=email.strip().lower(),
            role=role,
            all_farms=all_farms,
            farm_ids=list(farm_ids),
            digest=secret.digest,
            expires_at=timezone.now() + INVITATION_LIFE,
        )
        writes.insert(actor, invitation)
        record_event("user_invited", invitation, email=invitation.email, role=role)
        return invitation, secret


def withdraw_invitation(actor: Actor, invitation_id: UUID) -> None:
    """Take an invitation back. Raises `NotFound`."""
    with unit_of_work():
        invitation = INVITATIONS.access(actor, invitation_id, lock=True)
        _require_no_more(actor, Role(invitation.role), False, ())
        writes.delete(actor, invitation)


def accept_invitation(user: User, secret: Secret) -> Membership:
    """Join the tenant that the secret names. Raises `NotFound` for one that is not open, or not theirs.

    Opens its own unit of work.
    """
    with unit_of_work(secret.tenant_id):
        invitation = (
            Invitation.objects.select_for_update().filter(digest=secret.digest, accepted_at=None).first()
        )
        if invitation is None or invitation.email != user.email or invitation.expires_at <= timezone.now():
            raise NotFound("the invitation was not found. Ask for a new one.")
        role = Role(invitation.role)
        actor = Actor(user.id, secret.tenant_id, role, rights_of(role), None)
        membership = Membership.objects.select_for_update().filter(user=user).first()
        if membership is None:
            membership = writes.insert(
                actor, Membership(user=user, role=role, all_farms=invitation.all_farms), reason="invitation"
            )
        else:
            changes = {"role": role, "all_farms": invitation.all_farms, "is_active": True}
            membership = writes.update(actor, membership, changes, reason="invitation")
            _next_generation(membership)
        still_there = Farm.objects.filter(id__in=invitation.farm_ids).values_list("id", flat=True)
        _set_farms(membership, list(still_there))
        writes.update(actor, invitation, {"accepted_at": timezone.now()})
        record_event("user_joined", membership, user_id=user.id, role=role)
        return membership


def create_token(
    actor: Actor, *, membership_id: UUID, name: str, rights: Collection[str] | None = None
) -> tuple[ApiToken, Secret]:
    """A key for a device that acts as a membership, with all of its ``rights`` unless some are named.

    The secret is told once. Raises `RuleBroken` for an owner's.
    """
    with unit_of_work() as tenant_id:
        membership = MEMBERSHIPS.access(actor, membership_id)
        _require_no_more(actor, Role(membership.role), membership.all_farms, ())
        secret = new_secret("ifarm", tenant_id)
        given = None if rights is None else sorted(rights)
        token = writes.insert(
            actor, ApiToken(membership=membership, name=name, digest=secret.digest, rights=given)
        )
        return token, secret


def revoke_token(actor: Actor, token_id: UUID) -> None:
    """End a key; the next request with it is refused."""
    with unit_of_work():
        writes.update(actor, TOKENS.access(actor, token_id, lock=True), {"revoked_at": timezone.now()})
