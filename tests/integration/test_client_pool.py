# ruff: noqa: F811 - fixtures are imported by name
"""The blocking client on real servers: checkouts, outcomes, holding, reads on the standby, forks."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg_pool import PoolClosed, PoolTimeout
from tests.integration.test_client_world import World, two_servers, world  # noqa: F401

from understudy.client import CommitInDoubt, NoPrimaryAvailable, Pool, PrimaryLost
from understudy.client.single import connect
from understudy.embedded import EmbeddedPostgreSQL
from understudy.lease import Phase


@pytest.fixture
def pool(world: World) -> Iterator[Pool]:
    with Pool(world.cluster, world.directory, max_size=4) as pool:
        yield pool


def in_thread(work: Callable[[], Any]) -> Callable[[], Any]:
    """Start work in a thread; the returned function waits for it and gives its result or raises its error."""
    results: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue()

    def run() -> None:
        try:
            results.put((work(), None))
        except BaseException as ex:  # noqa: BLE001 - handed to the waiting thread
            results.put((None, ex))

    threading.Thread(target=run, daemon=True).start()

    def result() -> Any:
        value, error = results.get(timeout=60)
        if error is not None:
            raise error
        return value

    return result


def kill_backend_when(world: World, condition: str, how: str = "pg_terminate_backend(pid)") -> None:
    """End the sessions for which the condition on pg_stat_activity holds; waits until there is one.

    Those that are ended are gone afterwards: else whoever looks next may take one of them for the one that comes.
    """
    asked = f"SELECT pid, {how} FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND ({condition})"
    with world.admin() as admin:
        while not (found := admin.execute(asked).fetchall()):
            pass
        ended = [pid for pid, _ in found] if "terminate" in how else []
        while admin.execute("SELECT FROM pg_stat_activity WHERE pid = ANY(%s)", (ended,)).fetchall():
            pass


def wait_until_commits_wait(world: World) -> None:
    """A new synchronous_standby_names is in force only some time after its reload: see a commit wait for it."""
    asked = "SELECT FROM pg_stat_activity WHERE pid = %s AND wait_event = 'SyncRep'"
    with world.admin() as admin, world.admin() as looking:
        waits = False
        while not waits:
            admin.pgconn.send_query(b"SELECT pg_logical_emit_message(true, 'test', '')")
            while not waits and not select.select([admin.fileno()], [], [], 0)[0]:
                waits = bool(looking.execute(asked, (admin.info.backend_pid,)).fetchall())
            if waits:
                admin.cancel()
            while admin.pgconn.get_result() is not None:
                pass


# --- ordinary life ------------------------------------------------------------------------------------------


def test_a_block_commits_and_an_exception_rolls_back(world: World, pool: Pool) -> None:
    with pool.connection() as conn:
        conn.execute("INSERT INTO item (name) VALUES ('kept')")
        assert (conn.node, conn.epoch) == ("a", 1)
    with pytest.raises(KeyError), pool.connection() as conn:
        conn.execute("INSERT INTO item (name) VALUES ('lost')")
        raise KeyError
    assert world.names() == ["kept"]
    assert world.file.quiet(before_epoch=9) == []


def test_a_driver_without_limits_of_its_waits_will_do(
    world: World, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """psycopg before 3.3.6, which we ask for (`>= 3.2`)."""
    wait = psycopg.Connection.wait
    monkeypatch.setattr(psycopg.Connection, "wait", lambda self, gen, interval=0.1: wait(self, gen, interval))
    with pool.connection() as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_in_flight_is_published(world: World, pool: Pool) -> None:
    with pool.connection():
        assert world.file.quiet(before_epoch=2) == [os.getpid()]
        assert world.file.quiet(before_epoch=1) == []
    assert world.file.quiet(before_epoch=2) == []


def test_driver_exceptions_are_unchanged(world: World, pool: Pool) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation), pool.connection() as conn:
        conn.execute("INSERT INTO item (name) VALUES ('x'), ('x')")
    with pytest.raises(psycopg.errors.SyntaxError), pool.connection() as conn:
        conn.execute("SELEKT")
    with pool.connection() as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_a_full_pool_is_a_pool_timeout(world: World) -> None:
    with (
        Pool(world.cluster, world.directory, max_size=1) as pool,
        pool.connection(),
        pytest.raises(PoolTimeout),
    ):
        pool.getconn(0.05)


def test_the_rest_of_psycopg_works(world: World, pool: Pool) -> None:
    with pool.connection() as conn:
        with conn.cursor().copy("COPY item (name) FROM STDIN") as copy:
            for name in "abc":
                copy.write_row((name,))
        with conn.cursor("server_side") as cursor:
            assert len(cursor.execute("SELECT * FROM item").fetchall()) == 3
        with conn.pipeline():
            conn.execute("INSERT INTO item (name) VALUES ('d')")
            found = conn.execute("SELECT count(*) FROM item")
        assert found.fetchone() == (4,)
        assert list(conn.cursor().stream("SELECT 1")) == [(1,)]
        assert psycopg.ClientCursor(conn).execute("SELECT %s", ["x"]).fetchone() == ("x",)
    with pool.connection() as conn:
        xid = conn.xid(1, "gtrid", "bqual")
        conn.tpc_begin(xid)
        conn.execute("INSERT INTO item (name) VALUES ('e')")
        conn.tpc_prepare()
        conn.tpc_commit()
    with pool.connection() as conn, conn.transaction(), conn.transaction():
        conn.execute("INSERT INTO item (name) VALUES ('f')")
    assert world.names() == list("abcdef")


# --- outcomes -----------------------------------------------------------------------------------------------


def test_lost_before_commit_is_the_drivers_error(world: World, pool: Pool) -> None:
    with pytest.raises(psycopg.OperationalError) as caught, pool.connection() as conn:
        conn.execute("INSERT INTO item (name) VALUES ('x')")
        result = in_thread(lambda: conn.execute("SELECT pg_sleep(60)"))
        kill_backend_when(world, "query LIKE '%pg_sleep%'")
        result()
    assert type(caught.value) is psycopg.errors.AdminShutdown
    assert world.names() == []


@pytest.mark.parametrize("autocommit", [True, False])
def test_an_idle_connection_that_ended_is_not_given_out(world: World, autocommit: bool) -> None:
    """A restarted server must not make every idle connection an error, let alone one in doubt."""
    with Pool(world.cluster, world.directory, kwargs={"autocommit": autocommit}) as pool:
        with pool.connection() as conn:
            before = conn.info.backend_pid
        kill_backend_when(world, "application_name LIKE 'understudy-client/%'")
        while world.sql("a", "SELECT 1 FROM pg_stat_activity WHERE pid = %s", before):
            pass
        with pool.connection() as conn:
            conn.execute("INSERT INTO item (name) VALUES ('x')")
            assert conn.info.backend_pid != before


@pytest.mark.parametrize("autocommit", [True, False])
def test_ended_while_idle_is_certain(world: World, autocommit: bool) -> None:
    with (
        Pool(world.cluster, world.directory, kwargs={"autocommit": autocommit}) as pool,
        pytest.raises(psycopg.OperationalError) as caught,
        pool.connection() as conn,
    ):
        if not autocommit:
            conn.execute("INSERT INTO item (name) VALUES ('x')")
        pid = conn.info.backend_pid
        kill_backend_when(world, f"pid = {pid}")
        while world.sql("a", "SELECT 1 FROM pg_stat_activity WHERE pid = %s", pid):
            pass
        if autocommit:
            conn.execute("INSERT INTO item (name) VALUES ('x')")
    assert not isinstance(caught.value, CommitInDoubt)
    assert world.names() == []


@contextlib.contextmanager
def keeps_open(server: EmbeddedPostgreSQL) -> Iterator[int]:
    """The port of a relay that passes on what the server says and never the end of its stream: that may come later."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        contextlib.ExitStack() as ends,
        ThreadPoolExecutor(3) as threads,
    ):

        def carry(source: socket.socket, target: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    target.sendall(data)

        def serve() -> None:
            client = ends.enter_context(listening.accept()[0])
            there = ends.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            threads.submit(carry, client, there)
            threads.submit(carry, there, client)

        threads.submit(serve)
        yield listening.getsockname()[1]


def test_a_farewell_without_the_end_of_the_stream_is_certain_too(world: World) -> None:
    with keeps_open(world.servers["a"]) as port:
        world.through("a", port)
        with connect(world.cluster, world.directory, autocommit=True) as conn:
            kill_backend_when(world, f"pid = {conn.info.backend_pid}")
            assert select.select([conn.fileno()], [], [], 20)[0]
            with pytest.raises(psycopg.OperationalError) as caught:
                conn.execute("INSERT INTO item (name) VALUES ('x')")
            assert conn.closed
    assert not isinstance(caught.value, CommitInDoubt)
    assert world.names() == []


def slow_commit(world: World) -> None:
    """Make every COMMIT that inserted an item last until its session ends: a deferred trigger that sleeps."""
    world.sql(
        "a",
        """
        CREATE OR REPLACE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_sleep(60); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER doze AFTER INSERT ON item DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION doze();
        """,
    )


@pytest.fixture
def slow(world: World) -> Iterator[None]:
    slow_commit(world)
    yield
    world.sql("a", "DROP TRIGGER doze ON item")


COMMITS: dict[str, Callable[[psycopg.Connection], None]] = {
    "commit()": lambda conn: conn.commit(),
    "COMMIT": lambda conn: conn.execute("COMMIT") and None,
    "comment": lambda conn: conn.execute("/* now */ end") and None,
    "ClientCursor": lambda conn: psycopg.ClientCursor(conn).execute("COMMIT") and None,
    "two statements": lambda conn: conn.execute("SELECT 1; COMMIT") and None,
}


@pytest.mark.parametrize("how", COMMITS)
def test_lost_during_commit_is_in_doubt(world: World, pool: Pool, slow: None, how: str) -> None:
    def work() -> None:
        with pool.connection() as conn:
            conn.execute("INSERT INTO item (name) VALUES ('x')")
            COMMITS[how](conn)

    result = in_thread(work)
    kill_backend_when(world, "wait_event = 'PgSleep'")
    with pytest.raises(CommitInDoubt) as caught:
        result()
    assert isinstance(caught.value.__cause__, psycopg.OperationalError)
    assert (caught.value.node, caught.value.epoch) == ("a", 1)
    assert world.file.quiet(before_epoch=9) == []


def test_lost_during_the_commit_of_a_transaction_block_is_in_doubt(
    world: World, pool: Pool, slow: None
) -> None:
    def work() -> None:
        with pool.connection() as conn, conn.transaction():
            conn.execute("INSERT INTO item (name) VALUES ('x')")

    result = in_thread(work)
    kill_backend_when(world, "wait_event = 'PgSleep'")
    with pytest.raises(CommitInDoubt):
        result()


def test_lost_in_autocommit_is_in_doubt(world: World) -> None:
    with Pool(world.cluster, world.directory, kwargs={"autocommit": True}) as pool:

        def work() -> None:
            with pool.connection() as conn:
                conn.execute("SELECT pg_sleep(60)")

        result = in_thread(work)
        kill_backend_when(world, "query LIKE '%pg_sleep%'")
        with pytest.raises(CommitInDoubt):
            result()

        def inside() -> None:
            with pool.connection() as conn, conn.transaction():
                conn.execute("SELECT pg_sleep(60)")

        result = in_thread(inside)
        kill_backend_when(world, "query LIKE '%pg_sleep%' AND state = 'active'")
        with pytest.raises(psycopg.errors.AdminShutdown):
            result()


def test_lost_in_a_pipeline_is_in_doubt(world: World) -> None:
    with Pool(world.cluster, world.directory, kwargs={"autocommit": True}) as pool:

        def work() -> None:
            with pool.connection() as conn, conn.pipeline():
                conn.execute("INSERT INTO item (name) VALUES ('x')")
                conn.execute("SELECT pg_sleep(60)")

        result = in_thread(work)
        kill_backend_when(world, "query LIKE '%pg_sleep%'")
        with pytest.raises(CommitInDoubt):
            result()


def test_a_cancelled_synchronous_wait_is_in_doubt(world: World, pool: Pool) -> None:
    with pool.connection() as conn:
        conn.execute("SELECT 1")
    world.sql("a", "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    world.sql("a", "SELECT pg_reload_conf()")
    try:
        wait_until_commits_wait(world)

        def work() -> None:
            with pool.connection() as conn:
                conn.execute("INSERT INTO item (name) VALUES ('alone')")

        result = in_thread(work)
        kill_backend_when(world, "wait_event = 'SyncRep'", "pg_cancel_backend(pid)")
        with pytest.raises(CommitInDoubt, match="synchronous standby"):
            result()
    finally:
        world.sql("a", "ALTER SYSTEM RESET synchronous_standby_names")
        world.sql("a", "SELECT pg_reload_conf()")
    assert world.names() == ["alone"]
    with pool.connection() as conn:
        conn.execute("INSERT INTO item (name) VALUES ('usable')")


def test_commit_is_not_sent_once_the_primary_is_another(world: World, pool: Pool) -> None:
    for phase, primary in ((Phase.CHANGING, "a"), (Phase.OPEN, "b")):
        epoch = world.file.read().epoch + 1
        with pytest.raises(PrimaryLost), pool.connection() as conn:
            conn.execute("INSERT INTO item (name) VALUES ('x')")
            world.at(epoch, primary, phase)
        world.at(epoch + 1, "a")
    assert world.names() == []


def test_commit_is_not_sent_after_the_lease_ran_out(world: World, pool: Pool) -> None:
    with pytest.raises(PrimaryLost, match="ran out"), pool.connection() as conn:
        conn.execute("INSERT INTO item (name) VALUES ('x')")
        world.at(1, "a", ttl=-1)
    assert world.names() == []


def test_a_planned_change_lets_those_in_flight_finish(world: World, pool: Pool) -> None:
    with pool.connection() as conn:
        conn.execute("INSERT INTO item (name) VALUES ('in flight')")
        world.at(2, "a", Phase.HOLDING)
        assert world.file.quiet(before_epoch=2) == [os.getpid()]
        conn.execute("INSERT INTO item (name) VALUES ('still')")
    assert world.file.quiet(before_epoch=2) == []
    assert world.names() == ["in flight", "still"]


def test_a_rolled_back_change_fails_nobody(world: World, pool: Pool) -> None:
    with pool.connection() as conn:
        conn.execute("INSERT INTO item (name) VALUES ('long')")
        world.at(2, "a", Phase.HOLDING)
        world.at(3, "a")
        with pool.connection() as other:
            assert other.epoch == 3
    assert world.names() == ["long"]


# --- holding ------------------------------------------------------------------------------------------------


def test_new_transactions_wait_and_go_to_the_new_primary(world: World, pool: Pool) -> None:
    with pool.connection() as conn:
        conn.execute("SELECT 1")
    world.at(2, "a", Phase.HOLDING)
    waiting = []
    for number in range(3):

        def work(number: int = number) -> tuple[str, int]:
            with pool.connection() as conn:
                conn.execute("INSERT INTO item (name) VALUES (%s)", (str(number),))
                return conn.node, conn.epoch

        waiting.append(in_thread(work))
    while pool._host._waiting < 3:
        pass
    assert world.file.quiet(before_epoch=2) == []
    world.at(2, "b")
    assert [result() for result in waiting] == [("b", 2)] * 3
    assert (world.names("a"), world.names("b")) == ([], ["0", "1", "2"])


def test_those_in_the_queue_of_the_old_pool_move_on(world: World) -> None:
    with Pool(world.cluster, world.directory, min_size=1, max_size=1) as pool, pool.connection():
        result = in_thread(lambda: pool.getconn(60).node)
        while not pool.get_stats().get("requests_waiting"):
            pass
        world.at(2, "b")
        assert result() == "b"


@pytest.mark.parametrize(
    ("phase", "ttl", "text"),
    [(Phase.HOLDING, 60, "HOLDING"), (Phase.CHANGING, 60, "CHANGING"), (Phase.OPEN, -1, "ran out")],
)
def test_no_primary_available_says_why(world: World, pool: Pool, phase: Phase, ttl: float, text: str) -> None:
    world.fences(7, "a", "a")  # nobody can renew: the registers disagree
    world.at(5, "a", phase, ttl=ttl)
    with pytest.raises(NoPrimaryAvailable, match=text), pool.connection(timeout=0.1):
        pass
    assert world.file.quiet(before_epoch=9) == []


def test_a_pool_that_is_closed_while_somebody_is_held_opens_nothing_more(world: World, pool: Pool) -> None:
    """The application ends during a change: what came to be open then, nobody would ever close."""
    world.at(2, "b", Phase.HOLDING)
    held = in_thread(pool.getconn)
    while not pool._host._waiting:
        time.sleep(0.001)
    pool.close()
    world.at(2, "b")
    with pytest.raises(PoolClosed):
        held()
    assert pool._targets == {}


def test_waiting_for_a_connection_and_for_a_change_is_one_wait(world: World) -> None:
    """``timeout`` is for both: who has spent it in the queue of the old pool does not wait as long again."""
    waits = Waits()
    with Pool(world.cluster, world.directory, max_size=1) as pool:
        pool._host.observers.append(waits)
        with pool.connection():
            world.at(2, "b", Phase.HOLDING)
            with pytest.raises(NoPrimaryAvailable):
                pool.getconn(timeout=3.0)
    assert sum(waits.seconds) < 3.0, "all of it was spent before the wait for the change began"


class Waits:
    """Notes how long transactions were held."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def held(self, host: object, why: str, seconds: float, lease: object) -> None:
        self.seconds.append(seconds)

    def doubted(self, host: object, node: str, epoch: int) -> None: ...


def test_a_corrupt_lease_holds_until_it_is_written_again(world: World, pool: Pool) -> None:
    path = world.file.path
    world.fences(7, "a", "a")
    with path.open("r+b") as lease:  # not shortened: whoever has it mapped would get SIGBUS
        lease.write(b"\xff" * 512)
    with pytest.raises(NoPrimaryAvailable, match="no valid lease"), pool.connection(timeout=0.1):
        pass
    world.at(2, "a")
    with pool.connection() as conn:
        assert conn.epoch == 2


def test_a_read_only_primary_is_not_used(world: World, pool: Pool) -> None:
    world.sql("a", "ALTER DATABASE postgres SET default_transaction_read_only = on")
    result = in_thread(lambda: pool.getconn(30).node)
    kill_backend_when(world, "application_name LIKE 'understudy-client/%'")
    with psycopg.connect(world.servers["a"].dsn(), autocommit=True) as admin:
        admin.execute("SET default_transaction_read_only = off")
        admin.execute("ALTER DATABASE postgres RESET default_transaction_read_only")
    assert result() == "a"


def test_a_kept_connection_counts_per_transaction(world: World) -> None:
    conn = connect(world.cluster, world.directory, autocommit=True)
    assert world.file.quiet(before_epoch=9) == []
    with conn.transaction():
        conn.execute("INSERT INTO item (name) VALUES ('x')")
        assert world.file.quiet(before_epoch=9) == [os.getpid()]
    assert world.file.quiet(before_epoch=9) == []
    world.at(2, "a", Phase.HOLDING)
    result = in_thread(lambda: conn.execute("SELECT 1").fetchone())
    while not conn._host._waiting:
        pass
    world.at(3, "a")
    assert result() == (1,)
    world.at(4, "b")
    with pytest.raises(PrimaryLost):
        conn.execute("SELECT 1")
    assert conn.closed
    assert world.file.quiet(before_epoch=9) == []


# --- reads on the standby -----------------------------------------------------------------------------------


def test_reads_go_to_the_standby_where_its_lag_is_known(world: World, pool: Pool) -> None:
    with pool.connection(readonly=True) as conn:
        assert conn.node == "b"
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            conn.execute("INSERT INTO item (name) VALUES ('x')")
    with pool.connection(readonly=True, max_lag=0.01) as conn:
        assert conn.node == "a"
        assert conn.execute("SHOW transaction_read_only").fetchone() == ("on",)
    world.at(1, "a")
    with pool.connection(readonly=True) as conn:
        assert conn.node == "a"
    with pool.connection() as conn:
        conn.execute("INSERT INTO item (name) VALUES ('writable')")


def test_a_reader_on_the_primary_cannot_write_in_autocommit_either(world: World) -> None:
    """Nobody counts it as in flight and no lease is asked, so the server must refuse."""
    world.at(1, "a")
    with (
        Pool(world.cluster, world.directory, kwargs={"autocommit": True}) as pool,
        pool.connection(readonly=True) as conn,
    ):
        assert conn.node == "a"
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            conn.execute("INSERT INTO item (name) VALUES ('x')")


def test_reads_do_not_wait_for_a_change(world: World, pool: Pool) -> None:
    world.at(2, "a", Phase.CHANGING, standby="b", standby_lag=0.0)
    with pool.connection(timeout=5, readonly=True) as conn:
        assert conn.node == "b"


# --- run ----------------------------------------------------------------------------------------------------


def test_run_repeats_what_certainly_did_not_commit(world: World, pool: Pool) -> None:
    calls = []

    def work(conn: psycopg.Connection) -> str:
        calls.append(conn.info.backend_pid)
        conn.execute("INSERT INTO item (name) VALUES ('once')")
        if len(calls) == 1:
            kill_backend_when(world, f"pid = {calls[0]}")
            conn.execute("SELECT 1")
        if len(calls) == 2:
            conn.execute("DO $$ BEGIN RAISE EXCEPTION 'busy' USING ERRCODE = '40001'; END $$")
        return "done"

    assert pool.run(work) == "done"
    assert (len(calls), world.names()) == (3, ["once"])


def test_run_leaves_other_errors_alone(world: World, pool: Pool) -> None:
    calls = []

    def work(conn: psycopg.Connection) -> None:
        calls.append(1)
        conn.execute("INSERT INTO item (name) VALUES ('x'), ('x')")

    with pytest.raises(psycopg.errors.UniqueViolation):
        pool.run(work)
    assert len(calls) == 1


@pytest.mark.parametrize("exactly_once", [False, True])
def test_run_settles_a_commit_in_doubt(world: World, pool: Pool, slow: None, exactly_once: bool) -> None:
    def work(conn: psycopg.Connection) -> int:
        conn.execute("INSERT INTO item (name) VALUES ('once')")
        return conn.info.backend_pid

    result = in_thread(lambda: pool.run(work, exactly_once=exactly_once))
    kill_backend_when(world, "wait_event = 'PgSleep'")
    if not exactly_once:
        with pytest.raises(CommitInDoubt):
            result()
        return
    kill_backend_when(world, "wait_event = 'PgSleep'")
    world.sql(
        "a", "CREATE OR REPLACE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    )
    with world.admin() as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    assert isinstance(result(), int)
    assert world.names() == ["once"]


# --- forks --------------------------------------------------------------------------------------------------


def _insert_in_child(cluster: Any, directory: Any, name: str, pool: Pool | None = None) -> None:
    with (pool or Pool(cluster, directory)).connection() as conn:
        conn.execute("INSERT INTO item (name) VALUES (%s)", (name,))


def test_a_fork_begins_anew_and_leaves_the_parents_connections_alone(world: World) -> None:
    pool = Pool(world.cluster, world.directory, max_size=1)
    with pool.connection() as conn:
        before = conn.info.backend_pid
    context = multiprocessing.get_context("fork")
    children = [
        context.Process(target=_insert_in_child, args=(world.cluster, world.directory, f"child {n}", pool))
        for n in range(3)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    with pool.connection() as conn:
        assert conn.info.backend_pid == before, "the child said goodbye on the parent's connection"
        conn.execute("INSERT INTO item (name) VALUES ('parent')")
    assert world.names() == ["child 0", "child 1", "child 2", "parent"]
    world.file.processes()  # frees the slots of the children
    assert {view.pid for view in world.file.processes()} == {os.getpid()}
    pool.close()


def test_spawn(world: World, pool: Pool) -> None:
    child = multiprocessing.get_context("spawn").Process(
        target=_insert_in_child, args=(world.cluster, world.directory, "spawned")
    )
    child.start()
    child.join()
    assert world.names() == ["spawned"]
