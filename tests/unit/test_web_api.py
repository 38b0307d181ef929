"""The API over agents that see what the test says: balancers, health documents, roles, orders, secrets."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.unit.web_world import (
    GUARDED,
    OPERATOR,
    PASSWORD,
    READER,
    World,
    bearer,
    cluster,
    probe,
    state,
    world,
)

from understudy.lease import boot_now
from understudy.model import NodeView, Plan, PlanKind, Policy, Role, Rpo
from understudy.web import auth
from understudy.web.auth import Attempts
from understudy.web.health import disabled
from understudy.web.watcher import Watcher
from understudy.witness import Entry

PRIMARY, STANDBY = "/nodes/home/primary", "/nodes/cloud/standby"


async def test_only_the_primary_is_primary(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for method in ("GET", "HEAD", "OPTIONS"):
            assert await w.code("/primary?node=home", method) == await w.code(PRIMARY, method) == 200
            assert await w.code("/primary?node=cloud&cluster=main", method) == 503
        assert await w.code(STANDBY) == await w.code("/replica?node=cloud") == 200
        assert await w.code("/nodes/home/standby") == 503
        assert [await w.code(p) for p in ("/health", "/liveness", "/readiness", "/nodes/cloud/health")] == [
            200
        ] * 4


async def test_a_question_without_a_node_is_never_answered_for_both(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        assert await w.code("/primary") == 400
        assert await w.code("/primary?node=nobody") == await w.code("/primary?node=home&cluster=x") == 404


PLAN = Plan(
    kind=PlanKind.SWITCHOVER,
    epoch=4,
    source="home",
    target="cloud",
    number=9,
    slot="s",
    rule="r",
    reason="ada asked for it",
)
NOT_PRIMARY = {
    "it misses probes": (state(), NodeView(name="home", misses=1, error="x", probe=probe("primary"))),
    "it is read-only": (state(), probe("primary", fenced=True)),
    "it cannot write": (state(), probe("primary", unwritable="disk full")),
    "its fence row is another epoch": (state(), probe("primary", epoch=4)),
    "a change is under way": (state(plan=PLAN), probe("primary")),
    "the state is unknown": (None, probe("primary")),
}


@pytest.mark.parametrize("why", NOT_PRIMARY)
async def test_in_doubt_nobody_is_primary(tmp_path: Path, why: str) -> None:
    async with world(tmp_path) as w:
        now, home = NOT_PRIMARY[why]
        w.see(now, home, probe("standby"))
        assert await w.code(PRIMARY) == 503
        assert await w.code("/health") == 503
        assert await w.code("/liveness") == 200


async def test_an_answer_that_is_older_than_a_lease_counts_for_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        old = boot_now() - w.running.config.clusters[0].policy.lease_ttl - 1
        w.see(state(), probe("primary", answered=old), probe("standby", answered=old))
        assert await w.code(PRIMARY) == await w.code(STANDBY) == 503


@pytest.mark.parametrize(
    ("lag", "code"), [("1", 200), ("500ms", 200), ("0.4", 503), ("400ms", 503), ("x", 400)]
)
async def test_the_longest_lag(tmp_path: Path, lag: str, code: int) -> None:
    async with world(tmp_path) as w:
        assert await w.code(f"{STANDBY}?lag={lag}") == code


async def test_an_unknown_lag_is_too_much(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.see(state(), probe("primary"), probe("standby", heartbeat=0))
        assert (await w.code(STANDBY), await w.code(f"{STANDBY}?lag=60")) == (200, 503)


async def test_where_nobody_stands_by_there_is_no_lag(tmp_path: Path) -> None:
    """The heartbeats of a detached node say how old its contents are, not how far it is behind."""
    async with world(tmp_path) as w:
        detached = state().with_record("cloud", role=Role.DETACHED)
        w.see(detached, probe("primary"), probe("standby"))
        assert (await w.client.get("/api/v1/clusters/main")).json()["lag_seconds"] is None


async def test_an_agent_that_waits_answers_from_the_witness_and_says_so(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.see(None, probe("primary"), probe("standby"), acting=False)
        async with asyncio.timeout(60):
            while await w.code(PRIMARY) != 200:  # until it has read the witness
                await asyncio.sleep(0.01)
        assert (await w.client.get(PRIMARY)).json() == {"role": "primary", "holds": True, "acting": False}
        assert await w.code(f"{STANDBY}?lag=1") == 200
        (found,) = (await w.client.get("/api/v1/clusters")).json()["clusters"]
        assert (found["acting"], found["rule"], found["lag_seconds"]) == (False, "standby_agent", 0.5)


async def test_what_a_waiting_agent_read_too_long_ago_counts_for_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        watcher = Watcher(w.running)
        w.see(None, probe("primary"), probe("standby"), acting=False)
        too_long = w.running.config.clusters[0].policy.lease_ttl + 1
        watcher._states["main"] = (boot_now() - too_long, state())
        assert not watcher.seen("main").is_primary("home")


# --- the documents ----------------------------------------------------------------------------------------------

DATABASES = """{
  "postgres": {
    "using_primary": true,
    "primary_available": true,
    "fallback_available": true,
    "primary_healthy": true,
    "current_db": "Supabase"
  },
  "overall_status": "healthy"
}"""
ON_PRIMARY = """{
  "status": "healthy",
  "timestamp": "2025-11-14T10:30:00.000Z",
  "database": "connected",
  "hotSwap": {
    "enabled": true,
    "currentDatabase": "primary",
    "failoverAvailable": true,
    "failureCount": 0
  }
}"""
AFTER_FAILOVER = """{
  "status": "healthy",
  "timestamp": "2025-11-14T10:30:00.000Z",
  "database": "connected",
  "hotSwap": {
    "enabled": true,
    "currentDatabase": "secondary",
    "failoverAvailable": true,
    "failureCount": 0,
    "lastFailover": "2025-11-14T10:25:00.000Z",
    "uptimeSinceFailover": "300s"
  }
}"""
WITHOUT = {
    "enabled": False,
    "message": "Set DATABASE_URL_SECONDARY to enable automatic database failover",
}
NOW = 1763116200.0  # 2025-11-14T10:30:00Z


async def test_databases_as_in_the_document(tmp_path: Path) -> None:
    async with world(tmp_path, first="supabase", second="self-hosted") as w:
        assert (await w.client.get("/api/v1/health/databases")).text == DATABASES


@pytest.mark.parametrize(("primary", "text"), [("home", ON_PRIMARY), ("cloud", AFTER_FAILOVER)])
async def test_hot_swap_as_in_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, primary: str, text: str
) -> None:
    async with world(tmp_path) as w:
        monkeypatch.setattr("understudy.witness.sqlite.time.time", lambda: NOW - 300)
        w.witness.log("main", epoch=3, entry=Entry(agent="t", kind="step:publish", message="x"))
        monkeypatch.setattr("understudy.web.health.time.time", lambda: NOW)
        roles = ("primary", "standby") if primary == "home" else ("standby", "primary")
        w.see(state(primary), probe(roles[0]), probe(roles[1]))
        watcher: Watcher = w.client._transport.app.state.watcher  # type: ignore[attr-defined]
        watcher.look()
        assert (await w.client.get("/api/health")).text == text


async def test_hot_swap_where_nothing_fails_over(tmp_path: Path) -> None:
    one = replace(cluster(), nodes=cluster().nodes[:1])
    assert disabled(one) == WITHOUT
    async with world(tmp_path, failover=False) as w:
        swap = (await w.client.get("/api/health")).json()["hotSwap"]
        assert (swap["enabled"], list(swap)) == (False, list(WITHOUT))


async def test_health_of_a_lost_primary(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.see(state(), NodeView(name="home", misses=2, error="x", probe=probe("primary")), probe("standby"))
        found = await w.client.get("/api/v1/health/databases")
        assert (found.status_code, found.json()["overall_status"]) == (503, "unhealthy")
        found = await w.client.get("/api/health")
        assert (found.status_code, found.json()["database"]) == (503, "disconnected")
        assert found.json()["hotSwap"]["failureCount"] == 2
        w.see(state(), probe("primary"), NodeView(name="cloud", misses=9, error="x"))
        assert (await w.client.get("/api/v1/health/databases")).json()["overall_status"] == "degraded"


# --- who may what -----------------------------------------------------------------------------------------------

LOOKS = (
    "clusters",
    "clusters/main",
    "clusters/main/events",
    "clusters/main/explain",
    "clusters/main/rescues",
)
ORDERS = ("switchover", "failover", "failback", "pause", "resume")


async def test_roles(tmp_path: Path) -> None:
    async with world(tmp_path, GUARDED) as w:
        looks = [f"/api/v1/{path}" for path in LOOKS] + ["/metrics"]
        for path in [*looks, "/api/v1/stream"]:
            assert await w.code(path) == 401
        for path in looks:
            assert (
                await w.code(path, headers=bearer(READER))
                == await w.code(path, headers=bearer(OPERATOR))
                == 200
            )
        for order in ORDERS:
            path = f"/api/v1/clusters/main/{order}"
            assert await w.code(path, "POST", json={}) == 401
            assert await w.code(path, "POST", json={}, headers=bearer(READER)) == 403
        assert w.witness.read("main") == replace(state(), version=1)
        assert await w.code(PRIMARY) == 200


async def test_without_tokens_everybody_here_may_look_and_nobody_may_act(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        assert await w.code("/api/v1/clusters") == 200
        for order in ORDERS:
            assert await w.code(f"/api/v1/clusters/main/{order}", "POST", json={}) == 403


def _posted(w: World, path: str, **more: Any) -> httpx.Request:
    """As curl sends it: without a body there is no length either."""
    request = w.client.build_request("POST", path, **more)
    if "content" not in more:
        del request.headers["content-length"]
    return request


async def test_orders_are_those_of_the_command_line(tmp_path: Path) -> None:
    async with world(tmp_path, GUARDED) as w:
        path, head = "/api/v1/clusters/main/switchover", bearer(OPERATOR)
        found = await w.client.post(path, json={}, headers=head)
        assert (found.status_code, "no agent acts" in found.json()["error"]) == (503, True)
        w.witness.take_agent("main", "me", boot_now(), 3.0)
        assert await w.code(path, "POST", json={"target": "home"}, headers=head) == 409
        assert await w.code(path, "POST", json={"target": "nobody"}, headers=head) == 422
        assert await w.code(path, "POST", json={"accept_loss": True}, headers=head) == 422
        assert await w.code(path, "POST", json={"tarket": "cloud"}, headers=head) == 422
        form = {**head, "Content-Type": "application/x-www-form-urlencoded"}
        for content, said in (({"content": b"{}", "headers": form}, 422), ({"headers": head}, 411)):
            found = await w.client.send(_posted(w, path, **content))
            assert (found.status_code, "Content-Type: application/json" in found.json()["error"]) == (
                said,
                True,
            )
        found = await w.client.post(path, json={"target": "cloud"}, headers=head)
        now = w.witness.read("main")
        assert found.status_code == 202
        assert now is not None and now.request is not None
        assert (now.request.id, now.request.target) == (found.json()["id"], "cloud")
        assert await w.code(path, "POST", json={}, headers=head) == 409  # one order at a time
        assert await w.code("/api/v1/clusters/main/pause", "POST", json={}, headers=head) == 200
        (*_, asked, paused) = w.witness.events("main", limit=10)
        assert (asked.kind, asked.agent, paused.kind) == ("asked", "api:operator", "paused")


async def test_wrong_tokens_are_slowed_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_PER_SECOND", 0.0)  # however long this takes
    async with world(tmp_path, GUARDED) as w:
        codes = [await w.code("/api/v1/clusters", headers=bearer("wrong")) for _ in range(14)]
        assert codes == [401] * 10 + [429] * 4


def test_addresses_of_wrong_tokens_are_bounded() -> None:
    attempts = Attempts()
    for number in range(5000):
        attempts.wrong(str(number))
    assert len(attempts) == 1024


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8008", "127.0.0.1.evil.example", "[::2]:8008"]
)
async def test_a_foreign_name_is_refused(tmp_path: Path, host: str) -> None:
    async with world(tmp_path) as w:
        assert await w.code("/api/v1/clusters", headers={"Host": host}) == 421
        assert await w.code("/api/v1/clusters", headers={"Host": "localhost:8008"}) == 200


async def test_long_bodies_are_refused(tmp_path: Path) -> None:
    async with world(tmp_path, GUARDED) as w:
        path = "/api/v1/clusters/main/switchover"
        assert await w.code(path, "POST", content=b" " * 20_000, headers=bearer(OPERATOR)) == 413


async def test_no_host_no_version_and_no_secret_for_nobody(tmp_path: Path) -> None:
    error = (
        'connection to server at "db.farm.example" (192.0.2.7), port 5432 failed; '
        f"postgresql://app:{PASSWORD}@10.20.30.40:5432/farm [2001:db8::7]:5432"
    )
    async with world(tmp_path) as w:
        w.see(state(), NodeView(name="home", misses=9, error=error), probe("standby"))
        w.witness.log("main", epoch=3, entry=Entry(agent="t", kind="node_down", message=error))
        paths = [*(f"/api/v1/{p}" for p in LOOKS), PRIMARY, "/health", "/api/health", "/metrics"]
        paths += ["/api/v1/health/databases", "/api/v1/openapi.json", "/nowhere"]
        for path in paths:
            found = await w.client.get(path)
            said = found.text + repr(found.headers)
            for secret in (PASSWORD, "db.farm.example", "192.0.2.7", "10.20.30.40", "2001:db8"):
                assert secret not in said, path
            assert "0.1.0" not in said
        assert "(host)" in (await w.client.get("/api/v1/clusters")).text
    async with world(tmp_path / "guarded", GUARDED) as w:
        w.see(state(), NodeView(name="home", misses=9, error=error), probe("standby"))
        said = (await w.client.get("/api/v1/clusters", headers=bearer(READER))).text
        assert "192.0.2.7" in said
        assert PASSWORD not in said


async def test_one_cluster_as_the_page_expects_it(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.see(state(plan=PLAN), probe("primary"), probe("standby"))
        found = (await w.client.get("/api/v1/clusters/main")).json()
        assert found == (await w.client.get("/api/v1/clusters")).json()["clusters"][0]
        assert found["plan"] == {
            "kind": "switchover",
            "target": "cloud",
            "done": [],
            "step": "prepare_reverse",
            "reason": PLAN.reason,
        }
        assert found["promise"] == {"mode": "bounded", "max_lag_seconds": Policy().max_lag_seconds}
        assert (found["lag_seconds"], found["lag_bytes"], found["primary"]) == (0.5, 100, "home")
        assert [n["role"] for n in found["nodes"]] == ["primary", "standby"]
        gates = (await w.client.get("/api/v1/clusters/main/explain")).json()["gates"]
        assert set(gates) == {"switchover", "failover", "automatic failover", "automatic failback"}
        assert await w.code("/api/v1/clusters/nobody") == 404


async def test_zero_promises_without_a_bound(tmp_path: Path) -> None:
    async with world(tmp_path, rpo=Rpo.ZERO) as w:
        found = (await w.client.get("/api/v1/clusters/main")).json()
        assert found["promise"] == {"mode": "zero", "max_lag_seconds": None}


async def test_the_schema_names_every_path(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        schema = (await w.client.get("/api/v1/openapi.json")).json()
        wanted = {f"/api/v1/clusters/{{name}}/{order}" for order in ORDERS}
        wanted |= {"/primary", "/nodes/{node}/primary", "/standby", "/health", "/api/health", "/metrics"}
        assert wanted <= set(schema["paths"])
        references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(schema)))
        assert references <= set(schema["components"]["schemas"])
