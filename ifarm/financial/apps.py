"""The app `financial`."""

from django.apps import AppConfig


class FinancialConfig(AppConfig):
    """Registration."""

    name = "ifarm.financial"
