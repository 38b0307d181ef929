"""`ClusterState` to JSON and back, strictly: a record that is not exactly one is refused, never guessed."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from enum import Enum

from understudy.errors import WitnessError
from understudy.model import ClusterState

FORMAT = 1
"""Version of the record's layout; a reader refuses others."""


def encode(state: ClusterState) -> str:
    """The state as JSON text."""
    return json.dumps({"format": FORMAT, "state": dataclasses.asdict(state)}, separators=(",", ":"))


def decode(text: str) -> ClusterState:
    """The state that `encode` wrote. Raises `WitnessError` naming what is wrong with the record."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WitnessError(f"witness record: expected JSON, found {text[:40]!r} ({error})") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        found = record.get("format") if isinstance(record, dict) else type(record).__name__
        raise WitnessError(
            f"witness record: expected format {FORMAT}, found {found!r}; upgrade Understudy first"
        )
    state = _value(ClusterState, record.get("state"), "state")
    assert isinstance(state, ClusterState)
    return state


def _value(kind: object, found: object, where: str) -> object:
    """``found`` as an instance of the annotated type ``kind``. Raises `WitnessError`."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        inner = next(a for a in args if a is not type(None))
        return None if found is None else _value(inner, found, where)
    if origin is tuple:
        if not isinstance(found, list):
            raise _wrong(where, "a list", found)
        return tuple(_value(args[0], item, f"{where}[{i}]") for i, item in enumerate(found))
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _dataclass(kind, found, where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(found)
        except ValueError:
            raise _wrong(where, f"one of {[m.value for m in kind]}", found) from None
    if kind is float and isinstance(found, int) and not isinstance(found, bool):
        return float(found)
    if not isinstance(kind, type) or type(found) is not kind:
        raise _wrong(where, getattr(kind, "__name__", str(kind)), found)
    return found


def _dataclass(kind: type, found: object, where: str) -> object:
    if not isinstance(found, dict):
        raise _wrong(where, "an object", found)
    hints = typing.get_type_hints(kind)
    unknown = set(found) - set(hints)
    missing = set(hints) - set(found)
    if unknown or missing:
        raise _wrong(where, f"the keys {sorted(hints)}", sorted(found))
    return kind(**{key: _value(hints[key], found[key], f"{where}.{key}") for key in hints})


def _wrong(where: str, expected: str, found: object) -> WitnessError:
    return WitnessError(f"witness record: {where}: expected {expected}, found {str(found)[:80]!r}")
