"""The app `exchange`."""

from django.apps import AppConfig


class ExchangeConfig(AppConfig):
    """Registration."""

    name = "ifarm.exchange"
