"""Alembic's migrations on both nodes of a cluster. In `env.py`, for an engine or a URL of Understudy:

    from understudy.integrations.alembic import both_nodes

        with both_nodes(context):          # instead of context.begin_transaction()
            context.run_migrations()

What it does, and what it refuses: `understudy.integrations.schema_change`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from alembic.runtime.environment import EnvironmentContext
from alembic.util import CommandError
from sqlalchemy import event
from sqlalchemy.engine import Connection

from understudy.errors import EngineError
from understudy.integrations.schema_change import (
    SchemaChange,
    SchemaDrift,
    bare_statement,
    changes_schema,
    publish_new_tables,
    split,
)
from understudy.integrations.sqlalchemy import Dialect
from understudy.model import Cluster

__all__ = ["both_nodes"]


@contextmanager
def both_nodes(context: EnvironmentContext | Any) -> Iterator[None]:
    """`context.begin_transaction()`, in which schema statements run on the standby too; ``context`` is Alembic's.

    At its end new tables are published and copied. With ``--sql``, and on a connection of another dialect (a test's
    database, say), it is `context.begin_transaction()` and nothing else.

    Raises alembic.util.CommandError where the nodes differ, where a statement would make them differ, and where a new
    table cannot be replicated.
    """
    connection = None if context.is_offline_mode() else context.get_bind()
    if connection is None or not isinstance(connection.dialect, Dialect):
        with context.begin_transaction():
            yield
        return
    cluster = connection.dialect.route.cluster
    if connection.dialect.route.readonly:
        raise CommandError(f"cluster {cluster.name!r}: expected an engine that writes, found readonly=true")
    mirror = Mirror(connection, cluster)
    try:
        with mirror.listening(), context.begin_transaction():
            yield
    except SchemaDrift as error:
        raise CommandError(str(error)) from error
    if not mirror.used:
        return  # `alembic current`, or nothing to do
    try:
        publish_new_tables(cluster, lambda _: None)
    except EngineError as error:
        raise CommandError(
            f"migrated, but new tables are not replicated yet: {error}; then `understudy setup`"
        ) from error


class Mirror:
    """Sees every statement of one connection, and has those that change the schema run on the standby too.

    There is one `SchemaChange` per transaction, from its first such statement on: what changes no table (``alembic
    current``) needs no standby.
    """

    def __init__(self, connection: Connection, cluster: Cluster) -> None:
        self.cluster, self.used = cluster, False
        self._connection = connection
        self._change: SchemaChange | None = None
        self._asking = False

    @property
    def node(self) -> str:
        """Where the connection leads."""
        return str(self._driver.node)

    @property
    def _driver(self) -> Any:
        """The client's connection, whichever of SQLAlchemy's wrappers is around it."""
        return self._connection.connection.driver_connection

    def ask(self, text: str) -> list[Any]:
        """Run a statement of our own in the migration's transaction; its rows, if it has any."""
        self._asking = True
        try:
            result = self._connection.exec_driver_sql(text, execution_options={"no_parameters": True})
            return list(result) if result.returns_rows else []
        finally:
            self._asking = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """See the connection's statements and the ends of its transactions in this block."""
        listeners: dict[str, Callable[..., Any]] = {
            "before_cursor_execute": self._before,
            "after_cursor_execute": self._after,
            "commit": self._commit,
            "rollback": self._end,
        }
        for name, function in listeners.items():
            event.listen(self._connection, name, function, **({"retval": True} if "before" in name else {}))
        try:
            yield
        finally:
            for name, function in listeners.items():
                event.remove(self._connection, name, function)
            self._end()

    def _before(
        self, _connection: Connection, _cursor: Any, text: str, parameters: Any, _context: Any, _many: bool
    ) -> tuple[str, Any]:
        if self._asking:
            return text, parameters
        *first, last = (list(split(text)) if not parameters else []) or [text]
        for one in first:
            self._connection.exec_driver_sql(one)  # comes here again
        if changes_schema(last):
            self._opened().before(_sent(last))
        return last, parameters

    def _after(
        self, _connection: Connection, _cursor: Any, text: str, _parameters: Any, _context: Any, _many: bool
    ) -> None:
        if not self._asking and self._change is not None and changes_schema(text):
            self._change.after(_sent(text))

    def _opened(self) -> SchemaChange:
        if self._change is None:
            self._change = SchemaChange(self, transaction=not self._driver.autocommit)
            self.used = True
        return self._change

    def _commit(self, _connection: Connection) -> None:
        try:
            if self._change is not None:
                self._change.prepare()
        finally:
            self._end()

    def _end(self, _connection: Connection | None = None) -> None:
        if self._change is not None:
            self._change.close()
            self._change = None


def _sent(text: str) -> str:
    """The statement as the server gets it: the driver's escapes are gone, and so are comments before it."""
    return bare_statement(text).replace("%%", "%")
