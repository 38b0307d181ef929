"""The two health endpoints that applications were written against, byte for byte as their documents show them.

`/api/v1/health/databases`: which database serves, by engine. `/api/health`: the one pair and its automatic failover.
"Primary" there means the preferred node, "fallback" and "secondary" the other one. Needs no token: no host, no version.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from fastapi import APIRouter, HTTPException
from starlette.responses import Response

from understudy.config_environment import ENABLE_HINT
from understudy.model import Cluster
from understudy.web.watcher import Seen, Watcher

_ENGINES = {"postgresql": "postgres"}
_PROVIDERS = {
    "self-hosted": "Local PostgreSQL",
    "supabase": "Supabase",
    "neon": "Neon",
    "railway": "Railway",
    "rds": "Amazon RDS",
    "azure": "Azure",
}
ENABLE_FAILOVER = "Set UNDERSTUDY_FAILOVER=true to enable automatic database failover"


def router(watcher: Watcher) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(tags=["health"])

    @routes.api_route("/api/v1/health/databases", methods=["GET"], response_class=Response)
    async def health_databases(cluster: str | None = None) -> Response:
        """Which database serves, by engine; the first cluster, or the one that was asked for."""
        body = databases([_chosen(watcher, cluster)])
        return _json(body, body["overall_status"] != "unhealthy")

    @routes.api_route("/api/health", methods=["GET"], response_class=Response)
    async def health(cluster: str | None = None) -> Response:
        """Whether the database is there, which one it is, and whether another could take its place."""
        seen = _chosen(watcher, cluster)
        changed = watcher.published.get(seen.cluster.name)
        body = hot_swap(seen, time.time(), changed.wall if changed is not None else None)
        return _json(body, body["status"] != "unhealthy")

    return routes


def databases(clusters: Sequence[Seen]) -> dict[str, object]:
    """The object of `/api/v1/health/databases`: one entry per engine."""
    body: dict[str, object] = {_ENGINES[s.cluster.engine]: _database(s) for s in clusters}
    serving = all(_serves(s) for s in clusters)
    whole = serving and all(s.answers(n.name) for s in clusters for n in s.cluster.nodes)
    return {**body, "overall_status": "healthy" if whole else "degraded" if serving else "unhealthy"}


def _database(seen: Seen) -> dict[str, object]:
    preferred, other = seen.cluster.nodes
    current = seen.state.primary if seen.state is not None else preferred.name
    usable = seen.is_primary(preferred.name) or seen.is_standby(preferred.name, None)
    provider = seen.cluster.node(current).provider
    return {
        "using_primary": current == preferred.name,
        "primary_available": seen.answers(preferred.name),
        "fallback_available": seen.answers(other.name),
        "primary_healthy": usable,
        "current_db": _PROVIDERS.get(provider, provider),
    }


def hot_swap(seen: Seen, now: float, changed: float | None) -> dict[str, object]:
    """The object of `/api/health`. ``now`` and ``changed`` (of the last change of primary): wall seconds."""
    serves = _serves(seen)
    return {
        "status": "healthy" if serves else "unhealthy",
        "timestamp": _iso(now),
        "database": "connected" if serves else "disconnected",
        "hotSwap": _swap(seen, now, changed),
    }


def disabled(cluster: Cluster) -> dict[str, object] | None:
    """What ``hotSwap`` says where nothing would fail over by itself; None where it would."""
    if len(cluster.nodes) < 2:
        return {"enabled": False, "message": ENABLE_HINT}
    return None if cluster.policy.failover else {"enabled": False, "message": ENABLE_FAILOVER}


def _swap(seen: Seen, now: float, changed: float | None) -> dict[str, object]:
    off = disabled(seen.cluster)
    if off is not None:
        return off
    preferred = seen.cluster.preferred.name
    current = seen.state.primary if seen.state is not None else preferred
    other = next(n.name for n in seen.cluster.nodes if n.name != current)
    body: dict[str, object] = {
        "enabled": True,
        "currentDatabase": "primary" if current == preferred else "secondary",
        "failoverAvailable": seen.is_standby(other, None),
        "failureCount": seen.sight.nodes[current].misses,
    }
    if current != preferred and changed is not None:
        body["lastFailover"] = _iso(changed)
        body["uptimeSinceFailover"] = f"{max(0, int(now - changed))}s"
    return body


def _serves(seen: Seen) -> bool:
    return seen.state is not None and seen.is_primary(seen.state.primary)


def _iso(wall: float) -> str:
    return (
        datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(wall * 1000) % 1000:03d}Z"
    )


def _chosen(watcher: Watcher, cluster: str | None) -> Seen:
    name = cluster if cluster is not None else next(iter(watcher.running.agents))
    if name not in watcher.running.agents:
        raise HTTPException(404, "no such cluster")
    return watcher.seen(name)


def _json(body: dict[str, object], good: bool) -> Response:
    """As the documents print it."""
    text = json.dumps(body, indent=2, ensure_ascii=False)
    return Response(text, 200 if good else 503, {"Cache-Control": "no-store"}, "application/json")
