"""SQLAlchemy engines that lead to the present primary: ``postgresql+understudy://CLUSTER``.

    from understudy.integrations.sqlalchemy import create_engine

    engine = create_engine("main")

A transaction is counted as in flight from SQLAlchemy's ``begin`` to the end of its commit or rollback. Before each one
the connection is compared with the lease: one of an older epoch is replaced before anything is sent on it.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from time import monotonic
from typing import Any

from psycopg import Error
from sqlalchemy import create_engine as _create_engine
from sqlalchemy import event, exc
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import (
    PGDialect_psycopg,
    PGDialectAsync_psycopg,
    PGExecutionContext_psycopg,
)
from sqlalchemy.engine import URL, Engine, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.ext.asyncio import create_async_engine as _create_async_engine
from sqlalchemy.util import await_only

from understudy import config
from understudy.client import admission, admission_async, errors, inner, inner_async, single, single_async
from understudy.client.host import host_of
from understudy.client.outcome import SHUTTING_DOWN, is_connection_error
from understudy.client.pool import _fresh_enough
from understudy.model import Cluster

__all__ = ["CommitInDoubt", "NoPrimaryAvailable", "PrimaryLost", "create_async_engine", "create_engine"]

_URL = "postgresql+understudy://CLUSTER?config=FILE&readonly=true&max_lag=SECONDS"
_SETTINGS = ("autocommit", "isolation_level", "read_only", "deferrable")
_AGAIN = 5.0  # seconds before a standby that did not take a connection is tried again


def create_engine(
    cluster: str | None = None,
    *,
    config: str | Path | None = None,
    readonly: bool = False,
    max_lag: float | None = None,
    **options: Any,
) -> Engine:
    """An engine for that cluster (None: the only one configured). Make one per process and keep it.

    Args:
        config: the configuration file; None: found as `understudy.config.load` does.
        readonly: read-only transactions, on the standby where its lag is known, else on the primary.
        max_lag: seconds that the standby may be behind for ``readonly``.
        options: those of ``sqlalchemy.create_engine``.

    Raises `ConfigError`, `LeaseError`.
    """
    return _create_engine(_url(cluster, config, readonly, max_lag), **options)


def create_async_engine(
    cluster: str | None = None,
    *,
    config: str | Path | None = None,
    readonly: bool = False,
    max_lag: float | None = None,
    **options: Any,
) -> AsyncEngine:
    """The same for asyncio. Make one per event loop and keep it."""
    return _create_async_engine(_url(cluster, config, readonly, max_lag), **options)


def _url(cluster: str | None, config: str | Path | None, readonly: bool, max_lag: float | None) -> URL:
    given = {
        "config": None if config is None else str(config),
        "readonly": "true" if readonly else None,
        "max_lag": None if max_lag is None else str(max_lag),
    }
    query = {key: value for key, value in given.items() if value is not None}
    return URL.create("postgresql+understudy", host=cluster, query=query)


# --- errors -------------------------------------------------------------------------------------------------


class CommitInDoubt(exc.OperationalError, errors.CommitInDoubt):
    """`understudy.CommitInDoubt`, as SQLAlchemy raises it: either ``except`` catches it. ``orig`` is the client's."""


class NoPrimaryAvailable(exc.OperationalError, errors.NoPrimaryAvailable):
    """`understudy.NoPrimaryAvailable`, as SQLAlchemy raises it. Nothing was sent."""


class PrimaryLost(exc.OperationalError, errors.PrimaryLost):
    """`understudy.PrimaryLost`, as SQLAlchemy raises it. Nothing was committed."""


_AS_SQLALCHEMY: dict[type[BaseException], type[exc.OperationalError]] = {
    errors.CommitInDoubt: CommitInDoubt,
    errors.NoPrimaryAvailable: NoPrimaryAvailable,
    errors.PrimaryLost: PrimaryLost,
}


def _translated(context: ExceptionContext) -> exc.OperationalError | None:
    """The client's error in the place of SQLAlchemy's plain OperationalError."""
    plain, original = context.sqlalchemy_exception, context.original_exception
    kind = _AS_SQLALCHEMY.get(type(original))
    if kind is None or plain is None:
        return None
    error = kind(
        plain.statement,
        plain.params,
        original,
        hide_parameters=plain.hide_parameters,
        connection_invalidated=plain.connection_invalidated,
        ismulti=plain.ismulti,
    )
    for name in ("node", "epoch", "token"):
        if hasattr(original, name):
            setattr(error, name, getattr(original, name))
    return error


# --- where connections lead ---------------------------------------------------------------------------------


class Route:
    """Where the connections of one engine lead: to the primary of a cluster, or for reading to its standby."""

    def __init__(self, cluster: Cluster, directory: Path, *, readonly: bool, max_lag: float | None) -> None:
        self.cluster, self.directory = cluster, directory
        self.readonly, self._max_lag = readonly, max_lag
        self.host = host_of(cluster, directory)
        self._avoid_until = 0.0  # the standby took no connection: not tried again before then

    def until(self) -> float:
        """When a transaction that begins to wait now gives up, on the monotonic clock."""
        return monotonic() + self.cluster.policy.hold_timeout

    def standby(self) -> tuple[int, str]:
        """Epoch and name of the standby to read from; an empty name: read from the primary."""
        lease = self.host.lease()
        usable = self.readonly and lease is not None and _fresh_enough(lease, self._max_lag)
        if lease is None or not usable or monotonic() < self._avoid_until:
            return 0, ""
        return lease.epoch, lease.standby

    def avoid_standby(self) -> None:
        """The standby took no connection."""
        self._avoid_until = monotonic() + _AGAIN

    def stale(self, driver: Any) -> bool:
        """Whether another connection has to take the place of this one before a transaction begins."""
        lease = self.host.file.read() or self.host.lease()
        if lease is None:
            return False  # whoever waits for a lease says why
        if driver.epoch != lease.epoch or driver.closed:
            return True
        if self.readonly:
            return bool(driver.node != (self.standby()[1] or lease.primary))
        return not driver.role_checked

    def enter(self, driver: Any) -> bool:
        """Count a transaction on this connection as in flight, if the lease lets it begin there."""
        if driver.in_flight is not None:
            driver.gated = False  # what was sent before SQLAlchemy's `begin` has begun it already
            return True
        if self.readonly and driver.node == self.standby()[1]:
            return not self.stale(driver)  # reads on the standby hold no change up
        tag = self.host.enter(driver.epoch, driver.node)
        if tag is None:
            return False
        driver.in_flight, driver.gated = tag, False
        return True

    def leave(self, driver: Any) -> None:
        """The transaction is over. What is sent outside of one is counted by the connection itself."""
        driver.gated = not self.readonly
        driver._count_down()


def _parse(url: URL) -> tuple[Route, URL]:
    """The route that a URL names, and what remains of it for psycopg. Raises ArgumentError."""
    if url.username or url.password or url.port or url.database:
        raise exc.ArgumentError(
            f"{url.render_as_string()!r}: expected {_URL}; user, port and database of each node come from "
            "the configuration of the cluster"
        )
    query = dict(url.query)
    file, readonly, max_lag = (query.pop(key, None) for key in ("config", "readonly", "max_lag"))
    if readonly not in (None, "true", "false"):
        raise exc.ArgumentError(f"readonly={readonly!r}: expected true or false, as in {_URL}")
    try:
        lag = None if max_lag is None else float(str(max_lag))
    except ValueError:
        raise exc.ArgumentError(f"max_lag={max_lag!r}: expected seconds, as in {_URL}") from None
    loaded = config.load(None if file is None else Path(str(file)))
    cluster = loaded.cluster(url.host or None)
    route = Route(cluster, loaded.directory, readonly=readonly == "true", max_lag=lag)
    return route, URL.create(url.drivername, query=query)


# --- the dialect --------------------------------------------------------------------------------------------


class ExecutionContext(PGExecutionContext_psycopg):
    """One statement. Where it begins a transaction by itself, SQLAlchemy takes its cursor before it says `begin`."""

    def create_cursor(self) -> Any:
        connection = self.root_connection
        if connection._transaction is None and connection._allow_autobegin:
            self.dialect.do_begin(self._dbapi_connection)
        return super().create_cursor()


class Dialect(PGDialect_psycopg):
    """SQLAlchemy's psycopg dialect on connections of `understudy.client`."""

    supports_statement_cache = True
    execution_ctx_cls = ExecutionContext
    route: Route
    driver_of = staticmethod(attrgetter("dbapi_connection"))  # the client's connection in SQLAlchemy's proxy
    _hold = staticmethod(admission.hold)
    _to_primary = staticmethod(single.connect)
    _connector: Any = inner.Connector

    @classmethod
    def get_async_dialect_cls(cls, url: URL) -> type[AsyncDialect]:
        return AsyncDialect

    @classmethod
    def engine_created(cls, engine: Engine) -> None:
        """Called by SQLAlchemy for each engine, whichever function made it."""
        _engines.add(engine)
        # No event of connections: one listener makes SQLAlchemy dispatch all of them, at every statement.
        event.listen(engine, "checkout", _checkout)
        if engine.dialect.is_async:
            event.listen(engine, "reset", _reset)
        event.listen(engine, "handle_error", _translated, retval=True)

    def create_connect_args(self, url: URL) -> tuple[list[Any], dict[str, Any]]:
        self.route, rest = _parse(url)
        return [], super().create_connect_args(rest)[1]  # type: ignore[no-untyped-call] # SQLAlchemy's

    def wait(self, result: Any) -> Any:
        """The result of a call of the client, which the asyncio dialect has to await."""
        return result

    def adapted(self, driver: Any) -> Any:
        """A connection of the client as SQLAlchemy wants it."""
        return driver

    def connect(self, *cargs: Any, **cparams: Any) -> Any:
        """A connection to where the route leads. Waits while the primary changes."""
        assert not cargs
        return self.adapted(self._open_reader(cparams) if self.route.readonly else self._open(cparams))

    def _open(self, options: Mapping[str, Any]) -> Any:
        driver = self.wait(self._to_primary(self.route.cluster, self.route.directory, **options))
        driver.role_checked = True
        return driver

    def _open_reader(self, options: Mapping[str, Any]) -> Any:
        route = self.route
        epoch, standby = route.standby()
        driver = None
        if standby:
            connector = self._connector(route.host, epoch, standby, readonly=True)
            try:
                driver = self.wait(connector.connect(route.cluster.node(standby).dsn, **options))
            except Error as error:
                if not is_connection_error(error):
                    raise
                route.avoid_standby()
        if driver is None:
            driver = self._open(options)
            driver.gated, driver._readonly, driver._read_only = False, True, True
        # BEGIN READ ONLY is psycopg's part. In AUTOCOMMIT there is no BEGIN.
        self.wait(driver.execute("SET default_transaction_read_only = on"))
        self.wait(driver.commit())
        return driver

    def hold(self, until: float) -> None:
        """Wait until the lease lets transactions begin. Raises `NoPrimaryAvailable`."""
        self.wait(self._hold(self.route.host, until))

    def do_begin(self, dbapi_connection: Any) -> None:
        """Count the transaction that begins; wait where the lease says so; replace a connection of an older epoch.

        Raises `NoPrimaryAvailable` of the client, which SQLAlchemy wraps.
        """
        route, driver = self.route, self.driver_of(dbapi_connection)
        if driver.in_flight is not None and not driver.gated:
            return  # counted already, when its first cursor was made
        if route.enter(driver):
            return
        until = route.until()
        while not route.enter(driver := self.driver_of(dbapi_connection)):
            if monotonic() < until and route.stale(driver):
                self._replace(dbapi_connection, driver)  # waits for a primary to connect to
            else:
                self.hold(until)

    def _replace(self, proxy: Any, former: Any) -> None:
        """Another connection in the place of the former one, as SQLAlchemy's pool does it at a checkout.

        What the application has set on it by execution options goes along, and with it what resets that later.
        """
        record = proxy._connection_record
        undo = list(record.finalize_callback)
        record.invalidate()
        proxy.dbapi_connection = (
            record.get_connection()
        )  # where none can be had, the former one is seen to be closed
        record.finalize_callback.extend(undo)
        for name in _SETTINGS:
            value = getattr(former, name)
            if getattr(self.driver_of(proxy), name) != value:
                getattr(proxy.dbapi_connection, f"set_{name}")(value)

    def do_commit(self, dbapi_connection: Any) -> None:
        try:
            super().do_commit(dbapi_connection)  # type: ignore[no-untyped-call] # SQLAlchemy's
        finally:
            self.route.leave(self.driver_of(dbapi_connection))

    def do_rollback(self, dbapi_connection: Any) -> None:
        try:
            super().do_rollback(dbapi_connection)  # type: ignore[no-untyped-call] # SQLAlchemy's
        finally:
            self.route.leave(self.driver_of(dbapi_connection))

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        return bool(
            super().is_disconnect(e, connection, cursor)  # type: ignore[no-untyped-call] # SQLAlchemy's
            or isinstance(e, errors.PrimaryLost)
            or (isinstance(e, Error) and e.sqlstate in SHUTTING_DOWN)
        )


class AsyncDialect(Dialect, PGDialectAsync_psycopg):
    """The same for asyncio: SQLAlchemy runs all of this in a greenlet that may await."""

    supports_statement_cache = True
    driver_of = staticmethod(attrgetter("driver_connection"))
    _hold: Any = staticmethod(admission_async.hold)
    _to_primary: Any = staticmethod(single_async.connect_async)
    _connector = inner_async.AsyncConnector

    def wait(self, result: Any) -> Any:
        return await_only(result)

    def adapted(self, driver: Any) -> Any:
        async def opened() -> Any:
            return driver

        return self.loaded_dbapi.connect(async_creator_fn=opened)


registry.register("postgresql.understudy", __name__, "Dialect")


# --- what happens to each connection ------------------------------------------------------------------------


def _checkout(dbapi_connection: Any, record: Any, proxy: Any) -> None:
    """Drop a connection that leads to a former primary, or whose server has gone. SQLAlchemy makes another one."""
    if not record.info.get("understudy"):
        record.info["understudy"] = True
        return  # new; should the primary change just now, `_begin` sees it
    dialect = proxy._pool._dialect
    driver = dialect.driver_of(proxy)
    if dialect.route.stale(driver) or (driver._poll.poll(0) and not driver.still_there()):
        raise exc.DisconnectionError("the connection leads to a former primary, or its server ended it")


def _reset(dbapi_connection: Any, record: Any, state: Any) -> None:
    """SQLAlchemy drops, without closing it, an asyncio connection that nobody gave back: it is counted no more."""
    if not state.asyncio_safe:
        driver = dbapi_connection.driver_connection
        driver._sever()
        driver._count_down()


# --- fork ---------------------------------------------------------------------------------------------------

_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _after_fork() -> None:
    """In the child: pools begin anew; what is in them is the parent's, and is not closed."""
    for engine in list(_engines):
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_after_fork)
