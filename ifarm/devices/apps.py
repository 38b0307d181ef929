"""The app `devices`."""

from django.apps import AppConfig


class DevicesConfig(AppConfig):
    """Registration."""

    name = "ifarm.devices"
