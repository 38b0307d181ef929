"""Who works where, as what, and on which farms."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models

from ifarm.core.actors import Role
from ifarm.core.choices import choices
from ifarm.core.models import TenantForeignKey, TenantModel, VersionedModel


class Membership(VersionedModel):
    """One person in one tenant. ``generation`` counts every change of what they may do, so no cache outlives one."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="memberships")
    role = models.CharField(max_length=12, choices=choices(Role))
    all_farms = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    generation = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "user"],
                name="one_membership_per_person",
                violation_error_message="This person is a member already.",
            )
        ]


class FarmAccess(TenantModel):
    """One farm that a membership without ``all_farms`` includes."""

    membership = TenantForeignKey(Membership, models.CASCADE, related_name="farm_accesses")
    farm = TenantForeignKey("farms.Farm", models.CASCADE, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["membership", "farm"], name="one_access_per_farm")]


class Invitation(VersionedModel):
    """Somebody was asked to join. Only a digest of the token is kept."""

    email = models.EmailField()
    role = models.CharField(max_length=12, choices=choices(Role))
    all_farms = models.BooleanField(default=False)
    farm_ids = ArrayField(models.UUIDField(), default=list, blank=True)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "email"],
                condition=models.Q(accepted_at=None),
                name="one_open_invitation_per_address",
                violation_error_message="This person has an open invitation already; withdraw it first.",
            )
        ]


class ApiToken(VersionedModel):
    """A device's key. It acts as a membership; only a digest of the secret is kept.

    Args:
        rights: what of the membership's rights it has; None: all of them.
    """

    membership = TenantForeignKey(Membership, models.PROTECT, related_name="tokens")
    name = models.CharField(max_length=80)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    rights = ArrayField(models.CharField(max_length=100), null=True, blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "token"
