"""Settings of a policy: their units, ranges and defaults, and how they are written. No I/O.

Durations are seconds inside the project; people write ``3``, ``"500ms"``, ``"3s"``, ``"10min"`` or ``"2h"``.
Sizes are bytes; people write ``16777216`` or ``"16MB"`` (multiples of 1024).
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from understudy.config_dsn import mask
from understudy.errors import ConfigError
from understudy.model import Failback, Policy, Rpo

_NUMBER = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([a-z]*)", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "b": 1, "kb": 2**10, "kib": 2**10, "mb": 2**20, "mib": 2**20, "gb": 2**30, "gib": 2**30}
_BOOLEANS = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}


class Kind(Enum):
    """How a setting is written."""

    DURATION = "a duration"
    SIZE = "a size"
    COUNT = "a whole number"
    SWITCH = "true or false"
    RPO = '"zero" or "bounded"'
    FAILBACK = '"auto" or "manual"'


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of `model.Policy`.

    Args:
        low, high: range, both ends allowed (seconds, bytes or a count).
        legacy: other environment variables with the unit of a bare number in each (``ms``, ``s`` or empty),
            in order of precedence; ``UNDERSTUDY_<NAME>`` (seconds) comes before them.
    """

    name: str
    kind: Kind
    low: float = 0
    high: float = 0
    legacy: tuple[tuple[str, str], ...] = ()

    @property
    def variables(self) -> tuple[tuple[str, str], ...]:
        """Environment variables that set it, with their unit, the winning one first."""
        return ((f"UNDERSTUDY_{self.name.upper()}", "s" if self.kind is Kind.DURATION else ""), *self.legacy)

    @property
    def expected(self) -> str:
        """What a right value looks like, for error messages."""
        if self.kind is Kind.DURATION:
            return f'a duration from {seconds(self.low)} to {seconds(self.high)} (seconds, or "500ms", "3s", "10min")'
        if self.kind is Kind.SIZE:
            return f'a size from {self.low:.0f} to {self.high:.0f} bytes (or "16MB")'
        if self.kind is Kind.COUNT:
            return f"a whole number from {self.low:.0f} to {self.high:.0f}"
        return str(self.kind.value)


SETTINGS: tuple[Setting, ...] = (
    Setting("rpo", Kind.RPO),
    Setting("failover", Kind.SWITCH, legacy=(("DATABASE_FAILOVER_ENABLED", ""),)),
    Setting("failback", Kind.FAILBACK),
    Setting("failback_after", Kind.DURATION, 0, 7 * 86400, (("DB_PRIMARY_RETRY_INTERVAL", "ms"),)),
    Setting("failback_daily_cap", Kind.COUNT, 0, 100),
    Setting(
        "probe_interval", Kind.DURATION, 0.1, 60,
        (("DB_HEALTH_CHECK_INTERVAL", "ms"), ("DATABASE_HEALTH_CHECK_INTERVAL", "s")),
    ),
    Setting("probe_timeout", Kind.DURATION, 0.05, 60),
    Setting(
        "connect_timeout", Kind.DURATION, 0.1, 120,
        (("DB_CONNECTION_TIMEOUT", "ms"), ("DATABASE_FAILOVER_TIMEOUT", "s")),
    ),
    Setting("failure_threshold", Kind.COUNT, 1, 100, (("DB_FAILURE_THRESHOLD", ""),)),
    Setting("max_lag_bytes", Kind.SIZE, 1024, 2**40),
    Setting("max_lag_seconds", Kind.DURATION, 0.1, 86400),
    Setting("lease_ttl", Kind.DURATION, 1, 600),
    Setting("hold_timeout", Kind.DURATION, 0.1, 600),
    Setting("quiet_timeout", Kind.DURATION, 0.1, 600),
    Setting("step_timeout", Kind.DURATION, 0.5, 600),
    Setting("sync_timeout", Kind.DURATION, 0.1, 60),
    Setting("agent_takeover", Kind.DURATION, 0.5, 600),
)  # fmt: skip
BY_NAME: Mapping[str, Setting] = {s.name: s for s in SETTINGS}


@dataclass
class Settings:
    """Values given so far and the place each came from (for errors)."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    def put(self, name: str, value: object, place: str) -> None:
        self.values[name], self.places[name] = value, place


def show(value: object) -> str:
    """A short, single-line form, without passwords, of a value for an error message."""
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else f"an array of {len(value)}"
    if isinstance(value, str):
        if mask(value) != value:
            return "a text that holds a password"
        text = repr(value)
        return text if len(text) <= 60 else text[:57] + "..."
    if isinstance(value, int) and abs(value) > 10**18:
        return "a number out of range"
    return str(value).lower() if isinstance(value, bool) else ascii(value)[:60]


def seconds(value: float) -> str:
    """A duration for people: ``0.6 s``, ``10 min``, ``7 d``."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if value >= size and value % size == 0:
            return f"{value / size:g} {unit}"
    return f"{value:g} s"


def not_set(where: str, variable: str) -> ConfigError:
    """The error for a variable that the configuration names and the environment of this process lacks."""
    hint = f"set it where this command runs: export {variable}=..., or in the environment of the service"
    return ConfigError(where, f"the environment variable {variable}", "it is not set", hint)


def reject_unknown(keys: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise ConfigError for the first key that is not known, with "did you mean"."""
    known = sorted(known)
    for key in keys:
        if key in known:
            continue
        close = difflib.get_close_matches(key, known, 1, 0.6)
        hint = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(known)}"
        raise ConfigError(where, "known keys only", f"the unknown key {show(key)}", hint)


def parse(setting: Setting, value: object, where: str, unit: str = "s") -> Any:
    """Read one value as written in TOML or the environment and check its range: a float for a duration, an int for a
    size or a count, a bool for a switch, `Rpo` or `Failback`.

    ``unit`` says what a bare number means for a duration, ``s`` or ``ms``; ``where`` names the place in
    errors. Raises ConfigError.
    """
    result = _READERS[setting.kind](value, unit)
    if result is None:
        raise ConfigError(where, setting.expected, show(value))
    ranged = setting.kind in (Kind.DURATION, Kind.SIZE, Kind.COUNT)
    if ranged and not setting.low <= result <= setting.high:
        raise ConfigError(where, setting.expected, show(value))
    return result


def _duration(value: object, unit: str) -> float | None:
    if isinstance(value, str):
        match = _NUMBER.fullmatch(value.strip())
        factor = _SECONDS.get(match.group(2).lower() or unit) if match else None
        return round(float(match.group(1)) * factor, 9) if match and factor else None
    number = _number(value)
    return None if number is None else round(number * _SECONDS[unit], 9)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int) and abs(value) > 10**18:
        return None
    return float(value) if math.isfinite(value) else None


def _size(value: object, _: str) -> int | None:
    if isinstance(value, str):
        match = _NUMBER.fullmatch(value.strip())
        factor = _BYTES.get(match.group(2).lower()) if match else None
        return int(float(match.group(1)) * factor) if match and factor else None
    return _count(value, "")


def _count(value: object, _: str) -> int | None:
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"\s*[0-9]{1,15}\s*", value, re.ASCII) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _switch(value: object, _: str) -> bool | None:
    if isinstance(value, str):
        return _BOOLEANS.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def _rpo(value: object, _: str) -> Rpo | None:
    text = value.strip().lower() if isinstance(value, str) else ""
    return Rpo(text) if text in list(Rpo) else None


def _failback(value: object, _: str) -> Failback | None:
    text = value.strip().lower() if isinstance(value, str) else ""
    return Failback(text) if text in list(Failback) else None


_READERS: Mapping[Kind, Any] = {
    Kind.DURATION: _duration, Kind.SIZE: _size, Kind.COUNT: _count,
    Kind.SWITCH: _switch, Kind.RPO: _rpo, Kind.FAILBACK: _failback,
}  # fmt: skip


def make_policy(settings: Settings, where: str) -> tuple[Policy, list[str]]:
    """The policy of a cluster with defaults filled in, and warnings.

    Defaults that follow another value: ``probe_timeout`` is 0.6 of ``probe_interval`` (at most 3 s),
    ``lease_ttl`` at least 5 s and three intervals, ``agent_takeover`` 0.6 of ``lease_ttl`` (at most 3 s),
    ``quiet_timeout`` at most ``hold_timeout``. Raises ConfigError where two values contradict each other.
    """
    values = dict(settings.values)
    default = Policy()
    interval = values.get("probe_interval", default.probe_interval)
    values.setdefault("probe_timeout", round(min(3.0, 0.6 * interval), 9))
    lease = values.setdefault("lease_ttl", max(default.lease_ttl, 3 * interval))
    values.setdefault("agent_takeover", round(min(default.agent_takeover, 0.6 * lease), 9))
    values.setdefault("quiet_timeout", min(default.quiet_timeout, values.get("hold_timeout", 5.0)))
    policy = Policy(**values)
    _check_together(policy, settings, where)
    warnings = []
    notice = policy.probe_interval * policy.failure_threshold
    if notice > 30:
        warnings.append(
            f"{where}: a lost primary is noticed only after about {seconds(notice)} (probe_interval "
            f"{seconds(policy.probe_interval)} x failure_threshold {policy.failure_threshold}); "
            "the default is 3 s."
        )
    if notice + policy.lease_ttl > policy.hold_timeout:
        warnings.append(
            f"{where}: transactions held during a failover may give up before it is done: hold_timeout "
            f"({seconds(policy.hold_timeout)}) is less than noticing ({seconds(notice)}) plus lease_ttl "
            f"({seconds(policy.lease_ttl)})."
        )
    return policy, warnings


def _check_together(policy: Policy, settings: Settings, where: str) -> None:
    """Rules between two settings; the error names the place of the one that was given."""
    rules = (
        ("probe_timeout", "probe_interval", policy.probe_timeout <= 10 * policy.probe_interval,
         f"at most 10 x probe_interval ({seconds(10 * policy.probe_interval)})"),
        ("lease_ttl", "probe_interval", policy.lease_ttl >= 3 * policy.probe_interval,
         f"at least 3 x probe_interval ({seconds(3 * policy.probe_interval)})"),
        ("agent_takeover", "lease_ttl", policy.agent_takeover < policy.lease_ttl,
         f"less than lease_ttl ({seconds(policy.lease_ttl)})"),
        ("quiet_timeout", "hold_timeout", policy.quiet_timeout <= policy.hold_timeout,
         f"at most hold_timeout ({seconds(policy.hold_timeout)})"),
    )  # fmt: skip
    for name, other, good, expected in rules:
        if not good:
            place = settings.places.get(name) or settings.places.get(other) or f"{where}.{name}"
            raise ConfigError(place, f"{name} to be {expected}", seconds(getattr(policy, name)))
