# ruff: noqa: F811 - fixtures are imported by name
"""`run(..., exactly_once=True)` never reports a doubt that was not settled as something that did not happen."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest
from tests.integration.test_client_pool import in_thread, kill_backend_when
from tests.integration.test_client_world import World, two_servers, world  # noqa: F401

from understudy.agent.doorbell import doubts_in
from understudy.client import CommitInDoubt, NoPrimaryAvailable, Pool
from understudy.lease import Phase


@pytest.fixture
def slow(world: World) -> Iterator[None]:
    """COMMIT takes a minute."""
    world.sql(
        "a",
        "CREATE OR REPLACE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(60); RETURN NULL; END'; "
        "CREATE CONSTRAINT TRIGGER doze AFTER INSERT ON item DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION doze()",
    )
    yield
    kill_backend_when(world, "wait_event = 'PgSleep'")
    world.sql("a", "DROP TRIGGER doze ON item")


def commit_begun(
    world: World, work: Callable[[psycopg.Connection], object], pool: Pool | None = None, **options: Any
) -> Any:
    """Start it, and come back when its COMMIT is under way."""
    pool = pool or Pool(world.cluster, world.directory, max_size=1)
    result = in_thread(lambda: pool.run(work, exactly_once=True, **options))
    with world.admin() as admin:
        asleep = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        while not admin.execute(asleep).fetchall():
            pass
    return result


def insert(conn: psycopg.Connection) -> None:
    conn.execute("INSERT INTO item (name) VALUES ('x')")


def test_no_primary_after_a_doubt_is_still_a_doubt(world: World, slow: None) -> None:
    result = commit_begun(world, insert, timeout=0.2)
    world.at(2, "a", Phase.CHANGING)
    with pytest.raises(CommitInDoubt) as caught:
        result()
    assert isinstance(caught.value.__cause__, NoPrimaryAvailable)
    assert caught.value.token is not None


def test_another_error_before_the_token_was_looked_for_is_still_a_doubt(world: World, slow: None) -> None:
    """The new primary cannot be asked: its table of tokens is not there."""
    world.sql("b", "ALTER TABLE understudy.commit_token RENAME TO elsewhere")
    try:
        result = commit_begun(world, insert)
        world.at(2, "a", Phase.CHANGING)
        world.at(3, "b")
        with pytest.raises(CommitInDoubt) as caught:
            result()
        assert isinstance(caught.value.__cause__, psycopg.errors.UndefinedTable)
    finally:
        world.sql("b", "ALTER TABLE understudy.elsewhere RENAME TO commit_token")


def test_an_error_after_the_token_was_looked_for_is_that_error(world: World, slow: None) -> None:
    """The token is not on the new primary: the first attempt did not commit there, and the second failed."""
    calls = []

    def work(conn: psycopg.Connection) -> None:
        calls.append(conn.info.port)
        insert(conn)
        if len(calls) == 2:
            raise KeyError

    result = commit_begun(world, work)
    world.at(2, "a", Phase.CHANGING)
    world.at(3, "b")
    with pytest.raises(KeyError):
        result()
    assert len(calls) == 2


# --- the agent is told ----------------------------------------------------------------------------------------


def lose_a_commit(world: World) -> None:
    pool = Pool(world.cluster, world.directory, kwargs={"autocommit": True})
    with pool, pytest.raises(CommitInDoubt), pool.connection() as conn:
        conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")  # a commit that never answers


@contextmanager
def agents_socket(world: World) -> Iterator[socket.socket]:
    """Where an agent would listen."""
    path = world.directory / f"{world.cluster.name}.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.settimeout(60)
        yield listening


def doubts_told(listening: socket.socket, wanted: int) -> None:
    """Read until so many commits in doubt were reported."""
    told = 0
    while told < wanted:
        told += doubts_in(listening.recv(10_000))
    assert told == wanted


def test_the_agent_is_told_of_a_commit_in_doubt(world: World) -> None:
    with agents_socket(world) as listening:
        lose_a_commit(world)
        doubts_told(listening, 1)


def test_an_agent_that_was_away_is_told_when_it_is_back(world: World) -> None:
    lose_a_commit(world)
    lose_a_commit(world)
    with agents_socket(world) as listening:
        doubts_told(listening, 2)


def test_a_full_queue_loses_no_count(world: World) -> None:
    with agents_socket(world) as listening:
        path = listening.getsockname()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other, suppress(BlockingIOError):
            other.setblocking(False)
            while True:
                other.sendto(b"look", path)
        lose_a_commit(world)
        doubts_told(listening, 1)
