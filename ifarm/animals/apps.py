"""The app `animals`."""

from django.apps import AppConfig


class AnimalsConfig(AppConfig):
    """Registration."""

    name = "ifarm.animals"
