"""Secrets that stand in the configuration file itself, and who may read it. No I/O but one look at its mode."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from understudy.config_dsn import mask

_KEYS = re.compile(r"(?:.*_)?(?:token|password|passphrase|secret|secret_key|urls)")
_ELSEWHERE = re.compile(r"(?::|password\s*=\s*'?|^\s*)\$\{")
MAX_SHOWN = 3


def warnings(table: object, file: Path, source: str) -> list[str]:
    """One sentence where every user of this host can read a file that holds secrets.

    Args:
        table: the parsed file. It names where the secrets stand, never what they are.
    """
    places = list(literal_secrets(table))
    if not places or not _world_readable(file):
        return []
    shown = ", ".join(places[:MAX_SHOWN]) + (", ..." if len(places) > MAX_SHOWN else "")
    return [
        f"{source} holds secrets ({shown}) and every user of this host can read it: chmod 600 it, "
        "or keep them in environment variables."
    ]


def key_warnings(key: Path) -> list[str]:
    """One sentence where every user of this host can read the private key in that file."""
    if not _world_readable(key):
        return []
    return [f"{key} holds a private key and every user of this host can read it: chmod 600 it."]


def literal_secrets(value: object, place: str = "") -> Iterator[str]:
    """Where texts stand that are secrets by the name of their key, or that hold a password; ``${NAME}`` is none."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from literal_secrets(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from literal_secrets(inner, f"{place}[{index}]")
    elif isinstance(value, str) and value and not _ELSEWHERE.search(value):
        key = re.sub(r"\[[0-9]+\]", "", place.rpartition(".")[2])
        if _KEYS.fullmatch(key) or mask(value) != value:
            yield place


def _world_readable(file: Path) -> bool:
    try:
        return bool(file.stat().st_mode & 0o004)
    except OSError:
        return False
