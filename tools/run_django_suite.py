"""Django's own test suite through a cluster, beside the same suite on Django's own backend and server.

    .venv/bin/python tools/run_django_suite.py                  # the applications of APPS
    .venv/bin/python tools/run_django_suite.py transactions basic

The suite is in the source distribution of Django (the wheel has none): the locked version is downloaded from the
index that pip is configured for, compared with the hash in `uv.lock`, and unpacked to a temporary folder. Of
the two aliases of the suite, `default` leads through lease, agent and schema changes of a real laboratory, and `other`
to a test database. Everything printed by the two runs is kept in the folder that LOGS names, if it is set.

Prints what fails in either run. The exit code is 1 where a test fails with Understudy that passes with Django's backend
and is not known to (`EXPECTED`).
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from understudy.demo.lab import DATABASE, Lab
from understudy.model import Rpo

ROOT = Path(__file__).resolve().parent.parent
APPS = """
    backends basic bulk_create constraints dbshell delete fixtures get_or_create inspectdb
    introspection migrate_signals migrations multiple_database schema select_for_update servers
    test_utils transaction_hooks transactions
"""
SECONDS = 3600

SETTINGS = """
SECRET_KEY = "only-for-tests"
USE_TZ = False
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DATABASES = {databases!r}
# Servers from a wheel have no ICU; this collation is on every server.
from django.db.backends.postgresql.features import DatabaseFeatures
DatabaseFeatures.test_collations = dict.fromkeys(DatabaseFeatures.test_collations, "POSIX") | {{"deterministic": "C"}}
"""
# The cluster's own database is the test database: nothing is made or destroyed.
BACKEND = """
from django.db.backends.postgresql import creation
from understudy.integrations.django.postgresql import base

class DatabaseCreation(creation.DatabaseCreation):
    def _create_test_db(self, verbosity, autoclobber, keepdb=False):
        return self._get_test_db_name()
    def _destroy_test_db(self, test_database_name, verbosity):
        pass

class DatabaseWrapper(base.DatabaseWrapper):
    creation_class = DatabaseCreation
"""

_POOL = "OPTIONS['pool'] is refused: a pool of Django's would keep connections to a former primary"
_CLASS = "the driver's cursor class is extended, so it is not the very same class; it is a subclass of it"
_CURSOR = "makes or removes something by a cursor, which changes the primary alone, and goes on by the schema editor"
_MOCK = "puts a mock in the place of the editor's `execute`, so that the primary gets nothing"
_OUTSIDE = "uses a schema editor outside its `with` block, which is refused"
_COMPUTED = (
    "adds a computed column to a table with rows, which is refused: the nodes would get different values"
)
_OTHER = "leads an alias of the cluster to the database of another alias"
_POSTGRESQL = "backends.postgresql.tests.Tests."
_SCHEMA = "schema.tests.SchemaTests."
EXPECTED = {
    _POSTGRESQL + "test_connect_pool": _POOL,
    _POSTGRESQL + "test_connect_pool_with_timezone": _POOL,
    _POSTGRESQL + "test_connect_custom_cursor_factory": _CLASS,
    _POSTGRESQL + "test_connect_server_side_binding": _CLASS,
    _POSTGRESQL + "test_nodb_cursor": _OTHER,
    "backends.test_utils.CursorWrapperTests.test_callproc_with_int_params": _CURSOR,
    "backends.test_utils.CursorWrapperTests.test_callproc_without_params": _CURSOR,
    "migrations.test_commands.MigrateTests.test_migrate_syncdb_app_label": _MOCK,
    "migrations.test_commands.MigrateTests.test_migrate_syncdb_deferred_sql_executed_with_schemaeditor": _MOCK,
    "migrations.test_operations.OperationTests.test_add_field_database_default_function": _COMPUTED,
    _SCHEMA + "test_add_datefield_and_datetimefield_use_effective_default": _OUTSIDE,
    _SCHEMA + "test_alter_serial_auto_field_to_bigautofield": _CURSOR,
    _SCHEMA + "test_namespaced_db_table_foreign_key_reference": _CURSOR,
}
"""Tests that cannot pass, by what they do; `docs/how-to/django.md` says the same to users."""


@dataclass(frozen=True)
class Result:
    """One run: how many tests, and the names of those that did not pass."""

    line: str
    failed: frozenset[str]


def download(folder: Path) -> Path:
    """The folder `tests` of the locked Django."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    (django,) = (package for package in lock["package"] if package["name"] == "django")
    if version("django") != django["version"]:
        raise SystemExit(
            f"expected Django {django['version']} (uv.lock), found {version('django')}: run `make setup`"
        )
    words = ["download", "--quiet", "--no-deps", "--no-build-isolation", "--no-binary=:all:"]
    subprocess.run(
        [sys.executable, "-m", "pip", *words, f"--dest={folder}", f"django=={django['version']}"], check=True
    )
    (archive,) = folder.glob("*.tar.gz")
    found = "sha256:" + hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != django["sdist"]["hash"]:
        raise SystemExit(f"{archive.name}: expected {django['sdist']['hash']} (uv.lock), found {found}")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz") / "tests"


def through_understudy(lab: Lab) -> dict[str, object]:
    options = {"cluster": "demo", "config": str(lab.config_file)}
    return {
        "default": {"ENGINE": "cluster_backend", "OPTIONS": options, "TEST": {"NAME": DATABASE}},
        "other": {
            "ENGINE": "understudy.integrations.django.postgresql",
            "OPTIONS": options,
            "TEST": {"NAME": "test_other_ours"},
        },
    }


def as_django_has_it(lab: Lab) -> dict[str, object]:
    from psycopg.conninfo import conninfo_to_dict

    place = conninfo_to_dict(lab.dsn("a", "app"))
    names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    alias = {"ENGINE": "django.db.backends.postgresql"} | {k: place.get(v, "") for k, v in names.items()}
    return {
        "default": alias | {"TEST": {"NAME": "test_theirs"}},
        "other": alias | {"TEST": {"NAME": "test_other_theirs"}},
    }


def run(tests: Path, name: str, databases: dict[str, object], apps: list[str], log: Path) -> Result:
    """Run the suite with these databases; everything that it printed is in the log."""
    (tests / f"settings_{name}.py").write_text(SETTINGS.format(databases=databases))
    (tests / "cluster_backend").mkdir(exist_ok=True)
    (tests / "cluster_backend" / "__init__.py").touch()
    (tests / "cluster_backend" / "base.py").write_text(BACKEND)
    words = ["runtests.py", f"--settings=settings_{name}", "--parallel=1", "--noinput", *apps]
    with log.open("w") as output:
        subprocess.run(
            [sys.executable, *words],
            cwd=tests,
            env={**os.environ, "PYTHONPATH": str(tests)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            check=False,
        )
    text = log.read_text()
    counted = re.search(r"^Ran (\d+ tests).*\n\n(.*)$", text, re.MULTILINE)
    if counted is None:
        raise SystemExit(f"{name}: the suite did not end:\n{text[-3000:]}")
    failed = re.findall(r"^(?:FAIL|ERROR|UNEXPECTED SUCCESS): .*?\(([\w.]+)\)", text, re.MULTILINE)
    return Result(f"{counted[1]}: {counted[2]}", frozenset(failed))


def main() -> None:
    apps = sys.argv[1:] or APPS.split()
    with tempfile.TemporaryDirectory(prefix="understudy-django-") as name:
        folder = Path(name)
        tests = download(folder)
        with Lab(mode=Rpo.BOUNDED, scale=1) as lab:
            for node in ("a", "b"):
                with lab.connect(node, "postgres") as connection:
                    connection.execute("SET default_transaction_read_only = off")
                    connection.execute("ALTER ROLE app CREATEDB")
            logs = Path(os.environ.get("LOGS", name))
            theirs = run(tests, "theirs", as_django_has_it(lab), apps, logs / "theirs.log")
            print(f"Django {version('django')}'s backend  {theirs.line}", flush=True)
            ours = run(tests, "ours", through_understudy(lab), apps, logs / "ours.log")
            print(f"Understudy's            {ours.line}", flush=True)
    for test in sorted(theirs.failed & ours.failed):
        print(f"fails with both: {test}")
    for test in sorted(theirs.failed - ours.failed):
        print(f"fails with Django's only: {test}")
    unexpected = False
    for test in sorted(ours.failed - theirs.failed):
        why = EXPECTED.get(test)
        unexpected |= why is None
        print(f"expected to fail: {test}: {why}" if why else f"FAILS WITH UNDERSTUDY'S ONLY: {test}")
    sys.exit(unexpected)


if __name__ == "__main__":
    main()
