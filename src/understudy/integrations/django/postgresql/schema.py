"""Django's migrations on both nodes; how: `understudy.integrations.schema_change`."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from django.db.backends.postgresql import schema
from psycopg.pq import TransactionStatus

from understudy.integrations.schema_change import (
    SchemaChange,
    SchemaDrift,
    bare_statement,
    changes_schema,
    split,
)
from understudy.model import Cluster

if TYPE_CHECKING:
    from understudy.integrations.django.postgresql.base import DatabaseWrapper


class Session:
    """The alias that is migrated, as `SchemaChange` wants it."""

    def __init__(self, wrapper: DatabaseWrapper) -> None:
        wrapper.ensure_connection()
        self._wrapper = wrapper

    @property
    def cluster(self) -> Cluster:
        """The cluster that the alias leads to."""
        return self._wrapper.target.cluster

    @property
    def node(self) -> str:
        """Where it is connected."""
        return self._wrapper.connection.node

    def ask(self, text: str) -> list[Any]:
        """Run a statement in the migration's transaction; its rows, if it has any."""
        with self._wrapper.cursor() as cursor:
            cursor.execute(text)
            return cursor.fetchall() if cursor.description else []


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    """Django's own, which keeps both nodes' schemas equal. Test databases have one node.

    Raises `SchemaDrift` where the schemas differ already, with the tables and columns, and where a statement would
    make the nodes differ.
    """

    connection: DatabaseWrapper
    deferred_sql: list[Any]
    _change: SchemaChange | None = None

    def __enter__(self) -> Self:
        if not self.collect_sql and not self.connection.direct:
            self._change = SchemaChange(Session(self.connection), transaction=self.atomic_migration)
        try:
            super().__enter__()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._change is None:
            super().__exit__(kind, error, trace)
            return
        try:
            if kind is None:
                self._prepare(self._change)
        except BaseException:
            super().__exit__(*sys.exc_info())
            raise
        else:
            super().__exit__(kind, error, trace)
        finally:
            self._end()

    def _prepare(self, change: SchemaChange) -> None:
        deferred, self.deferred_sql = self.deferred_sql, []
        for text in deferred:
            self.execute(text, None)
        if self.connection.connection.pgconn.transaction_status != TransactionStatus.INERROR:
            change.prepare()  # else somebody has caught an error of the server, which takes everything back

    def _end(self) -> None:
        if self._change is not None:
            self._change.close()
            self._change = None

    def execute(self, sql: Any, params: Any = ()) -> None:
        """Run one statement on the primary, and where it changes the schema on the standby too."""
        if self.collect_sql or self.connection.direct:
            super().execute(sql, params)
            return
        if self._change is None:
            raise SchemaDrift(
                "expected a schema editor inside its `with` block, found one outside: there it would change the "
                "primary alone. Write `with connection.schema_editor() as editor:` around what changes the schema."
            )
        text = str(sql) if params is None else str(self.connection.ops.compose_sql(str(sql), params))
        for one in split(text):
            bare = bare_statement(one)
            if not changes_schema(bare):
                super().execute(one, None)
                continue
            self._change.before(bare)
            super().execute(one, None)
            self._change.after(bare)
