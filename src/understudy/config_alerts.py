"""What is watched beside the protocol, and who is told: the tables ``[monitor]`` and ``[alerts]``.

    [monitor]
    slow_query = "1s"

    [[monitor.disks]]
    node = "home"
    path = "/var/lib/postgresql"

    [[alerts.routes]]
    name = "team"
    urls_env = "UNDERSTUDY_ALERT_URLS"
    severity = "warning"

Every key: `docs/reference/alerts.md`. No I/O. The addresses of routes are secrets: no error and no ``repr`` holds one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from understudy.config_values import Kind, Setting, not_set, parse, reject_unknown, show
from understudy.errors import ConfigError

KEYS = ("monitor", "alerts")
URLS_VARIABLE = "UNDERSTUDY_ALERT_URLS"
MAX_ROUTES = 10
MAX_URLS = 10
MAX_DISKS = 100
_ADDRESS = re.compile(r"[a-z][a-z0-9+.\-]{0,30}://\S{1,2000}", re.IGNORECASE)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,100}")
_METRICS = re.compile(r"https?://[^\s@]*@?[A-Za-z0-9.\-\[\]]+(?::[0-9]{1,5})?(?:/[^\s@]*)?")
_WAYS = ("path", "size", "metrics_url_env")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")


class Severity(StrEnum):
    """INFO: worth knowing. WARNING: somebody should look today. CRITICAL: somebody should look now."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0, 1, 2: how grave."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """How the disk of a node is seen: ``path`` (on the agent's host), ``url`` (metrics, with their key), or ``size``
    in bytes."""

    node: str
    path: str = ""
    size: int = 0
    url: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """What is looked at, how often, and from where on it is worth a notice.

    Args:
        every: seconds between two looks at a node (on a connection of the monitor's own).
        slow_query: seconds a statement may take.
        latency: seconds a probe may take.
        lag: seconds the standby may be behind.
        slot_bytes: bytes of log a replication slot may hold back.
        disk, connections: percent that may be used.
    """

    every: float = 10.0
    slow_query: float = 1.0
    latency: float = 0.5
    lag: float = 5.0
    slot_bytes: int = 1024**3
    disk: int = 80
    connections: int = 90
    disks: tuple[Disk, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Who is told: apprise addresses, and the least severity that goes there."""

    name: str
    urls: tuple[str, ...] = field(repr=False)
    severity: Severity = Severity.WARNING


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerting:
    """Both tables.

    Args:
        per_hour: notices per cluster in any hour.
        clear_after: seconds a condition must be gone before its end is told.
        quiet_start: seconds after a start in which no new condition is told.
    """

    monitor: Monitor = field(default_factory=Monitor)
    routes: tuple[Route, ...] = ()
    per_hour: int = 20
    clear_after: float = 60.0
    quiet_start: float = 30.0


_MONITOR = {
    s.name: s
    for s in (
        Setting("every", Kind.DURATION, 1, 3600),
        Setting("slow_query", Kind.DURATION, 0.01, 86400),
        Setting("latency", Kind.DURATION, 0.001, 60),
        Setting("lag", Kind.DURATION, 0.1, 86400),
        Setting("slot_bytes", Kind.SIZE, 2**20, 2**50),
        Setting("disk", Kind.COUNT, 1, 100),
        Setting("connections", Kind.COUNT, 1, 100),
    )
}
_ALERTS = {
    s.name: s
    for s in (
        Setting("per_hour", Kind.COUNT, 2, 1000),
        Setting("clear_after", Kind.DURATION, 1, 86400),
        Setting("quiet_start", Kind.DURATION, 0, 3600),
    )
}
_SIZE = Setting("size", Kind.SIZE, 2**20, 2**60)


def read(
    table: Mapping[str, Any], env: Mapping[str, str], where: str, nodes: Collection[str]
) -> Alerting | None:
    """Both tables of a file (an empty one where the environment alone configures); None: neither is there.

    ``UNDERSTUDY_ALERT_URLS`` stands for one route where no table names any. ``nodes``: the names there are.
    Raises ConfigError.
    """
    if not any(key in table for key in KEYS) and URLS_VARIABLE not in env:
        return None
    place = f"{where}: alerts" if where else "alerts"
    alerts = _table(table.get("alerts", {}), place)
    reject_unknown(alerts, (*_ALERTS, "routes"), place)
    routes = [_route(t, env, f"{place}.routes[{i}]") for i, t in enumerate(_tables(alerts, "routes", place))]
    if not routes and URLS_VARIABLE in env:
        routes = [Route(name="default", urls=_addresses(env[URLS_VARIABLE].split(), URLS_VARIABLE))]
    if len(routes) > MAX_ROUTES or len({route.name for route in routes}) != len(routes):
        raise ConfigError(f"{place}.routes", f"at most {MAX_ROUTES} routes with different names", "others")
    monitor = _monitor(table.get("monitor", {}), env, f"{where}: monitor" if where else "monitor", nodes)
    return Alerting(monitor=monitor, routes=tuple(routes), **_values(_ALERTS, alerts, place))


def _monitor(value: object, env: Mapping[str, str], where: str, nodes: Collection[str]) -> Monitor:
    table = _table(value, where)
    reject_unknown(table, (*_MONITOR, "disks"), where)
    disks = [_disk(t, env, f"{where}.disks[{i}]") for i, t in enumerate(_tables(table, "disks", where))]
    if len(disks) > MAX_DISKS or len({disk.node for disk in disks}) != len(disks):
        raise ConfigError(f"{where}.disks", f"at most {MAX_DISKS} disks, one per node", "others")
    for index, disk in enumerate(disks):
        if disk.node not in nodes:
            hint = f"one of: {', '.join(sorted(nodes))}"
            raise ConfigError(f"{where}.disks[{index}].node", "the name of a node", show(disk.node), hint)
    return Monitor(disks=tuple(disks), **_values(_MONITOR, table, where))


def _values(settings: Mapping[str, Setting], table: dict[str, Any], where: str) -> dict[str, Any]:
    """Those settings that the table gives."""
    return {
        name: parse(setting, table[name], f"{where}.{name}")
        for name, setting in settings.items()
        if name in table
    }


def _disk(table: dict[str, Any], env: Mapping[str, str], where: str) -> Disk:
    reject_unknown(table, ("node", *_WAYS), where)
    node = _name(table.get("node"), f"{where}.node")
    given = [way for way in _WAYS if way in table]
    if len(given) != 1:
        hint = "path: a folder of the agent's host on the same disk; size: what the provider sold you"
        raise ConfigError(where, "one of path, size and metrics_url_env", ", ".join(given) or "none", hint)
    if "size" in table:
        return Disk(node=node, size=parse(_SIZE, table["size"], f"{where}.size"))
    if "metrics_url_env" in table:
        url = _variable(table["metrics_url_env"], env, f"{where}.metrics_url_env")
        if not _METRICS.fullmatch(url):
            place = f"{where}.metrics_url_env ({table['metrics_url_env']})"
            raise ConfigError(place, "https://service_role:KEY@HOST/PATH", "something else")
        return Disk(node=node, url=url)
    path = table["path"]
    if not isinstance(path, str) or not path.startswith("/") or not path.isprintable() or len(path) > 1024:
        raise ConfigError(f"{where}.path", 'an absolute path such as "/var/lib/postgresql"', show(path))
    return Disk(node=node, path=path)


def _variable(name: object, env: Mapping[str, str], where: str) -> str:
    """The value of the environment variable of that name."""
    if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
        raise ConfigError(where, "the name of an environment variable", "something else")
    if name not in env:
        raise not_set(where, name)
    return env[name]


def _route(table: dict[str, Any], env: Mapping[str, str], where: str) -> Route:
    reject_unknown(table, ("name", "urls", "urls_env", "severity"), where)
    name = _name(table.get("name"), f"{where}.name")
    severity = table.get("severity", Severity.WARNING)
    if severity not in list(Severity):
        raise ConfigError(f"{where}.severity", '"info", "warning" or "critical"', show(severity))
    if ("urls" in table) == ("urls_env" in table):
        found = "both" if "urls" in table else "neither"
        raise ConfigError(where, "urls or urls_env", found, 'e.g. urls_env = "UNDERSTUDY_ALERT_URLS"')
    if "urls" in table:
        return Route(name=name, urls=_addresses(table["urls"], f"{where}.urls"), severity=Severity(severity))
    value = _variable(table["urls_env"], env, f"{where}.urls_env")
    urls = _addresses(value.split(), f"{where}.urls_env ({table['urls_env']})")
    return Route(name=name, urls=urls, severity=Severity(severity))


def _addresses(value: object, where: str) -> tuple[str, ...]:
    """Addresses as apprise writes them; whether apprise knows them is seen when they are used."""
    expected = f"1 to {MAX_URLS} apprise addresses such as mailtos://user:password@host"
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_URLS:
        raise ConfigError(where, expected, f"{len(value)}" if isinstance(value, list) else "something else")
    for index, address in enumerate(value, 1):
        if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
            raise ConfigError(where, expected, f"something else as number {index}")
    return tuple(dict.fromkeys(value))


def _table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(where, "a table", show(value))
    return value


def _tables(table: dict[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ConfigError(f"{where}.{key}", f"tables [[{where.rpartition(' ')[2]}.{key}]]", show(value))
    return value


def _name(value: object, where: str) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ConfigError(where, "a name of 1 to 31 of a-z, 0-9, _ and -, a letter first", show(value))
    return value
