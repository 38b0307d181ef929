"""What a probe sees of a real server, and what it calls the reasons for seeing nothing."""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo
from tests.integration.conftest import IMPATIENT, PASSWORD, Pair, at, make_pair, until

from understudy.embedded.postgresql import EmbeddedPostgreSQL
from understudy.engines.postgresql import PostgreSQLEngine
from understudy.engines.postgresql import probe as probing
from understudy.errors import EngineError, Unreachable


async def test_before_setup_a_node_has_epoch_0(pair: Pair) -> None:
    engine = PostgreSQLEngine(pair.cluster)
    probe = await engine.probe("a", heartbeat=None, epoch=0)
    assert (probe.epoch, probe.epoch_primary, probe.fenced, probe.heartbeat) == (0, "", False, 0)
    assert probe.wal > 0
    await engine.close()


async def test_facts_of_both_sides(pair: Pair, engine: PostgreSQLEngine) -> None:
    a = await engine.probe("a", heartbeat=41, epoch=1)
    assert (a.epoch, a.epoch_primary, a.fenced, a.heartbeat, a.unwritable) == (1, "a", False, 41, "")
    ours = {
        name: sync
        for name, sync in a.streaming.items()
        if name.startswith(f"understudy_{pair.cluster.name}_")
    }
    assert ours == {pair.link(1).name: False}, "other databases of the server may have links too"
    assert a.slots[pair.link(1).name].active
    assert a.at <= a.answered
    await until(lambda: pair.sql("b", "SELECT number FROM understudy.heartbeat") == [(41,)])
    b = await engine.probe("b", heartbeat=None, epoch=1)
    link = b.subscriptions[pair.link(1).name]
    assert (b.fenced, b.heartbeat, link.enabled, link.running, link.ready) == (True, 41, True, True, True)
    assert 0 < link.origin <= (await engine.probe("a", heartbeat=None, epoch=1)).wal
    assert not b.slots[pair.link(2).name].active
    assert a.identity != b.identity


async def test_a_superseded_heartbeat_is_not_written(pair: Pair, engine: PostgreSQLEngine) -> None:
    await engine.probe("a", heartbeat=7, epoch=1)
    await engine.announce(at(2, "b", plan=5), ("a", "b"))
    probe = await engine.probe("a", heartbeat=8, epoch=1)
    assert (probe.epoch, probe.plan, probe.epoch_primary) == (2, 5, "b")
    assert (probe.heartbeat, probe.unwritable) == (7, "")


@pytest.mark.parametrize(("state", "unwritable"), [("53100", True), ("58030", True), ("55P03", False)])
async def test_a_failing_write_is_told_apart(
    pair: Pair, engine: PostgreSQLEngine, state: str, unwritable: bool
) -> None:
    pair.sql(
        "a",
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'no more' USING ERRCODE = '{state}'; END $$;"
        " CREATE TRIGGER fail BEFORE INSERT ON understudy.heartbeat EXECUTE FUNCTION fail()",
        user="postgres",
    )
    probe = await engine.probe("a", heartbeat=1, epoch=1)
    assert ("no more" in probe.unwritable) is unwritable
    assert probe.heartbeat == 0


async def test_a_missing_grant_is_named(pair: Pair, engine: PostgreSQLEngine) -> None:
    pair.sql("a", "REVOKE SELECT ON pg_replication_origin_status FROM understudy", user="postgres")
    with pytest.raises(EngineError, match="GRANT SELECT ON pg_replication_origin_status"):
        await engine.probe("a", heartbeat=None, epoch=1)


async def test_a_refused_login_is_not_a_lost_server(pair: Pair) -> None:
    for change, text in (
        ({PASSWORD: "wrong"}, "password authentication failed"),
        ({pair.database: "nowhere"}, "does not exist"),
    ):
        nodes = []
        for node in pair.cluster.nodes:
            dsn = node.admin_dsn
            for old, new in change.items():
                dsn = dsn.replace(old, new)
            nodes.append(replace(node, admin_dsn=dsn))
        engine = PostgreSQLEngine(replace(pair.cluster, nodes=tuple(nodes)))
        with pytest.raises(EngineError, match=text) as caught:
            await engine.probe("a", heartbeat=None, epoch=1)
        assert not isinstance(caught.value, Unreachable)
        assert PASSWORD not in str(caught.value)
        await engine.close()


@IMPATIENT
async def test_a_frozen_server_is_a_miss_and_comes_back(pair: Pair, engine: PostgreSQLEngine) -> None:
    await engine.probe("b", heartbeat=None, epoch=1)
    pair.servers["b"].freeze()
    for _ in range(2):
        with pytest.raises(Unreachable):
            await engine.probe("b", heartbeat=None, epoch=1)
    pair.servers["b"].thaw()
    await until_answers(engine, "b")


async def test_a_server_that_accepts_no_login_any_more_is_a_miss_soon(pair: Pair) -> None:
    engine = PostgreSQLEngine(pair.with_policy(connect_timeout=60.0, probe_timeout=0.5))
    await engine.probe("b", heartbeat=None, epoch=1)
    pair.servers["b"].freeze()
    loop, took = asyncio.get_running_loop(), []
    for _ in range(3):  # the first on the connection that is there, the others on new ones
        began = loop.time()
        with pytest.raises(Unreachable):
            await engine.probe("b", heartbeat=None, epoch=1)
        took.append(loop.time() - began)
    pair.servers["b"].thaw()
    assert max(took) < 45.0, took  # a few times a login, on a busy machine too; connect_timeout is 60
    await until_answers(engine, "b")
    await engine.close()


async def until_answers(engine: PostgreSQLEngine, node: str) -> None:
    async with asyncio.timeout(60):
        while True:
            with suppress(Unreachable):
                await engine.probe(node, heartbeat=None, epoch=1)
                return


async def test_times_are_told_by_the_clock_given(pair: Pair) -> None:
    ticks = itertools.count(1000)
    engine = PostgreSQLEngine(pair.cluster, clock=lambda: float(next(ticks)))
    probe = await engine.probe("a", heartbeat=None, epoch=0)
    assert 1000 <= probe.at < probe.answered < 1010
    await engine.close()


async def test_the_position_is_what_a_crash_cannot_take_back(pair: Pair, engine: PostgreSQLEngine) -> None:
    with pair.connect("a") as session:
        session.execute("SET synchronous_commit = off")
        session.execute("INSERT INTO item (name) SELECT repeat('x', 100) FROM generate_series(1, 5000)")
        query = "SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn"
        ((before,),) = session.execute(query).fetchall()
        wal = (await engine.probe("a", heartbeat=None, epoch=1)).wal
        ((after,),) = session.execute(query).fetchall()
    assert before <= wal <= after


async def test_leaving_a_frozen_server_does_not_wait_for_it(pair: Pair, engine: PostgreSQLEngine) -> None:
    """psycopg asks the server to cancel when its task is cancelled; ours must not."""
    async with engine.sessions.control("b") as connection:
        pair.servers["b"].freeze()
        waiting = asyncio.create_task(connection.execute("SELECT 1"))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(4):  # psycopg's cancelling takes five seconds (`_try_cancel`)
                await waiting
    pair.servers["b"].thaw()


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """More open files than select(2) can name; the agent's pages and streams may be as many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with ExitStack() as stack:
        for _ in range(1100):
            stack.enter_context(Path(os.devnull).open("rb"))
        yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_process_with_many_open_files_goes_on(pair: Pair, many_descriptors: None) -> None:
    engine = PostgreSQLEngine(pair.cluster)
    for _ in range(3):  # the connection that is kept is looked at before it is used again
        assert (await engine.probe("a", heartbeat=None, epoch=0)).wal
    await engine.close()


async def test_closing_ends_what_is_read_beside_the_probes(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "SCHEMA_EVERY", -1.0)
    engine = PostgreSQLEngine(pair.cluster)
    before = asyncio.all_tasks()
    await engine.probe("a", heartbeat=None, epoch=0)
    await engine.probe("a", heartbeat=None, epoch=0)
    assert asyncio.all_tasks() > before, "the schema is being read"
    await engine.close()
    assert asyncio.all_tasks() == before
    assert not any(engine.sessions._idle.values()), "nothing came back after the end"


async def test_a_node_by_name_is_reached_at_whichever_address_answers(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two(*_: object, **__: object) -> list[tuple]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (at, 0)) for at in ("127.0.0.2", "127.0.0.1")]

    node = pair.cluster.nodes[0]
    named = make_conninfo(node.admin_dsn, host="db.example")
    cluster = replace(pair.cluster, nodes=(replace(node, admin_dsn=named), pair.cluster.nodes[1]))
    monkeypatch.setattr(socket, "getaddrinfo", two)
    engine = PostgreSQLEngine(cluster)
    assert (await engine.probe("a", heartbeat=None, epoch=0)).wal
    await engine.close()


async def test_a_schema_change_shows(pair: Pair) -> None:
    engine = PostgreSQLEngine(pair.cluster)
    before = await engine.probe("a", heartbeat=None, epoch=1)
    pair.sql("a", "ALTER TABLE item ADD COLUMN price numeric(10, 2)")
    other = PostgreSQLEngine(pair.cluster)
    after = await other.probe("a", heartbeat=None, epoch=1)
    assert before.schema != after.schema
    for each in (engine, other):
        await each.close()


@pytest.fixture
def lone() -> Iterator[dict[str, EmbeddedPostgreSQL]]:
    """A server of this test's own, which may be stopped and set back."""
    with tempfile.TemporaryDirectory(prefix="understudy-test-") as folder:
        Path(folder).chmod(0o755)
        with EmbeddedPostgreSQL(Path(folder) / "a", name="a", die_with_parent=True) as server:
            yield {"a": server}


async def test_trap_2_a_server_set_back_in_time_shows_by_its_position(
    lone: dict[str, EmbeddedPostgreSQL],
) -> None:
    pair, server = make_pair(lone), lone["a"]
    engine = PostgreSQLEngine(pair.cluster)
    server.stop()
    backup = server.folder / "backup"
    subprocess.run(["cp", "-a", server.data, backup], check=True)  # -a: owned by the server's user
    server.start()
    pair.sql("a", "INSERT INTO item (name) SELECT repeat('x', 100) FROM generate_series(1, 10000)")
    newest = await engine.probe("a", heartbeat=None, epoch=1)
    server.kill()
    shutil.rmtree(server.data)
    subprocess.run(["cp", "-a", backup, server.data], check=True)
    server.start()
    restored = await engine.probe("a", heartbeat=None, epoch=1)
    assert restored.identity == newest.identity
    assert restored.wal < newest.wal
    await engine.close()
