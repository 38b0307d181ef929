"""The API of a real agent process on a real pair: stream, order, storm of probes, end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from understudy.demo.lab import MANUAL, Lab
from understudy.embedded.postgresql import free_port
from understudy.model import Rpo

OPERATOR = "operator-of-the-test-0123456789abcdef"
HEAD = {"Authorization": f"Bearer {OPERATOR}"}


@contextmanager
def serving(mode: Rpo) -> Iterator[tuple[Lab, str]]:
    """A lab whose agent answers HTTP, and its address."""
    port = free_port()
    # A probe that a busy machine answers late would be a miss: no primary for the balancer, and a new session.
    with Lab(mode=mode, scale=1, policy=MANUAL | {"probe_timeout": "4s"}) as lab:
        lab.agent.stop()
        section = f'[api]\nlisten = "127.0.0.1:{port}"\noperator_token = "{OPERATOR}"\n'
        lab.config_file.write_text(lab.config_file.read_text() + section)
        lab.start_agent()
        address = f"http://127.0.0.1:{port}"
        lab.await_true(lambda: _ready(address), 60, "an agent that is ready")
        yield lab, address


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Lab, str]]:
    with serving(Rpo.BOUNDED) as lab:
        yield lab


def _ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readiness", timeout=60).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def _sessions(lab: Lab, node: str) -> Iterator[Callable[[], tuple[set[int], int]]]:
    """The agent's sessions on a node, and how many sessions its database ever had (`pg_stat_database`)."""
    asked = """
        SELECT (SELECT array_agg(pid) FROM pg_stat_activity
                WHERE usename = 'understudy' AND backend_type = 'client backend'),
               (SELECT sessions FROM pg_stat_database WHERE datname = current_database())
    """
    with lab.connect(node, "postgres") as connection:

        def now() -> tuple[set[int], int]:
            ((pids, ever),) = connection.execute(asked)
            return set(pids or ()), ever

        yield now


def test_a_storm_of_probes_opens_no_connection(served: tuple[Lab, str]) -> None:
    lab, address = served
    lab.await_true(
        lambda: httpx.get(f"{address}/nodes/a/primary", timeout=60).status_code == 200, 60, "a primary"
    )
    asked = ("/nodes/a/primary", "/nodes/a/health", "/health", "/api/health", "/api/v1/health/databases")

    def storm(_: int) -> set[int]:
        with httpx.Client(base_url=address, timeout=60) as client:
            return {client.get(asked[number % len(asked)]).status_code for number in range(250)}

    with _sessions(lab, "a") as on_a, _sessions(lab, "b") as on_b:
        before = on_a(), on_b()
        with ThreadPoolExecutor(4) as pool:
            codes = set().union(*pool.map(storm, range(4)))
        assert codes == {200}
        assert (on_a(), on_b()) == before
    assert not [event for event in lab.events() if event.kind == "node_down"]


def test_a_switchover_over_http_is_told_by_the_stream(served: tuple[Lab, str]) -> None:
    lab, address = served
    with httpx.Client(base_url=address, headers=HEAD, timeout=60) as client:
        with client.stream("GET", "/api/v1/stream") as stream:
            lines = stream.iter_lines()
            assert next(lines) == "event: clusters"
            shown = json.loads(next(lines).removeprefix("data: "))["clusters"][0]
            assert (shown["name"], shown["primary"], shown["acting"]) == ("demo", "a", True)
            order = client.post("/api/v1/clusters/demo/switchover", json={"target": "b"})
            assert order.status_code == 202
            told = (json.loads(line[6:]) for line in lines if line.startswith("data: "))
            assert next(e for e in told if e.get("kind") == "step:publish")["epoch"] == shown["epoch"] + 1
        lab.await_settled()
        lab.await_true(lambda: client.get("/nodes/b/primary").status_code == 200, 60, "the new primary")
        assert client.get("/nodes/a/primary").status_code == 503
        swap = client.get("/api/health").json()["hotSwap"]
        assert swap["currentDatabase"] == "secondary"
        assert "lastFailover" in swap
        found = client.get("/metrics").text
        assert 'understudy_primary_changes_total{cause="ordered",cluster="demo"} 1.0' in found


def test_the_agent_ends_with_a_listener_on_the_line(served: tuple[Lab, str]) -> None:
    lab, address = served
    with httpx.stream("GET", f"{address}/api/v1/stream", headers=HEAD, timeout=60) as stream:
        next(stream.iter_lines())
        process = lab.agent._process
        assert process is not None
        process.terminate()
        assert process.wait(60) == 0
    lab.start_agent()
