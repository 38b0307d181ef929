"""The roles a cluster needs before the first migration, as SQL for a superuser, on each node and database.

Three roles. The *owner* of the tables migrates and does the work that crosses tenants; the *replicating* role of
Understudy copies and compares rows. Both have BYPASSRLS: PostgreSQL's logical replication refuses tables with row-level
security to anybody else, and a job across tenants needs it. The *application's* role has not: it sees the rows of one
tenant at a time.
"""

from __future__ import annotations

from typing import Final

from psycopg import sql

APPLICATION: Final = "ifarm_app"


def statements(*, owner: str, replicating: str | None, verifier: str) -> list[sql.Composed]:
    """What the superuser runs. ``verifier`` is the application role's password as SCRAM, never the password itself."""
    names = {
        "app": sql.Identifier(APPLICATION),
        "owner": sql.Identifier(owner),
        "verifier": sql.Literal(verifier),
    }
    texts = [
        "CREATE ROLE {app} LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD {verifier}",
        "ALTER ROLE {app} SET statement_timeout = '30s'",
        "ALTER ROLE {owner} BYPASSRLS",
        "GRANT USAGE ON SCHEMA public TO {app}",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public"
        " GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {app}",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO {app}",
    ]
    if replicating is not None:
        names["replicating"] = sql.Identifier(replicating)
        texts.append("ALTER ROLE {replicating} BYPASSRLS")
    return [sql.SQL(text).format(**names) for text in texts]
