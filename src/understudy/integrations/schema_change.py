"""Schema changes on both nodes: logical replication carries rows, never tables.

A migration runs in a transaction on the primary. Each of its schema statements first takes its locks there, then
waits until the standby has every row that was committed before, and then runs on the standby, in a transaction of its
own. The standby commits first: no row can arrive there that its tables do not fit. Rows themselves (RunPython, INSERT,
UPDATE) are written on the primary only and are replicated.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

import psycopg
import sqlparse

from understudy.client.patience import SilenceWatch, cut_off_after
from understudy.engines import engine_for
from understudy.engines.postgresql.schema import describe_difference, statement
from understudy.errors import UnderstudyError
from understudy.model import Cluster, Node

_CATCH_UP = 60.0
"""Seconds that a statement waits for the standby to have all earlier rows."""
_GRACE = 2.0
"""Seconds that an answer may come later than that."""
_POLL = 0.01
_LOOK_EVERY = 5.0
"""Seconds between two looks at whether the standby still answers: a statement of a migration may rightly take hours,
and meanwhile it keeps tables of the primary locked."""
_LOCK_TIMEOUT = "30s"
# Rows are replicated; a savepoint is the primary's (what it takes back there is found by the comparison at the end).
_PRIMARY_ONLY = re.compile(
    r"(INSERT|UPDATE|DELETE|MERGE|COPY|TRUNCATE|SELECT|WITH|VALUES|SHOW|SAVEPOINT|RELEASE|ROLLBACK)\b",
    re.IGNORECASE,
)
_OPAQUE = re.compile(r"(DO|CALL)\b", re.IGNORECASE)
_COMMENTS = re.compile(r"\A(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/)+", re.DOTALL)
_NAME = r'(?:"(?:[^"]|"")+"|\w+)'
_ALTER_TABLE = re.compile(
    rf"ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?({_NAME}(?:\.{_NAME})?)", re.IGNORECASE
)
# What gives the rows of a table other values on each node: numbers in order of place, and anything computed.
_COMPUTED = re.compile(
    r"\bADD\s+(?:COLUMN\s+)?.*?(?:\bAS\s+IDENTITY\b|\b(?:BIG|SMALL)?SERIAL\b"
    r"|\bDEFAULT\s+(?![\s(]*(?:[EB]?'|[-+]?\.?\d|TRUE\b|FALSE\b|NULL\b)))",
    re.IGNORECASE | re.DOTALL,
)
_REMOVES = re.compile(r"\b(DROP|RENAME)\b", re.IGNORECASE)
# Tables that this transaction has locked, and whether nobody else can write there until it ends.
_LOCKED = """
SELECT relation, bool_or(mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))
FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation' AND granted AND relation >= 16384
    AND mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')
GROUP BY relation
"""


class SchemaDrift(UnderstudyError):
    """The two nodes' schemas differ, or the next statement would make them: nothing was changed by it."""


class Primary(Protocol):
    """The session on the primary in which a migration runs, as a framework has it."""

    @property
    def cluster(self) -> Cluster: ...

    @property
    def node(self) -> str:
        """The node that the session is connected to at this moment."""

    def ask(self, text: str) -> list[Any]:
        """Run a statement in the migration's transaction; its rows, if it has any."""


class SchemaChange:
    """One migration: its session on the standby, and what may run there.

    Call `before` and `after` around each statement on the primary, `prepare` before its commit, `close` at the end.

    Args:
        transaction: whether the statements are one transaction (not so with ``CREATE INDEX CONCURRENTLY``).

    Raises `SchemaDrift` where the standby cannot be reached or differs from the primary.
    """

    def __init__(self, primary: Primary, *, transaction: bool) -> None:
        self._primary, self._transaction = primary, transaction
        self._at = primary.node
        self._closed: set[int] = set()
        cluster = primary.cluster
        self.node: Node = next(node for node in cluster.nodes if node.name != self._at)
        try:
            self._session = _session(self.node, cluster.policy.connect_timeout)
        except psycopg.OperationalError as error:
            raise SchemaDrift(
                f"node {self.node.name!r} does not answer, and a schema that is changed on {self._at!r} alone would "
                "stop replication. Nothing was changed; migrate again once both nodes are up "
                f"({type(error).__name__})."
            ) from error
        self._watch = SilenceWatch(self._session, self._look, every=_LOOK_EVERY)
        try:
            self._session.execute("SET default_transaction_read_only = off")
            self._session.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")
            self._as_on_the_primary()
            if difference := self._difference():
                raise SchemaDrift(
                    f"the schemas of the two nodes differ (- only on the primary {self._at!r}, + only on "
                    f"{self.node.name!r}). Nothing was changed. Make them equal by hand, then migrate again:\n"
                    f"{difference}"
                )
            self._session.autocommit = not transaction
        except BaseException:
            self.close()
            raise

    def _look(self) -> None:
        """Whether the standby answers anybody. See `SilenceWatch`."""
        limit = self._primary.cluster.policy.connect_timeout
        with _session(self.node, limit) as other, cut_off_after(other, limit + _GRACE):
            other.execute("SELECT 1")

    def _as_on_the_primary(self) -> None:
        """Names and owners of what is made here have to be those of the primary."""
        ((path, role),) = self._primary.ask("SELECT current_setting('search_path'), current_setting('role')")
        with _refusals(self.node):
            self._session.execute(
                "SELECT set_config('search_path', %s, false), set_config('role', %s, false)", (path, role)
            )

    def _difference(self) -> str:
        here = [row[0] for row in self._primary.ask(statement("fingerprint"))]
        there = [row[0] for row in self._session.execute(statement("fingerprint").encode())]
        return describe_difference(here, there)

    def before(self, text: str) -> None:
        """What one statement needs before it runs on the primary. Raises `SchemaDrift` where it must not run."""
        self._refuse_computed(text)
        if self._standby_first(text):
            self._execute(text)

    def after(self, text: str) -> None:
        """What follows once it ran on the primary. Raises `SchemaDrift`."""
        if not self._standby_first(text):
            if self._may_have_rows_to_come():
                self._catch_up()
            self._execute(text)

    def _may_have_rows_to_come(self) -> bool:
        """Not where every table that is locked was locked against writers before: then nothing was written since."""
        if not self._transaction:
            return True  # the locks ended with the statement
        locked = dict(self._primary.ask(_LOCKED))
        before, self._closed = self._closed, {table for table, closed in locked.items() if closed}
        return not all(locked.values()) or not self._closed <= before

    def _standby_first(self, text: str) -> bool:
        # Outside a transaction nothing keeps new rows away: what is added comes first on the standby, what is
        # removed first on the primary.
        return not self._transaction and not _REMOVES.search(text)

    def _refuse_computed(self, text: str) -> None:
        table = _ALTER_TABLE.match(text)
        if table is None or not _COMPUTED.search(text):
            return
        ((has_rows,),) = self._primary.ask(f"SELECT EXISTS (SELECT FROM {table[1]})")
        if has_rows:
            raise SchemaDrift(
                f"table {table[1]} has rows, and a new column that is numbered or computed would give them other "
                f"values on node {self.node.name!r} than on the primary. Add the column without a default (nullable), "
                "fill it with an UPDATE, and set the default in a migration after that."
            )

    def _catch_up(self) -> None:
        """Wait until everything that is committed on the primary by now is here. Raises `SchemaDrift`.

        A commit token is a row that every role may write and that is replicated; it comes after all of them.
        """
        token = uuid.uuid4()
        seen = "SELECT 1 FROM understudy.commit_token WHERE token = %s"
        until = time.monotonic() + _CATCH_UP
        primary = self._primary.cluster.node(self._at)
        with _refusals(primary), self._second_session(primary, until) as other:
            other.execute("INSERT INTO understudy.commit_token (token) VALUES (%s)", (token,))
        with _refusals(self.node), self._second_session(self.node, until) as other:
            while other.execute(seen, (token,)).fetchone() is None:
                if time.monotonic() > until:
                    raise SchemaDrift(
                        f"node {self.node.name!r} has not got the newest rows of {self._at!r} within {_CATCH_UP:g} s. "
                        "Nothing was changed; `understudy status` shows how replication is."
                    )
                time.sleep(_POLL)  # nothing announces a row that was applied

    @contextmanager
    def _second_session(self, node: Node, until: float) -> Iterator[psycopg.Connection[Any]]:
        """One more session. Some seconds after ``until`` (monotonic) it is cut off: a server that hangs then would keep
        the tables of the primary locked for as long as it hangs."""
        with (
            _session(node, self._primary.cluster.policy.connect_timeout) as connection,
            cut_off_after(connection, until - time.monotonic() + _GRACE),
        ):
            yield connection

    def _execute(self, text: str) -> None:
        if self._primary.node != self._at:
            raise SchemaDrift("the primary has changed during this migration: migrate again")
        with _refusals(self.node):
            self._session.execute(text.encode())

    def prepare(self) -> None:
        """Everything that may still fail on the primary, then the standby's commit. Raises `SchemaDrift`."""
        if not self._transaction:
            return
        self._primary.ask("SET CONSTRAINTS ALL IMMEDIATE")
        if difference := self._difference():
            raise SchemaDrift(
                f"this migration would make the schemas differ (- only on the primary {self._at!r}, + only on "
                f"{self.node.name!r}), so nothing was changed. What differs was made by a function, by SELECT INTO, "
                f"or was taken back to a savepoint on the primary: write it as plain statements.\n{difference}"
            )
        with _refusals(self.node):
            self._session.commit()

    def close(self) -> None:
        """End the session; what was not committed is gone."""
        self._session.close()
        self._watch.close()


@contextmanager
def _refusals(node: Node) -> Iterator[Node]:
    """What a server says, with where and what to do."""
    try:
        yield node
    except psycopg.Error as error:
        hint = ""
        if isinstance(error, psycopg.errors.NotNullViolation | psycopg.errors.CheckViolation):
            hint = (
                " Rows that this migration changes reach that node only when it is finished: fill them in a migration "
                "of their own before this one."
            )
        raise SchemaDrift(
            f"node {node.name!r} refused a statement of this migration: {error}.{hint}"
        ) from error


def _session(node: Node, connect_timeout: float) -> psycopg.Connection[Any]:
    """An autocommit session. One whose host is gone is noticed in some seconds, however long its statement may take."""
    return psycopg.connect(
        node.dsn,
        autocommit=True,
        connect_timeout=max(2, round(connect_timeout)),
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=15000,
        application_name="understudy-migrate",
    )


def changes_schema(text: str) -> bool:
    """Whether this one statement has to run on both nodes. Raises `SchemaDrift` where nobody can tell."""
    bare = bare_statement(text)
    if _OPAQUE.match(bare):
        raise SchemaDrift(
            "expected plain statements in a migration of a cluster, found a DO block or CALL: nobody can tell whether "
            "it changes rows (which are replicated) or tables (which are not). Write its statements out."
        )
    return not _PRIMARY_ONLY.match(bare)


def bare_statement(text: str) -> str:
    """The statement without the comments before it."""
    return _COMMENTS.sub("", text)


def split(text: str) -> Iterator[str]:
    """The statements of a script, one by one."""
    if ";" not in text:
        yield text
        return
    for one in sqlparse.split(text):
        if bare_statement(one).strip(" ;\n\t"):
            yield one


def publish_new_tables(cluster: Cluster, progress: Callable[[str], None]) -> None:
    """After a migration: new tables are published on both nodes, copied, and followed from then on.

    Roles and fences stay as they are. Raises `EngineError` naming what stands in the way (say, a table without a
    primary key).
    """

    async def work() -> None:
        engine = engine_for(cluster)
        try:
            await engine.setup(progress=progress)
        finally:
            await engine.close()

    # In a thread: an asyncio `env.py` has a loop running in this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work()).result()
