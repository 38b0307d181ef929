"""Restores into new databases: what they may touch, what they leave behind, and what they say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from tests.faults.agent_world import Servers
from tests.integration.backup.world import RICH, Backed, backed_pair, target
from tests.integration.conftest import PASSWORD

from understudy.backup import restore
from understudy.backup.manifest import Manifest, Verdict
from understudy.backup.restore import Restored
from understudy.backup.source import BackupError, BackupRefused


@pytest.fixture(scope="module")
def backed(server_pair: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backed]:
    with backed_pair(server_pair, tmp_path_factory.mktemp("restore"), RICH) as backed:
        yield backed


@pytest.fixture(scope="module")
def manifest(backed: Backed) -> Manifest:
    return backed.create()


@pytest.fixture
def server(backed: Backed) -> Iterator[psycopg.Connection]:
    """The superuser on server b; every database that a test makes there is gone afterwards."""
    with psycopg.connect(target(backed, "postgres"), autocommit=True) as connection:
        before = databases(connection)
        yield connection
        for name in databases(connection) - before:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def databases(connection: psycopg.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT datname::text FROM pg_database").fetchall()}


def restored(backed: Backed, manifest: Manifest, dsn: str, **options: object) -> Restored:
    return restore.restore_logical(backed.config, manifest, backed.store, backed.keys, dsn, **options)  # type: ignore[arg-type]


def test_into_a_new_database(backed: Backed, manifest: Manifest, server: psycopg.Connection) -> None:
    dsn = target(backed, "fresh")
    result = restored(backed, manifest, dsn)
    assert result.equal, result.findings
    assert result.database == "fresh"
    assert not any("restoring" in name for name in databases(server))
    with psycopg.connect(dsn) as connection:
        owner = connection.execute("SELECT relowner::regrole::text FROM pg_class WHERE relname = 'animal'")
        assert owner.fetchone() == ("app",)
        for ours in ("pg_publication", "pg_namespace WHERE nspname = 'understudy'"):
            assert connection.execute(f"SELECT count(*) FROM {ours}").fetchone() == (0,)


def test_into_an_empty_database_that_is_there(
    backed: Backed, manifest: Manifest, server: psycopg.Connection
) -> None:
    server.execute("CREATE DATABASE waiting TEMPLATE template0")
    assert restored(backed, manifest, target(backed, "waiting")).equal


def test_a_database_with_anything_in_it_is_refused(
    backed: Backed, manifest: Manifest, server: psycopg.Connection
) -> None:
    server.execute("CREATE DATABASE taken TEMPLATE template0")
    with psycopg.connect(target(backed, "taken"), autocommit=True) as connection:
        connection.execute("CREATE VIEW precious AS SELECT 1")
    with pytest.raises(BackupRefused, match=r"taken exists and is not empty \(public.precious\)"):
        restored(backed, manifest, target(backed, "taken"))


def test_a_node_is_refused_by_whatever_name(backed: Backed, manifest: Manifest) -> None:
    database = backed.world.pair.database
    for node in ("a", "b"):
        dsn = target(backed, database, node)
        for alias in (dsn, dsn.replace("127.0.0.1", "localhost"), dsn.replace("127.0.0.1", "127.0.0.2")):
            with pytest.raises(BackupRefused, match=f"is {node}, a node of cluster"):
                restored(backed, manifest, alias)


def test_an_older_server_and_missing_extensions_are_refused(
    backed: Backed, manifest: Manifest, server: psycopg.Connection
) -> None:
    before = databases(server)
    with pytest.raises(BackupRefused, match="the target is PostgreSQL 16, the backup of 99"):
        restored(backed, replace(manifest, server_version="99.1"), target(backed, "fresh"))
    with pytest.raises(BackupRefused, match="lacks the extensions postgis"):
        restored(backed, replace(manifest, extensions={"postgis": "3.4"}), target(backed, "fresh"))
    assert databases(server) == before


def test_a_locale_that_is_not_there(backed: Backed, manifest: Manifest, server: psycopg.Connection) -> None:
    dsn = target(backed, "elsewhere")
    result = restored(backed, replace(manifest, locale="xx_YY.UTF-8"), dsn)
    assert result.equal
    assert [f.verdict for f in result.findings if f.what == "locale"] == [Verdict.INCONCLUSIVE]
    with psycopg.connect(dsn) as connection:
        owner = connection.execute("SELECT relowner::regrole::text FROM pg_class WHERE relname = 'animal'")
        assert owner.fetchone() == ("app",)
    proof = backed.verify(replace(manifest, locale="xx_YY.UTF-8"))
    assert proof.verdict is Verdict.PASS, proof.checks


def test_one_table_with_the_schema_of_all(
    backed: Backed, manifest: Manifest, server: psycopg.Connection
) -> None:
    dsn = target(backed, "part")
    result = restored(backed, manifest, dsn, tables=("weighing_2025", 'Odd Schema.Odd "Table"'))
    assert result.equal, result.findings
    with psycopg.connect(dsn) as connection:
        for table, rows in (("weighing", 3000), ("animal", 0), ('"Odd Schema"."Odd ""Table"""', 2)):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (rows,)
    with pytest.raises(BackupRefused, match="table nosuch"):
        restored(backed, manifest, target(backed, "part2"), tables=("nosuch",))


def test_by_a_role_that_is_no_superuser(
    backed: Backed, manifest: Manifest, server: psycopg.Connection
) -> None:
    server.execute(f"CREATE ROLE modest LOGIN CREATEDB PASSWORD '{PASSWORD}'")
    try:
        dsn = backed.world.pair.servers["b"].dsn("modest", "theirs", PASSWORD)
        result = restored(backed, manifest, dsn)
        assert result.equal, result.findings
        assert any(f.what == "owners" for f in result.findings)
        server.execute("DROP DATABASE theirs WITH (FORCE)")
    finally:
        server.execute("DROP ROLE modest")


def test_a_restore_that_fails_leaves_nothing(
    backed: Backed, manifest: Manifest, server: psycopg.Connection
) -> None:
    """Somebody who may not make the extension of the backup."""
    backed.sql("CREATE EXTENSION vector", user="postgres")
    try:
        with_vector = backed.create(scope=("schema-only",))
    finally:
        backed.sql("DROP EXTENSION vector", user="postgres")
    server.execute(f"CREATE ROLE modest LOGIN CREATEDB PASSWORD '{PASSWORD}'")
    before = databases(server)
    try:
        dsn = backed.world.pair.servers["b"].dsn("modest", "theirs", PASSWORD)
        with pytest.raises(BackupError, match=r"pg_restore: ended with exit code 1: .*extension") as caught:
            restored(backed, with_vector, dsn)
        assert PASSWORD not in str(caught.value)
        assert databases(server) == before
    finally:
        server.execute("DROP ROLE modest")


def test_roles_that_are_missing_are_made_and_those_that_are_there_left_alone(
    backed: Backed, server: psycopg.Connection
) -> None:
    backed.sql(
        "CREATE ROLE herder LOGIN; GRANT herder TO app; ALTER ROLE herder SET search_path = 'a b', public",
        user="postgres",
    )
    try:
        manifest = backed.create(scope=("schema-only",))
    finally:
        backed.sql("DROP ROLE herder", user="postgres")
    server.execute("ALTER ROLE app CONNECTION LIMIT 7")
    try:
        result = restored(backed, manifest, target(backed, "fresh"))
        assert any(
            f.what == "roles" and "herder" in f.detail and f.verdict is Verdict.PASS for f in result.findings
        )
        row = server.execute(
            "SELECT rolcanlogin, rolconfig FROM pg_roles WHERE rolname = 'herder'"
        ).fetchone()
        assert row == (True, ['search_path="a b", public'])
        row = server.execute("SELECT rolconnlimit FROM pg_roles WHERE rolname = 'app'").fetchone()
        assert row == (7,)
    finally:
        server.execute("DROP ROLE IF EXISTS herder")
        server.execute("ALTER ROLE app CONNECTION LIMIT -1")
