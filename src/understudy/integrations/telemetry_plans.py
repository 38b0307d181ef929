"""OpenTelemetry spans of what an agent does: each plan, and below it its steps with their true times.

A part of `understudy run`, where a tracer provider is configured (``opentelemetry-instrument understudy run``).
It listens to the states that the agent writes, so a step that took place has its span exactly once.
"""

from __future__ import annotations

import asyncio
import time

import structlog
from opentelemetry import trace
from opentelemetry.trace import ProxyTracerProvider, Span, Status, StatusCode, Tracer, TracerProvider

import understudy
from understudy.agent.history import step_name
from understudy.agent.service import Running
from understudy.config import mask
from understudy.decide import steps
from understudy.model import Cluster, ClusterState, Plan
from understudy.witness import Entry

_log = structlog.get_logger()


async def trace_plans(
    running: Running, leave: asyncio.Event, tracer_provider: TracerProvider | None = None
) -> None:
    """Until ``leave`` is set. Returns at once where nobody collects spans (None: the global provider)."""
    provider = tracer_provider or _configured()
    if provider is None:
        return
    tracer = provider.get_tracer("understudy.agent", understudy.__version__)
    tracing = [
        (agent, PlanSpans(tracer, running.config.cluster(name))) for name, agent in running.agents.items()
    ]
    for agent, spans in tracing:
        agent.listeners.append(spans.take)
    try:
        await leave.wait()
    finally:
        for agent, spans in tracing:
            agent.listeners.remove(spans.take)
            spans.close()


def _configured() -> TracerProvider | None:
    """The global provider; None where nobody has set one, or where it cannot be had: no reason not to run."""
    try:
        provider = trace.get_tracer_provider()
    except Exception:  # noqa: BLE001 - reported
        _log.exception("telemetry_failed", message="the tracer provider cannot be had; plans have no spans")
        return None
    return None if isinstance(provider, ProxyTracerProvider) else provider


class PlanSpans:
    """The spans of one cluster's plans. A listener of its agent."""

    def __init__(self, tracer: Tracer, cluster: Cluster) -> None:
        self._tracer, self._cluster = tracer, cluster
        self._number = 0
        self._span: Span | None = None

    def take(self, before: ClusterState, after: ClusterState, entry: Entry) -> None:
        """The agent has written ``after`` over ``before``."""
        try:
            self._take(before, after, entry)
        except Exception:  # noqa: BLE001 - reported; an exporter's fault must not touch a failover
            _log.exception("telemetry_failed", cluster=self._cluster.name)

    def _take(self, before: ClusterState, after: ClusterState, entry: Entry) -> None:
        now = time.time_ns()
        step = step_name(entry)
        if step and before.plan is not None:
            began = now - int((entry.took or 0.0) * 1e9)
            self._step(self._of(before.plan, began, resumed=True), before.plan, entry, began, now)
        if before.plan is not None and (after.plan is None or after.plan.number != before.plan.number):
            last = str(steps(before.plan.kind, self._cluster.policy.rpo)[-1])
            self._end("" if step == last else entry.message, now)
        if after.plan is not None:
            self._of(after.plan, now, resumed=bool(after.plan.done))

    def _of(self, plan: Plan, began: int, *, resumed: bool) -> Span:
        """The span of that plan; begun now where it is not the one under way."""
        if self._span is not None and self._number == plan.number:
            return self._span
        self._end("another plan took its place", began)
        self._number = plan.number
        self._span = self._tracer.start_span(
            f"{plan.kind} {self._cluster.name}",
            context=trace.set_span_in_context(trace.INVALID_SPAN),
            start_time=began,
            attributes={
                "db.system.name": self._cluster.engine,
                "understudy.cluster": self._cluster.name,
                "understudy.epoch": plan.epoch,
                "understudy.plan.kind": str(plan.kind),
                "understudy.plan.source": plan.source,
                "understudy.plan.target": plan.target,
                "understudy.plan.rule": plan.rule,
                "understudy.plan.reason": mask(plan.reason),
                "understudy.plan.resumed": resumed,
            },
        )
        return self._span

    def _step(self, parent: Span, plan: Plan, entry: Entry, began: int, ended: int) -> None:
        self._tracer.start_span(
            f"{plan.kind} {step_name(entry)}",
            context=trace.set_span_in_context(parent),
            start_time=began,
            attributes={
                "db.system.name": self._cluster.engine,
                "understudy.cluster": self._cluster.name,
                "understudy.step": step_name(entry),
                "understudy.step.result": mask(entry.message),
            },
        ).end(ended)

    def _end(self, why_unfinished: str, ended: int) -> None:
        if self._span is None:
            return
        if why_unfinished:
            self._span.set_status(Status(StatusCode.ERROR, mask(why_unfinished)))
        self._span.end(ended)
        self._span = None

    def close(self) -> None:
        """The agent ends; another one may go on with the plan."""
        self._end("the agent ended before the plan did", time.time_ns())
