"""Setup and check of a PostgreSQL pair, on real servers with the roles of a careful installation."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.integration.conftest import PASSWORD, WRITABLE, Pair, at, until

from understudy.engines.base import Severity
from understudy.engines.postgresql import PostgreSQLEngine
from understudy.errors import EngineError
from understudy.model import Cluster, Rpo


def findings(result: object, severity: Severity) -> list[str]:
    return [f"{f.node} {f.subject}" for f in result if f.severity is severity]  # type: ignore[attr-defined]


async def test_from_two_servers_to_a_pair(pair: Pair) -> None:
    pair.sql("a", "INSERT INTO item (name) SELECT 'n' || i FROM generate_series(1, 500) i")
    said: list[str] = []
    engine = PostgreSQLEngine(pair.cluster)
    result = await engine.setup(progress=said.append)
    assert result["link"] == pair.link(1).name
    assert result["spare_slot"] == pair.link(2).name
    assert pair.sql("b", "SELECT count(*) FROM item") == [(500,)]
    assert pair.sql("b", "SHOW default_transaction_read_only") == [("on",)]
    assert pair.sql("a", "SHOW default_transaction_read_only") == [("off",)]
    assert any("tables copied" in line for line in said)
    a, b = [await engine.probe(node, heartbeat=None, epoch=1) for node in "ab"]
    assert (a.identity, b.identity) == (result["identity:a"], result["identity:b"])
    assert a.schema == b.schema
    assert a.schema
    assert b.subscriptions[pair.link(1).name].ready
    await engine.close()


async def test_a_partitioned_table_with_a_foreign_key_is_copied_too(pair: Pair) -> None:
    """TRUNCATE refuses a table that a table outside its list refers to, and only leaves are published."""
    for text in (
        "CREATE TABLE animal (id int PRIMARY KEY)",
        "CREATE TABLE weighing (animal int REFERENCES animal, at int, PRIMARY KEY (animal, at))"
        " PARTITION BY RANGE (at)",
        "CREATE TABLE weighing_1 PARTITION OF weighing FOR VALUES FROM (0) TO (10)",
        "INSERT INTO animal VALUES (1); INSERT INTO weighing VALUES (1, 5)",
    ):
        pair.sql("a", text)
    engine = PostgreSQLEngine(pair.cluster)
    await engine.setup(progress=lambda _: None)
    assert pair.sql("b", "SELECT animal, at FROM weighing") == [(1, 5)]
    await engine.full_copy(pair.link(1), at(1))
    await engine.catch_up(pair.link(1), at(1))
    assert (await engine.verify("a", "b")).equal
    await engine.close()


async def test_the_same_name_on_another_database_of_a_server_is_another_cluster(pair: Pair) -> None:
    """Slots belong to a whole server: the other one's is neither ours nor proof that ours was begun."""
    slot = pair.link(1).name
    with pair.connect("a", user="postgres", dbname="postgres") as connection:
        connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (slot,))
    try:
        engine = PostgreSQLEngine(pair.cluster)
        with pytest.raises(EngineError, match="database postgres"):
            await engine.setup(progress=lambda _: None)
        await engine.close()
    finally:
        with pair.connect("a", user="postgres", dbname="postgres") as connection:
            connection.execute("SELECT pg_drop_replication_slot(%s)", (slot,))


async def test_a_longer_name_on_another_database_is_no_namesake(pair: Pair) -> None:
    """`main_2` begins like a slot of `main`; only what `main` itself could have made is its namesake's."""
    slot = f"{pair.link(1).name.removesuffix('1')}2_1"
    with pair.connect("a", user="postgres", dbname="postgres") as connection:
        connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (slot,))
    try:
        engine = PostgreSQLEngine(pair.cluster)
        await engine.setup(progress=lambda _: None)
        await engine.close()
    finally:
        with pair.connect("a", user="postgres", dbname="postgres") as connection:
            connection.execute("SELECT pg_drop_replication_slot(%s)", (slot,))


async def test_setup_again_changes_nothing(pair: Pair, engine: PostgreSQLEngine) -> None:
    reader = pair.connect("b")
    before = await engine.probe("b", heartbeat=None, epoch=1)
    result = await engine.setup(progress=lambda _: None)
    after = await engine.probe("b", heartbeat=None, epoch=1)
    assert result["link"] == pair.link(1).name
    assert (after.slots.keys(), after.subscriptions.keys()) == (
        before.slots.keys(),
        before.subscriptions.keys(),
    )
    assert reader.execute("SELECT 1").fetchone() == (1,), "readers of the standby are left alone"


async def test_setup_of_a_pair_whose_roles_have_changed_keeps_them(
    pair: Pair, engine: PostgreSQLEngine
) -> None:
    await engine.announce(at(2, "b"), ("a", "b"))
    await engine.follow(pair.link(2, "b", "a"), at(2, "b"))
    await engine.fence("a", at(2, "b"))
    await engine.stop_apply(pair.link(1), at(2, "b"))
    await engine.promote("b", at(2, "b"))
    await engine.drop_link(pair.link(1), at(2, "b"))
    pair.sql("b", "CREATE TABLE late (id int PRIMARY KEY); INSERT INTO late VALUES (1)")
    with pytest.raises(EngineError, match=r"\+ public.late"):
        await engine.setup(progress=lambda _: None)
    with pair.connect("a", options=WRITABLE) as connection:
        connection.execute("CREATE TABLE late (id int PRIMARY KEY)")
    result = await engine.setup(progress=lambda _: None)
    assert result["link"] == pair.link(2).name
    assert result["primary"] == "b"
    assert pair.sql("a", "SELECT id FROM late") == [(1,)]
    assert pair.sql("a", "SHOW default_transaction_read_only") == [("on",)]
    pair.sql("b", "INSERT INTO late VALUES (2)")
    await until(lambda: pair.sql("a", "SELECT count(*) FROM late") == [(2,)])


async def test_an_interrupted_copy_is_begun_anew(pair: Pair, engine: PostgreSQLEngine) -> None:
    # As if setup had died while copying: rows on the standby, the subscription gone, the slot left over.
    pair.sql("a", "INSERT INTO item (name) VALUES ('one')")
    await until(lambda: pair.sql("b", "SELECT count(*) FROM item") == [(1,)])
    async with engine.sessions.control("b") as connection:
        await connection.execute(f"ALTER SUBSCRIPTION {pair.link(1).name} DISABLE")
        await connection.execute(f"ALTER SUBSCRIPTION {pair.link(1).name} SET (slot_name = NONE)")
        await connection.execute(f"DROP SUBSCRIPTION {pair.link(1).name}")
    await engine.setup(progress=lambda _: None)
    pair.sql("a", "INSERT INTO item (name) VALUES ('two')")
    await until(lambda: pair.sql("b", "SELECT count(*) FROM item") == [(2,)])


async def test_rows_of_a_standby_that_never_followed_are_not_overwritten(pair: Pair) -> None:
    pair.sql(
        "b", "CREATE TABLE item (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text NOT NULL)"
    )
    pair.sql("a", 'DROP TABLE note; DROP TABLE "Odd Name"')
    pair.sql("b", "INSERT INTO item (name) VALUES ('mine')")
    engine = PostgreSQLEngine(pair.cluster)
    with pytest.raises(EngineError, match="has rows"):
        await engine.setup(progress=lambda _: None)
    assert pair.sql("b", "SELECT name FROM item") == [("mine",)]
    await engine.close()


async def test_a_table_without_a_key_is_refused_before_it_is_published(pair: Pair) -> None:
    pair.sql("a", "CREATE TABLE keyless (a int)")
    engine = PostgreSQLEngine(pair.cluster)
    with pytest.raises(EngineError, match=r"public.keyless has no key.*ADD PRIMARY KEY"):
        await engine.setup(progress=lambda _: None)
    assert pair.sql("a", "SELECT count(*) FROM pg_publication") == [(0,)]
    await engine.close()


async def test_trap_13_only_listed_tables_are_published(pair: Pair, engine: PostgreSQLEngine) -> None:
    published = {
        row[0] for row in pair.sql("a", "SELECT schemaname || '.' || tablename FROM pg_publication_tables")
    }
    assert published == {
        "public.item",
        "public.note",
        "public.Odd Name",
        "understudy.heartbeat",
        "understudy.marker",
        "understudy.sequence_sample",
        "understudy.commit_token",
    }
    assert pair.sql("a", "SELECT puballtables FROM pg_publication") == [(False,)]


async def test_check_of_a_careful_installation_finds_no_error(pair: Pair) -> None:
    engine = PostgreSQLEngine(pair.with_policy(rpo=Rpo.ZERO))
    assert findings(await engine.check(), Severity.ERROR) == []
    await engine.close()


async def test_check_finds_what_is_missing_and_says_how_to_mend_it(pair: Pair) -> None:
    pair.sql("a", "CREATE UNLOGGED TABLE cache (id int PRIMARY KEY); CREATE SEQUENCE round CYCLE")
    pair.sql("a", f"ALTER DATABASE {pair.database} OWNER TO postgres", user="postgres")
    pair.sql("a", "REVOKE SELECT ON pg_replication_origin_status FROM understudy", user="postgres")
    pair.sql(
        "b",
        f"ALTER ROLE app IN DATABASE {pair.database} SET default_transaction_read_only = off",
        user="postgres",
    )
    pair.sql("b", "CREATE TABLE other (id int PRIMARY KEY)")
    for node in "ab":
        pair.sql(node, "CREATE TABLE tenant (id int PRIMARY KEY)")
        pair.sql(
            node, "ALTER TABLE tenant ENABLE ROW LEVEL SECURITY"
        )  # not FORCE: its owner's members see all
    pair.sql("a", "ALTER TABLE tenant FORCE ROW LEVEL SECURITY")
    engine = PostgreSQLEngine(pair.cluster)
    result = await engine.check()
    assert set(findings(result, Severity.ERROR)) == {
        "a database owner",
        "a view pg_replication_origin_status",
        "a row-level security",
        "b read-only override",
        "b schema",
    }
    assert {"a unlogged tables", "a sequences"} <= set(findings(result, Severity.WARNING))
    mends = [f.mend for f in result if f.severity is Severity.ERROR and f.subject != "schema"]
    try:
        for mend in mends:
            for node in "ab":
                pair.sql(node, mend, user="postgres")
        assert findings(await engine.check(), Severity.ERROR) == ["b schema"]
    finally:
        for node in "ab":  # the servers' roles are all tests'
            pair.sql(node, "ALTER ROLE understudy NOBYPASSRLS; ALTER ROLE app NOBYPASSRLS", user="postgres")
    await engine.close()


def changed(cluster: Cluster, name: str, **changes: str) -> Cluster:
    nodes = tuple(replace(node, **changes) if node.name == name else node for node in cluster.nodes)
    return replace(cluster, nodes=nodes)


async def test_check_never_raises_and_never_shows_a_password(pair: Pair) -> None:
    dsn = pair.cluster.node("b").admin_dsn
    broken = {
        "refused": dsn.replace(PASSWORD, "wrong-" + PASSWORD),
        "does not exist": dsn.replace(pair.database, "nowhere"),
        "could not connect": dsn.replace(f":{pair.servers['b'].port}/", ":1/"),
    }
    for text, admin_dsn in broken.items():
        engine = PostgreSQLEngine(changed(pair.cluster, "b", admin_dsn=admin_dsn))
        result = await engine.check()
        assert findings(result, Severity.ERROR) == ["b connection"]
        assert any(text in f.message for f in result)
        assert PASSWORD not in str(result)
        await engine.close()


async def test_check_tries_what_applications_connect_with(pair: Pair) -> None:
    dsn = pair.cluster.node("b").dsn
    broken = {
        "dsn is refused": dsn.replace(PASSWORD, "wrong-" + PASSWORD),
        "dsn leads to another database": pair.cluster.node("a").dsn,
    }
    for text, wrong in broken.items():
        engine = PostgreSQLEngine(changed(pair.cluster, "b", dsn=wrong))
        result = await engine.check()
        assert findings(result, Severity.ERROR) == ["b dsn"]
        assert any(text in f.message for f in result)
        assert PASSWORD not in str(result)
        await engine.close()


async def test_check_sees_that_replication_dsn_leads_elsewhere(pair: Pair) -> None:
    wrong = changed(pair.cluster, "b", replication_dsn=pair.cluster.node("a").replication_dsn)
    engine = PostgreSQLEngine(wrong)
    assert findings(await engine.check(), Severity.ERROR) == ["b replication_dsn"]
    home = pair.cluster.node("a")
    same = changed(wrong, "b", dsn=home.dsn, admin_dsn=home.admin_dsn)
    twin = PostgreSQLEngine(same)
    assert findings(await twin.check(), Severity.ERROR) == ["b two databases"]
    for each in (engine, twin):
        await each.close()


async def test_sweep_keeps_the_tables_small(pair: Pair, engine: PostgreSQLEngine) -> None:
    pair.sql(
        "a",
        "INSERT INTO understudy.commit_token (token, at) SELECT gen_random_uuid(), now() - interval '2 days'"
        " FROM generate_series(1, 12000)",
    )
    pair.sql("a", "INSERT INTO understudy.commit_token (token) VALUES (gen_random_uuid())")
    await engine.wait_replay(pair.link(1), at(1))
    await engine.sweep("b")
    assert pair.sql("b", "SELECT count(*) FROM understudy.commit_token") == [(12001,)]
    await engine.sweep("a")
    assert pair.sql("a", "SELECT count(*) FROM understudy.commit_token") == [(1,)]
    await until(lambda: pair.sql("b", "SELECT count(*) FROM understudy.commit_token") == [(1,)])
