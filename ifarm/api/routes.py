"""Every app's `urls.routes`, found by itself."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from django.apps import apps


def tenant_routes() -> list[Any]:
    """The `routes` of each of our apps that has a module `urls`: addresses inside a tenant."""
    return _all("routes")


def open_routes() -> list[Any]:
    """The `open_routes` of each of our apps: addresses outside any tenant."""
    return _all("open_routes")


def _all(name: str) -> list[Any]:
    found: list[Any] = []
    for config in apps.get_app_configs():
        if config.name.startswith("ifarm.") and find_spec(f"{config.name}.urls"):
            found += getattr(import_module(f"{config.name}.urls"), name, [])
    return found
