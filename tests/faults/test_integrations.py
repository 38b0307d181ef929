"""SQLAlchemy (blocking and asyncio), FastAPI and Celery at work while the primary of a real pair changes.

Each way of writing has a writer of its own. What it was told is compared with what is on the primary afterwards.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from celery import Celery
from celery.contrib.testing.worker import start_worker
from celery.signals import task_success
from fastapi import FastAPI
from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

import understudy
from understudy.client import Pool
from understudy.demo.audit import rescued_rows
from understudy.demo.lab import CLUSTER, Lab
from understudy.integrations.celery import TransactionTask
from understudy.integrations.fastapi import install, transaction
from understudy.integrations.sqlalchemy import create_async_engine, create_engine
from understudy.model import Rpo

INSERT = "INSERT INTO pgbench_history (tid, bid, aid, delta, writer, seq) VALUES (1, 1, 1, 0, {}, {})"
ROW = text(INSERT.format(":writer", ":seq"))
Row = tuple[int, int]


class InDoubt(Exception):
    """Whoever wrote was told that the outcome is unknown."""


class Refused(Exception):
    """Whoever wrote was told that nothing was committed."""


celery = Celery("farm", broker="memory://")
celery.conf.broker_transport_options = {"polling_interval": 0.01}  # seconds


@celery.task(base=TransactionTask, pool=None, shared=False)
def write_row(conn: Any, writer: int, seq: int) -> None:
    conn.execute(INSERT.format("%s", "%s"), (writer, seq))


@contextmanager
def by_sqlalchemy(config: Path) -> Iterator[Callable[[int, int], None]]:
    engine = create_engine(CLUSTER, config=config)

    def write(writer: int, seq: int) -> None:
        with told(), Session(engine) as session, session.begin():
            session.execute(ROW, {"writer": writer, "seq": seq})

    yield write
    engine.dispose()


@contextmanager
def told() -> Iterator[None]:
    try:
        yield
    except understudy.CommitInDoubt as error:
        raise InDoubt from error
    except exc.OperationalError as error:
        raise Refused from error


@contextmanager
def by_asyncio(config: Path) -> Iterator[Callable[[int, int], None]]:
    with asyncio.Runner() as runner:
        engine = create_async_engine(CLUSTER, config=config)

        async def one(writer: int, seq: int) -> None:
            async with engine.begin() as connection:
                await connection.execute(ROW, {"writer": writer, "seq": seq})

        def write(writer: int, seq: int) -> None:
            with told():
                runner.run(one(writer, seq))

        yield write
        runner.run(engine.dispose())


@contextmanager
def by_fastapi(config: Path) -> Iterator[Callable[[int, int], None]]:
    engine = create_async_engine(CLUSTER, config=config)
    one = transaction(async_sessionmaker(engine))
    app = FastAPI()
    install(app)

    @app.post("/{writer}/{seq}")
    async def add(writer: int, seq: int, session: AsyncSession = one) -> None:
        await session.execute(ROW, {"writer": writer, "seq": seq})

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        pass
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:

        def write(writer: int, seq: int) -> None:
            answer = client.post(f"/{writer}/{seq}")
            if answer.status_code == 503:
                raise InDoubt if answer.json()["outcome"] == "unknown" else Refused
            assert answer.status_code == 200, answer.text

        yield write
    server.should_exit = True
    thread.join()


@contextmanager
def by_celery(config: Path) -> Iterator[Callable[[int, int], None]]:
    loaded = understudy.config.load(config)
    done = threading.Event()
    receiver = lambda **_: done.set()  # noqa: E731 - to be disconnected again
    task_success.connect(receiver)
    with (
        Pool(loaded.cluster(CLUSTER), loaded.directory) as write_row.pool,
        start_worker(celery, pool="threads", concurrency=2, perform_ping_check=False, shutdown_timeout=30),
    ):

        def write(writer: int, seq: int) -> None:
            done.clear()
            write_row.delay(writer, seq)
            assert done.wait(30)

        yield write
    task_success.disconnect(receiver)


pytestmark = pytest.mark.slow
WAYS = (by_sqlalchemy, by_asyncio, by_fastapi, by_celery)


class Writers:
    """One thread for each way, writing row after row, and what each was told."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._stop = threading.Event()
        self.acked: list[set[Row]] = [set() for _ in WAYS]
        self.in_doubt: set[Row] = set()
        self.refused: set[Row] = set()

    def __enter__(self) -> Writers:
        self._threads = ThreadPoolExecutor(len(WAYS))
        self._lives = [self._threads.submit(self._live, number) for number in range(len(WAYS))]
        self.work(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._threads.shutdown()

    def result(self) -> None:
        """End them; raises whatever one of them had not expected."""
        self._stop.set()
        for life in self._lives:
            life.result()

    def work(self, rows: int) -> None:
        """Return when each has written that many more."""
        wanted = [len(acked) + rows for acked in self.acked]
        while any(len(acked) < count for acked, count in zip(self.acked, wanted, strict=True)):
            for life in self._lives:
                if life.done():
                    life.result()
            self._stop.wait(0.01)

    def _live(self, writer: int) -> None:
        seq = 0
        with ExitStack() as stack:
            write = stack.enter_context(WAYS[writer](self._config))
            while not self._stop.is_set():
                seq += 1
                try:
                    write(writer, seq)
                except InDoubt:
                    self.in_doubt.add((writer, seq))
                except Refused:
                    self.refused.add((writer, seq))
                else:
                    self.acked[writer].add((writer, seq))


def present(lab: Lab) -> list[Row]:
    with lab.connect(lab.state.primary) as connection:
        return connection.execute("SELECT writer, seq FROM pgbench_history ORDER BY 1, 2").fetchall()


def test_a_switchover_and_the_way_home_fail_nothing_and_lose_nothing() -> None:
    with Lab(mode=Rpo.BOUNDED, scale=1) as lab, Writers(lab.config_file) as writers:
        lab.switchover("b")
        writers.work(20)
        lab.await_settled()
        lab.switchover("a")
        writers.work(20)
        writers.result()
        assert (writers.refused, writers.in_doubt) == (set(), set())
        assert present(lab) == sorted(set().union(*writers.acked))


@pytest.mark.parametrize("mode", Rpo)
def test_a_killed_primary_loses_nothing_that_was_acknowledged(mode: Rpo) -> None:
    """Every row that is there was acknowledged or in doubt; Celery settles what was in doubt, and has neither."""
    with Lab(mode=mode, scale=1) as lab, Writers(lab.config_file) as writers:
        writers.work(50)
        lab.servers["a"].kill()
        lab.await_state(lambda state: state.primary == "b" and state.plan is None, 60, "a failover")
        writers.work(50)
        writers.result()
        there = present(lab)
        acked = set().union(*writers.acked)
        assert len(there) == len(set(there))
        assert set(there) <= acked | writers.in_doubt
        assert not {row for row in writers.in_doubt | writers.refused if WAYS[row[0]] is by_celery}
        assert writers.in_doubt | writers.refused, "the kill was not noticed: nothing was tried"
        if mode is Rpo.ZERO:
            assert acked <= set(there)
            return
        lab.servers["a"].start()
        lab.await_settled()
        assert acked - set(there) <= set(rescued_rows(lab.rescues))
