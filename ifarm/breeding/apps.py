"""The app `breeding`."""

from django.apps import AppConfig


class BreedingConfig(AppConfig):
    """Registration."""

    name = "ifarm.breeding"
