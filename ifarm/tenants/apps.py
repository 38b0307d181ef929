"""The app `tenants`."""

from django.apps import AppConfig


class TenantsConfig(AppConfig):
    """Registration."""

    name = "ifarm.tenants"
