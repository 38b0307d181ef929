"""The table ``[api]``: where the agent answers HTTP, and who may ask what. No I/O.

    [api]
    listen = "127.0.0.1:8008"
    operator_token_env = "UNDERSTUDY_OPERATOR_TOKEN"
    read_token_env = "UNDERSTUDY_READ_TOKEN"

Each key has a variable, which wins: `VARIABLES`. Without the table and without ``UNDERSTUDY_API_LISTEN`` nothing
listens. An address that others can reach needs TLS and a token.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from understudy.config_values import not_set, reject_unknown, show
from understudy.errors import ConfigError

KEYS = ("api",)
MIN_TOKEN = 16
_LISTEN = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9.\-]+)):(?P<port>[0-9]{1,5})")
_TOKENS = ("operator_token", "read_token")
_FILES = ("tls_cert", "tls_key")
VARIABLES: Mapping[str, str] = {
    "listen": "UNDERSTUDY_API_LISTEN",
    "operator_token": "UNDERSTUDY_OPERATOR_TOKEN",
    "read_token": "UNDERSTUDY_READ_TOKEN",
    "tls_cert": "UNDERSTUDY_API_TLS_CERT",
    "tls_key": "UNDERSTUDY_API_TLS_KEY",
}
_Found = Mapping[str, tuple[object, str]]
"""By key: what was given, and where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """Where the API listens.

    Args:
        operator_token: may look and act; empty: nobody may act. ``repr`` leaves tokens out.
        read_token: may look; empty: no such role.
        tls_cert, tls_key: files in PEM; both or none.
    """

    host: str
    port: int
    operator_token: str = field(default="", repr=False)
    read_token: str = field(default="", repr=False)
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def loopback(self) -> bool:
        """Only this host can reach it."""
        return _loopback(self.host)

    @property
    def guarded(self) -> bool:
        """Looking needs a token."""
        return bool(self.operator_token or self.read_token)


def read(table: object, env: Mapping[str, str], where: str) -> tuple[Api | None, list[str]]:
    """The table ``[api]`` with the environment on top, and warnings; None where nothing says that it listens.

    Raises ConfigError, also for a value that would not be used.
    """
    given = {key: name for key, name in VARIABLES.items() if name in env}
    if table is None and "listen" not in given:
        lacking = f"there is no table [api], and {VARIABLES['listen']} is not set"
        return None, [f"{name} is not used: {lacking}." for name in given.values()]
    body = {} if table is None else table
    if not isinstance(body, dict):
        raise ConfigError(where, "a table", show(body))
    reject_unknown(body, ("listen", *_TOKENS, *(f"{t}_env" for t in _TOKENS), *_FILES), where)
    written = _written(body, env, where)
    _checked(written, where)
    found = {**written, **{key: (env[name].strip(), name) for key, name in given.items()}}
    warnings = [
        f"{found[key][1]} from the environment is used instead of {written[key][1]}."
        for key in given
        if key in written and written[key][0] != found[key][0]
    ]
    return _whole(_checked(found, where), where), warnings


def _written(table: Mapping[str, Any], env: Mapping[str, str], where: str) -> _Found:
    """What the table says, with the variables that its ``..._env`` keys name."""
    found = {key: (table[key], f"{where}.{key}") for key in VARIABLES if key in table}
    for key in _TOKENS:
        variable, place = table.get(f"{key}_env"), f"{where}.{key}_env"
        if variable is None:
            continue
        if key in found:
            raise ConfigError(f"{where}.{key}", f"{key} or {key}_env", "both", "keep one of the two")
        if not isinstance(variable, str):
            raise ConfigError(place, "the name of an environment variable", show(variable))
        if variable not in env:
            raise not_set(place, variable)
        found[key] = (env[variable].strip(), place)
    return found


def _checked(found: _Found, where: str) -> Api:
    """Every value by itself."""
    host, port = _listen(*found.get("listen", ("127.0.0.1:8008", f"{where}.listen")))
    operator, reader = (_token(*found[key]) if key in found else "" for key in _TOKENS)
    cert, key = (_file(*found[name]) if name in found else None for name in _FILES)
    return Api(host=host, port=port, operator_token=operator, read_token=reader, tls_cert=cert, tls_key=key)


def _whole(api: Api, where: str) -> Api:
    """The values together."""
    if api.operator_token and api.operator_token == api.read_token:
        raise ConfigError(f"{where}.read_token", "another token than the operator's", "the same one")
    if (api.tls_cert is None) != (api.tls_key is None):
        raise ConfigError(where, "tls_cert and tls_key, or neither", "one of the two")
    if not api.loopback and (api.tls_cert is None or not api.guarded):
        lacking = "no tls_cert" if api.tls_cert is None else "no token"
        hint = 'listen on "127.0.0.1:8008", or give tls_cert, tls_key and operator_token_env'
        raise ConfigError(f"{where}.listen", "TLS and a token for an address others can reach", lacking, hint)
    return api


def _listen(value: object, where: str) -> tuple[str, int]:
    found = _LISTEN.fullmatch(value) if isinstance(value, str) else None
    if found is None or not 0 < int(found["port"]) < 65536:
        raise ConfigError(
            where, 'an address and a port such as "127.0.0.1:8008" or "[::1]:8008"', show(value)
        )
    return found["six"] or found["host"], int(found["port"])


def _token(value: object, where: str) -> str:
    if not isinstance(value, str) or len(value) < MIN_TOKEN or not re.fullmatch(r"[!-~]{1,512}", value):
        expected = f"{MIN_TOKEN} to 512 printable characters without spaces"
        raise ConfigError(where, expected, "something else", "make one with `openssl rand -hex 32`")
    return value


def _file(value: object, where: str) -> Path:
    if not isinstance(value, str) or not Path(value).is_absolute() or not value.isprintable():
        raise ConfigError(where, 'an absolute path such as "/etc/understudy/tls.pem"', show(value))
    return Path(value)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
