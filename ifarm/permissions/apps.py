"""The app `permissions`."""

from django.apps import AppConfig


class PermissionsConfig(AppConfig):
    """Registration."""

    name = "ifarm.permissions"
