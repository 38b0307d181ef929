# ruff: noqa: F811 - fixtures are imported by name
"""The client against servers that freeze, connections that are cut, and an agent that is not there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import psycopg
import pytest
from tests.integration.test_client_pool import in_thread, kill_backend_when
from tests.integration.test_client_world import World, two_servers, world  # noqa: F401

from understudy.client import CommitInDoubt, NoPrimaryAvailable, Pool
from understudy.embedded import FaultProxy
from understudy.engines.postgresql.fence_row import read_fence
from understudy.errors import Unreachable
from understudy.lease import Lease, Phase, boot_now
from understudy.model import ClusterState, NodeRecord, Role
from understudy.witness.sqlite import SqliteWitness


@pytest.fixture
def pool(world: World) -> Iterator[Pool]:
    with Pool(world.cluster, world.directory, max_size=4) as pool:
        yield pool


@pytest.fixture
def frozen(world: World) -> Iterator[None]:
    yield
    world.servers["a"].thaw()


@pytest.mark.parametrize(("phase", "primary"), [(Phase.CHANGING, "a"), (Phase.OPEN, "b")])
def test_a_call_on_a_frozen_server_returns_when_the_primary_changes(
    world: World, pool: Pool, frozen: None, phase: Phase, primary: str
) -> None:
    inside, frozen_now = threading.Event(), threading.Event()

    def work() -> None:
        with pool.connection() as conn:
            conn.execute("INSERT INTO item (name) VALUES ('x')")
            inside.set()
            frozen_now.wait()
            conn.execute("SELECT 1")

    result = in_thread(work)
    inside.wait()
    world.servers["a"].freeze()
    frozen_now.set()
    world.at(2, primary, phase)
    with pytest.raises(psycopg.OperationalError) as caught:
        result()
    assert not isinstance(caught.value, CommitInDoubt)
    world.at(3, "b")
    with pool.connection() as conn:
        assert conn.node == "b"
    assert world.file.quiet(before_epoch=9) == []


def test_a_commit_on_a_frozen_server_is_in_doubt_and_exactly_once_settles_it(
    world: World, pool: Pool, frozen: None
) -> None:
    """COMMIT hangs on a; b becomes primary; the work is done there, once."""
    calls: list[str] = []

    def work(conn: psycopg.Connection) -> str:
        conn.execute("INSERT INTO item (name) VALUES ('x')")
        calls.append(conn.node)
        if conn.node == "a":
            world.servers["a"].freeze()
        return conn.node

    result = in_thread(lambda: pool.run(work, exactly_once=True))
    while not calls:
        pass
    world.at(2, "a", Phase.CHANGING)
    world.at(2, "b")
    assert result() == "b"
    assert world.names("b") == ["x"]


def test_waiting_for_a_connection_to_a_frozen_server_moves_on(world: World, frozen: None) -> None:
    world.servers["a"].freeze()
    with Pool(world.cluster, world.directory) as pool:
        result = in_thread(lambda: pool.getconn(60).node)
        while not pool.get_stats().get("requests_waiting"):
            pass
        world.at(2, "b")
        assert result() == "b"


def test_connection_errors_are_reported_to_the_agent(world: World, pool: Pool) -> None:
    import json
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as agent:
        agent.bind(str(world.directory / f"{world.cluster.name}.sock"))
        agent.settimeout(30)
        with pytest.raises(psycopg.OperationalError), pool.connection() as conn:
            conn.execute("SELECT 1")
            kill_backend_when(world, f"pid = {conn.info.backend_pid}")
            conn.execute("SELECT 1")
        message = json.loads(agent.recv(4096))
        assert (message["node"], message["epoch"]) == ("a", 1)
        with pytest.raises(psycopg.errors.UniqueViolation), pool.connection() as conn:
            conn.execute("INSERT INTO item (name) VALUES ('x'), ('x')")
        agent.setblocking(False)
        with pytest.raises(BlockingIOError):
            agent.recv(4096)


def test_a_fence_question_to_a_frozen_server_is_bounded(world: World, frozen: None) -> None:
    dsn = world.cluster.node("a").dsn
    assert read_fence(dsn, timeout=5) == (1, "a")
    world.servers["a"].freeze()
    with pytest.raises(Unreachable, match=r"within 0\.2 s"):
        read_fence(dsn, timeout=0.2)


# --- exactly once -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_exactly_once_whatever_moment_the_connection_is_cut(world: World, seed: int) -> None:
    """Cut the connection at random moments around COMMIT: each piece of work is there exactly once."""
    rng = random.Random(seed)
    with FaultProxy("127.0.0.1", world.servers["a"].port) as proxy:
        world.through("a", proxy.port)
        with Pool(world.cluster, world.directory, max_size=1) as pool:
            for number in range(30):
                cutter = threading.Timer(rng.uniform(0, 0.004), proxy.cut)

                def work(
                    conn: psycopg.Connection, number: int = number, cutter: threading.Timer = cutter
                ) -> int:
                    conn.execute("INSERT INTO item (name) VALUES (%s)", (f"{number:03}",))
                    if not cutter.is_alive() and not cutter.finished.is_set():
                        cutter.start()
                    return number

                assert pool.run(work, exactly_once=True, attempts=50) == number
                cutter.join()
    assert world.names() == [f"{number:03}" for number in range(30)]


@pytest.mark.parametrize("mode", ["black_hole", "deaf"])
def test_exactly_once_when_the_answer_to_commit_never_arrives(world: World, mode: str) -> None:
    with FaultProxy("127.0.0.1", world.servers["a"].port) as proxy:
        world.through("a", proxy.port)
        with Pool(world.cluster, world.directory, max_size=1) as pool:
            calls = []

            def work(conn: psycopg.Connection) -> str:
                conn.execute("INSERT INTO item (name) VALUES ('x')")
                if not calls:
                    getattr(proxy, mode)()
                calls.append(1)
                return "done"

            result = in_thread(lambda: pool.run(work, exactly_once=True))
            while not calls:
                pass
            proxy.cut()
            proxy.pass_through()
            assert result() == "done"
    assert world.names() == ["x"]


# --- nobody renews but the clients --------------------------------------------------------------------------


def write_state(world: World, epoch: int, primary: str) -> None:
    witness = SqliteWitness(world.directory / "witness.db")
    nodes = (NodeRecord(name="a", role=Role.PRIMARY), NodeRecord(name="b", role=Role.STANDBY))
    state = ClusterState(cluster=world.cluster.name, version=0, epoch=epoch, primary=primary, nodes=nodes)
    witness.write(state, expected=0)
    witness.close()


def overdue(world: World, epoch: int = 1, primary: str = "a", left: float = 3.0) -> float:
    """A lease that the agent has not renewed for a while and that runs out soon."""
    now = boot_now()
    world.file.write(
        Lease(epoch=epoch, primary=primary, phase=Phase.OPEN, renewed=now - 4, deadline=now + left)
    )
    return now + left


def wait_for_renewal(world: World, deadline: float) -> Lease:
    while (lease := world.file.read()) is None or lease.deadline <= deadline:
        pass
    return lease


@pytest.mark.parametrize("witness", [True, False])
def test_clients_renew_when_the_agent_does_not(world: World, pool: Pool, witness: bool) -> None:
    if witness:
        write_state(world, 1, "a")
    deadline = overdue(world)
    with pool.connection() as conn:
        conn.execute("SELECT 1")
    lease = wait_for_renewal(world, deadline)
    assert (lease.epoch, lease.primary, lease.phase) == (1, "a", Phase.OPEN)
    with pool.connection() as conn:
        conn.execute("INSERT INTO item (name) VALUES ('goes on')")


def test_clients_renew_with_the_primary_frozen_out_of_the_count(
    world: World, pool: Pool, frozen: None
) -> None:
    """Witness and the standby's fence row are two of three."""
    write_state(world, 1, "a")
    with pool.connection() as conn:
        conn.execute("SELECT 1")
    world.servers["a"].freeze()
    wait_for_renewal(world, overdue(world))


def test_a_lost_lease_is_written_anew(world: World, pool: Pool) -> None:
    write_state(world, 1, "a")
    with pool.connection() as conn:
        conn.execute("SELECT 1")
    path = world.file.path
    with path.open("r+b") as lease:  # not shortened: whoever has it mapped would get SIGBUS
        lease.write(b"\0" * 512)
    with pool.connection() as conn:
        conn.execute("INSERT INTO item (name) VALUES ('back')")
    assert world.names() == ["back"]


@pytest.mark.parametrize("fences", [{"b": 2}, {"a": 2}, {"a": 2, "b": 2}])
def test_nobody_renews_an_epoch_that_is_over(world: World, fences: dict[str, int]) -> None:
    write_state(world, 1, "a")
    for node, epoch in fences.items():
        world.fences(epoch, "b", node)
    with Pool(world.cluster, world.directory) as pool:
        overdue(world, left=-1.0)
        assert not pool._host._renewal.attempt()
        with pytest.raises(NoPrimaryAvailable), pool.connection(timeout=0.3):
            pass
    assert world.file.read().epoch == 1


def test_the_epoch_never_goes_backwards(world: World, pool: Pool) -> None:
    world.at(5, "b")
    with pool.connection() as conn:
        assert conn.epoch == 5
    path = world.file.path
    with path.open("r+b") as lease:  # not shortened: whoever has it mapped would get SIGBUS
        lease.write(b"\0" * 512)
    world.at(4, "a")
    with pytest.raises(NoPrimaryAvailable, match="went back"), pool.connection(timeout=0.1):
        pass


_AGENT = """
import sys, time
from understudy.lease import Lease, LeaseFile, Phase, boot_now
file = LeaseFile(sys.argv[1])
while True:
    now = boot_now()
    file.write(Lease(epoch=1, primary="a", phase=Phase.OPEN, renewed=now, deadline=now + 3))
    print(flush=True)
    time.sleep(0.2)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)])
def test_writes_go_on_without_the_agent(world: World, how: signal.Signals) -> None:
    """Kill or freeze the agent: for three times the lease's life not one write fails."""
    agent = subprocess.Popen([sys.executable, "-c", _AGENT, str(world.file.path)], stdout=subprocess.PIPE)
    try:
        agent.stdout.readline()
        os.kill(agent.pid, how)
        last = world.file.read()
        end = last.deadline + 3
        with Pool(world.cluster, world.directory, kwargs={"autocommit": True}) as pool:
            number = 0
            while boot_now() < end:
                with pool.connection() as conn:
                    conn.execute("INSERT INTO item (name) VALUES (%s)", (str(number),))
                number += 1
        assert len(world.names()) == number
        assert world.file.read().deadline > last.deadline
    finally:
        agent.kill()
        agent.wait()
