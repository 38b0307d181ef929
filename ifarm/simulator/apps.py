"""The app; it has commands and no tables."""

from django.apps import AppConfig


class SimulatorConfig(AppConfig):
    """Herds that never were."""

    name = "ifarm.simulator"
    label = "simulator"
