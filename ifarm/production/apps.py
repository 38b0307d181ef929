"""The app `production`."""

from django.apps import AppConfig


class ProductionConfig(AppConfig):
    """Registration."""

    name = "ifarm.production"
