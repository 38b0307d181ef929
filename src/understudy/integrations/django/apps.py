"""``INSTALLED_APPS``: the system checks, ``manage.py understudy`` and a ``migrate`` that knows both nodes."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

from understudy.integrations.django.checks import check_databases


class UnderstudyConfig(AppConfig):
    """The application ``understudy.integrations.django``."""

    name = "understudy.integrations.django"
    label = "understudy"
    verbose_name = "Understudy"

    def ready(self) -> None:
        """Register the checks."""
        register(check_databases)
