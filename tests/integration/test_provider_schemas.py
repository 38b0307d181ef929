"""A node whose provider keeps schemas of its own in the database (Supabase), owned by roles that are not ours."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.conftest import WRITABLE, Pair, at, until

from understudy.engines.base import Severity
from understudy.engines.postgresql import PostgreSQLEngine
from understudy.engines.postgresql.copy_schema import copy_schema
from understudy.errors import EngineError

# As a new project has them, in small: tables with and without keys, sequences, functions, an event trigger.
PLATFORM = """
    CREATE ROLE supabase_admin NOLOGIN; CREATE ROLE supabase_auth_admin NOLOGIN;
    CREATE ROLE supabase_storage_admin NOLOGIN;
    CREATE SCHEMA auth AUTHORIZATION supabase_admin; CREATE SCHEMA storage AUTHORIZATION supabase_admin;
    CREATE SCHEMA realtime AUTHORIZATION supabase_admin; CREATE SCHEMA vault AUTHORIZATION supabase_admin;
    CREATE SCHEMA graphql_public AUTHORIZATION supabase_admin; CREATE SCHEMA extensions;
    CREATE SCHEMA supabase_migrations AUTHORIZATION app;
    GRANT USAGE ON SCHEMA auth TO app, supabase_auth_admin;
    CREATE TABLE auth.users (id int PRIMARY KEY, email text);
    CREATE TABLE auth.refresh_tokens (id bigserial PRIMARY KEY, token text);
    CREATE TABLE auth.schema_migrations (version text);
    CREATE TABLE storage.objects (id int PRIMARY KEY, name text);
    CREATE TABLE realtime.messages (id int, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CREATE TABLE realtime.messages_1 PARTITION OF realtime.messages FOR VALUES FROM (0) TO (9);
    CREATE TABLE vault.secrets (id int PRIMARY KEY, secret text);
    CREATE TABLE supabase_migrations.schema_migrations (version text PRIMARY KEY);
    CREATE FUNCTION auth.uid() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
    CREATE FUNCTION extensions.watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
    ALTER TABLE auth.users OWNER TO supabase_auth_admin; ALTER TABLE auth.refresh_tokens OWNER TO supabase_auth_admin;
    ALTER TABLE auth.schema_migrations OWNER TO supabase_auth_admin;
    ALTER TABLE storage.objects OWNER TO supabase_storage_admin; ALTER TABLE realtime.messages OWNER TO supabase_admin;
    ALTER TABLE realtime.messages_1 OWNER TO supabase_admin; ALTER TABLE vault.secrets OWNER TO supabase_admin;
    ALTER TABLE supabase_migrations.schema_migrations OWNER TO app;
    ALTER FUNCTION extensions.watch() OWNER TO supabase_admin;
    CREATE EVENT TRIGGER watch ON ddl_command_end WHEN TAG IN ('CREATE EXTENSION') EXECUTE FUNCTION extensions.watch();
    COMMENT ON EVENT TRIGGER watch IS 'the provider''s; not ours';
    INSERT INTO auth.users VALUES (1, 'ada@example.com'); INSERT INTO auth.refresh_tokens (token) VALUES ('t');
    INSERT INTO auth.schema_migrations VALUES ('1'); INSERT INTO storage.objects VALUES (1, 'o');
    INSERT INTO realtime.messages VALUES (1, 1); INSERT INTO vault.secrets VALUES (1, 's');
    INSERT INTO supabase_migrations.schema_migrations VALUES ('1');
"""
THEIRS = (
    "auth.users",
    "auth.refresh_tokens",
    "auth.schema_migrations",
    "storage.objects",
    "realtime.messages",
    "vault.secrets",
    "supabase_migrations.schema_migrations",
)


def make_platform(pair: Pair, node: str) -> None:
    with pair.connect(node, "postgres", options=WRITABLE) as connection:
        connection.execute(PLATFORM.encode())


@pytest.fixture
def provided(pair: Pair) -> Iterator[Pair]:
    """`pair`, on whose servers the provider's roles may be made: they go with the test."""
    try:
        yield pair
    finally:
        for node in pair.servers:
            with pair.connect(node, "postgres", options=WRITABLE) as connection:
                roles = connection.execute("SELECT rolname FROM pg_roles WHERE rolname ~ '^supabase_'")
                for (name,) in roles.fetchall():
                    connection.execute(f"DROP OWNED BY {name} CASCADE")
                    connection.execute(f"DROP ROLE {name}")


def rows_of_the_provider(pair: Pair, node: str) -> list[int]:
    counts = [pair.sql(node, f"SELECT count(*)::int FROM {table}", user="postgres") for table in THEIRS]
    return [count for ((count,),) in counts]


async def test_setup_with_a_standby_of_the_provider_leaves_its_tables_alone(
    provided: Pair, tmp_path: Path
) -> None:
    """Nothing of it is published, compared, emptied, kept or counted on; the role of the agent may not even read it."""
    pair = provided
    make_platform(pair, "b")
    pair.sql("a", "INSERT INTO item (name) VALUES ('Elsa')")
    engine = PostgreSQLEngine(pair.cluster)
    try:
        assert [f for f in await engine.check() if f.severity is Severity.ERROR] == []
        await engine.setup(progress=lambda _: None)
        published = pair.sql("b", "SELECT DISTINCT schemaname FROM pg_publication_tables ORDER BY 1")
        assert published == [("public",), ("understudy",)]
        await engine.full_copy(pair.link(1), at(1))
        await engine.catch_up(pair.link(1), at(1))
        assert pair.sql("b", "SELECT name FROM item") == [("Elsa",)]
        a, b = [await engine.probe(node, heartbeat=None, epoch=1) for node in "ab"]
        assert a.schema == b.schema
        report = await engine.verify("a", "b")
        assert report.equal
        compared = {check.table.split(".")[0] for check in report.tables}
        assert compared == {"public", "understudy"}
        await engine.keep("b", tmp_path / "kept", at(1))
        kept = json.loads((tmp_path / "kept" / "contents.json").read_text())
        assert {table.split(".")[0] for table in kept["tables"]} == {"public"}
        await engine.copy_sequences("a", "b", at(1))
        await engine.raise_sequences("b", at(1))
    finally:
        await engine.close()
    assert rows_of_the_provider(pair, "b") == [1] * len(THEIRS)


async def test_sequences_of_the_provider_are_neither_read_nor_set(provided: Pair) -> None:
    """The role may read them here, as on old projects: a sample of them would be set on the other node."""
    pair = provided
    for node in "ab":
        make_platform(pair, node)
        grant = "GRANT USAGE ON SCHEMA auth TO understudy; GRANT SELECT ON ALL SEQUENCES IN SCHEMA auth TO understudy"
        pair.sql(node, grant, user="postgres")
    engine = PostgreSQLEngine(pair.cluster)
    try:
        await engine.setup(progress=lambda _: None)
        await engine.probe("a", heartbeat=1, epoch=1)
        sampled = pair.sql("a", "SELECT name FROM understudy.sequence_sample", user="understudy")
        assert not any("auth" in name for (name,) in sampled)
        await engine.raise_sequences("b", at(1))
        await engine.copy_sequences("a", "b", at(1))
    finally:
        await engine.close()
    assert pair.sql("b", "SELECT last_value FROM auth.refresh_tokens_id_seq", user="postgres") == [(1,)]


async def test_the_schema_of_a_primary_of_the_provider_is_copied_without_the_providers(
    provided: Pair,
) -> None:
    """pg_dump would need the right to lock its tables, and only superusers make its event triggers."""
    pair = provided
    for node in "ab":
        make_platform(pair, node)
    engine = PostgreSQLEngine(pair.cluster)
    try:
        await engine.setup(progress=lambda _: None)
    finally:
        await engine.close()
    assert pair.sql("b", "SELECT count(*) FROM item") == [(0,)]
    assert rows_of_the_provider(pair, "b") == [1] * len(THEIRS)


async def test_a_table_of_the_application_that_refers_to_the_providers_is_told(provided: Pair) -> None:
    """Its rows are copied; those they refer to are not. Apply asks for no foreign key, new rows do."""
    pair = provided
    for node in "ab":
        make_platform(pair, node)
        pair.sql(node, "GRANT REFERENCES ON auth.users TO app", user="postgres")
    pair.sql("a", "CREATE TABLE profile (id int PRIMARY KEY REFERENCES auth.users, name text)")
    pair.sql("a", "INSERT INTO auth.users VALUES (2, 'bo@example.com')", user="postgres")
    pair.sql("a", "INSERT INTO profile VALUES (2, 'Bo')")
    engine = PostgreSQLEngine(pair.cluster)
    try:
        await engine.setup(progress=lambda _: None)
        told = {f.node: f.message for f in await engine.check() if f.subject == "references to the provider"}
        assert "public.profile refers to auth.users" in told["a"]
        assert (await engine.verify("a", "b")).equal
    finally:
        await engine.close()
    assert pair.sql("b", "SELECT name FROM profile") == [("Bo",)]
    assert pair.sql("b", "SELECT count(*) FROM auth.users", user="postgres") == [(1,)]


async def test_a_schema_of_the_application_that_is_called_auth_is_the_applications(pair: Pair) -> None:
    """The name alone makes nothing the provider's: it would be missing after a failover, silently."""
    with pair.connect("a", "postgres") as connection:
        connection.execute("CREATE SCHEMA auth AUTHORIZATION app")
    pair.sql("b", "GRANT CREATE ON DATABASE " + pair.database + " TO app", user="postgres")
    pair.sql("a", "CREATE TABLE auth.users (id serial PRIMARY KEY); INSERT INTO auth.users DEFAULT VALUES")
    engine = PostgreSQLEngine(pair.cluster)
    try:
        await engine.setup(progress=lambda _: None)
        await engine.copy_sequences("a", "b", at(1))
    finally:
        await engine.close()
    assert pair.sql("b", "SELECT id FROM auth.users") == [(1,)]
    assert pair.sql("b", "SELECT last_value FROM auth.users_id_seq") == [(1,)]


async def test_pg_dump_is_gone_when_setup_is_given_up(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its process nor its pipes stay behind, however much it has written that nobody reads."""
    program, noted = tmp_path / "pg_dump", tmp_path / "pid"
    program.write_text(
        "#!/bin/sh\n"
        '[ "$1" = --version ] && echo "pg_dump (PostgreSQL) 16.1" && exit\n'
        f"echo $$ > {noted}.new; mv {noted}.new {noted}; exec cat /dev/zero\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    engine = PostgreSQLEngine(pair.cluster)
    before = set(Path("/proc/self/fd").iterdir())
    copying = asyncio.create_task(copy_schema(engine.sessions, "a", "b"))
    try:
        await until(noted.exists)
        process = Path("/proc") / noted.read_text().strip()
        assert process.exists()
        copying.cancel()
        await asyncio.wait({copying})
        assert not process.exists()
    finally:
        copying.cancel()
        await asyncio.wait({copying})
        await engine.close()
    assert {fd for fd in Path("/proc/self/fd").iterdir() if fd not in before and _is_pipe(fd)} == set()


def _is_pipe(fd: Path) -> bool:
    try:
        return str(fd.readlink()).startswith("pipe:")
    except OSError:
        return False


async def test_a_pg_dump_that_fails_is_told_in_its_words(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "pg_dump"
    program.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "pg_dump 16.1" && exit\necho "no way" >&2; exit 3\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    engine = PostgreSQLEngine(pair.cluster)
    with pytest.raises(EngineError, match="a: pg_dump failed: no way"):
        await copy_schema(engine.sessions, "a", "b")
    await engine.close()
