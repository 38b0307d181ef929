# ruff: noqa: F811 - fixtures are imported by name
"""Reads from a standby that fails, on real servers: they go to the primary, and come back by themselves."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from tests.integration.test_client_world import World, two_servers, world  # noqa: F401

from understudy.client import AsyncPool, Pool
from understudy.embedded import FaultProxy

QUICK = {"threshold": 2, "timeout": 100, "monitoringPeriod": 10000}
LASTING = QUICK | {"timeout": 3_600_000}


@pytest.fixture
def proxy(world: World) -> Iterator[FaultProxy]:
    """The only way to b."""
    with FaultProxy("127.0.0.1", world.servers["b"].port) as proxy:
        world.through("b", proxy.port)
        policy = replace(world.cluster.policy, connect_timeout=0.3)
        world.cluster = replace(world.cluster, policy=policy)
        yield proxy


def read_from(pool: Pool) -> str:
    with pool.connection(readonly=True) as conn:
        conn.execute("SELECT 1")
        return conn.node


def patient(world: World) -> None:
    """Nothing is refused here, so nobody has to give up soon: a busy machine may take longer to connect."""
    policy = replace(world.cluster.policy, connect_timeout=20.0)
    world.cluster = replace(world.cluster, policy=policy)


def reach_standby(pool: Pool) -> None:
    """On a busy machine the first connection may take longer than a reader waits for it."""
    while read_from(pool) != "b":
        pass


def test_a_standby_that_cannot_be_reached_is_left_alone_and_tried_again(
    world: World, proxy: FaultProxy
) -> None:
    with Pool(world.cluster, world.directory, breaker=QUICK) as pool:
        reach_standby(pool)
        proxy.stop()
        while pool.breakers["b"] == "CLOSED":
            assert read_from(pool) == "a"  # no read fails meanwhile
        assert pool.breakers == {"a": "CLOSED", "b": "OPEN"}
        proxy.pass_through()
        reach_standby(pool)
        assert pool.breakers["b"] == "CLOSED"


def test_while_it_is_open_nobody_waits_for_the_standby(world: World, proxy: FaultProxy) -> None:
    with Pool(world.cluster, world.directory, breaker=LASTING) as pool:
        proxy.refuse()
        while pool.breakers["b"] == "CLOSED":
            assert read_from(pool) == "a"
        proxy.pass_through()  # it could be reached now: only the breaker keeps the reads away
        assert [read_from(pool) for _ in range(20)] == ["a"] * 20


def test_errors_of_the_application_say_nothing_about_the_standby(world: World, proxy: FaultProxy) -> None:
    patient(world)
    with Pool(world.cluster, world.directory, breaker=LASTING) as pool:
        for statement in ("SELECT 1 / 0", "SELECT nonsense", "INSERT INTO item (name) VALUES ('x')") * 3:
            with pytest.raises(psycopg.Error), pool.connection(readonly=True) as conn:
                assert conn.node == "b"
                conn.execute(statement)
        with pytest.raises(KeyError), pool.connection(readonly=True):
            raise KeyError
        assert pool.breakers["b"] == "CLOSED"


def test_connections_lost_in_use_count(world: World, proxy: FaultProxy) -> None:
    patient(world)
    with Pool(world.cluster, world.directory, breaker=LASTING) as pool:
        for _ in range(2):
            with pytest.raises(psycopg.OperationalError), pool.connection(readonly=True) as conn:
                assert conn.node == "b"
                world.sql("b", "SELECT pg_terminate_backend(%s)", conn.info.backend_pid)
                conn.execute("SELECT 1")
        assert pool.breakers["b"] == "OPEN"
        assert read_from(pool) == "a"


def test_connections_that_died_while_idle_fail_no_read(world: World, proxy: FaultProxy) -> None:
    patient(world)
    with Pool(world.cluster, world.directory, breaker=LASTING) as pool:
        with pool.connection(readonly=True) as conn:
            pid = conn.info.backend_pid
        world.sql("b", "SELECT pg_terminate_backend(%s, 5000)", pid)
        assert select.select([conn], [], [], 60)[0], "the farewell has come through the proxy"
        assert read_from(pool) == "b"
        assert pool.breakers["b"] == "CLOSED"


async def test_the_same_with_asyncio(world: World, proxy: FaultProxy) -> None:
    async with AsyncPool(world.cluster, world.directory, breaker=QUICK) as pool:
        await asyncio.to_thread(proxy.refuse)
        while pool.breakers["b"] == "CLOSED":
            async with pool.connection(readonly=True) as conn:
                assert conn.node == "a"
        await asyncio.to_thread(proxy.pass_through)
        node = ""
        while node != "b":
            async with pool.connection(readonly=True) as conn:
                node = conn.node
        assert pool.breakers["b"] == "CLOSED"
