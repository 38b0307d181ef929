"""Reads of memberships, invitations and tokens."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from ifarm.core.actors import Actor
from ifarm.permissions.models import ApiToken, Invitation, Membership
from ifarm.permissions.policies import INVITATIONS, MEMBERSHIPS, TOKENS


@dataclass(frozen=True, slots=True)
class Place:
    """A tenant somebody works in, and as what."""

    id: UUID
    name: str
    role: str


def tenants_of(user_id: UUID) -> list[Place]:
    """Where a person works: the one question that crosses tenants, answered by a function of the database for it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id, name, role FROM ifarm_tenants_of(%s)", (user_id,))
        return [Place(*row) for row in cursor.fetchall()]


def list_memberships(actor: Actor) -> QuerySet[Membership]:
    """Members, with the person and the farms."""
    return MEMBERSHIPS.instances(actor).select_related("user").prefetch_related("farm_accesses")


def list_invitations(actor: Actor) -> QuerySet[Invitation]:
    """Open and accepted invitations."""
    return INVITATIONS.instances(actor)


def list_tokens(actor: Actor) -> QuerySet[ApiToken]:
    """Devices' keys, also revoked ones."""
    return TOKENS.instances(actor).select_related("membership__user")
