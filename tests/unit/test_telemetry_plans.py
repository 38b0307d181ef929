"""Spans of plans that do not end well, from states as the decision core makes them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer
from structlog.testing import capture_logs
from tests.unit.web_world import cluster, state, world

from understudy.decide import StepOutcome, complete
from understudy.decide.plans import begin, roll_back
from understudy.integrations.telemetry_plans import PlanSpans, trace_plans
from understudy.model import ClusterState, PlanKind, Rpo, Step
from understudy.witness import Entry

Collected = tuple[Tracer, InMemorySpanExporter]


@pytest.fixture
def collected() -> Collected:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("test"), exporter


def entry(kind: str, message: str = "x", took: float | None = None) -> Entry:
    return Entry(agent="t", kind=kind, message=message, took=took)


def done(before: ClusterState, step: Step) -> tuple[ClusterState, ClusterState, Entry]:
    after = complete(before, step, StepOutcome(), Rpo.BOUNDED)
    return before, replace(after, version=before.version + 1), entry(f"step:{step}", took=0.25)


def named(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def switchover() -> ClusterState:
    asked = begin(state(version=1), PlanKind.SWITCHOVER, "cloud", rule="request", reason="asked for")
    return replace(asked, version=2)


def test_a_plan_that_is_rolled_back_has_an_error_and_the_way_back_a_span_of_its_own(
    collected: Collected,
) -> None:
    tracer, exporter = collected
    spans = PlanSpans(tracer, cluster())
    spans.take(state(version=1), switchover(), entry("request"))
    prepared = done(switchover(), Step.PREPARE_REVERSE)
    spans.take(*prepared)
    back = roll_back(prepared[1], rule="step_failed", reason="not quiet")
    spans.take(prepared[1], back, entry("step_failed", "switchover to cloud: hold failed: not quiet"))
    for step in (Step.ANNOUNCE, Step.RESUME_APPLY, Step.PROMOTE, Step.PUBLISH):
        before, back, line = done(back, step)
        spans.take(before, back, line)
    found = named(exporter)
    assert found["switchover main"].status.status_code is StatusCode.ERROR
    assert found["switchover main"].status.description == "switchover to cloud: hold failed: not quiet"
    assert found["reinstate main"].status.status_code is StatusCode.UNSET
    assert found["reinstate publish"].parent.span_id == found["reinstate main"].context.span_id
    step = found["switchover prepare_reverse"]
    assert step.end_time - step.start_time == 250_000_000


def test_a_plan_that_was_taken_over_says_so(collected: Collected) -> None:
    tracer, exporter = collected
    spans = PlanSpans(tracer, cluster())
    _, half, _ = done(switchover(), Step.PREPARE_REVERSE)
    spans.take(*done(half, Step.ANNOUNCE))
    spans.close()
    found = named(exporter)
    assert found["switchover main"].attributes["understudy.plan.resumed"] is True
    assert found["switchover main"].status.description == "the agent ended before the plan did"
    assert found["switchover announce"].parent.span_id == found["switchover main"].context.span_id


def test_a_password_in_a_reason_is_masked(collected: Collected) -> None:
    tracer, exporter = collected
    spans = PlanSpans(tracer, cluster())
    dsn = "postgresql://u:hunter2@h/db"
    asked = begin(state(version=1), PlanKind.FAILOVER, "cloud", rule="r", reason=f"{dsn} is down")
    spans.take(state(version=1), asked, entry("r"))
    spans.take(asked, state(version=2), entry("given up", dsn))
    assert "hunter2" not in str([(s.attributes, s.status.description) for s in exporter.get_finished_spans()])


def test_what_fails_here_ends_nothing(collected: Collected) -> None:
    spans = PlanSpans(collected[0], cluster())
    spans.take(switchover(), None, entry("step:announce"))  # type: ignore[arg-type]


async def test_nobody_listens_where_no_provider_is_set(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await trace_plans(w.running, asyncio.Event())
        assert w.agent.listeners == []


async def test_a_provider_that_cannot_be_had_ends_no_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_PYTHON_TRACER_PROVIDER", "nobody_has_this")
    async with world(tmp_path) as w:
        with capture_logs() as logs:
            await trace_plans(w.running, asyncio.Event())
        assert [line["event"] for line in logs] == ["telemetry_failed"]
        assert w.agent.listeners == []


async def test_the_part_listens_until_it_is_told_to_leave(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        leave = asyncio.Event()
        task = asyncio.create_task(trace_plans(w.running, leave, TracerProvider()))
        await asyncio.sleep(0)
        assert len(w.agent.listeners) == 1
        leave.set()
        await task
        assert w.agent.listeners == []
