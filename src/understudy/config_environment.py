"""Configuration from environment variables: every name of the requirements, with its unit. No I/O.

Two families name the pair of databases: ``DATABASE_URL`` + ``DATABASE_URL_SECONDARY`` and ``PRIMARY_DB_*`` +
``SUPABASE_DB_*`` (or ``SUPABASE_DB_URL``). They may be mixed; where both name the same place they must agree.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from understudy import config_api, config_backup
from understudy.config_dsn import Dsn, build_uri, is_host, parse_dsn
from understudy.config_values import SETTINGS, Setting, Settings, parse, show
from understudy.errors import ConfigError

PARTS = ("NAME", "USER", "PASSWORD", "HOST", "PORT")
FIRST = ("DATABASE_URL", *(f"PRIMARY_DB_{p}" for p in PARTS))
SECOND = ("DATABASE_URL_SECONDARY", "SUPABASE_DB_URL", *(f"SUPABASE_DB_{p}" for p in PARTS))
NODE_EXTRAS = tuple(
    f"UNDERSTUDY_{n}_{k}" for n in ("PRIMARY", "SECONDARY") for k in ("ADMIN_DSN", "REPLICATION_DSN")
)
OWN = (
    "UNDERSTUDY_CONFIG",
    "UNDERSTUDY_DIRECTORY",
    "UNDERSTUDY_PREFERRED",
    "UNDERSTUDY_CLUSTER",
    "UNDERSTUDY_ALERT_URLS",
    *config_api.VARIABLES.values(),
    *config_backup.VARIABLES,
    *NODE_EXTRAS,
)
NOT_YET = ("REDIS_URL", "UPSTASH_REDIS_URL", "MONGODB_ATLAS_URL", "MONGODB_ATLAS_DATABASE", "MONGODB_URL")
"""Variables of engines that this version does not run: reported, never used."""

ENABLE_HINT = "Set DATABASE_URL_SECONDARY to enable automatic database failover"


@dataclass(frozen=True, slots=True)
class NodeSource:
    """One node as the environment describes it; ``place`` names the variables for people."""

    name: str
    place: str
    dsn: Dsn
    admin: Dsn
    replication: Dsn


def clean(environ: Mapping[str, str]) -> dict[str, str]:
    """A copy without variables that are empty or blank: they count as not set."""
    return {k: v for k, v in environ.items() if v.strip()}


def has_databases(env: Mapping[str, str]) -> bool:
    """Some variable names a database of the pair."""
    return any(name in env for name in (*FIRST, *SECOND))


def pair(env: Mapping[str, str]) -> tuple[NodeSource, NodeSource]:
    """The two nodes ``primary`` and ``secondary``. Raises ConfigError where one is missing or contradictory."""
    first = _agreed(_candidates(env, "PRIMARY_DB_", ("DATABASE_URL",)))
    second = _agreed(_candidates(env, "SUPABASE_DB_", ("DATABASE_URL_SECONDARY", "SUPABASE_DB_URL")))
    if first is None:
        hint = "set DATABASE_URL (or PRIMARY_DB_NAME, _USER, _PASSWORD, _HOST, _PORT)"
        raise ConfigError("DATABASE_URL", "the database that is primary when all is well", "nothing", hint)
    if second is None:
        raise ConfigError("DATABASE_URL_SECONDARY", "a second database", "only one database", ENABLE_HINT)
    return _node("primary", first, env), _node("secondary", second, env)


def named_databases(env: Mapping[str, str]) -> dict[str, Dsn]:
    """Every readable URL of the pair that is set, by variable; unreadable ones are left out."""
    found = {}
    for name in ("DATABASE_URL", "DATABASE_URL_SECONDARY", "SUPABASE_DB_URL"):
        try:
            found[name] = parse_dsn(env[name], name)
        except (KeyError, ConfigError):
            continue
    return found


def _candidates(env: Mapping[str, str], prefix: str, urls: tuple[str, ...]) -> list[tuple[str, Dsn]]:
    found = [(name, parse_dsn(env[name], name)) for name in urls if name in env]
    given = {p: env[prefix + p] for p in PARTS if prefix + p in env}
    if given:
        found.append((f"{prefix}*", _from_parts(given, prefix)))
    return found


def _from_parts(given: Mapping[str, str], prefix: str) -> Dsn:
    """A DSN from NAME, USER, PASSWORD, HOST and PORT; as in the requirements HOST of PRIMARY_DB is localhost."""
    supabase = prefix == "SUPABASE_DB_"
    needed = ("NAME", "HOST") if supabase else ("NAME",)
    for part in needed:
        if part not in given:
            others = ", ".join(prefix + p for p in given)
            raise ConfigError(prefix + part, f"a value, because {others} is set", "nothing")
    params = {"host": given.get("HOST", "localhost").strip(), "port": given.get("PORT", "5432").strip()}
    params["dbname"] = given["NAME"].strip()
    if "USER" in given:
        params["user"] = given["USER"].strip()
    if "PASSWORD" in given:
        params["password"] = given["PASSWORD"]
    if any(0xD800 <= ord(c) <= 0xDFFF or ord(c) < 32 for value in params.values() for c in value):
        raise ConfigError(prefix + "*", "plain text", "control characters or invalid UTF-8")
    if not is_host(params["host"]):
        raise ConfigError(prefix + "HOST", "a host name or an IP address", "something else")
    if not re.fullmatch(r"[0-9]{1,5}", params["port"]):
        raise ConfigError(prefix + "PORT", "a number from 1 to 65535", "something else")
    if supabase:
        params["sslmode"] = "require"
    return parse_dsn(build_uri(params), prefix + "*")


def _agreed(found: list[tuple[str, Dsn]]) -> tuple[str, Dsn] | None:
    """The first of several variables for one place, once all are known to name the same database."""
    if not found:
        return None
    name, dsn = found[0]
    for other, candidate in found[1:]:
        if candidate.endpoint != dsn.endpoint:
            hint = "unset one of them"
            raise ConfigError(f"{name} and {other}", "the same database in both", "different databases", hint)
    return name, dsn


def _node(name: str, found: tuple[str, Dsn], env: Mapping[str, str]) -> NodeSource:
    place, dsn = found
    extras = []
    fallback = dsn
    for kind in ("ADMIN_DSN", "REPLICATION_DSN"):
        variable = f"UNDERSTUDY_{name.upper()}_{kind}"
        fallback = parse_dsn(env[variable], variable) if variable in env else fallback
        extras.append(fallback)
    return NodeSource(name, place, dsn, extras[0], extras[1])


def policy(env: Mapping[str, str]) -> tuple[Settings, list[str]]:
    """Every policy value the environment sets, the winning variable of each, and warnings about the losers.

    Raises ConfigError for any variable that cannot be read, also for one that would not be used.
    """
    settings, warnings = Settings(), []
    for setting in SETTINGS:
        given = [(v, parse(setting, env[v], v, unit or "s")) for v, unit in setting.variables if v in env]
        if not given:
            continue
        settings.put(setting.name, given[0][1], given[0][0])
        warnings += _differences(setting, given, env)
    return settings, warnings


def _differences(setting: Setting, given: list[tuple[str, object]], env: Mapping[str, str]) -> list[str]:
    winner, value = given[0]
    return [
        f"{other}={show(env[other])} is not used: {winner}={show(env[winner])} sets {setting.name} too and wins."
        for other, losing in given[1:]
        if losing != value
    ]


def notices(env: Mapping[str, str]) -> list[str]:
    """Sentences about variables that are known but not used, and probable misspellings of our own."""
    found = [
        f"{name} is recognised but not used by this version yet (PostgreSQL only)."
        for name in NOT_YET
        if name in env
    ]
    found += [
        f"{name} holds a database URL but is not used; put it in SUPABASE_DB_URL."
        for name in ("SUPABASE_URL", "SUPABASE_URL_SECONDARY")
        if env.get(name, "").strip().lower().startswith("postgres")
    ]
    known = [v for s in SETTINGS for v, _ in s.variables] + list(OWN)
    for name in sorted(n for n in env if n.startswith("UNDERSTUDY_") and n not in known):
        if close := difflib.get_close_matches(name, known, 1, 0.9):
            found.append(f"{show(name)} is not known; did you mean {close[0]}?")
    return found
