"""Schema changes on both nodes: logical replication carries rows, never tables.

A migration runs in a transaction on the primary. Each of its schema statements first takes its locks there, then
waits until the standby has every row that was committed before, and then runs on the standby, in a transaction of its
own. The standby commits first: no row can arrive there that its tables do not fit. Rows themselves (RunPython, INSERT,
UPDATE) are written on the primary only and are replicated.
"""

from __future__ import annotations

import re
import sys
import time
import uuid
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import psycopg
import sqlparse
from django.db.backends.postgresql import schema

from understudy.engines.postgresql.schema import describe_difference, statement
from understudy.integrations.django.errors import SchemaDrift
from understudy.model import Node

if TYPE_CHECKING:
    from understudy.integrations.django.postgresql.base import DatabaseWrapper

_CATCH_UP = 60.0
"""Seconds that a statement waits for the standby to have all earlier rows."""
_POLL = 0.01
_LOCK_TIMEOUT = "30s"
_ROWS = re.compile(r"(INSERT|UPDATE|DELETE|MERGE|COPY|TRUNCATE|SELECT|WITH|VALUES)\b", re.IGNORECASE)
_OPAQUE = re.compile(r"(DO|CALL)\b", re.IGNORECASE)
_COMMENTS = re.compile(r"\A(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/)+", re.DOTALL)
_ALTER_TABLE = re.compile(r"ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?([\w.\"]+)", re.IGNORECASE)
# What gives the rows of a table other values on each node: numbers in order of place, and anything computed.
_COMPUTED = re.compile(
    r"\bADD\s+(?:COLUMN\s+)?.*?(?:\bAS\s+IDENTITY\b|\b(?:BIG|SMALL)?SERIAL\b"
    r"|\bDEFAULT\s+(?![\s(]*(?:[EB]?'|[-+]?\.?\d|TRUE\b|FALSE\b|NULL\b)))",
    re.IGNORECASE | re.DOTALL,
)
_REMOVES = re.compile(r"\b(DROP|RENAME)\b", re.IGNORECASE)


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    """Django's own, which keeps both nodes' schemas equal. Test databases have one node.

    Raises `SchemaDrift` where the schemas differ already, with the tables and columns, and where a statement would
    make the nodes differ.
    """

    connection: DatabaseWrapper
    deferred_sql: list[Any]
    _standby: Standby | None = None

    def __enter__(self) -> Self:
        if not self.collect_sql and not self.connection.direct:
            self._standby = Standby(self.connection, transaction=self.atomic_migration)
        try:
            super().__enter__()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._standby is None:
            super().__exit__(kind, error, trace)
            return
        try:
            if kind is None:
                self._prepare()
        except BaseException:
            super().__exit__(*sys.exc_info())
            raise
        else:
            super().__exit__(kind, error, trace)
        finally:
            self._end()

    def _prepare(self) -> None:
        """Everything that may still fail on the primary, then the standby's commit."""
        assert self._standby is not None
        deferred, self.deferred_sql = self.deferred_sql, []
        for text in deferred:
            self.execute(text, None)
        if self.atomic_migration:
            super().execute("SET CONSTRAINTS ALL IMMEDIATE", None)
        self._standby.commit()

    def _end(self) -> None:
        if self._standby is not None:
            self._standby.close()
            self._standby = None

    def execute(self, sql: Any, params: Any = ()) -> None:
        """Run one statement on the primary, and where it changes the schema on the standby too."""
        if self._standby is None:
            super().execute(sql, params)
            return
        text = str(sql) if params is None else str(self.connection.ops.compose_sql(str(sql), params))
        for one in _split(text):
            self._both(one, self._standby)

    def _both(self, text: str, standby: Standby) -> None:
        bare = _COMMENTS.sub("", text)
        if _OPAQUE.match(bare):
            raise SchemaDrift(
                "expected plain statements in a migration of a cluster, found a DO block or "
                "CALL: nobody can tell whether "
                "it changes rows (which are replicated) or tables (which are not). Write its statements out."
            )
        if _ROWS.match(bare):
            super().execute(text, None)
            return
        self._refuse_computed(bare, standby)
        # Outside a transaction nothing keeps new rows away: what is added comes first on the standby, what is
        # removed first on the primary.
        standby_first = not self.atomic_migration and not _REMOVES.search(bare)
        if standby_first:
            standby.execute(text)
        super().execute(text, None)
        if not standby_first:
            standby.catch_up()
            standby.execute(text)

    def _refuse_computed(self, text: str, standby: Standby) -> None:
        table = _ALTER_TABLE.match(text)
        if table is None or not _COMPUTED.search(text):
            return
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT EXISTS (SELECT FROM {table[1]})")
            if not cursor.fetchone()[0]:
                return
        raise SchemaDrift(
            f"table {table[1]} has rows, and a new column that is numbered or computed would give them other values on "
            f"node {standby.node.name!r} than on the primary. Add the column without a "
            "default (null=True), fill it with "
            "RunPython or UPDATE, and set the default in a migration after that."
        )


class Standby:
    """A session on the node that follows, for the statements of one migration.

    Raises `SchemaDrift` where it cannot be reached or differs from the primary.
    """

    def __init__(self, wrapper: DatabaseWrapper, *, transaction: bool) -> None:
        self._wrapper = wrapper
        wrapper.ensure_connection()
        self._primary: str = wrapper.connection.node
        cluster = wrapper.target.cluster
        self.node: Node = next(node for node in cluster.nodes if node.name != self._primary)
        try:
            self._session = psycopg.connect(
                self.node.dsn,
                autocommit=True,
                connect_timeout=max(2, round(cluster.policy.connect_timeout)),
                application_name="understudy-migrate",
            )
        except psycopg.OperationalError as error:
            raise SchemaDrift(
                f"node {self.node.name!r} does not answer, and a schema that is changed on "
                f"{self._primary!r} alone would stop "
                f"replication. Nothing was changed; migrate again once both nodes are up ({type(error).__name__})."
            ) from error
        try:
            self._session.execute("SET default_transaction_read_only = off")
            self._session.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")
            self._refuse_drift()
            if transaction:
                self._session.autocommit = False
        except BaseException:
            self._session.close()
            raise

    def _refuse_drift(self) -> None:
        with self._wrapper.cursor() as cursor:
            cursor.execute(statement("fingerprint"))
            here = [row[0] for row in cursor.fetchall()]
        there = [row[0] for row in self._session.execute(statement("fingerprint").encode())]
        if difference := describe_difference(here, there):
            raise SchemaDrift(
                f"the schemas of the two nodes differ (- only on the primary {self._primary!r}, + "
                f"only on {self.node.name!r}). "
                f"Nothing was changed. Make them equal by hand, then migrate again:\n{difference}"
            )

    def catch_up(self) -> None:
        """Wait until everything that is committed on the primary by now is here. Raises `SchemaDrift`.

        A commit token is a row that every role may write and that is replicated; it comes after all of them.
        """
        token = uuid.uuid4()
        cluster = self._wrapper.target.cluster
        with psycopg.connect(cluster.node(self._primary).dsn, autocommit=True) as other:
            other.execute("INSERT INTO understudy.commit_token (token) VALUES (%s)", (token,))
        until = time.monotonic() + _CATCH_UP
        seen = "SELECT 1 FROM understudy.commit_token WHERE token = %s"
        with psycopg.connect(self.node.dsn, autocommit=True) as other:
            while other.execute(seen, (token,)).fetchone() is None:
                if time.monotonic() > until:
                    raise SchemaDrift(
                        f"node {self.node.name!r} has not got the newest rows of {self._primary!r} within "
                        f"{_CATCH_UP:g} s. "
                        "Nothing was changed; `understudy status` shows how replication is."
                    )
                time.sleep(_POLL)  # nothing announces a row that was applied

    def execute(self, text: str) -> None:
        """Run one statement here. Raises `SchemaDrift` with what the server said."""
        if self._wrapper.connection.node != self._primary:
            raise SchemaDrift("the primary has changed during this migration: migrate again")
        try:
            self._session.execute(text.encode())
        except psycopg.Error as error:
            hint = ""
            if isinstance(error, psycopg.errors.NotNullViolation | psycopg.errors.CheckViolation):
                hint = (
                    " Rows that this migration changes reach that node only when it is finished: "
                    "fill them in a migration"
                    " of their own before this one."
                )
            raise SchemaDrift(
                f"node {self.node.name!r} refused a statement of this migration: {error}.{hint}"
            ) from error

    def commit(self) -> None:
        """Make it last."""
        self._session.commit()

    def close(self) -> None:
        """End the session; what was not committed is gone."""
        self._session.close()


def _split(text: str) -> Iterator[str]:
    """The statements of a script (`RunSQL`), one by one."""
    if ";" not in text:
        yield text
        return
    for one in sqlparse.split(text):
        if _COMMENTS.sub("", one).strip(" ;\n\t"):
            yield one
