"""`/metrics` for Prometheus: what the agents see, and counts of what happened since this process began.

Names and units: `docs/reference/metrics.md`. Nothing here asks a database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from fastapi import APIRouter, Depends
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.responses import Response

from understudy.agent.history import HISTORY, last_change, made_a_rescue, step_name
from understudy.agent.looking import bytes_behind
from understudy.model import PlanKind, Rpo
from understudy.web import metrics_kept
from understudy.web.auth import Guard, Role
from understudy.web.watcher import Seen, Watcher
from understudy.witness import Event

_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_CAUSES = {
    "request": "ordered",
    "failback": "failback",
    "primary_down": "primary_down",
    "escalate": "primary_down",
}
_OTHER = "other"


def router(watcher: Watcher, guard: Guard) -> APIRouter:
    """The endpoint. Reading needs a token where tokens are configured."""
    routes = APIRouter(tags=["metrics"])
    reading = Depends(guard.reading)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Present(watcher))
    watcher.counters.append(Counts(watcher, registry).take)

    @routes.get("/metrics", response_class=Response)
    async def metrics(_: Role = reading) -> Response:
        """In the text format of Prometheus."""
        text = await asyncio.to_thread(generate_latest, registry)  # it reads files
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return routes


class Counts:
    """Counts new lines of history. Each child exists from the start, so that the first one is an increase."""

    def __init__(self, watcher: Watcher, registry: CollectorRegistry) -> None:
        self._watcher = watcher
        label = ("cluster", "cause")
        text = "Time from the first step of a change of primary to its publication."
        self._durations = Histogram(
            "understudy_failover_duration_seconds", text, label, buckets=_BUCKETS, registry=registry
        )
        text = "Changes of primary that were published."
        self._changes = Counter("understudy_primary_changes", text, label, registry=registry)
        text = "Lines written to the history of the cluster."
        self._events = Counter("understudy_events", text, ("cluster",), registry=registry)
        text = "Rescues made of what only an old primary had."
        self._rescues = Counter("understudy_rescues", text, ("cluster",), registry=registry)
        for name in watcher.running.agents:
            self._events.labels(name)
            self._rescues.labels(name)
            for cause in sorted({*_CAUSES.values(), _OTHER}):
                self._changes.labels(name, cause)
                self._durations.labels(name, cause)

    def take(self, event: Event) -> None:
        """One new line of history."""
        self._events.labels(event.cluster).inc()
        step = step_name(event)
        if made_a_rescue(event):
            self._rescues.labels(event.cluster).inc()
        if step == "publish":
            lines = self._watcher.running.witness.events(event.cluster, limit=HISTORY)
            change = last_change([line for line in lines if line.id <= event.id])
            if change is not None:
                kind = change.cause.kind if change.cause is not None else ""
                cause = _CAUSES.get(kind, _OTHER)
                self._changes.labels(event.cluster, cause).inc()
                self._durations.labels(event.cluster, cause).observe(change.seconds)


class Present(Collector):
    """What the agents know at the moment of the scrape."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def collect(self) -> Iterator[Metric]:
        """All families; one without a known value has no sample."""
        every = self._watcher.all
        yield from self._of_clusters(every)
        yield from self._of_nodes(every)
        yield from metrics_kept.families(self._watcher.readers)
        text = "Commits of this host's clients of which nobody knows the outcome (CommitInDoubt)."
        doubts = CounterMetricFamily("understudy_commit_in_doubt", text, labels=["cluster"])
        for seen in every:
            doubts.add_metric([seen.cluster.name], float(seen.sight.in_doubt))
        yield doubts

    def _of_clusters(self, every: list[Seen]) -> Iterator[Metric]:
        for name, text, value in _CLUSTER_GAUGES:
            family = GaugeMetricFamily(f"understudy_{name}", text, labels=["cluster"])
            for seen in every:
                found = value(seen, self._watcher)
                if found is not None:
                    family.add_metric([seen.cluster.name], float(found))
            yield family
        plans = GaugeMetricFamily(
            "understudy_plan_active", "1 for the plan that is under way.", labels=["cluster", "kind"]
        )
        for seen in every:
            now = seen.state.plan.kind if seen.state is not None and seen.state.plan is not None else None
            for kind in PlanKind:
                plans.add_metric([seen.cluster.name, str(kind)], float(kind is now))
        yield plans

    def _of_nodes(self, every: list[Seen]) -> Iterator[Metric]:
        for name, text, value in _NODE_GAUGES:
            family = GaugeMetricFamily(f"understudy_node_{name}", text, labels=["cluster", "node"])
            for seen in every:
                for node in seen.cluster.nodes:
                    found = value(seen, node.name)
                    if found is not None:
                        family.add_metric([seen.cluster.name, node.name], float(found))
            yield family


def _lag_bytes(seen: Seen) -> float | None:
    return None if seen.state is None else bytes_behind(seen.state, dict(seen.sight.nodes))


def _in_sync(seen: Seen) -> float | None:
    return seen.state.in_sync if seen.state is not None and seen.cluster.policy.rpo is Rpo.ZERO else None


def _probe_seconds(seen: Seen, node: str) -> float | None:
    view = seen.sight.nodes[node]
    return view.probe.answered - view.probe.at if view.probe is not None and view.up else None


def _fenced(seen: Seen, node: str) -> float | None:
    probe = seen.sight.nodes[node].probe
    return None if probe is None else probe.fenced


def _changed(seen: Seen, watcher: Watcher) -> float | None:
    event = watcher.published.get(seen.cluster.name)
    return None if event is None else event.wall


_CLUSTER_GAUGES = (
    (
        "cluster_epoch",
        "The fencing number: one more at each change of primary.",
        lambda s, _: s.state and s.state.epoch,
    ),
    ("cluster_paused", "1 while automatic changes are paused.", lambda s, _: s.state and s.state.paused),
    (
        "cluster_in_sync",
        "1 while every acknowledged commit is on the standby (zero mode only).",
        lambda s, _: _in_sync(s),
    ),
    (
        "cluster_has_primary",
        "1 while the primary takes writes.",
        lambda s, _: s.state is not None and s.is_primary(s.state.primary),
    ),
    (
        "cluster_has_standby",
        "1 while the other node follows.",
        lambda s, _: s.state is not None and s.is_standby(s.state.other, None),
    ),
    ("agent_acting", "1 where this agent decides, 0 where it waits in standby.", lambda s, _: s.sight.acting),
    ("replication_lag_seconds", "How far the standby is behind, by heartbeats.", lambda s, _: s.lag),
    ("replication_lag_bytes", "Log that the standby has still to apply.", lambda s, _: _lag_bytes(s)),
    (
        "replication_lag_limit_seconds",
        "Past it a failover is refused (bounded mode).",
        lambda s, _: s.cluster.policy.max_lag_seconds,
    ),
    ("last_change_timestamp_seconds", "When the last change of primary was published (Unix time).", _changed),
)
_NODE_GAUGES = (
    ("up", "1 while the agent's probes are answered.", lambda s, n: s.sight.nodes[n].up),
    (
        "primary",
        "1 for the node that the cluster has decided is primary.",
        lambda s, n: s.state is not None and s.state.primary == n,
    ),
    ("fenced", "1 while new sessions of the node are read-only.", _fenced),
    (
        "verified",
        "1 once the contents were compared equal.",
        lambda s, n: s.state is not None and s.state.record(n).verified,
    ),
    ("probe_misses", "Probes in a row that got no answer.", lambda s, n: s.sight.nodes[n].misses),
    ("probe_duration_seconds", "How long the last probe took.", _probe_seconds),
)
