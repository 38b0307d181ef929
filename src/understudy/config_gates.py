"""The gates of a cluster: the PgBouncer and HAProxy processes that carry clients which know nothing of Understudy.

    [[clusters.main.pgbouncer]]
    dsn = "postgresql://pgbouncer:${ADMIN_PASSWORD}@127.0.0.1:6432/pgbouncer"
    databases = ["farm"]
    file = "/etc/pgbouncer/databases.ini"

    [[clusters.main.haproxy]]
    socket = "/run/haproxy/admin.sock"
    backend = "farm"

What the agent does with them: `docs/how-to/pgbouncer.md` and `docs/how-to/haproxy.md`. No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from understudy.config_dsn import Dsn
from understudy.config_values import reject_unknown, show
from understudy.errors import ConfigError

KEYS = ("pgbouncer", "haproxy")
MAX_GATES = 32
CONSOLE = "pgbouncer"
_DATABASE = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,62}")
_BACKEND = re.compile(r"[A-Za-z0-9_.:\-]{1,128}")

ReadDsn = Callable[[dict[str, Any], str], Dsn | None]
"""Reads ``dsn`` or ``dsn_env`` of a table; given the table and its place. None: neither is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PgBouncer:
    """One database of one PgBouncer.

    Args:
        dsn: its admin console, as a user of ``admin_users``. Holds a password: ``repr`` leaves it out.
        database: the name that clients ask for, an entry of ``[databases]``.
        file: the file that holds that entry: pgbouncer.ini itself, or one that it includes.
    """

    dsn: str = field(repr=False)
    database: str
    file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Haproxy:
    """One backend of one HAProxy; its servers are named like the nodes.

    Args:
        socket: the Unix socket of ``stats socket ... level admin``.
    """

    socket: Path
    backend: str


GateConfig = PgBouncer | Haproxy


def parse(body: Mapping[str, Any], read_dsn: ReadDsn, where: str) -> tuple[GateConfig, ...]:
    """All gates of one cluster's table, in order of appearance. Raises ConfigError."""
    gates: list[GateConfig] = []
    for index, table in enumerate(_tables(body, "pgbouncer", where)):
        gates += _pgbouncer(table, read_dsn, f"{where}.pgbouncer[{index}]")
    for index, table in enumerate(_tables(body, "haproxy", where)):
        gates.append(_haproxy(table, f"{where}.haproxy[{index}]"))
    if len(gates) > MAX_GATES:
        raise ConfigError(where, f"at most {MAX_GATES} databases and backends", str(len(gates)))
    if len(set(gates)) != len(gates):
        raise ConfigError(where, "every gate once", "the same one twice", "remove one of the two")
    return tuple(gates)


def _tables(body: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    tables = body.get(key, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{where}.{key}", f"tables [[clusters.NAME.{key}]]", show(tables))
    return tables


def _pgbouncer(table: dict[str, Any], read_dsn: ReadDsn, where: str) -> list[PgBouncer]:
    reject_unknown(table, ("dsn", "dsn_env", "databases", "file"), where)
    dsn = read_dsn(table, where)
    if dsn is None:
        raise ConfigError(f"{where}.dsn", "dsn or dsn_env of the admin console", "nothing")
    if dsn.dbname != CONSOLE:
        hint = "the console is a database of that name inside PgBouncer"
        raise ConfigError(f"{where}.dsn", f"the database {CONSOLE}", "another one", hint)
    names = table.get("databases")
    if not isinstance(names, list) or not names or not all(_matches(_DATABASE, name) for name in names):
        hint = 'the names that clients ask for, e.g. databases = ["farm"]'
        raise ConfigError(f"{where}.databases", "a list of names", show(names), hint)
    file = _path(table, "file", where, "/etc/pgbouncer/pgbouncer.ini")
    return [PgBouncer(dsn=dsn.text, database=name, file=file) for name in names]


def _haproxy(table: dict[str, Any], where: str) -> Haproxy:
    reject_unknown(table, ("socket", "backend"), where)
    backend = table.get("backend")
    if not _matches(_BACKEND, backend):
        raise ConfigError(f"{where}.backend", "the name of a backend or listen section", show(backend))
    return Haproxy(socket=_path(table, "socket", where, "/run/haproxy/admin.sock"), backend=str(backend))


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _path(table: dict[str, Any], key: str, where: str, example: str) -> Path:
    value = table.get(key)
    if not isinstance(value, str) or not value.isprintable() or not Path(value).is_absolute():
        raise ConfigError(f"{where}.{key}", f'an absolute path such as "{example}"', show(value))
    return Path(value)
