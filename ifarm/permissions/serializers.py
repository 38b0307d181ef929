"""Shapes of memberships, invitations and tokens."""

from rest_framework import serializers

from ifarm.core.actors import Role
from ifarm.core.choices import choices


class MembershipInput(serializers.Serializer):
    """What can be changed."""

    role = serializers.ChoiceField(choices(Role))
    all_farms = serializers.BooleanField()
    farm_ids = serializers.ListField(child=serializers.UUIDField(), max_length=10_000)
    is_active = serializers.BooleanField()


class MembershipOutput(serializers.Serializer):
    """A person in the tenant."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    user_id = serializers.UUIDField()
    email = serializers.EmailField(source="user.email")
    name = serializers.CharField(source="user.name")
    role = serializers.ChoiceField(choices(Role))
    all_farms = serializers.BooleanField()
    farm_ids = serializers.SerializerMethodField()
    is_active = serializers.BooleanField()

    def get_farm_ids(self, membership: object) -> list[str]:
        """Sorted, as text."""
        return sorted(str(access.farm_id) for access in membership.farm_accesses.all())  # type: ignore[attr-defined]


class InvitationInput(serializers.Serializer):
    """Whom to ask, and what they will be."""

    email = serializers.EmailField()
    role = serializers.ChoiceField(choices(Role))
    all_farms = serializers.BooleanField(default=False)
    farm_ids = serializers.ListField(child=serializers.UUIDField(), max_length=10_000, default=list)


class InvitationOutput(serializers.Serializer):
    """An invitation."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    email = serializers.EmailField()
    role = serializers.ChoiceField(choices(Role))
    all_farms = serializers.BooleanField()
    farm_ids = serializers.ListField(child=serializers.UUIDField())
    expires_at = serializers.DateTimeField()
    accepted_at = serializers.DateTimeField(allow_null=True)


class TokenInput(serializers.Serializer):
    """A device's key to make."""

    membership_id = serializers.UUIDField()
    name = serializers.CharField(max_length=80)


class TokenOutput(serializers.Serializer):
    """A device's key, without its secret. ``rights``: what of the membership's it has; null: all."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    name = serializers.CharField()
    membership_id = serializers.UUIDField()
    rights = serializers.ListField(child=serializers.CharField(), allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)


class WithSecret(serializers.Serializer):
    """The secret, told once."""

    secret = serializers.CharField(source="told_secret")


class NewTokenOutput(WithSecret, TokenOutput):
    """A device's key with its secret."""


class NewInvitationOutput(WithSecret, InvitationOutput):
    """An invitation with its secret, for the message to the person."""
