"""Enumerations as Django and DRF take them."""

from __future__ import annotations

from enum import StrEnum


def choices(words: type[StrEnum]) -> list[tuple[str, str]]:
    """Each word with its label."""
    return [(word.value, word.value.replace("_", " ")) for word in words]
