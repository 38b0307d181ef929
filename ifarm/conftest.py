"""One embedded server for the session; the tests connect as the application's role, under row-level security.

Fixtures: `db` (pytest-django) rolls everything back at the end of a test. `committed` is for tests with several
connections: what they commit is removed afterwards. `owner_connection` is that of the tables' owner, who sees all
tenants. `clock(moment)` has it be that time for the application: no test may depend on the hour it runs at.

Hypothesis tries the same examples each time (`--hypothesis-profile=random` for others), and gives them the time they
need: whoever runs the tests decides nothing but the commit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from ifarm.config.django.test import OWNER, PASSWORD, PORT
from understudy.embedded import EmbeddedPostgreSQL

KEPT = ("django_migrations", "django_content_type", "auth_permission", "animals_breed")
"""Tables that migrations fill."""

settings.register_profile(
    "random", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ifarm", settings.get_profile("random"), derandomize=True)
settings.load_profile("ifarm")


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedPostgreSQL]:
    """A server with the roles of a careful installation."""
    from ifarm.core.provision import statements

    with tempfile.TemporaryDirectory(prefix="ifarm-test-") as folder:
        Path(folder).chmod(0o755)
        options: Any = {
            "settings": {"fsync": "off", "synchronous_commit": "off"},
            "die_with_parent": True,
            "port": PORT,
        }
        with EmbeddedPostgreSQL(Path(folder) / "oak", name="oak", **options) as oak:
            oak.prepare("ifarm", password=PASSWORD)
            # The test database is a copy of template1: grants in there are its own.
            with psycopg.connect(oak.dsn(dbname="template1"), autocommit=True) as superuser:
                for statement in statements(owner=OWNER, replicating=None, verifier=PASSWORD):
                    superuser.execute(statement)
                superuser.execute(f"ALTER ROLE {OWNER} CREATEDB".encode())
                superuser.execute(f"GRANT ifarm_app TO {OWNER} WITH INHERIT FALSE, SET TRUE".encode())
            yield oak


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None, django_db_blocker: Any, server: EmbeddedPostgreSQL
) -> Iterator[None]:
    """Migrate as the owner, then be the application."""
    with django_db_blocker.unblock():
        from django.db import connection
        from django.test.utils import setup_databases

        setup_databases(verbosity=0, interactive=False, keepdb=True)
        connection.settings_dict["OPTIONS"]["assume_role"] = "ifarm_app"
        connection.close()
        yield
        connection.close()  # the database goes with its server


@pytest.fixture
def owner_connection(django_db_setup: None, server: EmbeddedPostgreSQL) -> Iterator[psycopg.Connection[Any]]:
    """The owner's own connection; it sees what is committed, of every tenant."""
    with psycopg.connect(server.dsn(OWNER, "test_ifarm", PASSWORD), autocommit=True) as connection:
        yield connection


@pytest.fixture
def committed(
    owner_connection: psycopg.Connection[Any], django_db_blocker: Any
) -> Iterator[psycopg.Connection[Any]]:
    """Real commits, from any number of threads; all rows are removed at the end."""
    from django.db import connections

    with django_db_blocker.unblock():
        yield owner_connection
        connections.close_all()
    empty(owner_connection)


def empty(owner: psycopg.Connection[Any]) -> None:
    """Remove every row that no migration has made."""
    query = (
        "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public' AND tablename <> ALL(%s)"
    )
    tables = ", ".join(row[0] for row in owner.execute(query, (list(KEPT),)))
    owner.execute(f"TRUNCATE {tables} CASCADE".encode())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Has it be that time for the application; keys are of the real one."""
    from django.utils import timezone

    def show(moment: datetime) -> None:
        monkeypatch.setattr(timezone, "now", lambda: moment)

    return show


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    yield
    from django.core.cache import cache

    cache.clear()
