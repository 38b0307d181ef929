"""The app `analytics`."""

from django.apps import AppConfig


class AnalyticsConfig(AppConfig):
    """Registration."""

    name = "ifarm.analytics"
