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
