"""The app `core`."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class CoreConfig(AppConfig):
    """Registration; every app's policies are known before the first request."""

    name = "ifarm.core"

    def ready(self) -> None:
        """Import every `policies` module: a right exists once its policy does."""
        autodiscover_modules("policies")
