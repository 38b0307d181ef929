"""Backups on a bad day: the program is killed, the server dies, the primary changes, somebody migrates the schema."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.faults.agent_world import Servers, World
from tests.integration.backup.world import Backed, backed_of, backed_pair
from tests.integration.conftest import PASSWORD

from understudy.backup import logical
from understudy.backup.manifest import Manifest, Verdict
from understudy.backup.source import BackupAborted, BackupError, BackupRefused
from understudy.backup.store import Stored
from understudy.backup.store_folder import FolderStore
from understudy.config import Config
from understudy.embedded import processes
from understudy.model import Cluster, RequestKind

# More than the pipe, the queues and the compressor hold: pg_dump waits for the destination.
BULK = """
    CREATE TABLE bulk (id int PRIMARY KEY, noise text);
    INSERT INTO bulk SELECT n, (SELECT string_agg(md5(n * 1000 + m || ''), '') FROM generate_series(1, 320) m)
        FROM generate_series(1, 2400) n;
"""
PATIENCE = 60.0


class Held(FolderStore):
    """A destination that stops after the first bytes of the archive until it is told to go on."""

    def __init__(self, folder: Path) -> None:
        super().__init__("held", folder)
        self.reached, self.go = threading.Event(), threading.Event()

    def put(self, key: str, chunks: Iterable[bytes], *, replace: bool = False) -> Stored:
        return super().put(key, self._held(chunks) if key.endswith("/archive") else chunks, replace=replace)

    def _held(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            yield chunk
            self.reached.set()
            assert self.go.wait(PATIENCE)


@pytest.fixture(scope="module")
def backed(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backed]:
    with backed_pair(servers, tmp_path_factory.mktemp("faults"), BULK) as backed:
        yield backed


@contextmanager
def half_done(backed: Backed, **options: object) -> Iterator[tuple[Future[Manifest], Held]]:
    """A backup that is in the middle of its archive, in a thread of its own."""
    store = Held(backed.folder)
    backed.store = store
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(backed.create, **options)
        try:
            while not store.reached.wait(0.05):
                if future.done():
                    future.result()
            yield future, store
        finally:
            store.go.set()


def left(backed: Backed) -> list[str]:
    """Whatever lies in the destination."""
    return [item.key for item in backed.store.list("")]


def dumps(parent: int | None = None) -> list[int]:
    """The children of a process (this one) that run pg_dump."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            if (
                int(fields[1]) == (parent or os.getpid())
                and (path.parent / "exe").readlink().name == "pg_dump"
            ):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def writes_data(backed: Backed) -> None:
    """Return when pg_dump has all its locks and writes rows."""
    copying = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%/dump' AND query LIKE 'COPY%%'"
    )
    deadline = time.monotonic() + PATIENCE
    while backed.sql(copying, user="postgres") == [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_pg_dump_killed(backed: Backed) -> None:
    with half_done(backed) as (future, store):
        (pid,) = dumps()
        os.kill(pid, signal.SIGKILL)
        store.go.set()
        with pytest.raises(BackupError, match="pg_dump: was ended by SIGKILL"):
            future.result()
    assert left(backed) == []


def test_cancelled_while_its_password_is_in_no_command_line(backed: Backed) -> None:
    before, cancel = left(backed), threading.Event()
    with half_done(backed, cancel=cancel) as (future, store):
        (pid,) = dumps()
        assert PASSWORD.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert f"PGPASSWORD={PASSWORD}".encode() in environment
        assert b"PATH=" in environment
        cancel.set()
        assert not processes.wait_gone([pid], PATIENCE)
        store.go.set()
        with pytest.raises(BackupAborted, match="cancelled"):
            future.result()
    assert left(backed) == before


def back_up_and_hang(cluster: Cluster, directory: Path, folder: Path) -> None:
    """The whole life of a process that is killed."""
    config = Config(clusters=(cluster,), directory=directory, source="test", warnings=())
    logical.create(config, cluster, [Held(folder)], None)


@pytest.mark.slow
def test_our_process_killed(backed: Backed) -> None:
    """Its children go with it, nothing of it is a backup, and the next one does not mind."""
    before, ids, world = left(backed), backed.ids, backed.world
    arguments = (world.pair.cluster, world.directory, backed.folder)
    process = multiprocessing.get_context("spawn").Process(target=back_up_and_hang, args=arguments)
    process.start()
    assert process.pid is not None
    try:
        writes_data(backed)
        (child,) = dumps(process.pid)
    finally:
        process.kill()
        process.join()
    assert not processes.wait_gone([child], PATIENCE)
    assert backed.ids == ids
    backed.store.delete(set(left(backed)) - set(before))
    assert backed.verify(backed.create()).verdict is Verdict.PASS


@pytest.mark.slow
def test_too_long(backed: Backed) -> None:
    before = left(backed)
    with half_done(backed, timeout=1.5) as (future, store):
        assert not processes.wait_gone(dumps(), PATIENCE)
        store.go.set()
        with pytest.raises(BackupAborted, match=r"given up after 1\.5 s"):
            future.result()
    assert left(backed) == before


def test_only_one_at_a_time(backed: Backed) -> None:
    with half_done(backed) as (future, store):
        with pytest.raises(BackupRefused, match=f"process {os.getpid()} is at it already"):
            backed.create()
        store.go.set()
        future.result()


def waits_for_a_lock(backed: Backed) -> None:
    """Return when somebody waits for an ACCESS EXCLUSIVE lock."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
    deadline = time.monotonic() + PATIENCE
    while backed.sql(waiting, user="postgres") == [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_schema_changes_wait_for_the_backup(backed: Backed) -> None:
    """A TRUNCATE that came between would make the table empty for whoever reads it later, whatever its snapshot."""
    with half_done(backed) as (future, store), ThreadPoolExecutor(1) as pool:
        writes_data(backed)
        emptied = pool.submit(backed.sql, "TRUNCATE item CASCADE")
        waits_for_a_lock(backed)
        backed.sql("INSERT INTO bulk VALUES (-1, 'meanwhile')")  # ordinary writing does not wait
        store.go.set()
        manifest = future.result()
        emptied.result(PATIENCE)
    backed.sql("DELETE FROM bulk WHERE id = -1")
    assert {t.name: t.rows for t in manifest.tables}["bulk"] == 2400
    assert backed.verify(manifest).verdict is Verdict.PASS


def test_a_schema_change_between_our_locks_and_those_of_pg_dump(
    backed: Backed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would wait for us, pg_dump for it, and we for pg_dump: PostgreSQL cannot see such a deadlock."""
    real, pool = logical._archive, ThreadPoolExecutor(1)
    said: list[str] = []
    changes: list[Future[list[tuple]]] = []

    def first(*arguments: object) -> object:
        if not changes:
            changes.append(pool.submit(backed.sql, "ALTER TABLE item ADD COLUMN more int"))
            waits_for_a_lock(backed)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(logical, "_archive", first)
    with pool:
        manifest = backed.create(tell=said.append)
        changes[0].result(PATIENCE)
    assert said == [f"{manifest.id}: a schema change came in between; beginning again"]
    assert backed.verify(manifest).verdict is Verdict.PASS


@pytest.mark.slow
def test_the_server_dies(backed: Backed) -> None:
    before = left(backed)
    server = backed.world.pair.servers["a"]
    with half_done(backed) as (future, store):
        server.kill()
        store.go.set()
        try:
            with pytest.raises(BackupError):
                future.result()
        finally:
            server.start()
    assert left(backed) == before
    assert backed.verify(backed.create()).verdict is Verdict.PASS


@pytest.mark.slow
def test_a_frozen_server_is_left(backed: Backed) -> None:
    before, cancel = left(backed), threading.Event()
    server = backed.world.pair.servers["a"]
    with half_done(backed, cancel=cancel) as (future, store):
        server.freeze()
        try:
            store.go.set()
            cancel.set()
            with pytest.raises(BackupAborted, match="cancelled"):
                future.result(PATIENCE)
        finally:
            server.thaw()
    assert left(backed) == before


def test_the_node_is_fenced(backed: Backed) -> None:
    """By another hand, so that the witness does not know."""
    before, database = left(backed), backed.world.pair.database
    fenced = f"ALTER DATABASE {database} SET default_transaction_read_only = on"
    with half_done(backed) as (future, store):
        backed.sql(fenced, user="postgres")
        store.go.set()
        try:
            with pytest.raises(BackupAborted, match="was fenced"):
                future.result()
        finally:
            with backed.world.pair.connect("a", "postgres") as connection:
                connection.execute("SET default_transaction_read_only = off")
                connection.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
    assert left(backed) == before


@pytest.mark.slow
async def test_a_change_of_primary_ends_the_backup_and_does_not_wait_for_it(
    world: World, tmp_path: Path
) -> None:
    """With a real agent. The backup holds locks and a snapshot on the old primary; the change does not mind."""
    world.pair.sql("a", BULK)
    await world.settled("a")
    backed = backed_of(world, tmp_path)
    with half_done(backed) as (future, store):
        world.ask(RequestKind.SWITCHOVER, "b")
        await world.settled("b")
        store.go.set()
        with pytest.raises(BackupAborted, match=r"primary changed from a \(epoch 1\)"):
            await asyncio.wrap_future(future)
    assert left(backed) == []
    manifest = await asyncio.to_thread(backed.create)
    assert (manifest.node, manifest.epoch) == ("b", world.state().epoch)
