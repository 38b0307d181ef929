# ruff: noqa: F811 - fixtures are imported by name
"""SQLAlchemy on real servers: ordinary life, outcomes, holding, reads on the standby, forks; blocking and asyncio."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import pickle
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool
from tests.integration.sqlalchemy_world import config_of
from tests.integration.test_client_pool import in_thread, kill_backend_when
from tests.integration.test_client_world import World, two_servers, world  # noqa: F401

import understudy
from understudy.integrations import sqlalchemy as ours
from understudy.integrations.sqlalchemy import create_async_engine, create_engine
from understudy.lease import Phase

INSERT = text("INSERT INTO item (name) VALUES (:name)")
DOZE = (
    "CREATE OR REPLACE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS "
    "'BEGIN PERFORM pg_sleep(60); RETURN NULL; END'; "
    "CREATE CONSTRAINT TRIGGER doze AFTER INSERT ON item DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW EXECUTE FUNCTION doze()"
)


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@pytest.fixture
def file(world: World) -> Path:
    return config_of(world)


@pytest.fixture
def engine(world: World, file: Path) -> Iterator[sqlalchemy.Engine]:
    engine = create_engine(world.cluster.name, config=file, pool_size=4)
    yield engine
    engine.dispose()


@pytest.fixture
async def async_engine(world: World, file: Path) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(world.cluster.name, config=file, pool_size=4)
    yield engine
    await engine.dispose()


@pytest.fixture
def dozing(world: World) -> Iterator[None]:
    """A commit of a new item takes a minute."""
    world.sql("a", DOZE)
    yield
    world.sql("a", "DROP TRIGGER doze ON item")


def in_flight(world: World) -> bool:
    return world.file.quiet(before_epoch=99) != []


def where(connection: sqlalchemy.Connection) -> tuple[str, int]:
    driver = connection.connection.driver_connection
    return driver.node, driver.epoch  # type: ignore[union-attr]


def waits_for_lease(world: World) -> None:
    """Return once somebody of this process waits for the lease."""
    from understudy.client.host import host_of

    host = host_of(world.cluster, world.directory)
    while not host._waiting:
        pass


# --- ordinary life ------------------------------------------------------------------------------------------


def test_a_transaction_is_in_flight_from_begin_to_its_end(world: World, engine: sqlalchemy.Engine) -> None:
    with engine.connect() as connection:
        assert not in_flight(world)
        connection.execute(INSERT, {"name": "kept"})
        assert in_flight(world)
        connection.commit()
        assert not in_flight(world)
        connection.execute(INSERT, {"name": "lost"})
        connection.rollback()
        assert not in_flight(world)
        connection.execute(INSERT, {"name": "lost too"})
    assert not in_flight(world)
    with pytest.raises(exc.IntegrityError), engine.begin() as connection:
        connection.execute(INSERT, {"name": "kept"})
    assert not in_flight(world)
    assert world.names() == ["kept"]


def test_the_orm_and_savepoints(world: World, engine: sqlalchemy.Engine) -> None:
    with Session(engine) as session:
        session.add(Item(name="autobegin"))
        session.flush()
        assert in_flight(world)
        session.commit()
        assert not in_flight(world)
        with pytest.raises(exc.IntegrityError), session.begin_nested():
            session.add(Item(name="autobegin"))
            session.flush()
        with session.begin_nested():
            session.add(Item(name="nested"))
        session.commit()
    with Session(engine) as session, session.begin():
        assert session.execute(text("SELECT count(*) FROM item")).scalar_one() == 2
        session.add(Item(name="begin"))
    assert world.names() == ["autobegin", "begin", "nested"]
    assert not in_flight(world)


def test_autocommit_and_streams_and_two_phases(world: World, engine: sqlalchemy.Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(INSERT, {"name": "autocommit"})
        assert world.names() == ["autocommit"]
        connection.execute(text("SELECT 1"))
        assert in_flight(
            world
        )  # a planned change waits, or is rolled back: it does not fail the next statement
    assert not in_flight(world)
    with engine.connect() as connection:
        rows = connection.execution_options(yield_per=10).execute(text("SELECT generate_series(1, 100)"))
        assert [row[0] for row in rows] == list(range(1, 101))
    with engine.connect() as connection, connection.begin_twophase() as transaction:
        connection.execute(INSERT, {"name": "two phases"})
        transaction.prepare()
        transaction.commit()
    assert not in_flight(world)
    assert world.names() == ["autocommit", "two phases"]


def test_a_raw_connection_and_other_pools(world: World, file: Path, engine: sqlalchemy.Engine) -> None:
    raw = engine.raw_connection()
    raw.cursor().execute("INSERT INTO item (name) VALUES ('raw')")
    assert in_flight(world)
    raw.commit()
    assert not in_flight(world)
    raw.close()
    url = f"postgresql+understudy://{world.cluster.name}?config={file}&application_name=farm"
    plain = sqlalchemy.create_engine(url, poolclass=NullPool, pool_pre_ping=True)
    with plain.begin() as connection:
        connection.execute(INSERT, {"name": "null pool"})
        assert connection.execute(text("SHOW application_name")).scalar_one() == "farm"
        assert in_flight(world)
    assert not in_flight(world)
    assert world.names() == ["null pool", "raw"]


@pytest.mark.parametrize(
    "url", ["app@main", "main:5432", "main/farm", "main?readonly=perhaps", "main?max_lag=soon"]
)
def test_what_a_url_may_not_say(url: str) -> None:
    with pytest.raises(exc.ArgumentError, match="expected"):
        sqlalchemy.create_engine(f"postgresql+understudy://{url}")


# --- outcomes -----------------------------------------------------------------------------------------------


def test_lost_during_commit_is_in_doubt_in_both_languages(
    world: World, engine: sqlalchemy.Engine, dozing: None
) -> None:
    def work() -> None:
        with Session(engine) as session, session.begin():
            session.add(Item(name="x"))

    result = in_thread(work)
    kill_backend_when(world, "wait_event = 'PgSleep'")
    with pytest.raises(understudy.CommitInDoubt) as caught:
        result()
    error = caught.value
    assert isinstance(error, exc.OperationalError)
    assert isinstance(error, ours.CommitInDoubt)
    assert type(error.orig) is understudy.CommitInDoubt
    assert (error.node, error.epoch, error.connection_invalidated) == ("a", 1, True)
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, ours.CommitInDoubt)
    assert not in_flight(world)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1


def test_lost_before_commit_is_a_plain_operational_error(world: World, engine: sqlalchemy.Engine) -> None:
    with pytest.raises(exc.OperationalError) as caught, engine.begin() as connection:
        connection.execute(INSERT, {"name": "x"})
        pid = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
        kill_backend_when(world, f"pid = {pid}")
        connection.execute(text("SELECT 1"))
    assert not isinstance(caught.value, understudy.UnderstudyError)
    assert caught.value.connection_invalidated
    assert not in_flight(world)
    with engine.begin() as connection:
        connection.execute(INSERT, {"name": "y"})
    assert world.names() == ["y"]


def test_a_commit_after_the_primary_changed_is_not_sent(world: World, engine: sqlalchemy.Engine) -> None:
    with pytest.raises(understudy.PrimaryLost) as caught, engine.begin() as connection:
        connection.execute(INSERT, {"name": "x"})
        world.at(2, "b")
    assert isinstance(caught.value, exc.OperationalError)
    assert not in_flight(world)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        assert where(connection) == ("b", 2)
    assert world.names() == []


def test_no_primary_in_time(world: World, file: Path) -> None:
    file.write_text(
        file.read_text().replace("hold_timeout = 20.0", "hold_timeout = 0.1\nquiet_timeout = 0.1")
    )
    # The cluster of this process and directory is known by its first configuration.
    world.directory.joinpath("other").mkdir()
    file.write_text(
        file.read_text().replace(f'directory = "{world.directory}"', f'directory = "{world.directory}/other"')
    )
    engine = create_engine(world.cluster.name, config=file)
    with pytest.raises(understudy.NoPrimaryAvailable, match="Nothing was sent") as caught:
        engine.connect()
    assert isinstance(caught.value, exc.OperationalError)


# --- changes of primary -------------------------------------------------------------------------------------


def test_a_pooled_connection_of_an_old_epoch_is_replaced(world: World, engine: sqlalchemy.Engine) -> None:
    with engine.connect() as first, engine.connect() as second:
        assert where(first) == where(second) == ("a", 1)
    world.at(2, "b")
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        assert where(connection) == ("b", 2)
    raw = engine.raw_connection()
    assert raw.driver_connection.node == "b"  # type: ignore[union-attr]
    raw.close()


def test_a_transaction_that_begins_during_a_change_waits_and_moves(
    world: World, engine: sqlalchemy.Engine
) -> None:
    """The connection is kept across the change, with what it had been told about isolation."""
    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
        connection.execute(INSERT, {"name": "before"})
        connection.commit()
        world.at(2, "a", Phase.HOLDING)

        def work() -> tuple[str, str]:
            connection.execute(INSERT, {"name": "after"})
            level = connection.execute(text("SHOW transaction_isolation")).scalar_one()
            node = where(connection)[0]
            connection.commit()
            return node, level

        result = in_thread(work)
        waits_for_lease(world)
        assert not in_flight(world)
        world.at(2, "b")
        assert result() == ("b", "serializable")
    assert (world.names("a"), world.names("b")) == (["before"], ["after"])


def test_the_primary_changes_between_checkout_and_begin(world: World, engine: sqlalchemy.Engine) -> None:
    with engine.connect() as connection:
        assert where(connection) == ("a", 1)
        world.at(2, "b")
        connection.execute(INSERT, {"name": "x"})
        connection.commit()
    assert world.names("b") == ["x"]


def test_execution_options_go_over_to_the_next_primary_and_end_with_the_checkout(
    world: World, engine: sqlalchemy.Engine
) -> None:
    options = {"isolation_level": "AUTOCOMMIT", "postgresql_readonly": True, "postgresql_deferrable": True}
    with engine.connect().execution_options(**options) as connection:
        connection.execute(text("SELECT 1"))
        connection.rollback()
        world.at(2, "b")
        connection.execute(text("SELECT 1"))
        assert where(connection) == ("b", 2)
        driver = connection.connection.driver_connection
        assert (driver.autocommit, driver.read_only, driver.deferrable) == (True, True, True)
    with engine.connect() as connection:
        assert connection.connection.driver_connection is driver
        assert (driver.autocommit, driver.read_only, driver.deferrable) == (False, False, False)
        connection.execute(INSERT, {"name": "x"})
        connection.rollback()
    assert world.names("b") == []


def test_a_connection_outlives_a_change_that_takes_too_long(
    world: World, engine: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be replaced is replaced at the next attempt, and given back without an error."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        connection.rollback()
        world.at(2, "b")
        with monkeypatch.context() as patch:
            patch.setattr(engine.dialect, "_to_primary", refuse)
            with pytest.raises(understudy.NoPrimaryAvailable) as caught:
                connection.execute(INSERT, {"name": "x"})
        assert isinstance(caught.value, exc.OperationalError)
        connection.rollback()
        connection.execute(INSERT, {"name": "y"})
        connection.commit()
    assert world.names("b") == ["y"]
    assert not in_flight(world)


def refuse(*_: object, **__: object) -> None:
    raise understudy.NoPrimaryAvailable("no primary in time")


def test_a_rolled_back_change_fails_nobody(world: World, engine: sqlalchemy.Engine) -> None:
    with engine.connect() as connection:
        connection.execute(INSERT, {"name": "in flight"})
        world.at(2, "a", Phase.HOLDING)
        world.at(3, "a")
        connection.execute(INSERT, {"name": "still"})
        connection.commit()
        connection.execute(INSERT, {"name": "next"})
        connection.commit()
    assert world.names() == ["in flight", "next", "still"]


def test_writers_across_many_changes_see_no_error(world: World, engine: sqlalchemy.Engine) -> None:
    """The lease goes to and fro as in planned changes: every writer finishes, every row is where it was written."""
    stop = threading.Event()
    written: list[set[tuple[str, str]]] = [set() for _ in range(4)]

    def write(number: int) -> None:
        done = written[number]
        while not stop.is_set():
            name = f"{number}-{len(done)}"
            with Session(engine) as session, session.begin():
                session.add(Item(name=name))
                session.flush()
                node = where(session.connection())[0]
            done.add((node, name))

    results = [in_thread(lambda n=n: write(n)) for n in range(4)]
    for epoch in range(2, 22):
        before = [len(done) for done in written]
        while any(len(done) == was for done, was in zip(written, before, strict=True)):
            pass
        primary, other = ("a", "b") if epoch % 2 else ("b", "a")
        world.at(epoch, other, Phase.HOLDING)
        while world.file.quiet(before_epoch=epoch):
            pass
        world.at(epoch, primary)
    stop.set()
    for result in results:
        result()
    for node in ("a", "b"):
        acknowledged = sorted(name for done in written for where_, name in done if where_ == node)
        assert world.names(node) == acknowledged
        assert acknowledged


# --- reading from the standby -------------------------------------------------------------------------------


def test_readers_go_to_the_standby_while_it_is_close(world: World, file: Path) -> None:
    reader = create_engine(world.cluster.name, config=file, readonly=True, max_lag=2.0)
    with reader.connect() as connection:
        connection.execute(text("SELECT 1"))
        assert where(connection) == ("b", 1)
        assert not in_flight(world)  # reads on the standby hold no change up
        with pytest.raises(exc.InternalError, match="read-only"):
            connection.execute(INSERT, {"name": "x"})
    world.at(1, "a", standby="b", standby_lag=9.0)
    with reader.connect() as connection:
        connection.execute(text("SELECT 1"))
        assert where(connection) == ("a", 1)
        assert in_flight(world)
        with pytest.raises(exc.InternalError, match="read-only"):
            connection.execute(INSERT, {"name": "x"})
    with (
        reader.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        pytest.raises(exc.InternalError, match="read-only"),
    ):
        connection.execute(INSERT, {"name": "x"})
    assert not in_flight(world)
    world.at(2, "b", standby="a", standby_lag=0.0)
    with reader.connect() as connection:
        connection.execute(text("SELECT 1"))
        assert where(connection) == ("a", 2)


def test_readers_leave_a_standby_that_is_gone(world: World, file: Path) -> None:
    reader = create_engine(world.cluster.name, config=file, readonly=True)
    world.servers["b"].kill()
    try:
        for _ in range(2):
            with reader.connect() as connection:
                connection.execute(text("SELECT 1"))
                assert where(connection) == ("a", 1)
    finally:
        world.servers["b"].start()


# --- forks and what is left behind --------------------------------------------------------------------------


def _child(engine: sqlalchemy.Engine, pipe: Any) -> None:
    with engine.begin() as connection:
        connection.execute(INSERT, {"name": "child"})
        pipe.send(connection.connection.driver_connection.info.backend_pid)  # type: ignore[union-attr]
    engine.dispose()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_gets_connections_of_its_own(world: World, engine: sqlalchemy.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(INSERT, {"name": "parent"})
        mine = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_child, args=(engine, there))
    child.start()
    theirs = here.recv()
    child.join(60)
    assert child.exitcode == 0
    with engine.begin() as connection:
        assert connection.connection.driver_connection.info.backend_pid == mine != theirs  # type: ignore[union-attr]
    assert world.names() == ["child", "parent"]


# --- asyncio ------------------------------------------------------------------------------------------------


async def test_async_ordinary_life(world: World, async_engine: AsyncEngine) -> None:
    sessions = async_sessionmaker(async_engine)
    async with sessions() as session, session.begin():
        session.add(Item(name="one"))
        async with session.begin_nested():
            session.add(Item(name="two"))
        assert in_flight(world)
    assert not in_flight(world)
    async with async_engine.connect() as connection:
        rows = await connection.stream(text("SELECT generate_series(1, 100)"))
        assert [row[0] async for row in rows] == list(range(1, 101))
        await connection.rollback()
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(INSERT, {"name": "three"})
    assert not in_flight(world)
    assert world.names() == ["one", "three", "two"]


async def test_async_lost_during_commit_is_in_doubt(
    world: World, async_engine: AsyncEngine, dozing: None
) -> None:
    async def work() -> None:
        async with async_engine.begin() as connection:
            await connection.execute(INSERT, {"name": "x"})

    task = asyncio.create_task(work())
    await asyncio.to_thread(kill_backend_when, world, "wait_event = 'PgSleep'")
    with pytest.raises(understudy.CommitInDoubt) as caught:
        await task
    assert isinstance(caught.value, exc.OperationalError)
    assert not in_flight(world)


async def test_async_execution_options_go_over_to_the_next_primary(
    world: World, async_engine: AsyncEngine
) -> None:
    async with async_engine.connect() as connection:
        await connection.execution_options(isolation_level="SERIALIZABLE", postgresql_readonly=True)
        await connection.execute(text("SELECT 1"))
        await connection.rollback()
        world.at(2, "b")
        level = await connection.scalar(text("SHOW transaction_isolation"))
        driver: Any = (await connection.get_raw_connection()).driver_connection
        assert (driver.node, level, driver.read_only) == ("b", "serializable", True)


async def test_async_waits_and_moves(world: World, async_engine: AsyncEngine) -> None:
    async def work(number: int) -> str:
        async with async_engine.begin() as connection:
            await connection.execute(INSERT, {"name": str(number)})
            return (await connection.get_raw_connection()).driver_connection.node  # type: ignore[union-attr]

    assert await work(0) == "a"
    world.at(2, "a", Phase.HOLDING)
    tasks = [asyncio.create_task(work(number)) for number in range(1, 4)]
    await asyncio.to_thread(waits_for_lease, world)
    world.at(2, "b")
    assert await asyncio.gather(*tasks) == ["b"] * 3


@pytest.mark.parametrize("during", ["commit", "hold", "statement"])
async def test_async_cancelled_anywhere_leaves_nothing(
    world: World, async_engine: AsyncEngine, dozing: None, during: str
) -> None:
    async def work() -> None:
        async with async_engine.begin() as connection:
            if during == "statement":
                await connection.execute(text("SELECT pg_sleep(60)"))
            await connection.execute(INSERT, {"name": "x"})

    if during == "hold":
        world.at(2, "a", Phase.HOLDING)
    task = asyncio.create_task(work())
    if during == "hold":
        await asyncio.to_thread(waits_for_lease, world)
    else:
        question = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        while not await asyncio.to_thread(world.sql, "a", question):
            pass
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not in_flight(world)
    world.at(3, "a")
    for _ in range(6):  # more than the pool has places: none was lost
        async with async_engine.connect() as connection:
            assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
    assert world.names() == []


async def test_async_a_connection_that_nobody_gives_back_is_not_counted_for_ever(
    world: World, async_engine: AsyncEngine
) -> None:
    connection = await async_engine.connect()
    await connection.execute(INSERT, {"name": "x"})
    assert in_flight(world)
    with pytest.warns(exc.SAWarning, match="garbage collector"):
        del connection
        gc.collect()
    assert not in_flight(world)
    async with async_engine.begin() as again:
        await again.execute(INSERT, {"name": "y"})
    assert world.names() == ["y"]
