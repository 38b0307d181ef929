"""Routes of members (`users`), invitations and tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from ifarm.api.pages import Order
from ifarm.api.views import TenantView, operation
from ifarm.core.actors import Actor, Role
from ifarm.core.versions import Seen
from ifarm.permissions import selectors, services
from ifarm.permissions.models import ApiToken, Invitation, Membership
from ifarm.permissions.policies import INVITATIONS, MEMBERSHIPS, TOKENS
from ifarm.permissions.serializers import (
    InvitationInput,
    InvitationOutput,
    MembershipInput,
    MembershipOutput,
    NewInvitationOutput,
    NewTokenOutput,
    TokenInput,
    TokenOutput,
)


class MembersApi(TenantView):
    """The people of the tenant."""

    @operation(MEMBERSHIPS, "view", output=MembershipOutput, order=Order(Membership, "created_at"))
    def get(self) -> QuerySet[Membership]:
        """All members; also those who have left."""
        return selectors.list_memberships(self.actor)

    @operation(INVITATIONS, "add", input=InvitationInput, output=NewInvitationOutput, status=201)
    def post(self, data: Mapping[str, Any]) -> Invitation:
        """Ask somebody to become one, as `invitations/` does: nobody is made a member without their own consent."""
        return _invited(self.actor, data)


class MemberApi(TenantView):
    """One person."""

    @operation(MEMBERSHIPS, "view", output=MembershipOutput)
    def get(self, membership_id: UUID) -> Membership:
        """One member."""
        return MEMBERSHIPS.access(self.actor, membership_id)

    @operation(MEMBERSHIPS, "change", input=MembershipInput, output=MembershipOutput, versioned=True)
    def patch(self, membership_id: UUID, data: Mapping[str, Any], seen: Seen) -> Membership:
        """Change role, farms or activity."""
        return services.update_membership(self.actor, membership_id, data, seen)

    @operation(MEMBERSHIPS, "delete")
    def delete(self, membership_id: UUID) -> None:
        """End the membership; the person and what they recorded stay."""
        services.remove_member(self.actor, membership_id)


class InvitationsApi(TenantView):
    """Who was asked to join."""

    @operation(INVITATIONS, "view", output=InvitationOutput, order=Order(Invitation, "created_at"))
    def get(self) -> QuerySet[Invitation]:
        """All invitations."""
        return selectors.list_invitations(self.actor)

    @operation(INVITATIONS, "add", input=InvitationInput, output=NewInvitationOutput, status=201)
    def post(self, data: Mapping[str, Any]) -> Invitation:
        """Ask somebody; the answer has the secret, once."""
        return _invited(self.actor, data)


class InvitationApi(TenantView):
    """One invitation."""

    @operation(INVITATIONS, "delete")
    def delete(self, invitation_id: UUID) -> None:
        """Withdraw it."""
        services.withdraw_invitation(self.actor, invitation_id)


class TokensApi(TenantView):
    """Devices' keys."""

    @operation(TOKENS, "view", output=TokenOutput, order=Order(ApiToken, "created_at"))
    def get(self) -> QuerySet[ApiToken]:
        """All keys, also revoked ones, without their secrets."""
        return selectors.list_tokens(self.actor)

    @operation(TOKENS, "add", input=TokenInput, output=NewTokenOutput, status=201)
    def post(self, data: Mapping[str, Any]) -> ApiToken:
        """Make one; the answer has the secret, once."""
        token, secret = services.create_token(self.actor, **data)
        token.told_secret = secret.text
        return token


class TokenApi(TenantView):
    """One key."""

    @operation(TOKENS, "delete")
    def delete(self, token_id: UUID) -> None:
        """Revoke it."""
        services.revoke_token(self.actor, token_id)


def _invited(actor: Actor, data: Mapping[str, Any]) -> Invitation:
    invitation, secret = services.invite(actor, **{**data, "role": Role(data["role"])})
    invitation.told_secret = secret.text
    return invitation
