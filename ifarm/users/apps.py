"""The app `users`."""

from django.apps import AppConfig


class UsersConfig(AppConfig):
    """Registration."""

    name = "ifarm.users"
