"""Dumps of a real pair: what is in them, that they restore to the same contents, and what refuses them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.faults.agent_world import Servers
from tests.integration.backup.world import LARGE, RICH, Backed, backed_pair

from understudy.backup import logical, roles, snapshot
from understudy.backup.catalog import Catalog
from understudy.backup.manifest import Kind, Level, Verdict
from understudy.backup.source import BackupError, BackupRefused
from understudy.backup.store import open_store
from understudy.backup.stream import read_part
from understudy.config_backup import Destination
from understudy.model import Plan, PlanKind


@pytest.fixture(scope="module")
def backed(server_pair: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backed]:
    with backed_pair(server_pair, tmp_path_factory.mktemp("backup"), RICH + LARGE) as backed:
        yield backed


@pytest.mark.parametrize("form", ["custom", pytest.param("directory", marks=pytest.mark.slow)])
def test_a_backup_restores_to_the_same_contents(backed: Backed, form: str) -> None:
    manifest = backed.create(form=form)
    assert manifest.kind is Kind.LOGICAL
    assert (manifest.node, manifest.epoch, manifest.form) == ("a", 1, form)
    found = {(t.schema, t.name): t.rows for t in manifest.tables}
    assert found["public", "animal"] == 3000
    assert found["Odd Schema", 'Odd "Table"'] == 2
    assert found["public", "weighing_2026"] == 3000
    assert found["public", "cache"] == 1
    assert found["public", "parent"] == 1  # without its child's rows
    assert ("public", "weighing") not in found  # the sum of its partitions
    assert not any(schema == "understudy" for schema, _ in found)
    assert manifest.client_version.startswith("16")
    assert manifest.start_lsn > 0
    assert backed.catalog.backups(manifest.cluster)[-1] == manifest

    proof = backed.verify(manifest)
    assert proof.verdict is Verdict.PASS, proof.checks
    assert proof.restore_seconds > 0
    assert proof.sha256 == {part.name: part.sha256 for part in manifest.parts}
    assert backed.catalog.verifications(manifest.cluster, manifest.id) == [proof]


def test_what_is_written_meanwhile_is_wholly_in_it_or_not_at_all(backed: Backed) -> None:
    stop = threading.Event()

    def write() -> None:
        with backed.world.pair.connect("a") as connection:
            while not stop.is_set():
                with connection.transaction():
                    connection.execute("INSERT INTO bare SELECT coalesce(max(id), 0) + 1 FROM bare")
                    connection.execute("UPDATE parent SET x = (SELECT max(id) FROM bare)::text WHERE id = 1")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        manifest = backed.create()
    finally:
        stop.set()
        writer.join()
    proof = backed.verify(manifest)
    assert proof.verdict is Verdict.PASS, proof.checks


def test_rows_of_some_tables_with_the_schema_of_all(backed: Backed) -> None:
    manifest = backed.create(scope=("weighing_2025", 'Odd Schema.Odd "Table"'))
    assert manifest.scope == ("weighing_2025", 'Odd Schema.Odd "Table"')
    assert {(t.name, t.rows) for t in manifest.tables} == {("weighing_2025", 3000), ('Odd "Table"', 2)}
    proof = backed.verify(manifest)  # its foreign key leads to rows that are not in it, and is left out
    assert proof.verdict is Verdict.PASS, proof.checks


@pytest.mark.parametrize("name", ["nosuch", "public.nosuch", "weighing"])
def test_a_name_that_is_no_table_with_rows_is_refused(backed: Backed, name: str) -> None:
    before = backed.ids
    with pytest.raises(BackupRefused, match=f"table {name}: expected one table"):
        backed.create(scope=(name,))
    assert backed.ids == before


def test_the_schema_alone(backed: Backed) -> None:
    manifest = backed.create(scope=("schema-only",))
    assert (manifest.tables, manifest.sequences) == ((), ())
    assert backed.verify(manifest, Level.ARCHIVE).verdict is Verdict.PASS


def test_tables_that_cannot_be_read_refuse_the_backup(backed: Backed) -> None:
    backed.sql("CREATE TABLE closed (id int); ALTER TABLE closed OWNER TO postgres", user="postgres")
    try:
        with pytest.raises(BackupRefused, match=r"public\.closed.*GRANT SELECT ON ALL TABLES"):
            backed.create()
    finally:
        backed.sql("DROP TABLE closed", user="postgres")


def test_a_providers_schemas_are_in_it_where_they_can_be_read(backed: Backed) -> None:
    backed.sql(
        "CREATE SCHEMA auth; CREATE TABLE auth.users (id int PRIMARY KEY); INSERT INTO auth.users VALUES (7);"
        "GRANT USAGE ON SCHEMA auth TO understudy; GRANT SELECT ON auth.users TO understudy;"
        "CREATE SCHEMA vault; CREATE TABLE vault.secrets (id int PRIMARY KEY)",
        user="postgres",
    )
    try:
        manifest = backed.create()
        assert manifest.scope == ("all", "-vault")
        assert [t.rows for t in manifest.tables if t.schema == "auth"] == [1]
        proof = backed.verify(manifest)
        assert proof.verdict is Verdict.PASS, proof.checks
    finally:
        backed.sql("DROP SCHEMA auth, vault CASCADE", user="postgres")


def test_rows_hidden_by_a_policy_refuse_the_backup(backed: Backed) -> None:
    backed.sql("ALTER TABLE bare ENABLE ROW LEVEL SECURITY; ALTER TABLE bare FORCE ROW LEVEL SECURITY")
    try:
        with pytest.raises(BackupError, match="row-level security"):
            backed.create()
    finally:
        backed.sql(
            "ALTER TABLE bare NO FORCE ROW LEVEL SECURITY; ALTER TABLE bare DISABLE ROW LEVEL SECURITY"
        )


def test_a_table_that_stays_locked_refuses_the_backup(
    backed: Backed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "PATIENCE_S", 0.5)
    monkeypatch.setitem(snapshot._SETTINGS, "lock_timeout", "100")
    with backed.world.pair.connect("a") as other, other.transaction():
        other.execute("LOCK TABLE bare IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(BackupRefused, match="a table is locked"):
            backed.create()


def test_the_roles_are_in_it_without_passwords(backed: Backed) -> None:
    manifest = backed.create(scope=("schema-only",))
    text = b"".join(read_part(backed.store, manifest, "roles", backed.keys))
    found = {role.name: role for role in roles.decode(text, "roles").roles}
    assert {"app", "understudy", "postgres"} <= set(found)
    assert found["understudy"].replication
    assert "app" in {m.role for m in found["understudy"].member_of}
    assert b"SCRAM" not in text


@pytest.mark.slow
def test_large_objects_are_counted(backed: Backed) -> None:
    backed.sql("SELECT lo_from_bytea(0, 'one'), lo_from_bytea(0, 'two')")
    try:
        manifest = backed.create()
        assert (manifest.tables[-1].name, manifest.tables[-1].rows) == ("pg_largeobject_metadata", 2)
        assert backed.verify(manifest).verdict is Verdict.PASS
    finally:
        backed.sql("SELECT lo_unlink(oid) FROM pg_largeobject_metadata")


def test_a_switchover_under_way_refuses_the_backup(backed: Backed) -> None:
    state = backed.world.state()
    plan = Plan(
        kind=PlanKind.SWITCHOVER,
        epoch=state.epoch,
        source="a",
        target="b",
        number=9,
        slot="s",
        rule="r",
        reason="r",
    )
    changed = backed.world.witness.write(replace(state, plan=plan), expected=state.version)
    try:
        with pytest.raises(BackupRefused, match="a switchover is under way"):
            backed.create()
    finally:
        backed.world.witness.write(replace(changed, plan=None), expected=changed.version)


def test_two_destinations_of_which_one_is_full(backed: Backed, tmp_path: Path) -> None:
    """The backup is where it is whole; the other one is named, and has no manifest."""
    full = open_store(Destination(name="full", folder=tmp_path / "none" / "such"))
    said: list[str] = []
    manifest = logical.create(
        backed.config, backed.world.pair.cluster, [full, backed.store], backed.keys, tell=said.append
    )
    assert [s.name for s in Catalog([full, backed.store]).places(manifest.cluster, manifest.id)] == ["shelf"]
    assert any("NOT in full; it is in shelf" in line for line in said)


@pytest.mark.slow
def test_two_thousand_tables(backed: Backed) -> None:
    backed.sql(
        "CREATE SCHEMA many; DO $$ BEGIN FOR n IN 1..2000 LOOP"
        " EXECUTE format('CREATE TABLE many.t%s (id int PRIMARY KEY, x text)', n);"
        " EXECUTE format('INSERT INTO many.t%s VALUES (%s, %L)', n, n, n); END LOOP; END $$"
    )
    try:
        manifest = backed.create()
        assert len(manifest.tables) > 2000
        proof = backed.verify(manifest)
        assert proof.verdict is Verdict.PASS, proof.checks
    finally:
        for start in range(1, 2001, 500):  # a transaction holds so many locks only
            names = ", ".join(f"many.t{n}" for n in range(start, start + 500))
            backed.sql(f"DROP TABLE {names}")
        backed.sql("DROP SCHEMA many")
