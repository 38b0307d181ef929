"""Real agents that have never run, with what they would have seen put in, and the application on top."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from understudy.agent.agent import ClusterAgent
from understudy.agent.service import Running
from understudy.config import Config
from understudy.config_api import Api
from understudy.engines import engine_for
from understudy.lease import boot_now
from understudy.model import (
    Cluster,
    ClusterState,
    Link,
    Node,
    NodeRecord,
    NodeView,
    Policy,
    Probe,
    Role,
    SubscriptionView,
)
from understudy.web.app import create_app
from understudy.witness import SqliteWitness

OPERATOR, READER = "operator-0123456789abcdef", "reader-0123456789abcdef"
PASSWORD = "hunter2-secret"


def cluster(name: str = "main", first: str = "self-hosted", second: str = "supabase") -> Cluster:
    def node(number: int, called: str, host: str, provider: str) -> Node:
        dsn = f"postgresql://app:{PASSWORD}@{host}:5432/farm"
        return Node(
            name=called, dsn=dsn, admin_dsn=dsn, replication_dsn=dsn, priority=number, provider=provider
        )

    nodes = (node(1, "home", "db.farm.example", first), node(2, "cloud", "10.20.30.40", second))
    return Cluster(name=name, engine="postgresql", nodes=nodes, policy=Policy())


def state(primary: str = "home", **changes: object) -> ClusterState:
    other = "cloud" if primary == "home" else "home"
    made = ClusterState(
        cluster="main",
        version=0,
        epoch=3,
        primary=primary,
        nodes=(
            NodeRecord(name="home", role=Role.PRIMARY if primary == "home" else Role.STANDBY, verified=True),
            NodeRecord(
                name="cloud", role=Role.PRIMARY if primary == "cloud" else Role.STANDBY, verified=True
            ),
        ),
        link=Link(name="l", publisher=primary, subscriber=other),
        spare_slot="s",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def probe(role: str, **changes: object) -> Probe:
    now = boot_now() - (0.1 if role == "primary" else 0.0)  # the standby was asked after it
    following = {"l": SubscriptionView(enabled=True, running=True, ready=True, origin=900)}
    made = Probe(at=now - 0.002, answered=now, epoch=3, wal=1000, heartbeat=2_000, fenced=role == "standby")
    made = replace(made, subscriptions=following, heartbeat=1_500) if role == "standby" else made
    return replace(made, **changes)  # type: ignore[arg-type]


@dataclass
class World:
    """An agent and its application. ``agent._state`` and the probers' views are what it has seen."""

    running: Running
    agent: ClusterAgent
    witness: SqliteWitness
    client: httpx.AsyncClient

    def see(
        self,
        now: ClusterState | None,
        home: NodeView | Probe,
        cloud: NodeView | Probe,
        *,
        acting: bool = True,
    ) -> None:
        self.agent._acting, self.agent._state = acting, now
        for name, found in (("home", home), ("cloud", cloud)):
            view = found if isinstance(found, NodeView) else NodeView(name=name, probe=found)
            self.agent._probers[name].view = view
        first = self.agent._probers["home" if now is None else now.primary].view.probe
        if first is not None:
            self.agent._watch.wrote_heartbeat(first.heartbeat, first.answered)

    async def code(self, path: str, method: str = "GET", **more: object) -> int:
        return (await self.client.request(method, path, **more)).status_code  # type: ignore[arg-type]


@asynccontextmanager
async def world(
    directory: Path,
    api: Api | None = None,
    first: str = "self-hosted",
    second: str = "supabase",
    **policy: object,
) -> AsyncIterator[World]:
    """Both nodes well, home is primary, this agent acts. What was seen stays fresh however busy the machine is."""
    made = cluster(first=first, second=second)
    patient = {"lease_ttl": 300.0, "agent_takeover": 300.0} | policy
    made = replace(made, policy=replace(made.policy, **patient))  # type: ignore[arg-type]
    directory.mkdir(exist_ok=True)
    witness = SqliteWitness(directory / "witness.db")
    written = witness.write(state(), expected=0)
    agent = ClusterAgent(made, engine_for(made), witness, directory)
    config = Config((made,), directory, "test", (), api=api)
    running = Running(config=config, witness=witness, agents={"main": agent})
    app = create_app(running)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8008") as client:
            found = World(running, agent, witness, client)
            found.see(written, probe("primary"), probe("standby"))
            yield found
    agent._lease.close()
    witness.close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


GUARDED = Api(host="127.0.0.1", port=8008, operator_token=OPERATOR, read_token=READER)
