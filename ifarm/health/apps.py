"""The app `health`."""

from django.apps import AppConfig


class HealthConfig(AppConfig):
    """Registration."""

    name = "ifarm.health"
