"""The app `audit`."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    """Registration."""

    name = "ifarm.audit"
