"""How the databases are, as the documents' two addresses show it. Needs no token: no host, no name, no error text.

Asked on connections of their own, so it answers while the application's are lost. Who fails over is the agent, which
has the same two addresses with what it has seen itself; this is the view of one process of the web.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from understudy.integrations.django.health import DatabaseHealthService, HealthStatus
from understudy.integrations.django.places import cluster_connection

FRESH_SECONDS: Final = 1.0
"""An answer is given again for so long: nobody can make the web open connections faster than that."""
PROVIDERS: Final = {"self-hosted": "Local PostgreSQL", "supabase": "Supabase", "neon": "Neon"}


@dataclass(frozen=True, slots=True)
class Seen:
    """How both nodes are. ``misses``: how often in a row the one that is written to was not there."""

    status: HealthStatus
    misses: int = 0

    @property
    def away(self) -> bool:
        """Is the application on the other node than the preferred one?"""
        return self.status["failover_active"]

    @property
    def serves(self) -> bool:
        """Is the node there that the application writes to?"""
        return self.status["backup" if self.away else "primary"]["healthy"]

    @property
    def spare(self) -> bool:
        """Is the other one?"""
        return self.status["primary" if self.away else "backup"]["healthy"]


class Watch:
    """Asks for the nodes' health, once in ``fresh`` seconds; one thread asks, the others wait for its answer."""

    def __init__(self, ask: Callable[[], HealthStatus], fresh: float = FRESH_SECONDS) -> None:
        self._ask, self._fresh = ask, fresh
        self._lock = threading.Lock()
        self._last: tuple[float, Seen] | None = None

    def look(self) -> Seen:
        """How they are, or were a moment ago."""
        with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > self._fresh:
                before = 0 if self._last is None else self._last[1].misses
                found = Seen(self._ask())
                seen = found if found.serves else Seen(found.status, before + 1)
                self._last = (time.monotonic(), seen)
            return self._last[1]


_watch = Watch(DatabaseHealthService.get_health_status)


@require_safe
def databases(request: HttpRequest) -> JsonResponse:
    """`/api/v1/health/databases`: which database serves. There is one engine here, so one entry."""
    seen = _watch.look()
    provider = cluster_connection().target.cluster.nodes[int(seen.away)].provider
    return _answer(databases_body(seen, PROVIDERS.get(provider, provider)), seen)


@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """`/api/health`: is the database there, which one is it, could another take its place?"""
    seen = _watch.look()
    body = health_body(seen, failover=cluster_connection().target.cluster.policy.failover)
    return _answer({"timestamp": timezone.now().strftime("%Y-%m-%dT%H:%M:%S.000Z"), **body}, seen)


def databases_body(seen: Seen, current: str) -> dict[str, Any]:
    """Primary there means the preferred node, fallback the other one; ``current``: what the present primary is."""
    postgres = {
        "using_primary": not seen.away,
        "primary_available": seen.status["primary"]["healthy"],
        "fallback_available": seen.status["backup"]["healthy"],
        "primary_healthy": seen.status["primary"]["healthy"],
        "current_db": current,
    }
    overall = "unhealthy" if not seen.serves else "healthy" if seen.spare else "degraded"
    return {"postgres": postgres, "overall_status": overall}


def health_body(seen: Seen, *, failover: bool) -> dict[str, Any]:
    """``failover``: whether the agent does it by itself."""
    return {
        "status": "healthy" if seen.serves else "unhealthy",
        "database": "connected" if seen.serves else "disconnected",
        "hotSwap": {
            "enabled": failover,
            "currentDatabase": "secondary" if seen.away else "primary",
            "failoverAvailable": seen.spare,
            "failureCount": seen.misses,
        },
    }


def _answer(body: dict[str, Any], seen: Seen) -> JsonResponse:
    return JsonResponse(body, status=200 if seen.serves else 503, headers={"Cache-Control": "no-store"})
