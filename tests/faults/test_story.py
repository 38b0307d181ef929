"""One outage from end to end on real servers, as the plain log and the spans of the agent tell it."""

from __future__ import annotations

import asyncio
import io
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from tests.faults.agent_world import Servers, World, world_of
from tests.integration.conftest import PASSWORD, make_pair

from understudy.agent.service import Running
from understudy.config import Config
from understudy.decide import steps
from understudy.integrations.telemetry_plans import trace_plans
from understudy.logs_plain import PlainStyle
from understudy.model import Failback, PlanKind, RequestKind, Rpo


@dataclass
class Told:
    """What an outage left behind."""

    log: str
    spans: tuple[ReadableSpan, ...]

    def plans(self, kind: str) -> list[ReadableSpan]:
        return [s for s in self.spans if s.parent is None and s.attributes["understudy.plan.kind"] == kind]

    def steps(self, plan: ReadableSpan) -> list[ReadableSpan]:
        return [s for s in self.spans if s.parent is not None and s.parent.span_id == plan.context.span_id]


async def outage(world: World, servers: Servers) -> None:
    """a is killed and returns, and a person brings it home."""
    await world.until(lambda _: world.lag_known(), "heartbeats arrive")
    servers["a"].kill()
    await world.until(lambda s: s.primary == "b" and s.plan is None, "failover")
    servers["a"].start()
    await world.settled("b")
    await world.until(lambda _: world.lag_known(), "heartbeats arrive")
    world.ask(RequestKind.SWITCHOVER, "a")
    await world.until(lambda s: s.primary == "a", "switchover")
    await world.settled("a")


@pytest.fixture(scope="module")
def told(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """Run the outage once; every test reads of it."""
    return asyncio.run(_told(servers, tmp_path_factory.mktemp("story")))


async def _told(servers: Servers, directory: Path) -> Told:
    printed, spans = io.StringIO(), InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    pair = make_pair(servers, rpo=Rpo.BOUNDED, failback=Failback.MANUAL, probe_timeout=0.6)
    style = PlainStyle()
    style.learn([pair.cluster])
    processors = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        style,
    ]
    structlog.configure(processors=processors, logger_factory=structlog.PrintLoggerFactory(printed))
    async with world_of(pair, directory) as world:
        world.start_agent()
        assert world.newest is not None
        config = Config((pair.cluster,), directory, "test", ())
        running = Running(config=config, witness=world.witness, agents={world.name: world.newest})
        leave = asyncio.Event()
        tracing = asyncio.create_task(trace_plans(running, leave, provider))
        await outage(world, servers)
        leave.set()
        await tracing
    return Told(printed.getvalue(), spans.get_finished_spans())


# --- the log ------------------------------------------------------------------------------------------------


def test_the_log_tells_it_in_the_words_of_the_document(told: Told) -> None:
    """In this order; lines of ours may stand between them."""
    wanted = [
        r"\[DB Manager\] Initializing with configuration:",
        r"  Primary: postgresql://app:\*\*\*\*@\S+/farm\d+",
        r"  Secondary: postgresql://app:\*\*\*\*@\S+/farm\d+",
        r"  Health check interval: 1000ms",
        r"  Failure threshold: 3",
        r"\[DB Manager\] ✅ Connected to primary database",
        r"\[DB Manager\]  Failed to connect to primary database: .*refused.*",
        r"\[DB Manager\] ⚠  Failure threshold reached \(\d+/3\), failing over to secondary",
        r"\[DB Manager\] ✅ Connected to secondary database \(FAILOVER MODE\)",
        r"\[DB Manager\] ✅ Primary is back online",
        r"\[DB Manager\] 🔄 Attempting to reconnect to primary database\.\.\.",
        r"\[DB Manager\] ✅ Primary database reconnected \(was down for \d+s\)",
    ]
    lines = iter(told.log.splitlines())
    missing = [pattern for pattern in wanted if not any(re.fullmatch(pattern, line) for line in lines)]
    assert missing == [], told.log


def test_the_log_has_no_password_and_no_line_without_its_tag(told: Told) -> None:
    assert PASSWORD not in told.log
    untagged = [line for line in told.log.splitlines() if not line.startswith("[DB Manager] ")]
    assert all(re.match("  (Primary|Secondary|Health|Failure)", line) for line in untagged), untagged


# --- the spans ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PlanKind.FAILOVER, PlanKind.REJOIN, PlanKind.SWITCHOVER], ids=str)
def test_each_plan_is_a_span_with_its_steps_in_order(told: Told, kind: PlanKind) -> None:
    (plan,) = told.plans(kind)
    below = told.steps(plan)
    assert [s.attributes["understudy.step"] for s in below] == [
        str(step) for step in steps(kind, Rpo.BOUNDED)
    ]
    assert plan.status.status_code is StatusCode.UNSET
    moments = [moment for step in below for moment in (step.start_time, step.end_time)]
    # Steps are timed by another clock than the moments they end at: a millisecond is theirs.
    assert all(after - before > -1_000_000 for before, after in pairwise(moments))
    assert plan.start_time - 1_000_000 <= moments[0] and moments[-1] <= plan.end_time


def test_a_plan_says_why_it_ran(told: Told) -> None:
    (failover,) = told.plans("failover")
    about = failover.attributes
    assert (about["db.system.name"], about["understudy.plan.rule"]) == ("postgresql", "primary_down")
    assert (about["understudy.plan.source"], about["understudy.plan.target"]) == ("a", "b")
    assert "missed" in about["understudy.plan.reason"]
    assert about["understudy.plan.resumed"] is False
    assert PASSWORD not in str([(s.attributes, s.status.description) for s in told.spans])
