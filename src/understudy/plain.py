"""What the project says to machines: dataclasses as what JSON knows, without secrets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from understudy.config_dsn import mask


def plain(value: object) -> object:
    """Dataclasses, paths and mappings as what JSON knows; texts are masked."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return mask(str(value))
