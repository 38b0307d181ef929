"""`manage.py` on a cluster: migrations of both nodes, a project's own tests, the commands and the checks."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.integration.django.conftest import change, manage

from understudy.demo.lab import Lab
from understudy.engines.postgresql.schema import statement
from understudy.integrations.schema_change import SchemaDrift


def schema(lab: Lab, node: str) -> list[str]:
    with lab.connect(node) as connection:
        return [row[0] for row in connection.execute(statement("fingerprint").encode())]


def nodes_agree(lab: Lab) -> bool:
    return schema(lab, "a") == schema(lab, "b")


def on_standby(lab: Lab, text: str) -> None:
    with lab.connect(lab.state.other) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(text.encode())


@pytest.fixture
def unchanged(clean: Lab) -> Iterator[Lab]:
    """What the test tries on the schema is refused on both nodes."""
    clean.await_settled()
    before = schema(clean, "a")
    assert before == schema(clean, "b")
    yield clean
    assert schema(clean, "a") == schema(clean, "b") == before


def run_sql(*texts: str, atomic: bool = True) -> None:
    """What `RunSQL` does with its texts."""
    from django.db import connection

    with connection.schema_editor(atomic=atomic) as editor:
        for text in texts:
            editor.execute(text, params=None)


def test_both_nodes_are_changed_and_rows_go_on_being_replicated(clean: Lab) -> None:
    from django.db import connection, models
    from tests.integration.django.farm.models import Animal, Herd

    clean.await_settled()
    herd = Herd.objects.create(name="before")
    field = models.IntegerField(default=3)
    field.set_attributes_from_name("legs")
    with connection.schema_editor() as editor:
        editor.add_field(Animal, field)
        editor.alter_field(Herd, Herd._meta.get_field("name"), _longer(Herd))
    assert nodes_agree(clean)
    assert any("legs integer not null" in line for line in schema(clean, "b"))
    run_sql("INSERT INTO farm_herd (name) VALUES ('once'); COMMENT ON TABLE farm_herd IS 'a; b'")
    Herd.objects.filter(pk=herd.pk).update(name="after")
    clean.await_true(
        lambda: (
            list(Herd.objects.using("backup").order_by("id").values_list("name", flat=True))
            == ["after", "once"]
        ),
        20,
        "rows in the changed table",
    )
    with connection.schema_editor() as editor:
        editor.remove_field(Animal, field)
    run_sql("CREATE INDEX CONCURRENTLY by_name ON farm_animal (name)", atomic=False)
    assert any("by_name" in line for line in schema(clean, clean.state.other))
    run_sql("DROP INDEX CONCURRENTLY by_name", atomic=False)
    assert nodes_agree(clean)
    assert not any("legs" in line for line in schema(clean, "b"))
    assert clean.verify().equal


def _longer(model: type) -> object:
    from django.db import models

    field = models.CharField(max_length=80, unique=True)
    field.set_attributes_from_name("name")
    field.model = model
    return field


def test_rows_on_their_way_fit_when_a_column_is_renamed(clean: Lab) -> None:
    """The standby's table changes only after every row that was written before has arrived."""
    from tests.integration.django.farm.models import Herd

    clean.await_settled()
    for old, new in (("name", "title"), ("title", "name")):
        with clean.connect(clean.state.primary) as connection:
            connection.execute(
                f"INSERT INTO farm_herd ({old}) SELECT '{new}' || g FROM generate_series(1, 5000) g".encode()
            )
        run_sql(f"ALTER TABLE farm_herd RENAME COLUMN {old} TO {new}")
    assert nodes_agree(clean)
    Herd.objects.create(name="newest")
    clean.await_true(
        lambda: Herd.objects.using("backup").filter(name="newest").exists(), 60, "replication goes on"
    )
    assert Herd.objects.using("backup").count() == 10_001


def test_drift_is_refused_with_table_and_column(clean: Lab) -> None:
    clean.await_settled()
    on_standby(clean, "ALTER TABLE farm_herd ADD COLUMN stray int")
    try:
        with pytest.raises(SchemaDrift, match=r"\+ public\.farm_herd: column stray integer"):
            run_sql("CREATE TABLE never (id int PRIMARY KEY)")
        refused = manage(clean.config_file)("migrate", "farm", "zero", check=False)
        assert refused.returncode == 1
        assert "column stray integer" in refused.stderr
        assert "Traceback" not in refused.stderr
    finally:
        on_standby(clean, "ALTER TABLE farm_herd DROP COLUMN stray")
    assert nodes_agree(clean)
    assert not any("never" in line for line in schema(clean, "a"))


def test_a_failure_on_either_node_leaves_both_as_they_were(unchanged: Lab) -> None:
    from django.db import IntegrityError, ProgrammingError
    from tests.integration.django.farm.models import Animal, Herd

    new = "ALTER TABLE farm_animal ADD COLUMN extra int"
    with pytest.raises(ProgrammingError):
        run_sql(new, "ALTER TABLE not_there ADD COLUMN extra int")
    herd = Herd.objects.create(name="x")
    animal = Animal.objects.create(herd=herd, name="y")
    with pytest.raises(
        IntegrityError
    ):  # a deferred constraint: only the primary's commit would have found it
        run_sql(new, f"UPDATE farm_animal SET herd_id = -1 WHERE id = {animal.pk}")
    with pytest.raises(SchemaDrift, match="fill them in a migration of their own"):
        run_sql(
            "UPDATE farm_animal SET born = now()",
            "SET CONSTRAINTS ALL IMMEDIATE",
            "ALTER TABLE farm_animal ALTER COLUMN born SET NOT NULL",
        )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ALTER TABLE farm_herd ADD COLUMN at timestamptz DEFAULT now() NOT NULL", "other values on node"),
        (
            "ALTER TABLE farm_herd ADD COLUMN n bigint GENERATED BY DEFAULT AS IDENTITY",
            "other values on node",
        ),
        ("ALTER TABLE farm_herd ADD COLUMN n serial", "other values on node"),
        (
            "CREATE INDEX i ON farm_herd (id); SELECT id INTO t FROM farm_herd",
            "would make the schemas differ",
        ),
        ("DO $$ BEGIN CREATE TABLE t (id int PRIMARY KEY); END $$", "expected plain statements"),
    ],
)
def test_what_would_part_the_nodes_is_refused(unchanged: Lab, text: str, why: str) -> None:
    from tests.integration.django.farm.models import Herd

    Herd.objects.create(name="has a row")
    with pytest.raises(SchemaDrift, match=why):
        run_sql(text)


def test_an_error_that_is_caught_inside_the_block_takes_everything_back(unchanged: Lab) -> None:
    """As with Django's own editor: the server commits nothing of a transaction in which a statement failed."""
    from django.db import ProgrammingError, connection

    with connection.schema_editor() as editor:
        editor.execute("ALTER TABLE farm_animal ADD COLUMN extra int")
        with pytest.raises(ProgrammingError):
            editor.execute("ALTER TABLE not_there ADD COLUMN extra int")


def test_an_editor_outside_its_block_is_refused(unchanged: Lab) -> None:
    from django.db import connection

    editor = connection.schema_editor()
    with pytest.raises(SchemaDrift, match="inside its `with` block"):
        editor.execute("CREATE TABLE t (id int PRIMARY KEY)")


def test_the_alias_for_reading_is_not_migrated(unchanged: Lab) -> None:
    from django.core.management import call_command
    from django.core.management.base import CommandError

    with pytest.raises(CommandError, match="'backup' is for reading: migrate 'default'"):
        call_command("migrate", database="backup")


def test_a_projects_own_tests_need_no_agent(farm: Lab, tmp_path: Path) -> None:
    run = manage(farm.config_file)
    alone = {"UNDERSTUDY_DIRECTORY": str(tmp_path / "no agent here")}
    done = run("test", "tests.integration.django.farm.tests", "--parallel", "2", **alone)
    assert "OK" in done.stderr
    refused = run(
        "shell", "-c", "from django.db import connection; connection.cursor()", check=False, **alone
    )
    assert refused.returncode
    assert "no agent ever ran on this host" in refused.stderr.strip().splitlines()[-1]
    checked = run("check", "--database", "default", check=False, **alone)
    assert "understudy.E002" in checked.stderr
    with farm.connect("a", "postgres") as connection:
        left = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'test_%'").fetchall()
    assert left == []


@pytest.fixture
def command(farm: Lab, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def run(*words: str) -> tuple[int, str]:
        from django.core.management import call_command

        capsys.readouterr()
        try:
            call_command("understudy", *words)
        except SystemExit as left:
            return int(left.code or 0), capsys.readouterr().out
        return 0, capsys.readouterr().out

    return run


def test_commands(clean: Lab, command: Callable[..., tuple[int, str]]) -> None:
    change(clean)
    clean.await_settled()
    code, text = command("status", "--json")
    assert (code, json.loads(text)["primary"]) == (0, clean.state.primary)
    target = clean.state.other
    code, text = command("switchover", target, "--yes", "--json")
    assert (code, clean.state.primary) == (0, target)
    clean.await_settled()
    assert command("verify")[0] == 0
    assert command("check")[0] == 0
    assert command("switchover", "elsewhere", "--yes")[0] == 2


def test_a_cache_table_is_on_both_nodes(clean: Lab) -> None:
    from django.core.cache import caches
    from django.core.management import call_command
    from django.db import connection

    clean.await_settled()
    printed = io.StringIO()
    call_command("createcachetable", stdout=printed)
    try:
        assert nodes_agree(clean)
        caches["table"].set("elsa", "4 legs")
        with clean.connect(clean.state.other) as standby:
            clean.await_true(
                lambda: standby.execute("SELECT count(*) FROM farm_cache").fetchone() == (1,), 60, "its rows"
            )
        change(clean)
        assert caches["table"].get("elsa") == "4 legs"
        call_command("createcachetable", stdout=printed)
        assert "Cache table 'farm_cache' already exists." in printed.getvalue()
    finally:
        with connection.schema_editor() as editor:
            editor.execute("DROP TABLE farm_cache")


def test_data_is_dumped_flushed_and_loaded(clean: Lab, tmp_path: Path) -> None:
    from django.core.management import call_command
    from tests.integration.django.farm.models import Animal, Herd

    herds = Herd.objects.bulk_create([Herd(name=f"herd {number}") for number in range(3)])
    Animal.objects.create(herd=herds[2], name="Elsa", notes={"legs": 4})
    file = tmp_path / "farm.json"
    call_command("dumpdata", "farm", "auth", output=str(file))
    printed = io.StringIO()
    call_command("sqlflush", stdout=printed)
    assert '"farm_herd"' in printed.getvalue()
    assert "understudy" not in printed.getvalue()
    call_command("flush", interactive=False, verbosity=0)
    assert not Herd.objects.exists()
    call_command("loaddata", str(file), verbosity=0)
    call_command("dumpdata", "farm", "auth", output=str(tmp_path / "again.json"))
    assert json.loads((tmp_path / "again.json").read_text()) == json.loads(file.read_text())
    change(clean)
    herd = Herd.objects.create(name="after")  # its number is past those that were loaded
    assert Animal.objects.get().herd_id == herds[2].pk < herd.pk
    assert clean.verify().equal


def test_models_of_the_tables(clean: Lab) -> None:
    from django.core.management import call_command

    printed = io.StringIO()
    call_command("inspectdb", stdout=printed)
    text = printed.getvalue()
    assert "class FarmAnimal(models.Model):\n    id = models.BigAutoField(primary_key=True)" in text
    assert "herd = models.ForeignKey('FarmHerd', models.DO_NOTHING)" in text
    assert "understudy" not in text.lower()


def test_dbshell_is_on_the_primary(clean: Lab) -> None:
    folder = clean.servers["a"].bin_folder
    for _ in range(2):
        change(clean)
        shell = manage(clean.config_file)(
            "dbshell", "--", "-Atc", "SELECT inet_server_port()", PATH=f"{folder}:{os.environ['PATH']}"
        )
        assert shell.stdout.strip() == str(clean.servers[clean.state.primary].port)


def test_checks(farm: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import connections

    from understudy.integrations.django.checks import check_databases

    assert check_databases() == []
    engine = {
        "ENGINE": "understudy.integrations.django.postgresql",
        "NAME": "",
        "CONN_MAX_AGE": 0,
        "OPTIONS": {},
    }
    settings = {
        "default": engine | {"CONN_HEALTH_CHECKS": True},
        "second": engine | {"CONN_MAX_AGE": None},
        "wrong": engine | {"OPTIONS": {"cluster": "nowhere"}},
        "pool": engine | {"OPTIONS": {"pool": True}},
    }
    monkeypatch.setattr(connections, "settings", settings)
    found = [(message.id, message.msg) for message in check_databases()]
    ids = [identity for identity, _ in found]
    assert sorted(ids) == [f"understudy.{i}" for i in ("E001", "E001", "E004", "W002", "W003")]
    assert any("nowhere" in text for _, text in found)
    monkeypatch.setattr(connections, "settings", {"default": {"ENGINE": "django.db.backends.postgresql"}})
    assert [message.id for message in check_databases()] == ["understudy.W004"]


def test_a_name_that_is_not_the_clusters_is_refused(farm: Lab) -> None:
    from django.core.exceptions import ImproperlyConfigured
    from django.db.utils import ConnectionHandler

    settings = {
        "ENGINE": "understudy.integrations.django.postgresql",
        "NAME": "another",
        "OPTIONS": {"config": str(farm.config_file)},
    }
    with pytest.raises(ImproperlyConfigured, match="expected 'bank'"):
        ConnectionHandler({"default": settings})["default"].ensure_connection()
