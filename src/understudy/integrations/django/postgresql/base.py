"""Django's PostgreSQL backend on a cluster of Understudy.

Only three things differ from Django's own. Where a connection leads: to the present primary (or, read-only, to the
standby). When it is replaced: between two transactions, once its node is no longer the one to use. And what a lost
commit raises: `CommitInDoubt`. SQL, types, transactions and cursors are Django's.
"""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import Any, Final

import psycopg
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from django.db.backends.postgresql import base
from django.db.backends.signals import connection_created
from django.db.utils import DatabaseErrorWrapper
from django.utils.functional import cached_property
from psycopg import IsolationLevel
from psycopg.pq import TransactionStatus

from understudy.client import errors as client_errors
from understudy.client.connection import Connection
from understudy.client.guard import GuardedCursor
from understudy.client.host import Host, host_of
from understudy.client.inner import Connector
from understudy.client.pool import _fresh_enough
from understudy.client.single import connect
from understudy.errors import LeaseError
from understudy.integrations.django.errors import CommitInDoubt, NoPrimaryAvailable, as_django
from understudy.integrations.django.postgresql.client import DatabaseClient
from understudy.integrations.django.postgresql.creation import DatabaseCreation
from understudy.integrations.django.postgresql.cursor import Cursor, DebugCursor, HeldCursor
from understudy.integrations.django.postgresql.schema import DatabaseSchemaEditor
from understudy.integrations.django.postgresql.validation import DatabaseValidation
from understudy.integrations.django.target import OPTIONS, fill, is_direct, parameters, target_of
from understudy.lease import Lease, ProcessSlot

__all__ = ["DatabaseWrapper"]

_IDLE: Final = TransactionStatus.IDLE
_OPEN: Final = (TransactionStatus.ACTIVE, TransactionStatus.INTRANS, TransactionStatus.INERROR)
_PLACE = ("dbname", "user", "password", "host", "port")


class ErrorWrapper(DatabaseErrorWrapper):
    """Django's translation of driver errors, which keeps the client's own kinds apart."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            return
        if isinstance(error, base.WrappedDatabaseError):
            return  # translated already, by a wrapper further in
        if error is not None and (ours := as_django(error)) is not None:
            self.wrapper.errors_occurred = True
            raise ours.with_traceback(trace) from error
        super().__exit__(kind, error, trace)


class DatabaseWrapper(base.DatabaseWrapper):
    """One alias of ``DATABASES``. ``OPTIONS``: ``cluster``, ``config``, ``readonly``, ``max_lag``; see `target`.

    Raises ImproperlyConfigured where the configuration cannot be used.
    """

    Database: Any
    client_class = DatabaseClient
    creation_class = DatabaseCreation
    validation_class = DatabaseValidation
    SchemaEditorClass = DatabaseSchemaEditor

    def __init__(self, settings_dict: dict[str, Any], alias: str = DEFAULT_DB_ALIAS) -> None:
        self.target = target_of(alias, settings_dict["OPTIONS"])
        fill(alias, settings_dict, self.target)
        super().__init__(settings_dict, alias)
        self._held: list[tuple[ProcessSlot, int]] = []

    @cached_property
    def wrap_database_errors(self) -> ErrorWrapper:
        """Django's hook for translating errors."""
        return ErrorWrapper(self)

    @property
    def direct(self) -> bool:
        """Whether this leads to a test database, by an ordinary connection."""
        return is_direct(self.settings_dict)

    @cached_property
    def host(self) -> Host:
        """The lease of the cluster on this host. Raises `NoPrimaryAvailable` where there is none to read."""
        target = self.target
        try:
            return host_of(target.cluster, target.directory)
        except LeaseError as error:
            raise client_errors.NoPrimaryAvailable(str(error)) from error

    # --- connecting -------------------------------------------------------------------------------------

    def get_connection_params(self) -> dict[str, Any]:
        """What the driver gets besides the node's DSN (which is added here where the connection is direct)."""
        params: dict[str, Any] = super().get_connection_params()
        name = params.get("dbname")
        for key in (*OPTIONS, *_PLACE):
            params.pop(key, None)
        if not self.direct:
            return params
        return parameters(self.target.cluster.preferred) | params | {"dbname": name}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """A connection to the present primary, waiting while there is none; to the standby for ``readonly``.

        Raises `NoPrimaryAvailable` after the policy's ``hold_timeout``.
        """
        if self.direct:
            return super().get_new_connection(conn_params)
        wanted = self.settings_dict["OPTIONS"].get("isolation_level")
        try:
            self.isolation_level = IsolationLevel(wanted or IsolationLevel.READ_COMMITTED)
        except ValueError:
            raise ImproperlyConfigured(
                f"Invalid transaction isolation level {wanted} specified. "
                "Use one of the psycopg.IsolationLevel values."
            ) from None
        connection = self._open_readonly(conn_params) if self.target.readonly else self._open(conn_params)
        if wanted:
            connection.isolation_level = self.isolation_level
        return connection

    def _open(self, params: dict[str, Any]) -> Connection:
        target = self.target
        if not (target.directory / f"{target.cluster.name}.lease").exists():
            raise client_errors.NoPrimaryAvailable(
                f"cluster {target.cluster.name!r}: expected the lease of a running agent in {target.directory}, found "
                "none: no agent ever ran on this host. Run `understudy setup`, then keep `understudy run` running. "
                "(Tests need no agent: their test_... database is reached directly.)"
            )
        _ = self.host  # its errors are the client's
        return connect(target.cluster, target.directory, **params)

    def _open_readonly(self, params: dict[str, Any]) -> Connection:
        """The standby where it is fresh enough and answers; else the primary, in a session that cannot write."""
        connection = None
        host = self.host
        host.start()
        lease = host.lease()
        if lease is not None and self._fresh(lease):
            try:
                connector = Connector(host, lease.epoch, lease.standby, readonly=True)
                connection = connector.connect(self.target.cluster.node(lease.standby).dsn, **params)
            except psycopg.OperationalError:
                connection = None  # the connector has told the agent; the primary has all that can be read
        if connection is None:
            connection = self._open(params)
        connection.autocommit = True
        connection.execute("SET default_transaction_read_only = on")
        connection.autocommit = False
        return connection

    def on_standby(self) -> bool:
        """Whether a connection of this alias would lead to the standby at this moment."""
        lease = self.host.lease()
        return self.target.readonly and lease is not None and self._fresh(lease)

    def _fresh(self, lease: Lease) -> bool:
        """Whether the standby may be read from: as for every other reader of this host."""
        return _fresh_enough(lease, self.target.max_lag)

    # --- between two transactions -----------------------------------------------------------------------

    def between_transactions(self, cursor: Any) -> bool:
        """Whether nothing has begun on the connection: then the statement that follows may go over to another one.

        Called before every statement. Counting it, waiting for the lease and refusing is the connection's affair.
        """
        conn = self.connection
        if conn is None or conn.pgconn.transaction_status != _IDLE:
            return False
        if self.target.readonly and self._misplaced(conn):
            self.follow(cursor)
        elif cursor.cursor._conn is not conn and not cursor.cursor.closed:
            self._replace(cursor)  # another cursor made us follow
        return True

    def follows(self, error: OperationalError, cursor: Any) -> bool:
        """Whether a statement that began a transaction may be sent again, on the new connection it has got by then.

        So it is where the connection was lost and nothing was at stake: neither had anything begun before it, nor
        could it have committed (that would be `CommitInDoubt`).
        """
        if not self.connection.closed:
            return False
        if isinstance(error, CommitInDoubt | NoPrimaryAvailable):
            if not self.in_atomic_block and self.autocommit:
                self.close()  # the next statement gets a new one
            return False
        self.follow(cursor)
        return True

    def leave_obsolete(self, cursor: Any) -> None:
        """Between two transactions: see to it that the connection leads where it should."""
        conn = self.connection
        if conn is not None and conn.pgconn.transaction_status == _IDLE and self._obsolete(conn):
            self.follow(cursor)

    def follow(self, cursor: Any) -> None:
        """Take a new connection in the middle of things, and leave an ``atomic`` block that has sent nothing as it is.

        Raises `NoPrimaryAvailable`.
        """
        with self.wrap_database_errors:
            before, autocommit = self.connection, self.autocommit
            self.connection = self.get_new_connection(self.get_connection_params())
            self._release_held()
            before.close()
            self.connection.autocommit = self.autocommit = True
            self.init_connection_state()
            connection_created.send(sender=self.__class__, connection=self)
            self.connection.autocommit = self.autocommit = autocommit
        max_age = self.settings_dict["CONN_MAX_AGE"]
        self.close_at = None if max_age is None else time.monotonic() + max_age
        self._replace(cursor)

    def _replace(self, cursor: Any) -> None:
        with self.wrap_database_errors:
            cursor.cursor = self.create_cursor(getattr(cursor.cursor, "name", None))

    def _misplaced(self, conn: Connection) -> bool:
        """Whether a read-only connection leads elsewhere than a new one would."""
        lease = self.host.lease()
        if lease is None:
            return False
        wanted = lease.standby if self._fresh(lease) else lease.primary
        return conn.node != wanted

    def close_if_unusable_or_obsolete(self) -> None:
        """At both ends of a request: besides what Django drops, connections of a former primary."""
        conn = self.connection
        if conn is not None and not self.direct and not self.in_atomic_block and self._obsolete(conn):
            self.close()
        super().close_if_unusable_or_obsolete()

    def _obsolete(self, conn: Connection) -> bool:
        if conn.closed or conn._aborted or (self.autocommit and not conn.still_there()):
            return True
        if self.target.readonly:
            return self._misplaced(conn)
        lease = self.host.lease()
        return lease is not None and lease.epoch > conn.epoch and lease.primary != conn.node

    # --- Django's hooks ---------------------------------------------------------------------------------

    def set_autocommit(
        self, autocommit: bool, force_begin_transaction_with_broken_autocommit: bool = False
    ) -> None:
        """As Django's own, but the end of a lost transaction does not wait for the next primary.

        Its error is what the caller must see; the next statement connects.
        """
        if autocommit and self.connection is None and not self.in_atomic_block:
            self.autocommit = True
            return
        super().set_autocommit(autocommit, force_begin_transaction_with_broken_autocommit)

    def _set_autocommit(self, autocommit: bool) -> None:
        conn = self.connection
        if conn.pgconn.transaction_status == _IDLE:
            conn._autocommit = (
                autocommit  # what the driver does between transactions, without its lock and generator
            )
            return
        if not autocommit and conn.closed and not self.direct:
            self.close()
            self.connect()
        super()._set_autocommit(autocommit)

    def make_cursor(self, cursor: Any) -> Any:
        """Wrap a cursor of the driver."""
        return Cursor(cursor, self) if isinstance(cursor, GuardedCursor) else super().make_cursor(cursor)

    def chunked_cursor(self) -> Any:
        """A server-side cursor, for ``iterator()``; outside a transaction it is counted by itself."""
        cursor = super().chunked_cursor()
        if self.direct or not self.connection.autocommit or self.connection._readonly:
            return cursor
        return HeldCursor(cursor.cursor, self)

    def make_debug_cursor(self, cursor: Any) -> Any:
        """Wrap a cursor of the driver and note its statements."""
        return (
            DebugCursor(cursor, self)
            if isinstance(cursor, GuardedCursor)
            else super().make_debug_cursor(cursor)
        )

    def hold_open(self) -> bool:
        """Count an open server-side cursor as work in flight, from here to `let_go`. False: a change has begun.

        Meanwhile the connection is like one that was checked out of a pool: its other statements are part of that
        work, and do not wait for a change that waits for them.
        """
        conn, slot = self.connection, self.host.slot
        tag = self.host.enter(conn.epoch, conn.node)
        if tag is None:
            return False
        self._held.append((slot, tag))
        conn.gated = False
        return True

    def let_go(self) -> None:
        """A counted cursor was closed. A transaction that is open by then stays counted until its end."""
        if not self._held:
            return  # the connection was closed before
        slot, tag = self._held.pop()
        conn = self.connection
        if not self._held and conn is not None:
            conn.gated = True
            if conn.pgconn.transaction_status in _OPEN:
                conn.in_flight = tag
                return
        slot.leave(tag)

    def _release_held(self) -> None:
        while self._held:
            slot, tag = self._held.pop()
            slot.leave(tag)

    def _close(self) -> None:
        self._release_held()
        super()._close()


def _after_fork() -> None:
    """In the child: it begins without connections. Its parent's are not closed, only forgotten."""
    for connection in connections.all(initialized_only=True):
        if isinstance(connection, DatabaseWrapper):
            connection.connection = None
            connection._held.clear()


os.register_at_fork(after_in_child=_after_fork)
