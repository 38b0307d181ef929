"""OpenTelemetry spans of what a client does: transactions of a pool, holds, and commits in doubt.

    from understudy.integrations.telemetry import instrument

    pool = understudy.pool("main")
    instrument(pool)

Nothing of this module is imported, and nothing in the client looks for it, unless `instrument` is called. Names of
attributes are those of OpenTelemetry's semantic conventions for databases; what they do not know begins with
``understudy.``. No span holds a statement, a value, or the text of an error of the server: these hold data.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextvars import Token
from functools import partial, wraps
from types import TracebackType
from typing import Any

import psycopg
from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider

import understudy
from understudy.client.connection import Connection
from understudy.client.connection_async import AsyncConnection
from understudy.client.errors import CommitInDoubt, NoPrimaryAvailable, PrimaryLost
from understudy.client.host import Host
from understudy.client.pool import Checkout, Pool
from understudy.client.pool_async import AsyncCheckout, AsyncPool
from understudy.errors import UnderstudyError
from understudy.lease import Lease
from understudy.model import Cluster

_DOUBT = "commit in doubt"
_OUTCOMES: tuple[tuple[type[BaseException], str], ...] = (
    (CommitInDoubt, "in_doubt"),
    (PrimaryLost, "not_committed"),
    (NoPrimaryAvailable, "not_begun"),
)


class NothingToInstrument(UnderstudyError):
    """What was given leads to no cluster of Understudy."""


def instrument(target: Any, *, tracer_provider: TracerProvider | None = None) -> None:
    """Make spans of what a client does. Calling it twice is calling it once.

    Args:
        target: a `Pool` or `AsyncPool`: its transactions, its holds, its commits in doubt. An engine of SQLAlchemy or a
            connection of Django (``django.db.connection``): holds and commits in doubt, as its framework's own
            instrumentation makes spans of its transactions.
        tracer_provider: None: the global one, whenever it is set.

    Raises `NothingToInstrument`.
    """
    host = _host_of(target)
    tracer = trace.get_tracer("understudy", understudy.__version__, tracer_provider)
    if not any(isinstance(observer, Holds) for observer in host.observers):
        host.observers.append(Holds(tracer))
    if isinstance(target, Pool | AsyncPool) and "connection" in vars(target):
        return
    if isinstance(target, Pool):
        vars(target).update(
            connection=partial(TracedCheckout, tracer, target), run=_traced_run(tracer, target)
        )
    elif isinstance(target, AsyncPool):
        vars(target).update(
            connection=partial(TracedAsyncCheckout, tracer, target), run=_traced_async_run(tracer, target)
        )


def _host_of(target: Any) -> Host:
    if isinstance(target, Pool | AsyncPool):
        return target._host
    dialect = getattr(target, "dialect", None)
    host = getattr(getattr(dialect, "route", target), "host", None)
    if isinstance(host, Host):
        return host
    raise NothingToInstrument(
        f"instrument: expected a pool, an engine of SQLAlchemy or a connection of Django that leads to a cluster, "
        f"found {type(target).__name__}"
    )


# --- what is seldom -----------------------------------------------------------------------------------------


class Holds:
    """A span for each hold, and a mark on the present span where a commit is in doubt. An `Observer` of a host."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def held(self, host: Host, why: str, seconds: float, lease: Lease | None) -> None:
        """Made when the hold is over, with its true beginning; a child of the transaction that waited."""
        ended = time.time_ns()
        attributes = _about(host.cluster) | {
            "understudy.hold.reason": why,
            "understudy.hold.seconds": seconds,
        }
        if lease is not None:
            attributes |= {"understudy.node": lease.primary, "understudy.epoch": lease.epoch}
        span = self._tracer.start_span(
            f"hold {host.cluster.name}", attributes=attributes, start_time=ended - int(seconds * 1e9)
        )
        if lease is None:
            span.set_status(Status(StatusCode.ERROR, "no primary could be written to in time"))
        span.end(ended)

    def doubted(self, host: Host, node: str, epoch: int) -> None:
        """Mark the transaction's span, whoever made it."""
        span = trace.get_current_span()
        span.set_status(Status(StatusCode.ERROR, _DOUBT))
        span.add_event("commit_in_doubt", {"understudy.node": node, "understudy.epoch": epoch})


def _about(cluster: Cluster) -> dict[str, str | int | float]:
    return {"db.system.name": cluster.engine, "understudy.cluster": cluster.name}


# --- transactions of a pool ---------------------------------------------------------------------------------


class _Open:
    """A span that is the present one until it ends."""

    def __init__(
        self, tracer: Tracer, what: str, cluster: Cluster, kind: SpanKind, **attributes: bool
    ) -> None:
        more: dict[str, str | int | float] = {f"understudy.{n}": value for n, value in attributes.items()}
        self._span: Span = tracer.start_span(
            f"{what} {cluster.name}", kind=kind, attributes=_about(cluster) | more
        )
        self._token: Token[Context] = context.attach(trace.set_span_in_context(self._span))

    def connected(self, conn: Any) -> None:
        """Where the transaction was led."""
        self._span.set_attributes(
            {
                "db.namespace": conn.info.dbname,
                "server.address": conn.info.host,
                "server.port": conn.info.port,
                "understudy.node": conn.node,
                "understudy.epoch": conn.epoch,
            }
        )

    def end(self, error: BaseException | None) -> None:
        """An application's own exception is no fault of the database: the span's status says nothing of it."""
        if error is not None:
            self._span.set_attribute("error.type", _type_of(error))
            outcome = next((word for kind, word in _OUTCOMES if isinstance(error, kind)), "")
            if outcome:
                self._span.set_attribute("understudy.outcome", outcome)
        if isinstance(error, psycopg.Error):
            if error.sqlstate:
                self._span.set_attribute("db.response.status_code", error.sqlstate)
            said = _DOUBT if isinstance(error, CommitInDoubt) else type(error).__name__
            self._span.set_status(Status(StatusCode.ERROR, said))
        if trace.get_current_span() is self._span:  # else it ends in another context than it began in
            context.detach(self._token)
        self._span.end()


def _type_of(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


class _Traced:
    """Beside `Checkout` and `AsyncCheckout`: a stay outside the pool is a transaction."""

    _pool: Any

    def __init__(
        self,
        tracer: Tracer,
        pool: Pool | AsyncPool,
        timeout: float | None = None,
        readonly: bool = False,
        max_lag: float | None = None,
    ) -> None:
        super().__init__(pool, timeout, readonly, max_lag)  # type: ignore[call-arg] # the checkout's
        self._tracer, self._reads = tracer, readonly

    def _begin(self) -> _Open:
        cluster = self._pool._host.cluster
        self._traced = _Open(self._tracer, "transaction", cluster, SpanKind.CLIENT, readonly=self._reads)
        return self._traced


class TracedCheckout(_Traced, Checkout):
    """A `Checkout` with a span around it."""

    def __enter__(self) -> Connection:
        span = self._begin()
        try:
            conn = super().__enter__()
            span.connected(conn)
        except BaseException as error:
            span.end(error)
            raise
        return conn

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        except BaseException as failed:
            error = failed
            raise
        finally:
            self._traced.end(error)


class TracedAsyncCheckout(_Traced, AsyncCheckout):
    """The same for asyncio."""

    async def __aenter__(self) -> AsyncConnection:
        span = self._begin()
        try:
            conn = await super().__aenter__()
            span.connected(conn)
        except BaseException as error:
            span.end(error)
            raise
        return conn

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await super().__aexit__(kind, error, trace)
        except BaseException as failed:
            error = failed
            raise
        finally:
            self._traced.end(error)


def _traced_run(tracer: Tracer, pool: Pool) -> Callable[..., Any]:
    """`Pool.run` with a span around all its attempts."""
    run = pool.run

    @wraps(run)
    def traced(*arguments: Any, exactly_once: bool = False, **options: Any) -> Any:
        span = _Open(tracer, "run", pool._host.cluster, SpanKind.INTERNAL, exactly_once=exactly_once)
        try:
            result = run(*arguments, exactly_once=exactly_once, **options)
        except BaseException as error:
            span.end(error)
            raise
        span.end(None)
        return result

    return traced


def _traced_async_run(tracer: Tracer, pool: AsyncPool) -> Callable[..., Awaitable[Any]]:
    run = pool.run

    @wraps(run)
    async def traced(*arguments: Any, exactly_once: bool = False, **options: Any) -> Any:
        span = _Open(tracer, "run", pool._host.cluster, SpanKind.INTERNAL, exactly_once=exactly_once)
        try:
            result = await run(*arguments, exactly_once=exactly_once, **options)
        except BaseException as error:
            span.end(error)
            raise
        span.end(None)
        return result

    return traced
