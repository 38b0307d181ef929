"""People. A person belongs to no tenant; memberships (`permissions`) say where they work."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models
from django.utils import timezone

from ifarm.core.ids import uuid7


class UserManager(BaseUserManager):
    """Makes users; an e-mail address is compared without regard to case."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """A user with a hashed password, or with none that could be used."""
        user = User(email=email, **fields)
        user.set_password(password)
        user.save(force_insert=True)
        return user

    def get_by_natural_key(self, email: str) -> User:
        """For logging in."""
        return self.get(email=email.strip().lower())


class User(AbstractBaseUser):
    """Somebody who can log in."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=120, blank=True, default="")
    is_active = models.BooleanField(default=True)
    date_joined = models.DateTimeField(default=timezone.now, editable=False)

    objects = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"

    def __str__(self) -> str:
        return self.email

    def clean(self) -> None:
        """An address is stored in lower case."""
        super().clean()
        self.email = self.email.strip().lower()

    def save(self, *args: Any, **kwargs: Any) -> None:
        """As Django's, with the address in lower case."""
        self.email = self.email.strip().lower()
        super().save(*args, **kwargs)

    def get_accessible_farm_ids(self, tenant_id: UUID) -> list[UUID]:
        """Ids of the farms of a tenant whose rows this person may see; none where they are no member."""
        from ifarm.permissions.services import PermissionService

        return PermissionService.get_accessible_farm_ids(self.id, tenant_id)
