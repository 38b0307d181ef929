"""The roles a cluster needs before the first migration, as SQL for a superuser, on each node and database.

Three roles. The *owner* of the tables migrates and does the work that crosses tenants; the *replicating* role of
Understudy copies and compares rows. Both have BYPASSRLS: PostgreSQL's logical replication refuses tables with row-level
security to anybody else, and a job across tenants needs it. The *application's* role has not: it sees the rows of one
tenant at a time.

    python -m ifarm.core.provision app understudy | psql "$SUPERUSER_DSN"     # owner, replicating; each node
"""

from __future__ import annotations

import sys
from typing import Final, LiteralString

from psycopg import sql

APPLICATION: Final = "ifarm_app"


def statements(*, owner: str, replicating: str | None, verifier: str | None) -> list[sql.Composed]:
    """What the superuser runs. ``verifier`` is the application role's password as SCRAM, never the password itself;
    None leaves the role without one, until psql is told to change it (`password ifarm_app` as a meta-command).
    """
    names: dict[str, sql.Composable] = {
        "app": sql.Identifier(APPLICATION),
        "owner": sql.Identifier(owner),
    }
    texts: list[LiteralString] = [
        "CREATE ROLE {app} LOGIN NOSUPERUSER NOBYPASSRLS",
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
    if verifier is not None:
        names["verifier"] = sql.Literal(verifier)
        texts.append("ALTER ROLE {app} PASSWORD {verifier}")
    return [sql.SQL(text).format(**names) for text in texts]


def main() -> None:
    """Print the statements for the owner's and the replicating role's name."""
    if len(sys.argv) != 3:
        sys.exit("expected two names: the role that owns the tables, and Understudy's replicating role")
    for statement in statements(owner=sys.argv[1], replicating=sys.argv[2], verifier=None):
        print(statement.as_string() + ";")  # noqa: T201


if __name__ == "__main__":
    main()
