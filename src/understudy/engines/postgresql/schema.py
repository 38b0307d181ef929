"""The schema of a node: Understudy's own objects, and a fingerprint of the application's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from understudy.decide.plans import slot_name

# The tables of schema understudy that are replicated; `fence` and `rewound` belong to one node each.
REPLICATED = ("heartbeat", "marker", "sequence_sample", "commit_token")

# Schemas in which Supabase keeps what its own services use. Their names alone say little (an application may well have
# a schema `auth`): only what its roles own there is the provider's. https://github.com/supabase/postgres, migrations/
_PROVIDERS = (
    "auth, storage, realtime, _realtime, extensions, vault, graphql, graphql_public, pgsodium, pgsodium_masks,"
    " pgbouncer, net, cron, supabase_functions, _analytics, _supavisor"
)


def _of_provider(schema: str, owner: str) -> str:
    """Whether a relation is the provider's and no business of the application's: never published, compared, emptied.

    `supabase_migrations` is what its command line notes of each project for itself.
    """
    return (
        f"({schema} = 'supabase_migrations' OR {schema} = ANY ('{{{_PROVIDERS}}}'::name[])"
        f" AND {owner} ~ '^supabase_')"
    )


OF_PROVIDER = _of_provider("n.nspname", "pg_get_userbyid(c.relowner)")
OF_APPLICATION = f"""
    n.nspname NOT IN ('pg_catalog', 'information_schema', 'understudy') AND NOT {OF_PROVIDER}
    AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
"""
"""Relations of the application: in no system schema, not ours, not an extension's, not the provider's."""

PROVIDER_SCHEMAS = f"""
    SELECT n.nspname FROM pg_namespace n WHERE {_of_provider("n.nspname", "pg_get_userbyid(n.nspowner)")}
    OR n.nspname = ANY ('{{{_PROVIDERS}}}'::name[]) AND EXISTS
    (SELECT FROM pg_proc p WHERE p.pronamespace = n.oid AND pg_get_userbyid(p.proowner) ~ '^supabase_') ORDER BY 1
"""
"""Schemas that every database of the provider has from the beginning."""

# Unlogged ones cannot be published.
APPLICATION_TABLE = f"c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND {OF_APPLICATION}"


@cache
def statement(name: str) -> str:
    """The text of `sql/<name>.sql` of this package."""
    text = resources.files(__package__).joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
    text = text.replace("{of_application}", OF_APPLICATION)
    return text.replace("{sequence_of_provider}", _of_provider("s.schemaname", "s.sequenceowner"))


def publication(cluster: str) -> str:
    """The name of the publication on every node of a cluster."""
    return f"understudy_{cluster}"


def link_prefix(cluster: str) -> str:
    """How the names of a cluster's slots and subscriptions begin (`decide.plans.slot_name` makes them)."""
    return slot_name(cluster, 0).removesuffix("0")


async def describe(connection: AsyncConnection[TupleRow]) -> list[str]:
    """The application's schema as sorted lines ``name: what``: tables, policies, triggers, functions, views, types.

    Lines are only ever compared with lines that the same process has read: another version may write others.
    """
    cursor = await connection.execute(statement("fingerprint"))
    return [row[0] for row in await cursor.fetchall()]


def fingerprint(lines: Sequence[str]) -> str:
    """A short text that is equal where `describe` gave equal lines (md5: a comparison, not a secret)."""
    return hashlib.md5("\n".join(lines).encode(), usedforsecurity=False).hexdigest()


def describe_difference(left: Sequence[str], right: Sequence[str]) -> str:
    """What differs between two results of `describe`, one line each; empty where nothing does."""
    only_left, only_right = set(left) - set(right), set(right) - set(left)
    lines = [f"- {line}" for line in sorted(only_left)] + [f"+ {line}" for line in sorted(only_right)]
    return "\n".join(lines)


async def application_tables(connection: AsyncConnection[TupleRow]) -> list[str]:
    """The qualified, quoted names of the application's tables, sorted."""
    cursor = await connection.execute(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c"
        f" JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {APPLICATION_TABLE} ORDER BY 1"
    )
    return [row[0] for row in await cursor.fetchall()]
