# ruff: noqa: F811 - fixtures are imported by name
"""A FastAPI application served by uvicorn, on real servers: what it answers when things go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import psycopg
import pytest
import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from tests.integration.sqlalchemy_world import config_of
from tests.integration.test_client_pool import kill_backend_when
from tests.integration.test_client_world import World, two_servers, world  # noqa: F401
from tests.integration.test_sqlalchemy import INSERT, dozing, in_flight, waits_for_lease  # noqa: F401

from understudy import AsyncConnection, AsyncPool
from understudy.integrations.fastapi import connection, install, lifespan, pool, transaction
from understudy.integrations.sqlalchemy import create_async_engine
from understudy.lease import Phase


def application(world: World, file: Path) -> FastAPI:
    """One table, written by psycopg, by `pool.run` and by SQLAlchemy."""
    engine = create_async_engine(world.cluster.name, config=file)
    one = transaction(async_sessionmaker(engine))
    ours = lifespan(world.cluster.name, max_size=4)

    @asynccontextmanager
    async def live(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with ours(app) as state:
            yield state
        await engine.dispose()

    app = FastAPI(lifespan=live)
    install(app)

    @app.post("/psycopg/{name}", status_code=201)
    async def by_psycopg(name: str, conn: Annotated[AsyncConnection, connection()]) -> str:
        await conn.execute("INSERT INTO item (name) VALUES (%s)", (name,))
        if name == "refused":
            raise HTTPException(409)
        return conn.node

    @app.post("/run/{name}", status_code=201)
    async def by_run(name: str, pool: Annotated[AsyncPool, Depends(pool)]) -> str:
        async def work(conn: AsyncConnection) -> str:
            await conn.execute("INSERT INTO item (name) VALUES (%s)", (name,))
            return conn.node

        return await pool.run(work, exactly_once=True)

    @app.post("/sqlalchemy/{name}", status_code=201)
    async def by_sqlalchemy(name: str, session: AsyncSession = one) -> None:
        await session.execute(INSERT, {"name": name})
        if name == "refused":
            raise HTTPException(409)

    @app.get("/names")
    async def names(conn: Annotated[AsyncConnection, connection(readonly=True, max_lag=2)]) -> str:
        return conn.node

    @app.get("/lost")
    async def lost(conn: Annotated[AsyncConnection, connection()]) -> None:
        await conn.execute("SELECT 1")
        await asyncio.to_thread(kill_backend_when, world, f"pid = {conn.info.backend_pid}")
        await conn.execute("SELECT 1")

    @app.get("/wrong")
    async def wrong(session: AsyncSession = one) -> None:
        await session.execute(text("SELEKT"))

    return app


@pytest.fixture
async def client(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    file = config_of(world)
    monkeypatch.setenv("UNDERSTUDY_CONFIG", str(file))
    config = uvicorn.Config(
        application(world, file), host="127.0.0.1", port=0, log_level="critical", lifespan="on"
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        yield client
    server.should_exit = True
    await serving


WAYS = ("psycopg", "run", "sqlalchemy")


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_answered_is_committed(world: World, client: httpx.AsyncClient, way: str) -> None:
    assert (await client.post(f"/{way}/kept")).status_code == 201
    assert world.names() == ["kept"]
    if way != "run":
        assert (await client.post(f"/{way}/refused")).status_code == 409
    assert world.names() == ["kept"]
    assert not in_flight(world)


@pytest.mark.parametrize("way", ["psycopg", "sqlalchemy"])
async def test_a_commit_in_doubt_is_503_without_retry_after(
    world: World, client: httpx.AsyncClient, dozing: None, way: str
) -> None:
    asked = asyncio.create_task(client.post(f"/{way}/x"))
    await asyncio.to_thread(kill_backend_when, world, "wait_event = 'PgSleep'")
    answer = await asked
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert "retry-after" not in answer.headers
    problem = answer.json()
    assert (problem["type"], problem["outcome"]) == ("urn:understudy:commit-in-doubt", "unknown")
    assert problem["status"] == 503
    assert "node" not in answer.text


async def test_a_connection_lost_before_the_commit_may_be_tried_again(client: httpx.AsyncClient) -> None:
    answer = await client.get("/lost")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["outcome"] == "not committed"


@pytest.mark.parametrize("way", WAYS)
async def test_no_primary_is_503_with_retry_after(world: World, client: httpx.AsyncClient, way: str) -> None:
    from understudy.client.host import host_of

    host = host_of(world.cluster, world.directory)
    policy = host.cluster.policy
    object.__setattr__(policy, "hold_timeout", 0.1)
    world.at(2, "a", Phase.CHANGING)
    answer = await client.post(f"/{way}/x")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["type"] == "urn:understudy:no-primary"
    assert world.names() == []


@pytest.mark.parametrize("way", WAYS)
async def test_requests_wait_through_a_change(world: World, client: httpx.AsyncClient, way: str) -> None:
    await client.post(f"/{way}/before")
    world.at(2, "a", Phase.HOLDING)
    asked = [asyncio.create_task(client.post(f"/{way}/{number}")) for number in range(3)]
    await asyncio.to_thread(waits_for_lease, world)
    world.at(2, "b")
    assert [answer.status_code for answer in await asyncio.gather(*asked)] == [201] * 3
    assert (world.names("a"), world.names("b")) == (["before"], ["0", "1", "2"])


async def test_reads_go_to_the_standby(client: httpx.AsyncClient) -> None:
    assert (await client.get("/names")).json() == "b"


async def test_a_mistake_of_the_program_stays_a_500(client: httpx.AsyncClient) -> None:
    assert (await client.get("/wrong")).status_code == 500


def test_errors_that_say_nothing_of_the_database_are_no_problem() -> None:
    from understudy.integrations.problems import LOST, problem_of

    assert problem_of(psycopg.errors.SerializationFailure()) is None
    assert problem_of(ValueError()) is None
    assert problem_of(psycopg.errors.AdminShutdown()) is LOST
