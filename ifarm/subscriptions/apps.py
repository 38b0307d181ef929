"""The app `subscriptions`."""

from django.apps import AppConfig


class SubscriptionsConfig(AppConfig):
    """Registration."""

    name = "ifarm.subscriptions"
