"""Routes of groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from ifarm.animals import groups, movements, selectors
from ifarm.animals.models import AnimalGroup, GroupMembership
from ifarm.animals.policies import GROUP_MEMBERSHIPS, GROUPS, MOVEMENTS, access_group
from ifarm.animals.serializers import (
    GroupChange,
    GroupInput,
    GroupMemberChange,
    GroupMemberInput,
    GroupMemberOutput,
    GroupMovementInput,
    GroupMovementOutput,
    GroupOutput,
)
from ifarm.animals.words import MovementKind
from ifarm.api.pages import Order
from ifarm.api.views import TenantView, operation
from ifarm.core.versions import Seen


class GroupsApi(TenantView):
    """All groups."""

    @operation(GROUPS, "view", output=GroupOutput, order=Order(AnimalGroup, "name", "created_at"))
    def get(self) -> QuerySet[AnimalGroup]:
        """Groups of the actor's farms, also ended ones."""
        return selectors.list_groups(self.actor)

    @operation(GROUPS, "add", input=GroupInput, output=GroupOutput, status=201)
    def post(self, data: Mapping[str, Any]) -> AnimalGroup:
        """A new group."""
        return groups.create_group(self.actor, **data)


class GroupApi(TenantView):
    """One group."""

    @operation(GROUPS, "view", output=GroupOutput)
    def get(self, group_id: UUID) -> AnimalGroup:
        """Look at it."""
        return access_group(self.actor, group_id)

    @operation(GROUPS, "change", input=GroupChange, output=GroupOutput, versioned=True)
    def patch(self, group_id: UUID, data: Mapping[str, Any], seen: Seen) -> AnimalGroup:
        """Rename or end it."""
        return groups.update_group(self.actor, group_id, data, seen)


class GroupMembersApi(TenantView):
    """Who is and was in a group."""

    @operation(GROUP_MEMBERSHIPS, "view", output=GroupMemberOutput, order=Order(GroupMembership, "starts_on"))
    def get(self, group_id: UUID) -> QuerySet[GroupMembership]:
        """The history."""
        return selectors.list_group_memberships(self.actor, group_id)

    @operation(GROUP_MEMBERSHIPS, "add", input=GroupMemberInput, output=GroupMemberOutput, status=201)
    def post(self, group_id: UUID, data: Mapping[str, Any]) -> GroupMembership:
        """An animal joins; it leaves another group of the same kind."""
        return groups.join_group(self.actor, group_id, **data)


class GroupMemberApi(TenantView):
    """One animal in one group."""

    @operation(GROUP_MEMBERSHIPS, "change", input=GroupMemberChange, output=GroupMemberOutput, versioned=True)
    def patch(self, group_membership_id: UUID, data: Mapping[str, Any], seen: Seen) -> GroupMembership:
        """It leaves."""
        return groups.leave_group(self.actor, group_membership_id, seen=seen, **data)


class GroupMovementsApi(TenantView):
    """A whole group goes somewhere."""

    @operation(MOVEMENTS, "add", input=GroupMovementInput, output=GroupMovementOutput, status=201)
    def post(self, group_id: UUID, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Each animal gets its movement, or none does."""
        kind = MovementKind(data["kind"])
        found = movements.move_group(self.actor, group_id, **{**data, "kind": kind})
        return {"moved": len(found), "movements": found}
