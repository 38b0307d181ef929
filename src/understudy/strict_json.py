"""Frozen dataclasses to JSON and back, strictly: a record that is not exactly one is refused, never guessed.

Serves every record that outlives a process: the state in the witness, the manifest of a backup, the journal of a
drill. Fields may be texts, numbers, booleans, enums, other dataclasses, tuples of these, mappings from texts, and
any of them or None.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import types
import typing
from enum import Enum
from typing import TypeVar

from understudy.errors import UnderstudyError

T = TypeVar("T")


class RecordError(UnderstudyError):
    """A text is not the record that was expected; says which place of it is wrong."""


def encode(record: object, *, layout: int, key: str, indent: int | None = None) -> str:
    """A dataclass as JSON text: ``{"format": layout, key: {...}}``."""
    assert dataclasses.is_dataclass(record)
    assert not isinstance(record, type)
    separators = (",", ":") if indent is None else None
    body = {"format": layout, key: dataclasses.asdict(record)}
    return json.dumps(body, separators=separators, indent=indent)


def decode(kind: type[T], text: str | bytes, *, layout: int, key: str, what: str) -> T:
    """The dataclass ``kind`` that `encode` wrote. ``what`` names the record in messages.

    Raises `RecordError` naming what is wrong with the record.
    """
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{what}: expected JSON, found {text[:40]!r} ({error})") from None
    if not isinstance(record, dict) or record.get("format") != layout:
        found = record.get("format") if isinstance(record, dict) else type(record).__name__
        raise RecordError(f"{what}: expected format {layout}, found {found!r}; upgrade Understudy first")
    value = _value(kind, record.get(key), key, what)
    assert isinstance(value, kind)
    return value


def _value(kind: object, found: object, where: str, what: str) -> object:
    """``found`` as an instance of the annotated type ``kind``. Raises `RecordError`."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        inner = next(a for a in args if a is not type(None))
        return None if found is None else _value(inner, found, where, what)
    if origin is tuple:
        if not isinstance(found, list):
            raise _wrong(what, where, "a list", found)
        return tuple(_value(args[0], item, f"{where}[{i}]", what) for i, item in enumerate(found))
    if origin is collections.abc.Mapping:
        if not isinstance(found, dict):
            raise _wrong(what, where, "an object", found)
        return {name: _value(args[1], item, f"{where}.{name}", what) for name, item in found.items()}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _dataclass(kind, found, where, what)
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(found)
        except ValueError:
            raise _wrong(what, where, f"one of {[m.value for m in kind]}", found) from None
    if kind is float and isinstance(found, int) and not isinstance(found, bool):
        return float(found)
    if not isinstance(kind, type) or type(found) is not kind:
        raise _wrong(what, where, getattr(kind, "__name__", str(kind)), found)
    return found


def _dataclass(kind: type, found: object, where: str, what: str) -> object:
    if not isinstance(found, dict):
        raise _wrong(what, where, "an object", found)
    hints = typing.get_type_hints(kind)
    if set(found) != set(hints):
        raise _wrong(what, where, f"the keys {sorted(hints)}", sorted(found))
    return kind(**{key: _value(hints[key], found[key], f"{where}.{key}", what) for key in hints})


def _wrong(what: str, where: str, expected: str, found: object) -> RecordError:
    return RecordError(f"{what}: {where}: expected {expected}, found {str(found)[:80]!r}")
