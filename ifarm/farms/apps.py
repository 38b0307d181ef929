"""The app `farms`."""

from django.apps import AppConfig


class FarmsConfig(AppConfig):
    """Registration."""

    name = "ifarm.farms"
