"""The app."""

from django.apps import AppConfig


class SyncConfig(AppConfig):
    """Registered by its folder."""

    name = "ifarm.sync"
