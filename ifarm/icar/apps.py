"""The app `icar`."""

from django.apps import AppConfig


class IcarConfig(AppConfig):
    """Registration."""

    name = "ifarm.icar"
