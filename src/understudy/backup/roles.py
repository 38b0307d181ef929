"""The roles of a server, as one part of a backup: read by query, made again only where they are missing.

Not pg_dumpall: the views it can be told to read are open to every role, but what it prints *alters* roles that exist,
which on somebody's server is nobody's wish. Passwords are never copied: no role but a superuser can read them, and a
backup is no place for them. (What restores a role says so: it cannot log in with a password before it is given one.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from understudy import strict_json

# Lists in these settings are stored as they must be written again: quoted by element (guc_tables.c, GUC_LIST_QUOTE).
_LISTS = frozenset(
    ["local_preload_libraries", "search_path", "session_preload_libraries", "temp_tablespaces"]
)

_ROLES = """
SELECT r.rolname::text, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin, r.rolreplication,
    r.rolbypassrls, r.rolconnlimit, coalesce(r.rolvaliduntil::text, ''), coalesce(r.rolconfig, '{}'),
    coalesce((SELECT jsonb_agg(jsonb_build_object('role', g.rolname, 'admin', m.admin_option,
                  'inherit', coalesce((to_jsonb(m)->>'inherit_option')::boolean, r.rolinherit),
                  'set', coalesce((to_jsonb(m)->>'set_option')::boolean, true)) ORDER BY g.rolname)
              FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid), '[]')
FROM pg_roles r WHERE r.rolname !~ '^pg_' ORDER BY r.rolname COLLATE "C"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """A role that a role belongs to."""

    role: str
    admin: bool
    inherit: bool
    set: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A role without its password. ``settings``: ``name=value``, for all databases."""

    name: str
    superuser: bool
    inherit: bool
    createrole: bool
    createdb: bool
    login: bool
    replication: bool
    bypassrls: bool
    connection_limit: int
    valid_until: str
    settings: tuple[str, ...]
    member_of: tuple[Membership, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """The part ``roles`` of a backup."""

    roles: tuple[Role, ...]


def encode(roles: Roles) -> bytes:
    """The part's bytes, readable by people too."""
    return strict_json.encode(roles, layout=1, key="roles", indent=1).encode()


def decode(data: bytes, where: str) -> Roles:
    """What `encode` wrote. Raises `RecordError`."""
    return strict_json.decode(Roles, data, layout=1, key="roles", what=where)


def read(connection: psycopg.Connection) -> Roles:
    """The roles of the server but PostgreSQL's own. Needs no privilege. Raises psycopg's errors."""
    return Roles(roles=tuple(_role(row) for row in connection.execute(_ROLES).fetchall()))


def _role(row: Sequence[Any]) -> Role:
    members = tuple(
        Membership(role=m["role"], admin=m["admin"], inherit=m["inherit"], set=m["set"]) for m in row[11]
    )
    return Role(
        name=row[0], superuser=row[1], inherit=row[2], createrole=row[3], createdb=row[4], login=row[5],
        replication=row[6], bypassrls=row[7], connection_limit=row[8], valid_until=row[9], settings=tuple(row[10]),
        member_of=members,
    )  # fmt: skip


def make_missing(connection: psycopg.Connection, roles: Roles) -> tuple[list[str], list[str]]:
    """Make the roles that the server does not have, with their memberships. Those it has are left alone.

    Returns the names that were made, and what could not be done, one sentence each. ``connection``: autocommit.
    """
    have = {row[0] for row in connection.execute("SELECT rolname::text FROM pg_roles").fetchall()}
    made: list[str] = []
    problems: list[str] = []
    missing = [role for role in roles.roles if role.name not in have]
    for role in missing:
        if _try(connection, _create(role), f"role {role.name}", problems):
            made.append(role.name)
    for role in missing:
        if role.name in made:
            for statement in _details(role):
                _try(connection, statement, f"role {role.name}", problems)
    return made, problems


def _try(connection: psycopg.Connection, statement: sql.Composed, what: str, problems: list[str]) -> bool:
    try:
        connection.execute(statement)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        problems.append(f"{what}: {' '.join(str(error).split())}")
        return False
    return True


def _create(role: Role) -> sql.Composed:
    words = {
        "SUPERUSER": role.superuser, "INHERIT": role.inherit, "CREATEROLE": role.createrole, "CREATEDB": role.createdb,
        "LOGIN": role.login, "REPLICATION": role.replication, "BYPASSRLS": role.bypassrls,
    }  # fmt: skip
    # Only what is wanted: also NOSUPERUSER and the like need privileges that a provider's role may not have.
    options = [word for word, wanted in words.items() if wanted] + ([] if role.inherit else ["NOINHERIT"])
    statement = sql.SQL("CREATE ROLE {} ").format(sql.Identifier(role.name)) + sql.SQL(" ".join(options))
    if role.connection_limit >= 0:
        statement += sql.SQL(" CONNECTION LIMIT {}").format(sql.Literal(role.connection_limit))
    if role.valid_until:
        statement += sql.SQL(" VALID UNTIL {}").format(sql.Literal(role.valid_until))
    return statement


def _details(role: Role) -> Sequence[sql.Composed]:
    name = sql.Identifier(role.name)
    found = []
    for membership in role.member_of:
        options = [
            f"{word} {str(value).upper()}"
            for word, value in (
                ("ADMIN", membership.admin),
                ("INHERIT", membership.inherit),
                ("SET", membership.set),
            )
        ]
        found.append(
            sql.SQL("GRANT {} TO {} WITH ").format(sql.Identifier(membership.role), name)
            + sql.SQL(", ".join(options))
        )
    for setting in role.settings:
        key, _, value = setting.partition("=")
        text = sql.SQL(value) if key in _LISTS and value else sql.Literal(value)
        setting_name = sql.Identifier(*key.split("."))
        found.append(sql.SQL("ALTER ROLE {} SET {} TO {}").format(name, setting_name, text))
    return found
