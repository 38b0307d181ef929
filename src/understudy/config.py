"""Where Understudy's configuration comes from: one TOML file, or the environment alone.

Every key and variable with unit, default and range: `docs/reference/configuration.md`. Policy values and the
directory from the environment win over the file; databases come from the file where there is one. Nothing
here opens a connection, and no error or warning holds a secret.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from understudy import config_alerts, config_api, config_backup, config_gates, config_secrets
from understudy import config_environment as environment
from understudy.config_dsn import Dsn, mask, parse_dsn
from understudy.config_values import BY_NAME, Settings, make_policy, not_set, parse, reject_unknown, show
from understudy.errors import ConfigError
from understudy.model import Cluster, Node

__all__ = ["Config", "load", "mask"]

DEFAULT_FILE = "understudy.toml"
MAX_FILE_BYTES = 1024 * 1024
MAX_CLUSTERS = 32
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
_VARIABLE = re.compile(r"\$?\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]{0,100})\}")
_QUOTED_VARIABLE = re.compile(r"(?P<q>'?)" + _VARIABLE.pattern + r"(?P=q)")
_CLUSTER_KEYS = ("engine", "rpo", "nodes", "policy", *config_gates.KEYS)
_DSN_KEYS = ("dsn", "admin_dsn", "replication_dsn")
_NODE_KEYS = ("name", "priority", "provider", "region", *_DSN_KEYS, *(f"{k}_env" for k in _DSN_KEYS))
_ENGINES_TO_COME = ("redis", "mongodb")


@dataclass(frozen=True)
class Config:
    """A checked configuration.

    Args:
        clusters: in order of appearance.
        directory: absolute path of this host's state (witness.db, lease, rescue files, logs).
        source: where it came from, for people.
        warnings: one sentence each, without secrets.
        gates: what carries foreign clients, by cluster (see `config_gates`).
        alerting: what is watched and who is told (see `config_alerts`); None: neither table is there.
        api: where the agent answers HTTP (see `config_api`); None: nowhere.
        backup: see `config_backup`; None: there are no backups.
    """

    clusters: tuple[Cluster, ...]
    directory: Path
    source: str
    warnings: tuple[str, ...]
    gates: Mapping[str, tuple[config_gates.GateConfig, ...]] = field(default_factory=dict)
    alerting: config_alerts.Alerting | None = None
    api: config_api.Api | None = None
    backup: config_backup.Backup | None = None

    def cluster(self, name: str | None) -> Cluster:
        """The cluster of that name; None: the only one. Raises ConfigError with the names there are."""
        names = ", ".join(c.name for c in self.clusters)
        if name is None:
            if len(self.clusters) == 1:
                return self.clusters[0]
            raise ConfigError(
                self.source, "the name of a cluster", "none, and there are several", f"one of: {names}"
            )
        for cluster in self.clusters:
            if cluster.name == name:
                return cluster
        raise ConfigError(self.source, "a cluster that is configured", show(name), f"one of: {names}")


@dataclass(frozen=True)
class _Entry:
    """One node before its pair is checked; ``places`` names where each of the three DSNs was given."""

    name: str
    where: str
    dsns: tuple[Dsn, Dsn, Dsn]
    places: tuple[str, str, str]
    priority: int
    provider: str = ""
    region: str = ""


def load(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Read and check the configuration.

    Args:
        path: the TOML file; None: ``$UNDERSTUDY_CONFIG``, else ``./understudy.toml``, else environment only.
        environ: stands in for ``os.environ``.

    Raises ConfigError: the first mistake found, with its place and what to do; never a secret.
    """
    env = environment.clean(os.environ if environ is None else environ)
    file = _find(path, env)
    overrides, warnings = environment.policy(env)
    warnings += environment.notices(env)
    if file is None:
        clusters, more = _from_environment(env, overrides)
        directory = _directory(None, env, Path.cwd(), warnings)
        used = [
            v for v in (*environment.FIRST, *environment.SECOND) if v in env and not v.endswith("_PASSWORD")
        ]
        source = f"environment ({', '.join(used)})"
        gates: dict[str, tuple[config_gates.GateConfig, ...]] = {}
        alerting = config_alerts.read({}, env, "", ())
        api, more_api = config_api.read(None, env, "api")
        backup = config_backup.read(None, env, "backup")
    else:
        source = str(file) if str(file).isprintable() else ascii(str(file))
        table = _read(file, source)
        clusters, more = _from_table(table, env, overrides, source)
        gates = _gates(table["clusters"], env, source)
        alerting = config_alerts.read(table, env, source, {n.name for c in clusters for n in c.nodes})
        api, more_api = config_api.read(table.get("api"), env, f"{source}: api")
        backup = config_backup.read(table.get("backup"), env, f"{source}: backup")
        warnings += config_secrets.warnings(table, file, source)
        directory = _directory(
            table.get("directory"), env, file.absolute().parent, warnings, f"{source}: directory"
        )
    warnings += more_api
    if api is not None and api.tls_key is not None:
        warnings += config_secrets.key_warnings(api.tls_key)
    clusters = _prefer(clusters, env)
    told = tuple(dict.fromkeys([*more, *warnings]))
    return Config(clusters, directory, source, told, gates, alerting, api, backup)


# --- files --------------------------------------------------------------------------------------------------


def _find(path: Path | None, env: Mapping[str, str]) -> Path | None:
    """The file to read, or None for environment only."""
    named = env.get("UNDERSTUDY_CONFIG") if path is None else str(path)
    if named is not None:
        if mask(named) != named or re.match(r"[\w+]{2,}:/", named):
            place = "UNDERSTUDY_CONFIG" if path is None else "configuration"
            raise ConfigError(place, "the path of a TOML file", "a URL or a connection string")
        return Path(named)
    if Path(DEFAULT_FILE).exists():
        return Path(DEFAULT_FILE)
    if environment.has_databases(env):
        return None
    hint = "run `understudy init`, or set DATABASE_URL and DATABASE_URL_SECONDARY"
    raise ConfigError(
        "configuration", f"./{DEFAULT_FILE}, UNDERSTUDY_CONFIG or DATABASE_URL", "none of them", hint
    )


def _read(file: Path, source: str) -> dict[str, Any]:
    """The parsed file. Raises ConfigError with line and column, and without the text found there."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or "an impossible path"
        hint = "run `understudy init` to make one" if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(source, "a readable TOML file", reason.lower(), hint) from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(source, f"at most {MAX_FILE_BYTES} bytes", "a larger file")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise ConfigError(
            f"{source}: line {line}, column {column}", "UTF-8 text", "another encoding"
        ) from None
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"line ([0-9]+), column ([0-9]+)", str(error))
        place = f"line {at[1]}, column {at[2]}" if at else "end of the file"
        reason = re.split(r"\s*[('\"]", str(error))[0].lower() or "something else"
        raise ConfigError(f"{source}: {place}", "valid TOML", reason) from None
    except (ValueError, RecursionError):
        raise ConfigError(source, "valid TOML", "a value that is too large or nested too deeply") from None


def _directory(
    given: object, env: Mapping[str, str], base: Path, warnings: list[str], where: str = ""
) -> Path:
    """The state directory as an absolute path; environment before file before default."""
    text, place = given, where
    if "UNDERSTUDY_DIRECTORY" in env:
        text, place, base = env["UNDERSTUDY_DIRECTORY"], "UNDERSTUDY_DIRECTORY", Path.cwd()
        if given is not None and given != text:
            warnings.append(f"UNDERSTUDY_DIRECTORY is used instead of {where}.")
    if text is None:
        return _default_directory(env)
    if not isinstance(text, str) or not text or len(text) > 1024 or not text.isprintable():
        raise ConfigError(place, "the path of a directory", show(text))
    if text == "~" or text.startswith("~/"):
        text = str(_home(env)) + text[1:]
    return Path(os.path.normpath(base / text))


def _default_directory(env: Mapping[str, str]) -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/understudy")
    state = Path(env.get("XDG_STATE_HOME", "."))
    return (state if state.is_absolute() else _home(env) / ".local" / "state") / "understudy"


def _home(env: Mapping[str, str]) -> Path:
    home = Path(env.get("HOME", ""))
    if home.is_absolute():
        return home
    try:
        return Path.home()
    except RuntimeError:
        raise ConfigError("HOME", "a home directory", "none", "set UNDERSTUDY_DIRECTORY") from None


# --- clusters -----------------------------------------------------------------------------------------------


def _from_environment(env: Mapping[str, str], overrides: Settings) -> tuple[tuple[Cluster, ...], list[str]]:
    entries = [
        _Entry(n.name, n.place, (n.dsn, n.admin, n.replication), (n.place, n.place, n.place), i)
        for i, n in enumerate(environment.pair(env), 1)
    ]
    name = _name(env.get("UNDERSTUDY_CLUSTER", "main"), "UNDERSTUDY_CLUSTER")
    cluster, warnings = _cluster(name, "environment", entries, overrides)
    return (cluster,), warnings


def _from_table(
    table: dict[str, Any], env: Mapping[str, str], overrides: Settings, source: str
) -> tuple[tuple[Cluster, ...], list[str]]:
    """All clusters of a parsed file, with warnings."""
    reject_unknown(
        table, ("directory", "clusters", *config_alerts.KEYS, *config_api.KEYS, *config_backup.KEYS), source
    )
    raw = _table(table.get("clusters", {}), f"{source}: clusters")
    if not 1 <= len(raw) <= MAX_CLUSTERS:
        hint = "write a table [clusters.main]; `understudy init` makes an example"
        raise ConfigError(f"{source}: clusters", f"1 to {MAX_CLUSTERS} clusters", str(len(raw)), hint)
    clusters, warnings = [], []
    for key, value in raw.items():
        name = _name(key, f"{source}: clusters")
        where = f"{source}: clusters.{name}"
        body = _table(value, where)
        reject_unknown(body, _CLUSTER_KEYS, where)
        _engine(body.get("engine", "postgresql"), f"{where}.engine")
        entries = _entries(body.get("nodes", []), env, f"{where}.nodes")
        settings, replaced = _settings(body, overrides, where)
        cluster, more = _cluster(name, where, entries, settings)
        clusters.append(cluster)
        warnings += more + replaced
    warnings += _other_databases(clusters, env, source)
    return tuple(clusters), warnings


def _gates(
    clusters: dict[str, dict[str, Any]], env: Mapping[str, str], source: str
) -> dict[str, tuple[config_gates.GateConfig, ...]]:
    """What carries foreign clients, for each cluster of a parsed file."""

    def read_dsn(table: dict[str, Any], where: str) -> Dsn | None:
        found = _dsn(table, "dsn", env, where)
        return found[0] if found is not None else None

    return {
        name: config_gates.parse(body, read_dsn, f"{source}: clusters.{name}")
        for name, body in clusters.items()
    }


def _table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(where, "a table", show(value))
    return value


def _name(value: object, where: str) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ConfigError(where, "a name of 1 to 31 of a-z, 0-9, _ and -, a letter first", show(value))
    return value


def _engine(value: object, where: str) -> None:
    if value in _ENGINES_TO_COME:
        raise ConfigError(where, '"postgresql"', f'"{value}", which is not in this version')
    if value != "postgresql":
        raise ConfigError(where, '"postgresql"', show(value))


def _other_databases(clusters: list[Cluster], env: Mapping[str, str], source: str) -> list[str]:
    """Warnings about database variables that name something the file does not."""
    known = {parse_dsn(d, "").endpoint for c in clusters for n in c.nodes for d in (n.dsn, n.admin_dsn)}
    return [
        f"{name} is not used: {source} names the databases, and this is none of them."
        for name, dsn in environment.named_databases(env).items()
        if dsn.endpoint not in known
    ]


def _settings(body: dict[str, Any], overrides: Settings, where: str) -> tuple[Settings, list[str]]:
    """Policy values of one cluster: the file's, then the environment's on top."""
    table = _table(body.get("policy", {}), f"{where}.policy")
    reject_unknown(table, BY_NAME, f"{where}.policy")
    settings, warnings = Settings(), []
    if "rpo" in body:
        settings.put("rpo", parse(BY_NAME["rpo"], body["rpo"], f"{where}.rpo"), f"{where}.rpo")
    for name, value in table.items():
        place = f"{where}.policy.{name}"
        parsed = parse(BY_NAME[name], value, place)
        if settings.values.get(name, parsed) != parsed:
            raise ConfigError(place, f"the same as {where}.{name}", show(value), "keep one of the two")
        settings.put(name, parsed, place)
    for name, value in overrides.values.items():
        variable = overrides.places[name]
        if settings.values.get(name, value) != value:
            warnings.append(f"{variable} from the environment is used instead of {settings.places[name]}.")
        settings.put(name, value, variable)
    return settings, warnings


def _cluster(name: str, where: str, entries: list[_Entry], settings: Settings) -> tuple[Cluster, list[str]]:
    """Check the pair as a whole and build it. Raises ConfigError."""
    one, two = entries
    for i, key in enumerate(_DSN_KEYS):
        if one.dsns[i].endpoint == two.dsns[i].endpoint:
            place = (
                one.places[i] if one.places[i] == two.places[i] else f"{one.places[i]} and {two.places[i]}"
            )
            hint = "a standby must be another database"
            raise ConfigError(place, "two different databases", f"the same one twice ({key})", hint)
    policy, warnings = make_policy(settings, where)
    for entry, other in ((one, two), (two, one)):
        warnings += _node_warnings(entry, other)
    nodes = tuple(_node(e) for e in sorted(entries, key=lambda e: e.priority))
    return Cluster(name=name, engine="postgresql", nodes=nodes, policy=policy), warnings


def _node(entry: _Entry) -> Node:
    dsn, admin, replication = (d.text for d in entry.dsns)
    provider = entry.provider or entry.dsns[1].provider
    return Node(
        name=entry.name, dsn=dsn, admin_dsn=admin, replication_dsn=replication,
        priority=entry.priority, provider=provider, region=entry.region,
    )  # fmt: skip


def _node_warnings(entry: _Entry, other: _Entry) -> list[str]:
    """Sentences about TLS, poolers and unreachable addresses of one node."""
    found: list[str] = []
    for key, dsn, place in zip(_DSN_KEYS, entry.dsns, entry.places, strict=True):
        found += dsn.notes
        if not dsn.local and dsn.sslmode not in ("verify-full", "verify-ca"):
            state = f"sslmode={dsn.sslmode}" if dsn.sslmode else "no sslmode"
            found.append(
                f"{place}: {state} does not check who answers (node {entry.name}); use sslmode=verify-full."
            )
        if key != "dsn" and dsn.pooler:
            found.append(
                f"{place}: node {entry.name} has a pooler as its {key}; "
                "replication and administration need the direct endpoint."
            )
    if entry.dsns[2].local and not other.dsns[1].local:
        found.append(
            f"{entry.places[2]}: the replication_dsn of node {entry.name} is a local address, which "
            f"node {other.name} cannot dial; give replication_dsn an address it can reach."
        )
    return found


def _prefer(clusters: tuple[Cluster, ...], env: Mapping[str, str]) -> tuple[Cluster, ...]:
    """Put the node that ``UNDERSTUDY_PREFERRED`` names first in every cluster that has it."""
    name = env.get("UNDERSTUDY_PREFERRED", "").strip()
    if not name:
        return clusters
    names = sorted({n.name for c in clusters for n in c.nodes})
    if name not in names:
        raise ConfigError(
            "UNDERSTUDY_PREFERRED", "the name of a node", show(name), f"one of: {', '.join(names)}"
        )
    return tuple(_preferring(c, name) for c in clusters)


def _preferring(cluster: Cluster, name: str) -> Cluster:
    if name not in [n.name for n in cluster.nodes]:
        return cluster
    order = sorted(cluster.nodes, key=lambda n: n.name != name)
    return replace(cluster, nodes=tuple(replace(n, priority=i) for i, n in enumerate(order, 1)))


# --- nodes --------------------------------------------------------------------------------------------------


def _entries(value: object, env: Mapping[str, str], where: str) -> list[_Entry]:
    """The two nodes of a cluster."""
    if not isinstance(value, list):
        raise ConfigError(where, f"two tables [[{where.rpartition(' ')[2]}]]", show(value))
    if len(value) != 2:
        found = f"{len(value)} node" + ("" if len(value) == 1 else "s")
        hint = (
            "this version runs pairs"
            if len(value) > 2
            else "add [[...nodes]] with name and dsn for each database"
        )
        raise ConfigError(where, "exactly two nodes", found, hint)
    entries = [_entry(v, env, i, f"{where}[{i}]") for i, v in enumerate(value)]
    if entries[0].name == entries[1].name:
        raise ConfigError(f"{where}[1].name", "another name than nodes[0]", show(entries[1].name))
    if entries[0].priority == entries[1].priority:
        hint = "give both nodes a priority, 1 for the preferred one"
        raise ConfigError(
            f"{where}[1].priority", "another priority than nodes[0]", str(entries[1].priority), hint
        )
    return entries


def _entry(value: object, env: Mapping[str, str], index: int, where: str) -> _Entry:
    table = _table(value, where)
    reject_unknown(table, _NODE_KEYS, where)
    if "name" not in table:
        raise ConfigError(f"{where}.name", 'a short name such as "home"', "nothing")
    name = _name(table["name"], f"{where}.name")
    priority = table.get("priority", index + 1)
    if isinstance(priority, bool) or not isinstance(priority, int) or not 1 <= priority <= 100:
        raise ConfigError(f"{where}.priority", "a whole number from 1 (preferred) to 100", show(priority))
    found = [_dsn(table, key, env, where) for key in _DSN_KEYS]
    if found[0] is None:
        raise ConfigError(f"{where}.dsn", "dsn or dsn_env", "nothing", 'e.g. dsn_env = "DATABASE_URL"')
    dsn = found[0]
    admin = found[1] or dsn
    chosen = (dsn, admin, found[2] or admin)
    return _Entry(
        name, where, (chosen[0][0], chosen[1][0], chosen[2][0]), (chosen[0][1], chosen[1][1], chosen[2][1]),
        priority, _label(table, "provider", where), _label(table, "region", where),
    )  # fmt: skip


def _label(table: dict[str, Any], key: str, where: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str) or not re.fullmatch(r"[\w .\-]{0,40}", value):
        raise ConfigError(f"{where}.{key}", "up to 40 letters, digits, spaces, dots and hyphens", show(value))
    return value.strip()


def _dsn(table: dict[str, Any], key: str, env: Mapping[str, str], where: str) -> tuple[Dsn, str] | None:
    """One DSN of a node, and its place; None: not given."""
    variable = table.get(f"{key}_env")
    place = f"{where}.{key}"
    if variable is not None:
        place += "_env"
        if key in table:
            raise ConfigError(place, f"{key} or {key}_env", "both", "keep one of the two")
        if not isinstance(variable, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,100}", variable):
            raise ConfigError(place, "the name of an environment variable", show(variable))
        if variable not in env:
            raise not_set(place, variable)
        return parse_dsn(env[variable], f"{place} ({variable})"), place
    if key not in table:
        return None
    raw = table[key]
    expanded = _expand(raw, env, place) if isinstance(raw, str) else raw
    return parse_dsn(expanded, place), place


def _expand(text: str, env: Mapping[str, str], where: str) -> str:
    """Replace ``${NAME}``: unchanged as the whole value, percent-encoded in a URI, quoted in ``key=value``.

    ``$${`` stands for a plain ``${``. Raises ConfigError for a variable that is not set.
    """
    whole, uri = _VARIABLE.fullmatch(text.strip()), "://" in text

    def value(match: re.Match[str]) -> str:
        if match.group().startswith("$$"):
            return match.group()[1:]
        name = match["name"]
        if name not in env:
            raise not_set(where, name)
        if whole:
            return env[name]
        if uri:
            return quote(env[name], safe="", errors="replace")
        return "'" + env[name].replace("\\", "\\\\").replace("'", "\\'") + "'"

    return (_VARIABLE if uri else _QUOTED_VARIABLE).sub(value, text)
