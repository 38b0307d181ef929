# ruff: noqa: F811 - fixtures are imported by name
"""Many threads and many changes of primary: nobody fails, and nothing grows."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from tests.integration.test_client_world import World, two_servers, world  # noqa: F401

from understudy.client import AsyncPool, Pool, PrimaryLost
from understudy.client.host import Host, host_of
from understudy.client.single import connect
from understudy.lease import Lease, LeaseFile, Phase, boot_now
from understudy.model import Cluster, Node, Policy

THREADS = 1000
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'understudy-client/%'"


def open_files() -> int:
    """Descriptors of this process (the one that lists them is not counted)."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1


# --- threads ------------------------------------------------------------------------------------------------


@pytest.fixture
def small_stacks() -> Iterator[None]:
    before = threading.stack_size(512 * 1024)
    yield
    threading.stack_size(before)


@pytest.mark.parametrize("planned", [True, False], ids=["planned", "unplanned"])
def test_a_thousand_threads_share_a_pool_across_a_change(
    world: World, small_stacks: None, planned: bool
) -> None:
    """Planned: not one call fails. Unplanned: `run` repeats what was aborted, and each piece of work is there once."""
    began, errors = threading.Semaphore(0), list[BaseException]()
    pool = Pool(world.cluster, world.directory, max_size=8, timeout=100)

    def insert(conn: psycopg.Connection) -> None:
        conn.execute("INSERT INTO item (name) VALUES (gen_random_uuid()::text)")

    def work() -> None:
        try:
            for _ in range(2):
                if planned:
                    with pool.connection() as conn:
                        insert(conn)
                else:
                    pool.run(insert, exactly_once=True, attempts=50)
                began.release()
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            errors.append(error)
            began.release()

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for _ in range(THREADS // 2):
        began.acquire()
    world.at(2, "a", Phase.HOLDING if planned else Phase.CHANGING)
    while world.file.quiet(before_epoch=3):
        pass
    world.at(2, "b")
    for thread in threads:
        thread.join()
    assert errors == []
    rows = len(world.names("a")) + len(world.names("b"))
    # Unplanned: the two servers are no replicas here, so a commit that was in doubt on a may be done again on b.
    assert rows == 2 * THREADS if planned else 2 * THREADS <= rows <= 2 * THREADS + 8
    assert world.names("a")
    assert world.names("b")
    assert pool._host.slot.in_flight == 0
    pool.close()


# --- fifty real changes -------------------------------------------------------------------------------------


class Users:
    """Everything that one process can hold: a pool in use by threads, reads on the standby, a kept connection."""

    def __init__(self, world: World, pool: Pool) -> None:
        self._world, self._pool = world, pool
        self._kept = connect(world.cluster, world.directory)

    def use(self) -> None:
        threads = [threading.Thread(target=self._insert) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with self._pool.connection(readonly=True) as conn:
            conn.execute("SELECT 1")
        try:
            self._kept.execute("SELECT 1")
        except PrimaryLost:
            self._kept = connect(self._world.cluster, self._world.directory)

    def _insert(self) -> None:
        with self._pool.connection() as conn:
            conn.execute("INSERT INTO item (name) VALUES (gen_random_uuid()::text)")

    def close(self) -> None:
        self._kept.close()


def counts(world: World) -> tuple[int, int, int]:
    """Descriptors and threads of this process, sessions on both servers."""
    gc.collect()
    sessions = sum(world.sql(node, SESSIONS)[0][0] for node in world.servers)
    return open_files(), threading.active_count(), sessions


def settle(world: World, wanted: Callable[[tuple[int, int, int]], bool]) -> None:
    """Former pools end in threads of their own: wait for that. If they do not, pytest's timeout says so."""
    while not wanted(counts(world)):
        pass


def test_fifty_changes_leave_nothing_behind(world: World) -> None:
    with Pool(world.cluster, world.directory, min_size=2, max_size=4) as pool:
        users = Users(world, pool)
        for number in range(1, 51):
            node, other = ("a", "b") if number % 2 else ("b", "a")
            if number % 5 == 0:  # unplanned
                world.at(number + 1, other, Phase.CHANGING, standby=node, standby_lag=0.1)
            world.at(number + 1, other, standby=node, standby_lag=0.1)
            users.use()
            if number == 5:
                settle(world, lambda now: now[2] <= 4 + 4 + 1)  # pool, readers, the kept one
                least = counts(world)
        # One change more or less may have one connection more or less open: not more than the pools may have.
        settle(
            world,
            lambda now: all(
                n <= least[i] + slack for i, (n, slack) in enumerate(zip(now, (6, 6, 3), strict=True))
            ),
        )
        assert len(pool._targets) <= 2
        assert len(list(pool._host._connections)) <= 4 + 4 + 1
        users.close()


async def test_fifty_changes_leave_nothing_behind_in_an_event_loop(world: World) -> None:
    async with AsyncPool(world.cluster, world.directory, min_size=1, max_size=2) as pool:
        least = (0, 0, 0)
        for number in range(1, 51):
            node, other = ("a", "b") if number % 2 else ("b", "a")
            world.at(number + 1, other, standby=node, standby_lag=0.1)
            async with pool.connection() as conn:
                await conn.execute("INSERT INTO item (name) VALUES (gen_random_uuid()::text)")
            async with pool.connection(readonly=True) as conn:
                await conn.execute("SELECT 1")
            if number == 5:
                while len(pool._targets) > 2 or len(asyncio.all_tasks()) > 12:
                    await asyncio.sleep(0.001)
                least = counts(world)
        while not all(n <= before + 4 for n, before in zip(counts(world), least, strict=True)):
            await asyncio.sleep(0.001)
        assert len(pool._targets) <= 2
        assert not pool._host._loops


# --- ten thousand changes of the lease alone ----------------------------------------------------------------


@pytest.fixture
def cluster() -> Cluster:
    nodes = tuple(
        Node(name=n, dsn="", admin_dsn="", replication_dsn="", priority=p) for p, n in enumerate("ab", 1)
    )
    return Cluster(name="cheap", engine="postgresql", nodes=nodes, policy=Policy())


class Listener:
    """Stands for a pool; counts what it hears."""

    def __init__(self) -> None:
        self.heard = 0

    def lease_changed(self, lease: Lease) -> None:
        self.heard += 1

    def forget(self) -> list[object]:
        return []


def one_change(file: LeaseFile, host: Host, epoch: int) -> None:
    """Hold or abort, then open elsewhere; the watcher looks each time, and a call enters and leaves."""
    now, node = boot_now(), "ab"[epoch % 2]
    for phase in ((Phase.HOLDING, Phase.CHANGING)[epoch % 2], Phase.OPEN):
        assert file.write(Lease(epoch=epoch, primary=node, phase=phase, renewed=now, deadline=now + 600))
        host._look(host.file.read())
    tag = host.enter(epoch, node)
    assert tag == epoch
    host.slot.leave(tag)


@pytest.mark.slow
def test_ten_thousand_changes_leave_nothing_behind(tmp_path: Path, cluster: Cluster) -> None:
    """In a process of its own: nothing of other tests opens or closes anything in it meanwhile."""
    process = multiprocessing.get_context("spawn").Process(target=_ten_thousand, args=(tmp_path, cluster))
    process.start()
    process.join()
    assert process.exitcode == 0


def _ten_thousand(tmp_path: Path, cluster: Cluster) -> None:
    """The lease, the slot, the watcher's work and those who listen. Memory: what 9,000 changes add is less than one
    small object per hundred of them, which is what tracemalloc itself and interned numbers may account for.
    """
    file, host, listener = LeaseFile(tmp_path / "cheap.lease"), host_of(cluster, tmp_path), Listener()
    host.listen(listener)
    tracemalloc.start()
    try:
        for epoch in range(1, 1001):
            one_change(file, host, epoch)
        gc.collect()
        files, threads, (memory, _) = open_files(), threading.active_count(), tracemalloc.get_traced_memory()
        for epoch in range(1001, 10_001):
            one_change(file, host, epoch)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - memory
    finally:
        tracemalloc.stop()
    assert (open_files(), threading.active_count()) == (files, threads)
    assert grown < 9000 // 100 * 64
    assert listener.heard == 10_000 + 5000  # each opening, and each unplanned beginning
    assert host.slot.in_flight == 0
    assert file.quiet(before_epoch=10**9) == []
    assert len(file.processes()) == 1
