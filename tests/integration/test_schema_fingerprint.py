"""What counts as a difference of two schemas: what a failover would miss, and nothing that only looks different."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from tests.integration.conftest import PASSWORD, Pair

from understudy.embedded import EmbeddedPostgreSQL
from understudy.engines.postgresql import PostgreSQLEngine
from understudy.engines.postgresql.schema import describe_difference, statement

BASE = """
    CREATE TYPE mood AS ENUM ('calm', 'wild');
    CREATE DOMAIN weight AS numeric CONSTRAINT heavy CHECK (VALUE > 0);
    CREATE TYPE place AS (x int, y int);
    CREATE TYPE span AS RANGE (subtype = numeric);
    CREATE TABLE animal (id int PRIMARY KEY, herd int NOT NULL, mood mood, weight weight);
    CREATE FUNCTION loud(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)';
    CREATE PROCEDURE rest() LANGUAGE sql AS 'SELECT 1';
    CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
    CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER touch BEFORE UPDATE ON animal FOR EACH ROW EXECUTE FUNCTION touched();
    ALTER TABLE animal ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON animal USING (herd = 1);
    CREATE VIEW calm AS SELECT id FROM animal WHERE mood = 'calm';
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM animal;
"""


@pytest.fixture(scope="module")
def here(server_pair: dict[str, EmbeddedPostgreSQL]) -> Iterator[psycopg.Connection]:
    """A session in a database with something of everything."""
    server = server_pair["a"]
    server.prepare("fingerprints", password=PASSWORD)
    with psycopg.connect(server.dsn(dbname="fingerprints"), autocommit=True) as connection:
        connection.execute(BASE)
        yield connection
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute("DROP DATABASE fingerprints WITH (FORCE)")


def lines(connection: psycopg.Connection) -> list[str]:
    return [row[0] for row in connection.execute(statement("fingerprint").encode())]


def difference(connection: psycopg.Connection, change: str) -> str:
    """What a change would make differ; it is taken back."""
    before = lines(connection)
    with connection.transaction(force_rollback=True):
        connection.execute(change.encode())
        after = lines(connection)
    return describe_difference(before, after)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("ALTER TYPE mood ADD VALUE 'cross' AFTER 'calm'", "public.mood: enum 'calm', 'cross', 'wild'"),
        ("ALTER DOMAIN weight DROP CONSTRAINT heavy", "public.weight: domain numeric"),
        ("ALTER DOMAIN weight SET NOT NULL", "public.weight: domain numeric not null"),
        ("ALTER TYPE place ADD ATTRIBUTE z int", "public.place: type x integer, y integer, z integer"),
        ("DROP TYPE span", "public.span: range of numeric"),
        (
            "CREATE OR REPLACE FUNCTION loud(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)'",
            "public.loud(text): function returns text",
        ),
        ("ALTER FUNCTION loud(text) SECURITY DEFINER", "security definer"),
        ("ALTER FUNCTION loud(text) SET search_path = public", "set search_path=public"),
        ("ALTER FUNCTION loud(text) STABLE STRICT", "language sql s strict"),
        (
            "CREATE FUNCTION loud(int) RETURNS int LANGUAGE sql AS 'SELECT $1'",
            "public.loud(integer): function",
        ),
        ("DROP PROCEDURE rest()", "public.rest(): procedure"),
        ("DROP AGGREGATE total(int)", "public.total(integer): aggregate returns integer"),
        ("DROP TRIGGER touch ON animal", "public.animal: CREATE TRIGGER touch BEFORE UPDATE"),
        ("ALTER TABLE animal DISABLE TRIGGER touch", "enabled D"),
        ("DROP POLICY own ON animal", "public.animal: policy own for * to public using (herd = 1)"),
        ("ALTER POLICY own ON animal USING (herd = 2)", "using (herd = 2)"),
        ("ALTER TABLE animal DISABLE ROW LEVEL SECURITY", "table replica identity d row security"),
        ("ALTER TABLE animal FORCE ROW LEVEL SECURITY", "row security forced"),
        ("DROP VIEW calm", "public.calm: view id integer"),
        ("CREATE OR REPLACE VIEW calm AS SELECT id, herd FROM animal", "view id integer, herd integer"),
        ("ALTER VIEW calm SET (security_invoker = true)", "view with security_invoker=true"),
        ("DROP MATERIALIZED VIEW counted", "public.counted: materialized view count bigint"),
        (
            "CREATE SCHEMA s; CREATE TABLE s.t (id int); CREATE VIEW s.v AS SELECT id FROM s.t",
            "s.v: view id integer",
        ),
    ],
)
def test_what_a_failover_would_miss(here: psycopg.Connection, change: str, named: str) -> None:
    assert named in difference(here, change)


@pytest.mark.parametrize(
    "change",
    [
        "CREATE SCHEMA provider; CREATE FUNCTION provider.f() RETURNS int LANGUAGE sql AS 'SELECT 1';"
        " CREATE VIEW provider.v AS SELECT 1 AS one; CREATE TYPE provider.e AS ENUM ('x')",
        "DROP POLICY own ON animal; CREATE POLICY own ON animal TO PUBLIC USING (herd = 1)",
        "CREATE TEMP TABLE passing (id int); CREATE TEMP VIEW seen AS SELECT * FROM passing",
        "CREATE FUNCTION guard() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
        "COMMENT ON FUNCTION loud(text) IS 'x'; GRANT EXECUTE ON FUNCTION loud(text) TO PUBLIC",
        "ANALYZE animal; INSERT INTO animal (id, herd) VALUES (1, 1)",
    ],
)
def test_what_only_looks_different(here: psycopg.Connection, change: str) -> None:
    assert difference(here, change) == ""


def test_the_roles_of_a_policy_have_other_names_elsewhere(here: psycopg.Connection) -> None:
    with here.transaction(force_rollback=True):
        here.execute("DROP POLICY own ON animal; CREATE POLICY own ON animal TO app USING (herd = 1)")
        to = "DROP POLICY own ON animal; CREATE POLICY own ON animal TO pg_monitor USING (herd = 1)"
        assert difference(here, to) == ""


def test_what_belongs_to_an_extension_is_the_providers(here: psycopg.Connection) -> None:
    """As after CREATE EXTENSION; the server of the tests has only plpgsql, so its members are made by hand."""
    theirs = """
        CREATE FUNCTION theirs() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE VIEW theirs AS SELECT 1 AS one;
        CREATE TYPE theirs_too AS ENUM ('x'); ALTER EXTENSION plpgsql ADD FUNCTION theirs();
        ALTER EXTENSION plpgsql ADD VIEW theirs; ALTER EXTENSION plpgsql ADD TYPE theirs_too
    """
    assert difference(here, theirs) == ""


async def test_setup_brings_all_of_it(pair: Pair) -> None:
    pair.sql("a", BASE)
    engine = PostgreSQLEngine(pair.cluster)
    await engine.setup(progress=lambda _: None)
    a, b = [await engine.probe(node, heartbeat=None, epoch=1) for node in "ab"]
    await engine.close()
    assert a.schema == b.schema
