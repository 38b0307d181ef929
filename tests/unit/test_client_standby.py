"""Connections to the standby: a server that takes the login and hangs must hold up no reader for good."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from tests.unit.test_fence_row import Hangs
from tests.unit.web_world import cluster

from understudy.client.host import Host
from understudy.client.inner import Connector
from understudy.client.inner_async import AsyncConnector


@pytest.fixture
def server() -> Iterator[Hangs]:
    server = Hangs()
    yield server
    server.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = cluster()
    host = Host(replace(made, policy=replace(made.policy, connect_timeout=1.0)), tmp_path)
    yield host
    host.file.close()


def dsn_of(server: Hangs) -> str:
    return f"host=127.0.0.1 port={server.port} user=u dbname=d sslmode=disable gssencmode=disable"


def has_left(server: Hangs) -> bool:
    """Whether the client's side of every connection is closed: nothing waits for a garbage collector."""
    for one in server.accepted:
        one.settimeout(60)
        while one.recv(1000):
            pass
    return True


async def test_a_standby_that_hangs_after_the_login_is_left_with_asyncio(host: Host, server: Hangs) -> None:
    connector = AsyncConnector(host, 1, "cloud", readonly=True)
    async with asyncio.timeout(60):
        with pytest.raises(psycopg.OperationalError, match="no answer within"):
            await connector.connect(dsn_of(server))
    assert connector.error is not None
    assert has_left(server)


def test_a_standby_that_hangs_after_the_login_is_left(host: Host, server: Hangs) -> None:
    connector = Connector(host, 1, "cloud", readonly=True)
    with pytest.raises(psycopg.OperationalError, match="no answer within"):
        connector.connect(dsn_of(server))
    assert connector.error is not None
    assert has_left(server)
