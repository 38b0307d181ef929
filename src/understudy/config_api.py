"""The table ``[api]``: where the agent answers HTTP, and who may ask what. No I/O.

    [api]
    listen = "127.0.0.1:8008"
    operator_token_env = "UNDERSTUDY_OPERATOR_TOKEN"
    read_token_env = "UNDERSTUDY_READ_TOKEN"

Without the table nothing listens. An address that others can reach needs TLS and a token.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from understudy.config_values import reject_unknown, show
from understudy.errors import ConfigError

KEYS = ("api",)
MIN_TOKEN = 16
_LISTEN = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9.\-]+)):(?P<port>[0-9]{1,5})")
_TOKENS = ("operator_token", "read_token")
_FILES = ("tls_cert", "tls_key")


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


def parse(table: object, env: Mapping[str, str], where: str) -> Api | None:
    """The table ``[api]``; None where it is absent. Raises ConfigError."""
    if table is None:
        return None
    if not isinstance(table, dict):
        raise ConfigError(where, "a table", show(table))
    reject_unknown(table, ("listen", *_TOKENS, *(f"{t}_env" for t in _TOKENS), *_FILES), where)
    host, port = _listen(table.get("listen", "127.0.0.1:8008"), f"{where}.listen")
    operator, reader = (_token(table, key, env, where) for key in _TOKENS)
    if operator and operator == reader:
        raise ConfigError(f"{where}.read_token", "another token than the operator's", "the same one")
    cert, key = (_file(table, name, where) for name in _FILES)
    if (cert is None) != (key is None):
        raise ConfigError(where, "tls_cert and tls_key, or neither", "one of the two")
    api = Api(host=host, port=port, operator_token=operator, read_token=reader, tls_cert=cert, tls_key=key)
    if not api.loopback and (cert is None or not api.guarded):
        lacking = "no tls_cert" if cert is None else "no token"
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


def _token(table: Mapping[str, Any], key: str, env: Mapping[str, str], where: str) -> str:
    variable = table.get(f"{key}_env")
    if variable is not None and key in table:
        raise ConfigError(f"{where}.{key}", f"{key} or {key}_env", "both", "keep one of the two")
    value: object = table.get(key)
    if variable is not None:
        if not isinstance(variable, str):
            raise ConfigError(f"{where}.{key}_env", "the name of an environment variable", show(variable))
        if variable not in env:
            raise ConfigError(f"{where}.{key}_env", "an environment variable that is set", "it is not set")
        value = env[variable].strip()
    elif value is None:
        return ""
    if not isinstance(value, str) or len(value) < MIN_TOKEN or not re.fullmatch(r"[!-~]{1,512}", value):
        hint = "make one with `openssl rand -hex 32`"
        raise ConfigError(
            f"{where}.{key}",
            f"{MIN_TOKEN} to 512 printable characters without spaces",
            "something else",
            hint,
        )
    return value


def _file(table: Mapping[str, Any], key: str, where: str) -> Path | None:
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not Path(value).is_absolute() or not value.isprintable():
        raise ConfigError(f"{where}.{key}", 'an absolute path such as "/etc/understudy/tls.pem"', show(value))
    return Path(value)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
