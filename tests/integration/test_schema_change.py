"""A schema change while the standby is in trouble: what is locked on the primary is let go."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from tests.integration.conftest import WRITABLE, Pair, until

from understudy.embedded import FaultProxy
from understudy.engines.postgresql import PostgreSQLEngine
from understudy.integrations import schema_change
from understudy.integrations.schema_change import SchemaChange, SchemaDrift
from understudy.model import Cluster

DDL = "ALTER TABLE item ADD COLUMN price int"
POLLING = (
    "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%understudy.commit_token WHERE token%'"
    " AND pid <> pg_backend_pid()"
)


class Session:
    """A migration's session on the primary."""

    def __init__(self, cluster: Cluster, connection: psycopg.Connection) -> None:
        self.cluster, self.node, self._connection = cluster, "a", connection

    def ask(self, text: str) -> list[Any]:
        cursor = self._connection.execute(text.encode())
        return cursor.fetchall() if cursor.description else []


async def test_a_standby_that_falls_silent_while_it_is_waited_for(
    pair: Pair, engine: PostgreSQLEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could read or write the table on the primary for as long as that wait lasts."""
    monkeypatch.setattr(schema_change, "_CATCH_UP", 2.0)
    with pair.connect("b", "postgres", options=WRITABLE) as there:
        there.execute(f"ALTER SUBSCRIPTION {pair.link(1).name} DISABLE")  # the row never comes
    with (
        FaultProxy("127.0.0.1", pair.servers["b"].port) as proxy,
        pair.connect("a") as connection,
        connection.transaction(),
    ):
        home, cloud = pair.cluster.nodes
        dsn = psycopg.conninfo.make_conninfo(cloud.dsn, port=str(proxy.port))
        session = Session(replace(pair.cluster, nodes=(home, replace(cloud, dsn=dsn))), connection)
        change = await asyncio.to_thread(SchemaChange, session, transaction=True)
        session.ask(DDL)
        after = asyncio.create_task(asyncio.to_thread(change.after, DDL))
        await until(lambda: pair.sql("b", POLLING, user="postgres"))
        await asyncio.to_thread(proxy.black_hole)
        with pytest.raises(SchemaDrift, match="'b'"):
            await after
        change.close()
        assert session.ask("SELECT 1") == [(1,)]


@pytest.mark.slow
async def test_a_standby_that_falls_silent_in_the_middle_of_a_statement(
    pair: Pair, engine: PostgreSQLEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its kernel still acknowledges every byte, as that of a server does whose processes are stopped."""
    monkeypatch.setattr(schema_change, "_LOOK_EVERY", 0.2)
    monkeypatch.setattr(schema_change, "_LOCK_TIMEOUT", "0")
    waiting = (
        "SELECT 1 FROM pg_stat_activity"
        " WHERE application_name = 'understudy-migrate' AND wait_event_type = 'Lock'"
    )
    with (
        FaultProxy("127.0.0.1", pair.servers["b"].port) as proxy,
        pair.connect("a") as connection,
        connection.transaction(),
        pair.connect("b", "postgres", options=WRITABLE) as blocker,
        blocker.transaction(),
    ):
        home, cloud = pair.cluster.nodes
        dsn = psycopg.conninfo.make_conninfo(cloud.dsn, port=str(proxy.port))
        session = Session(replace(pair.cluster, nodes=(home, replace(cloud, dsn=dsn))), connection)
        change = await asyncio.to_thread(SchemaChange, session, transaction=True)
        blocker.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
        after = asyncio.create_task(asyncio.to_thread(change._execute, DDL))
        await until(lambda: pair.sql("b", waiting, user="postgres"))
        await asyncio.to_thread(proxy.black_hole)
        with pytest.raises(SchemaDrift, match="'b'"):
            await after
        await asyncio.to_thread(change.close)


async def test_rows_are_waited_for_once_for_each_table(pair: Pair, engine: PostgreSQLEngine) -> None:
    """Its lock keeps others from writing until the end; what locks no table waits for nobody."""
    told = "SELECT count(*) FROM understudy.commit_token"
    steps = [
        ("CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'", 0),
        ("CREATE TRIGGER added AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION noted()", 1),
        ("CREATE TRIGGER gone AFTER DELETE ON item FOR EACH ROW EXECUTE FUNCTION noted()", 1),
        (DDL, 1),
        ("CREATE TABLE other (id int PRIMARY KEY)", 2),
        ("ALTER TABLE other ADD COLUMN size int", 2),
        ("COMMENT ON TABLE other IS 'closed already'", 2),
    ]
    (begun,) = pair.sql("a", told)[0]
    with pair.connect("a") as connection, connection.transaction():
        session = Session(pair.cluster, connection)
        change = await asyncio.to_thread(SchemaChange, session, transaction=True)
        for text, waited in steps:
            session.ask(text)
            await asyncio.to_thread(change.after, text)
            assert pair.sql("a", told) == [(begun + waited,)], text
        await asyncio.to_thread(change.prepare)
        change.close()
    assert pair.sql("b", "SELECT count(*) FROM pg_trigger WHERE tgname IN ('added', 'gone')") == [(2,)]


async def test_a_lock_that_lets_others_write_is_waited_for_each_time(
    pair: Pair, engine: PostgreSQLEngine
) -> None:
    told = "SELECT count(*) FROM understudy.commit_token"
    (begun,) = pair.sql("a", told)[0]
    with pair.connect("a") as connection, connection.transaction():
        session = Session(pair.cluster, connection)
        change = await asyncio.to_thread(SchemaChange, session, transaction=True)
        for number in (1, 2):
            text = f"ALTER TABLE item ALTER COLUMN id SET STATISTICS {number}"
            session.ask(text)
            await asyncio.to_thread(change.after, text)
            assert pair.sql("a", told) == [(begun + number,)]
        await asyncio.to_thread(change.prepare)
        change.close()
