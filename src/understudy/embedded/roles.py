"""The roles of a careful installation: what Understudy needs of PostgreSQL 16 or newer, and no superuser.

Each grant is exercised by tests/integration/test_embedded.py, as the role that has it.
"""

from __future__ import annotations

from typing import Protocol

import psycopg
from psycopg import sql

# Understudy as a member of the application's role: it may publish that role's tables and act on its behalf.
ONCE_PER_SERVER = (
    "GRANT {app} TO {admin} WITH INHERIT TRUE, SET TRUE",
    "GRANT pg_create_subscription, pg_monitor, pg_signal_backend TO {admin}",
    "GRANT SET, ALTER SYSTEM ON PARAMETER synchronous_standby_names TO {admin}",
    "GRANT SET ON PARAMETER session_replication_role TO {admin}",
)

# Catalog functions and views are of one database each; by default these belong to superusers.
IN_THE_DATABASE = (
    "GRANT CREATE, USAGE ON SCHEMA public TO {app}",
    "GRANT EXECUTE ON FUNCTION pg_reload_conf() TO {admin}",
    "GRANT SELECT ON pg_replication_origin_status TO {admin}",
    "GRANT EXECUTE ON FUNCTION pg_show_replication_origin_status() TO {admin}",
    "GRANT EXECUTE ON FUNCTION pg_replication_origin_oid(text) TO {admin}",
    "GRANT EXECUTE ON FUNCTION pg_replication_origin_progress(text, boolean) TO {admin}",
    # For the transport `relay`, which applies rows by itself and records how far it came in the same transaction.
    "GRANT EXECUTE ON FUNCTION pg_replication_origin_create(text) TO {admin}",
    "GRANT EXECUTE ON FUNCTION pg_replication_origin_drop(text) TO {admin}",
    "GRANT EXECUTE ON FUNCTION pg_replication_origin_advance(text, pg_lsn) TO {admin}",
    "GRANT EXECUTE ON FUNCTION pg_replication_origin_session_setup(text) TO {admin}",
    "GRANT EXECUTE ON FUNCTION pg_replication_origin_session_reset() TO {admin}",
    "GRANT EXECUTE ON FUNCTION pg_replication_origin_session_is_setup() TO {admin}",
    "GRANT EXECUTE ON FUNCTION pg_replication_origin_session_progress(boolean) TO {admin}",
    "GRANT EXECUTE ON FUNCTION pg_replication_origin_xact_setup(pg_lsn, timestamptz) TO {admin}",
    "GRANT EXECUTE ON FUNCTION pg_replication_origin_xact_reset() TO {admin}",
)


class Dsn(Protocol):
    """Gives the superuser's libpq URI of one database."""

    def __call__(self, *, dbname: str) -> str: ...


def prepare(dsn: Dsn, database: str, *, admin: str, app: str, password: str) -> None:
    """Make or correct both roles, and the database. May be repeated.

    `app` owns the application's tables; `admin` owns the database, may replicate and is no superuser. Both log in
    with `password`. Raises psycopg's own errors, with the statement that failed; the password is in none of them.
    """
    names = {"admin": sql.Identifier(admin), "app": sql.Identifier(app), "database": sql.Identifier(database)}
    with psycopg.connect(dsn(dbname="postgres"), autocommit=True) as server:
        _make_role(server, app, password, "LOGIN NOREPLICATION NOSUPERUSER")
        _make_role(server, admin, password, "LOGIN REPLICATION NOSUPERUSER")
        for statement in ONCE_PER_SERVER:
            server.execute(sql.SQL(statement).format(**names))
        if not _exists(server, "SELECT FROM pg_database WHERE datname = %s", database):
            server.execute(sql.SQL("CREATE DATABASE {database} OWNER {admin}").format(**names))
    with psycopg.connect(dsn(dbname=database)) as inside:
        for statement in IN_THE_DATABASE:
            inside.execute(sql.SQL(statement).format(**names))


def _exists(connection: psycopg.Connection, query: str, name: str) -> bool:
    return connection.execute(query, (name,)).fetchone() is not None


def _make_role(server: psycopg.Connection, name: str, password: str, attributes: str) -> None:
    verb = "ALTER" if _exists(server, "SELECT FROM pg_roles WHERE rolname = %s", name) else "CREATE"
    # The server gets a SCRAM verifier, never the password, so that no log of statements can show it.
    verifier = server.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    server.execute(
        sql.SQL("{verb} ROLE {name} WITH {attributes} PASSWORD {verifier}").format(
            verb=sql.SQL(verb),
            name=sql.Identifier(name),
            attributes=sql.SQL(attributes),
            verifier=sql.Literal(verifier),
        )
    )
