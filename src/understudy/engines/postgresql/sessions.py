"""Control connections to PostgreSQL: bounded in time, never waiting for a server that hangs.

Three things make them different from ordinary ones. They do not wait for a synchronous standby and may write
on a fenced node (both set in the startup packet, so no statement can run before). And they are left by
shutting the socket down, never by a cancel request: a cancel opens a second connection to the same server,
which is just what a frozen server does not answer.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from understudy.engines.postgresql.names import resolved
from understudy.errors import EngineError, StaleEpoch, Unreachable
from understudy.model import Cluster, Ticket

# Keep at most this many unused connections per node: a step uses one, a guarded statement two.
_KEPT = 3

# Milliseconds; less than lock_timeout, which is half of policy.step_timeout.
_BRIEF = 2000

# SQLSTATE classes and codes that say nothing about the statement: the server or the way to it is gone.
_LOST = ("08", "25P03", "57P01", "57P02", "57P03", "57P05")

# A refused login has no SQLSTATE in libpq, only text. These are refusals that waiting does not mend.
_REFUSED = (
    "password authentication failed",
    "no password supplied",
    '" does not exist',
    "no pg_hba.conf entry",
    "permission denied for database",
    "is not permitted to log in",
    "authentication failed",
    "not currently accepting connections",
    "too many clients already",
    "remaining connection slots are reserved",
    "too many connections for",
    "invalid value for parameter",
)


class ControlConnection(AsyncConnection[TupleRow]):
    """An autocommit connection whose socket can be shut down at any moment with `sever`."""

    _handle: socket.socket | None = None
    statement_limit: float = 0.0
    severed: bool = False

    def arm(self) -> None:
        """Keep a duplicate of the socket, so that it can be shut down while libpq is using it."""
        self._handle = socket.socket(fileno=os.dup(self.fileno()))

    def sever(self) -> None:
        """Shut the socket down: whatever is pending on it fails at once. The server is not asked."""
        self.severed = True
        if self._handle is not None:
            with suppress(OSError):
                self._handle.shutdown(socket.SHUT_RDWR)

    async def cancel_safe(self, *, timeout: float = 0.0) -> None:  # noqa: ASYNC109 (psycopg's signature)
        """What psycopg calls when the task that waits is cancelled: leave at once instead of asking."""
        del timeout
        self.sever()

    async def close(self) -> None:
        """Close the connection and the duplicate of its socket."""
        await super().close()
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    @property
    def usable(self) -> bool:
        """Open, idle, and nothing has arrived on it unasked (the end of the stream, a FATAL)."""
        if self.closed or self.severed or self.pgconn.transaction_status != TransactionStatus.IDLE:
            return False
        arrived = select.poll()  # select(2) knows no descriptor past 1023
        arrived.register(self.fileno(), select.POLLIN)
        return not arrived.poll(0)


def masked(text: str, cluster: Cluster) -> str:
    """``text`` without any password of the cluster's DSNs, in one line."""
    for node in cluster.nodes:
        for dsn in (node.dsn, node.admin_dsn, node.replication_dsn):
            password = _parameters(dsn).get("password")
            if password:
                text = text.replace(str(password), "***")
    return " ".join(text.split())


def _parameters(dsn: str) -> dict[str, Any]:
    """The DSN in parts; nothing where it cannot be parsed (connecting then says so)."""
    with suppress(psycopg.ProgrammingError):
        return dict(conninfo_to_dict(dsn))
    return {}


def translate(error: psycopg.Error, node: str, doing: str, cluster: Cluster) -> EngineError:
    """The project's error for a driver error: `Unreachable` where the connection is the trouble.

    ``doing`` completes "could not ...". The text names the node and the SQLSTATE and holds no password.
    """
    text = masked(str(error), cluster)
    state = error.sqlstate
    if state is None and isinstance(error, psycopg.OperationalError):
        if any(refusal in text for refusal in _REFUSED):
            return EngineError(
                f"{node}: the server answered and refused the login: {text}; correct the DSN of this node"
                " (user, password, database), the server's pg_hba.conf, or its connection limits"
            )
        return Unreachable(f"{node}: could not {doing}: {text}")
    if state is not None and state.startswith(_LOST):
        return Unreachable(f"{node}: could not {doing}: {text} (SQLSTATE {state})")
    return EngineError(f"{node}: could not {doing}: {text} (SQLSTATE {state}){_next_step(state)}")


def _next_step(state: str | None) -> str:
    """What to do about a refusal, where the SQLSTATE says enough."""
    if state in {"42P01", "3F000"}:
        return "; run `understudy setup` first"
    if state == "42501":
        return "; `understudy check` lists the exact GRANT"
    if state == "55P03":
        return "; something else holds a lock: look at pg_locks, the step is tried again"
    return "; `understudy check` may name the cause, the step may be tried again"


async def connect(
    cluster: Cluster, node: str, dsn: str, application: str, *, within: float, statement: float
) -> ControlConnection:
    """Open a control connection ``within`` seconds; statements end after ``statement`` seconds.

    Raises `Unreachable`, or `EngineError` where the server refuses the login.
    """
    parameters = _parameters(dsn)
    settings = {
        "default_transaction_read_only": "off",
        "synchronous_commit": "local",
        "statement_timeout": int(statement * 1000),
        "lock_timeout": int(cluster.policy.step_timeout * 500),
        "idle_in_transaction_session_timeout": int(cluster.policy.step_timeout * 1000),
        "search_path": "pg_catalog",
        "timezone": "UTC",
        "datestyle": "ISO",
        "client_min_messages": "warning",
        # A policy that would hide rows makes a statement fail: what is not seen would be compared, copied, rescued as
        # if it were not there.
        "row_security": "off",
    }
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    given = parameters.get("options")
    parameters |= {
        "options": f"{given} {options}" if given else options,
        "application_name": f"understudy/{cluster.name}/{application}",
        "client_encoding": "UTF8",
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
    }
    try:
        # asyncio's own bound: libpq's connect_timeout counts per address and has a floor of two seconds.
        async with asyncio.timeout(within):
            conninfo = make_conninfo("", **await resolved(parameters))
            connection = await ControlConnection.connect(conninfo, autocommit=True)
    except TimeoutError:
        raise Unreachable(f"{node}: no answer within {within:g} s while connecting") from None
    except psycopg.Error as error:
        raise translate(error, node, "connect", cluster) from None
    connection.arm()
    connection.statement_limit = statement
    return connection


class Sessions:
    """The control connections of one process to the nodes of one cluster.

    Args:
        cluster: whose nodes.
        application: last part of the application_name, ``understudy/<cluster>/<application>``.
    """

    def __init__(self, cluster: Cluster, *, application: str = "agent") -> None:
        self.cluster = cluster
        self._application = application
        self._idle: dict[str, list[ControlConnection]] = {node.name: [] for node in cluster.nodes}
        # Nodes that missed their last probe (kept by the prober): they must prove quickly that they answer.
        self.suspects: set[str] = set()

    @asynccontextmanager
    async def control(  # asyncio.timeout would cancel, and psycopg would then ask the server: see above
        self,
        node: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
        doing: str = "run a control statement",
    ) -> AsyncIterator[ControlConnection]:
        """An autocommit control connection, for at most ``timeout`` seconds (default: policy.step_timeout).

        After that its socket is shut down, whatever is pending. Raises `Unreachable` and `EngineError` in
        place of driver errors; ``doing`` completes "could not ..." in their text.
        """
        loop = asyncio.get_running_loop()
        limit = self.cluster.policy.step_timeout if timeout is None else timeout
        end = loop.time() + limit
        connection = self._reuse(node)
        if connection is None:
            policy = self.cluster.policy
            bound = policy.probe_timeout if node in self.suspects else policy.connect_timeout
            bound = min(bound, limit)
            dsn = self.cluster.node(node).admin_dsn
            connection = await connect(
                self.cluster, node, dsn, self._application, within=bound, statement=limit
            )
        timer = loop.call_at(end, connection.sever)
        try:
            if connection.statement_limit != limit:
                await connection.execute(f"SET statement_timeout = {int(limit * 1000)}")
                connection.statement_limit = limit
            yield connection
        except psycopg.Error as error:
            if connection.severed:
                raise Unreachable(f"{node}: could not {doing}: no answer within {limit:g} s") from None
            raise translate(error, node, doing, self.cluster) from error
        finally:
            timer.cancel()
            await self._give_back(node, connection)

    @asynccontextmanager
    async def guarded(
        self, node: str, ticket: Ticket, *, doing: str = "run a control statement"
    ) -> AsyncIterator[ControlConnection]:
        """A control connection outside any transaction while another one holds the fence row.

        For statements that refuse to run in a transaction (ALTER SYSTEM, ...): nobody can raise the epoch
        between the check and the statement. Raises `StaleEpoch` where the node has seen a newer one.
        """
        async with self.change(node, ticket, doing=doing), self.control(node, doing=doing) as connection:
            yield connection

    @asynccontextmanager
    async def change(
        self, node: str, ticket: Ticket, *, doing: str = "run a control statement"
    ) -> AsyncIterator[ControlConnection]:
        """One transaction on a control connection that holds the fence row and so has `require_ticket` behind it."""
        async with self.control(node, doing=doing) as connection, connection.transaction():
            await require_ticket(connection, ticket, brief=True)
            yield connection

    def database(self, node: str) -> str:
        """The name of a node's database, as its admin_dsn gives it (libpq's default: the user's name)."""
        parameters = _parameters(self.cluster.node(node).admin_dsn)
        return str(parameters.get("dbname") or parameters.get("user") or "")

    def _reuse(self, node: str) -> ControlConnection | None:
        kept = self._idle[node]
        while kept:
            connection = kept.pop()
            if connection.usable and node not in self.suspects:
                return connection
            connection.sever()
            connection.pgconn.finish()
        return None

    async def _give_back(self, node: str, connection: ControlConnection) -> None:
        if connection.usable and len(self._idle[node]) < _KEPT:
            self._idle[node].append(connection)
        else:
            await connection.close()

    async def close(self) -> None:
        """Close the unused connections; those in use are closed when they are given back."""
        for kept in self._idle.values():
            while kept:
                await kept.pop().close()


_RAISE = """
    INSERT INTO understudy.fence AS f (epoch, plan, primary_node) VALUES (%(epoch)s, %(plan)s, %(primary)s)
    ON CONFLICT (only_row) DO UPDATE
    SET epoch = excluded.epoch, plan = excluded.plan, primary_node = excluded.primary_node
    WHERE f.epoch < excluded.epoch
       OR (f.epoch = excluded.epoch AND f.plan <= excluded.plan AND f.primary_node = excluded.primary_node)
    RETURNING set_config(
        'idle_in_transaction_session_timeout',
        CASE WHEN %(brief)s::boolean THEN %(limit)s::text
             ELSE current_setting('idle_in_transaction_session_timeout') END,
        true)
"""


async def require_ticket(
    connection: AsyncConnection[TupleRow], ticket: Ticket, *, brief: bool = False
) -> None:
    """Raise the fence row to the ticket and keep it locked for the rest of the transaction.

    Raises `StaleEpoch` where the row holds a newer epoch or plan, `EngineError` where it holds the same epoch for
    another primary. ``brief``: the server ends the session when it idles in this transaction. So an agent that is
    stopped in the middle of it holds up the next one's announcement for less than a lock may be waited for.
    """
    parameters = {
        "epoch": ticket.epoch,
        "plan": ticket.plan,
        "primary": ticket.primary,
        "brief": brief,
        "limit": _BRIEF,
    }
    cursor = await connection.execute(_RAISE, parameters)
    if await cursor.fetchone() is not None:
        return
    cursor = await connection.execute("SELECT epoch, plan, primary_node FROM understudy.fence")
    row = await cursor.fetchone()
    epoch, plan, primary = row if row is not None else (0, 0, "")
    if epoch == ticket.epoch and primary != ticket.primary:
        raise EngineError(
            f"epoch {epoch} names {primary!r} as primary here, this caller says {ticket.primary!r};"
            " two agents with different witnesses manage this pair: stop one"
        )
    raise StaleEpoch(
        f"the node has seen epoch {epoch} (plan {plan}), this caller has {ticket.epoch} ({ticket.plan}):"
        " it was superseded"
    )


async def require_fenced(connection: AsyncConnection[TupleRow], node: str, doing: str) -> None:
    """Raise `EngineError` unless the database is read-only for new sessions: nothing that accepts writes is ever
    emptied, and no sequence of it is ever set."""
    cursor = await connection.execute(
        "SELECT FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase"
        " WHERE d.datname = current_database() AND s.setrole = 0"
        " AND 'default_transaction_read_only=on' = ANY (s.setconfig)"
    )
    if await cursor.fetchone() is None:
        raise EngineError(f"{node}: not fenced, so this is refused: {doing}; fence it first")
