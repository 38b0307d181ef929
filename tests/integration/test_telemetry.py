# ruff: noqa: F811 - fixtures are imported by name
"""Spans of clients on real servers, collected in memory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import text
from tests.integration.sqlalchemy_world import config_of
from tests.integration.test_client_doubt import commit_begun, insert, slow  # noqa: F401
from tests.integration.test_client_pool import in_thread
from tests.integration.test_client_world import World, two_servers, world  # noqa: F401

from understudy.client import AsyncPool, CommitInDoubt, NoPrimaryAvailable, Pool
from understudy.client.host import host_of
from understudy.integrations.sqlalchemy import create_async_engine, create_engine
from understudy.integrations.telemetry import NothingToInstrument, instrument
from understudy.lease import Phase

ENDS = "SELECT pg_terminate_backend(pg_backend_pid())"  # in autocommit: a commit that never answers


class Collector:
    """A tracer provider, and the spans that have ended."""

    def __init__(self) -> None:
        self.provider, self._exporter = TracerProvider(), InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def named(self, word: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name.split()[0] == word]


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
def pool(world: World, collector: Collector) -> Iterator[Pool]:
    with Pool(world.cluster, world.directory, kwargs={"autocommit": True}) as pool:
        instrument(pool, tracer_provider=collector.provider)
        yield pool


def below(parent: ReadableSpan, child: ReadableSpan) -> bool:
    return child.parent is not None and child.parent.span_id == parent.context.span_id


def test_a_transaction_is_a_span_of_a_database_client(world: World, pool: Pool, collector: Collector) -> None:
    with collector.provider.get_tracer("application").start_as_current_span("request"):
        with pool.connection() as conn:
            within = trace.get_current_span().get_span_context().span_id
            conn.execute("SELECT 1")
            info = conn.info
        assert trace.get_current_span().name == "request"
    span, request = collector.spans
    assert (span.name, span.kind, span.context.span_id) == (
        f"transaction {world.cluster.name}",
        SpanKind.CLIENT,
        within,
    )
    assert below(request, span)
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes) == {
        "db.system.name": "postgresql",
        "db.namespace": info.dbname,
        "server.address": info.host,
        "server.port": info.port,
        "understudy.cluster": world.cluster.name,
        "understudy.node": "a",
        "understudy.epoch": 1,
        "understudy.readonly": False,
    }


def test_asyncio_and_reading_are_the_same(world: World, collector: Collector) -> None:
    async def work() -> None:
        async with AsyncPool(world.cluster, world.directory) as pool:
            instrument(pool, tracer_provider=collector.provider)
            await pool.run(lambda conn: conn.execute("SELECT 1"))
            async with pool.connection(readonly=True) as conn:
                await conn.execute("SELECT 1")
            with pytest.raises(KeyError):
                async with pool.connection(readonly=True):
                    raise KeyError

    asyncio.run(work())
    transaction, run, read, failed = collector.spans
    assert below(run, transaction)
    assert (read.attributes["understudy.node"], read.attributes["understudy.readonly"]) == ("b", True)
    assert failed.attributes["error.type"] == "KeyError"


def held(world: World, work: Callable[[], Any]) -> Callable[[], Any]:
    """Begin ``work`` while the primary is being changed; returns once it waits."""
    world.at(1, "a", Phase.HOLDING)
    result = in_thread(work)
    host = host_of(world.cluster, world.directory)
    while not host._waiting:
        time.sleep(0.001)  # the thread tells nobody that it waits
    return result


def test_a_hold_says_how_long_and_why(world: World, pool: Pool, collector: Collector) -> None:
    result = held(world, lambda: pool.run(insert))
    world.at(1, "a")
    result()
    (hold,), (transaction,) = collector.named("hold"), collector.named("transaction")
    assert below(transaction, hold)
    assert "the primary is being changed" in hold.attributes["understudy.hold.reason"]
    lasted = hold.attributes["understudy.hold.seconds"]
    assert hold.end_time - hold.start_time == int(lasted * 1e9) > 0
    assert transaction.start_time <= hold.start_time + 1_000_000
    assert (hold.attributes["understudy.node"], hold.status.status_code) == ("a", StatusCode.UNSET)


def test_a_hold_that_nobody_ended_is_an_error(world: World, pool: Pool, collector: Collector) -> None:
    world.at(1, "a", Phase.HOLDING)
    with pytest.raises(NoPrimaryAvailable), pool.connection(timeout=0.05):
        pass
    (hold,), (transaction,) = collector.named("hold"), collector.named("transaction")
    assert hold.status.status_code is transaction.status.status_code is StatusCode.ERROR
    assert transaction.attributes["understudy.outcome"] == "not_begun"
    assert "understudy.node" not in transaction.attributes


def test_a_commit_in_doubt_marks_the_span(world: World, pool: Pool, collector: Collector) -> None:
    with pytest.raises(CommitInDoubt), pool.connection() as conn:
        conn.execute(ENDS)
    (span,) = collector.spans
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "commit in doubt")
    assert span.attributes["understudy.outcome"] == "in_doubt"
    assert span.attributes["error.type"] == "understudy.client.errors.CommitInDoubt"
    (event,) = span.events
    assert (event.name, dict(event.attributes)) == (
        "commit_in_doubt",
        {"understudy.node": "a", "understudy.epoch": 1},
    )


def test_a_doubt_that_was_settled_is_no_error_of_the_run(
    world: World, slow: None, collector: Collector
) -> None:
    pool = Pool(world.cluster, world.directory, max_size=1)
    instrument(pool, tracer_provider=collector.provider)
    result = commit_begun(world, insert, pool=pool)
    world.at(2, "a", Phase.CHANGING)
    world.at(3, "b")
    result()
    (run,), attempts = collector.named("run"), collector.named("transaction")
    assert [span.attributes.get("understudy.outcome") for span in attempts] == ["in_doubt", None]
    assert all(below(run, span) for span in attempts)
    assert (run.status.status_code, run.attributes["understudy.exactly_once"]) == (StatusCode.UNSET, True)


def test_errors_are_told_without_what_is_in_them(world: World, pool: Pool, collector: Collector) -> None:
    for _ in range(2):
        with pool.connection() as conn, suppress(psycopg.errors.UniqueViolation):  # nothing of ours
            conn.execute("INSERT INTO item (name) VALUES ('a secret')")
    with pytest.raises(psycopg.errors.UniqueViolation), pool.connection() as conn:
        conn.execute("INSERT INTO item (name) VALUES ('a secret')")
    with pytest.raises(ZeroDivisionError), pool.connection():
        raise ZeroDivisionError("a secret")
    *_, violation, own = collector.spans
    assert violation.attributes["db.response.status_code"] == "23505"
    assert violation.attributes["error.type"] == "psycopg.errors.UniqueViolation"
    assert (violation.status.status_code, own.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    assert "secret" not in "".join(span.to_json() for span in collector.spans)


def test_sqlalchemy_has_holds_and_doubts(world: World, collector: Collector) -> None:
    engine = create_engine(world.cluster.name, config=config_of(world), isolation_level="AUTOCOMMIT")
    instrument(engine, tracer_provider=collector.provider)
    tracer = collector.provider.get_tracer("application")

    def work() -> None:
        with tracer.start_as_current_span("request"), engine.connect() as conn:
            conn.execute(text(ENDS))

    result = held(world, work)
    world.at(1, "a")
    with pytest.raises(CommitInDoubt):
        result()
    hold, request = collector.spans
    assert (hold.name.split()[0], request.name) == ("hold", "request")
    assert below(request, hold)
    assert [event.name for event in request.events if event.name != "exception"] == ["commit_in_doubt"]
    engine.dispose()


def test_nothing_is_traced_unless_it_was_asked_for(world: World, collector: Collector) -> None:
    with Pool(world.cluster, world.directory) as plain, Pool(world.cluster, world.directory) as traced:
        instrument(traced, tracer_provider=collector.provider)
        instrument(traced, tracer_provider=collector.provider)
        for pool in (plain, traced):
            with pool.connection() as conn:
                conn.execute("SELECT 1")
        assert "connection" not in vars(plain)
        instrument(create_async_engine(world.cluster.name, config=config_of(world)))
        assert len(host_of(world.cluster, world.directory).observers) == 1
    assert len(collector.spans) == 1
    with pytest.raises(NothingToInstrument, match="found int"):
        instrument(7)


def test_the_client_does_not_even_look_for_opentelemetry() -> None:
    code = "import sys, understudy.client, understudy.cli.agent; print([m for m in sys.modules if 'telemetry' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
