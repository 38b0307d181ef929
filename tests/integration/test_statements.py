"""Slow statements as the real extension pg_stat_statements tells them: seen once each, without what is in them."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from tests.integration.conftest import PASSWORD
from tools.install_peers import CONTRIB

from understudy.config_alerts import Monitor
from understudy.embedded.postgresql import EmbeddedPostgreSQL
from understudy.lease import boot_now
from understudy.model import Cluster, Node, Policy
from understudy.monitor import looking
from understudy.monitor.looking import Looker
from understudy.monitor.readings import SlowStatement

if not (CONTRIB / "bin" / "postgres").exists():
    pytestmark = pytest.mark.skip(reason=f"no PostgreSQL with contrib in {CONTRIB}: make peers")

SECRET = "T0kenS3cret"
THRESHOLD = 0.4  # what is not meant to be slow may take a tenth of a second on a busy machine
STATEMENTS = {  # what the application runs -> what is told
    f"SELECT pg_sleep(0.5), '{SECRET}'": "SELECT pg_sleep(?), ?",
    f"SELECT pg_sleep(0.5), x.* FROM (VALUES ('{SECRET}', 1), ('b', 2)) AS x /* {SECRET} */":
        "SELECT pg_sleep(?), x.* FROM (VALUES (?, ...), (?, ...)) AS x",
    # A utility statement: the extension keeps its text as it is.
    f"DO $$ BEGIN PERFORM pg_sleep(0.5), '{SECRET}'; END $$": "DO ?",
}  # fmt: skip


class WithContrib(EmbeddedPostgreSQL):
    """The programs of `make peers` instead of the wheel's."""

    @property
    def bin_folder(self) -> Path:
        return CONTRIB / "bin"


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgreSQL]:
    settings = {"shared_preload_libraries": "pg_stat_statements"}
    with tempfile.TemporaryDirectory(prefix="understudy-test-") as folder:
        Path(folder).chmod(0o755)
        server = WithContrib(Path(folder) / "a", name="a", settings=settings, die_with_parent=True)
        with server:
            server.prepare("farm", password=PASSWORD)
            with psycopg.connect(server.dsn(dbname="farm"), autocommit=True) as admin:
                admin.execute("CREATE SCHEMA elsewhere; CREATE EXTENSION pg_stat_statements SCHEMA elsewhere")
                admin.execute("GRANT USAGE ON SCHEMA elsewhere TO understudy")
            yield server


@pytest.fixture
def app(server: EmbeddedPostgreSQL) -> Iterator[psycopg.Connection]:
    with psycopg.connect(server.dsn("app", "farm", PASSWORD), autocommit=True) as app:
        yield app


@pytest.fixture
async def looker(server: EmbeddedPostgreSQL) -> AsyncIterator[Looker]:
    dsn = server.dsn("understudy", "farm", PASSWORD)
    node = Node(name="a", dsn=dsn, admin_dsn=dsn, replication_dsn=dsn, priority=1)
    cluster = Cluster(name="main", engine="postgresql", nodes=(node,), policy=Policy())
    looker = Looker(cluster, Monitor(slow_query=THRESHOLD), boot_now)
    yield looker
    await looker.close()


async def slow(looker: Looker) -> tuple[SlowStatement, ...]:
    return (await looker.look("a")).slow


async def test_each_slow_call_is_told_once_without_its_values(
    app: psycopg.Connection, looker: Looker
) -> None:
    app.execute("SELECT pg_sleep(0.5), 'before the first look'")
    assert await slow(looker) == ()
    for statement in STATEMENTS:
        app.execute(statement)
    found = await slow(looker)
    assert sorted(one.text for one in found) == sorted(STATEMENTS.values())
    assert all(one.seconds > THRESHOLD for one in found)
    assert SECRET not in repr(found)
    assert await slow(looker) == ()
    app.execute("SELECT pg_sleep(0.5), %s", (SECRET,))  # a parameter; the same statement for the extension
    (again,) = await slow(looker)
    assert again.text == "SELECT pg_sleep(?), ?"
    assert again.seconds > THRESHOLD


async def test_what_was_slow_for_ever_hides_nothing_new(
    app: psycopg.Connection, looker: Looker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More statements had slower calls than the one that is slow now."""
    monkeypatch.setattr(looking, "MAX_STATEMENTS", 3)
    for columns in range(4):
        app.execute(f"SELECT pg_sleep(0.7){', 1 AS c' * columns}, 'old'::text")
    await slow(looker)
    app.execute("SELECT pg_sleep(0.5) AS new")
    assert [one.text for one in await slow(looker)] == ["SELECT pg_sleep(?) AS new"]


async def test_reset_statistics_are_new_statistics(
    server: EmbeddedPostgreSQL, app: psycopg.Connection, looker: Looker
) -> None:
    app.execute("SELECT pg_sleep(0.5), 1, 2, 3")
    app.execute("SELECT pg_sleep(0.5), 1, 2, 3")
    await slow(looker)
    with psycopg.connect(server.dsn(dbname="farm"), autocommit=True) as admin:
        admin.execute("SELECT elsewhere.pg_stat_statements_reset()")
    assert await slow(looker) == ()
    app.execute("SELECT pg_sleep(0.5), 1, 2, 3")
    assert [one.text for one in await slow(looker)] == ["SELECT pg_sleep(?), ?, ..."]
