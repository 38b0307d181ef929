"""What a guarded connection knows about its transaction. Shared by the blocking and the asyncio flavour.

*At stake*: what is being sent may commit something. As long as nothing is at stake, a lost connection means that
nothing was committed; while something is, it means that nobody can know.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import weakref
from contextlib import suppress
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg._connection_base import BaseConnection
from psycopg.pq import ConnStatus, Format, TransactionStatus

from understudy.client.errors import CommitInDoubt, PrimaryLost
from understudy.client.outcome import SHUTTING_DOWN, SYNC_WAIT, is_connection_error, may_commit
from understudy.lease import Lease, Phase, boot_now

if TYPE_CHECKING:
    from collections.abc import Generator

    from understudy.client.host import Host

# Plain numbers, as libpq has them: these are compared several times per transaction.
_IDLE = int(TransactionStatus.IDLE)
_ACTIVE = int(TransactionStatus.ACTIVE)
_INTRANS = int(TransactionStatus.INTRANS)
_INERROR = int(TransactionStatus.INERROR)
_MAY_COMMIT = (_INTRANS, _IDLE)
_WORKING = (_ACTIVE, _INTRANS, _INERROR)
_BAD = ConnStatus.BAD
_OPEN = Phase.OPEN
_TEXT = Format.TEXT
# Called directly, not through super(): these run several times per transaction.
_start_query = BaseConnection._start_query
_exec_command = BaseConnection._exec_command
_forgotten = BaseConnection.__del__
_JUST_NOW = 0.001  # seconds: a session that answered so lately is not asked whether it has ended since
_PLAIN = frozenset("SIUDWsiudw")  # SELECT, INSERT, UPDATE, DELETE, WITH: never a commit by themselves
_READ_ONLY = ((b"default_transaction_read_only", b"on"), (b"in_hot_standby", b"on"))
# What starts work on an idle connection. COMMIT, ROLLBACK and waiting for notifications do not.
_BEGINNINGS = frozenset(
    {
        "_execute_gen",
        "_executemany_gen_pipeline",
        "_executemany_gen_no_pipeline",
        "_stream_send_gen",
        "_start_copy_gen",
        "_declare_gen",
        "_enter_gen",
        "_tpc_begin_gen",
        "_tpc_finish_gen",
    }
)


class GuardedCursor:
    """Marks every cursor class of a guarded connection: it looks for statements that commit."""

    __slots__ = ()


@lru_cache(maxsize=64)
def guarded(factory: type[Any]) -> type[Any]:
    """The same cursor class, guarded."""
    if issubclass(factory, GuardedCursor):
        return factory
    start = factory._start_query

    def _start_query(self: Any, query: object = None) -> Any:
        self._conn._announced = True
        # The common case without a call: one of these words, alone, never commits by itself.
        if query is not None and not (type(query) is str and query[:1] in _PLAIN and ";" not in query):
            self._conn._announce(query)
        return start(self, query)

    body = {"__slots__": (), "__module__": factory.__module__, "_start_query": _start_query}
    return type(factory.__name__, (GuardedCursor, factory), body)


class Guard:
    """Mixed into `psycopg.Connection` and `psycopg.AsyncConnection`.

    Attributes:
        epoch, node: where this connection leads, and the epoch it was opened under.
        role_checked: the server has been seen not to be read-only.
    """

    if TYPE_CHECKING:  # what psycopg gives
        pgconn: Any
        _autocommit: bool
        _pipeline: Any

        def add_notice_handler(self, callback: Any) -> None: ...

    epoch: int = 0
    node: str = ""
    role_checked: bool = False
    in_flight: int | None = None  # the epoch this connection is counted under, while it is
    gated: bool = False  # counted per transaction, not from getconn to putconn
    _compared: bool = False  # counted up and compared with the lease at the beginning of this very call
    token: Any = None
    _host: Host | None = None
    _readonly: bool = False
    _stake: bool = False
    _announced: bool = False
    _unannounced: bool = False
    _sync_cancelled: bool = False
    _heard: float = 0.0  # when the server answered last
    _farewell: bool = False  # the server has said that it ends the session
    _aborted: bool = False
    _socket: socket.socket | None = None

    def bind(self, host: Host, epoch: int, node: str, *, readonly: bool) -> None:
        """Make a new connection one of this host's, at this epoch."""
        self._host, self.epoch, self.node, self._readonly = host, epoch, node, readonly
        self._abort_lock = threading.Lock()
        self._socket = socket.socket(fileno=os.dup(self.pgconn.socket))
        weakref.finalize(self, self._socket.close)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        me = weakref.ref(self)

        def noticed(diagnostic: psycopg.errors.Diagnostic) -> None:
            guard = me()
            if guard is not None and diagnostic.source_function == SYNC_WAIT:
                guard._sync_cancelled = True
            elif guard is not None and diagnostic.severity_nonlocalized == "FATAL":
                guard._farewell = True

        self.add_notice_handler(noticed)
        host.watch_over(self)

    def __del__(self, *args: Any) -> None:
        """Nobody has it any more. One that was left in the middle of a transaction is still counted as in flight."""
        if self.in_flight is not None and self._host is not None:
            self._host.forgotten.append(self.in_flight)  # no lock: this may run within anything
        _forgotten(self, *args)  # type: ignore[arg-type]

    # --- aborting from another thread -------------------------------------------------------------------

    def abort(self) -> None:
        """End whatever this connection waits for. The one method that another thread may call.

        Shuts the socket down through a duplicate of its descriptor. Closing would free what libpq is using
        in another thread, and could hit a descriptor that was given to somebody else meanwhile.
        """
        with self._abort_lock:
            self._aborted = True
            if self._socket is not None:
                with suppress(OSError):  # it is disconnected already, which is what we want
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _let_go(self) -> None:
        """Close the duplicate descriptor once libpq has closed its own."""
        if self._socket is not None:
            with self._abort_lock:
                if self._socket is not None:
                    self._socket.close()
                    self._socket = None

    # --- before something is sent -----------------------------------------------------------------------

    @property
    def cursor_factory(self) -> Any:
        return self._cursor_factory

    @cursor_factory.setter
    def cursor_factory(self, factory: Any) -> None:
        self._cursor_factory = guarded(factory)

    @property
    def server_cursor_factory(self) -> Any:
        return self._server_cursor_factory

    @server_cursor_factory.setter
    def server_cursor_factory(self, factory: Any) -> None:
        self._server_cursor_factory = guarded(factory)

    def read_only_server(self) -> bool:
        """Whether the server has told us that it takes no writes. No round trip."""
        return any(self.pgconn.parameter_status(name) == value for name, value in _READ_ONLY)

    def still_there(self) -> bool:
        """Read what the server sent unasked. False once it has ended the session. No round trip."""
        try:
            for _ in range(4):  # a farewell and the end of the stream arrive one after the other
                if not self._poll.poll(0):
                    break
                self.pgconn.consume_input()
                self.pgconn.is_busy()  # libpq looks at what it has read, and calls `noticed`
            if self._farewell:
                self.pgconn.finish()  # the end of the stream may be long in coming
                raise psycopg.OperationalError("the server said that it ends the session")
        except psycopg.OperationalError as error:
            self._let_go()
            if self._host is not None and not self._aborted:
                self._host.report(self.node, self.epoch, str(error))
            return False
        return True

    def _announce(self, query: object) -> None:
        """A cursor is about to send this statement."""
        if may_commit(query):
            self._before_commit()

    def _start_query(self) -> Generator[Any, Any, None]:
        """Every cursor, of whatever class, comes through here before it sends something."""
        if self._autocommit and not self._stake and self.pgconn.transaction_status == _IDLE:
            self._before_commit()
        self._unannounced = not self._announced  # a cursor class that was not made through this connection
        self._announced = False
        return _start_query(self)  # type: ignore[arg-type]

    def _exec_command(self, command: Any, result_format: Any = _TEXT) -> Any:
        """The driver's own BEGIN, COMMIT, ROLLBACK, ..."""
        if command == b"COMMIT" or (type(command) is not bytes and may_commit(command)):
            self._before_commit()  # also COMMIT PREPARED
        return _exec_command(self, command, result_format)  # type: ignore[arg-type]

    def _before_commit(self) -> None:
        """What follows may commit. Refuse it if this node has lost its role; else note what is at stake."""
        host = self._host
        if host is None or self._readonly:
            return
        status = self.pgconn.transaction_status
        if status not in _MAY_COMMIT and self._pipeline is None:
            return  # a failed transaction, which COMMIT rolls back, or a connection that is gone
        if self._compared and not self._aborted:
            self._compared = False  # it is good for what is sent next, and for nothing later
        else:
            self._compare(host)
        if (
            self._pipeline is None
            and monotonic() - self._heard > _JUST_NOW
            and self._poll.poll(0)
            and not self.still_there()
        ):
            raise psycopg.OperationalError(
                f"node {self.node!r} ended the session before this was sent: nothing was committed"
            )
        self._sync_cancelled = False
        self._stake = True

    def _compare(self, host: Host) -> None:
        """Refuse what may commit, with `PrimaryLost`, unless the lease says that this node is primary."""
        lease = host.file.read() or host.lease()
        if (
            lease is None
            or lease.primary != self.node
            or lease.phase is not _OPEN
            or self._aborted
            or lease.deadline < boot_now()
        ) and (reason := self._why_not(lease)):
            self._sever()
            raise PrimaryLost(
                f"the transaction was not committed: {reason}. Nothing was sent to node {self.node!r} "
                f"(epoch {self.epoch}). Run the transaction again on a new connection."
            )

    def _why_not(self, lease: Lease | None) -> str:
        """Why nothing may be committed here any more, or an empty text."""
        if self._aborted:
            return "the connection was aborted when the primary changed"
        if lease is None:
            return "this host has no valid lease"
        if lease.deadline < boot_now():
            return f"the lease of this host (epoch {lease.epoch}) ran out"
        if lease.phase is Phase.CHANGING:
            return f"the primary is changing (epoch {lease.epoch})"
        # Another epoch with the same primary: a change was rolled back. A session that outlived it was never
        # fenced (fencing ends every session), so its node has been the primary throughout.
        if lease.primary != self.node and (lease.phase is Phase.OPEN or lease.epoch < self.epoch):
            return f"the primary is now {lease.primary!r} (epoch {lease.epoch})"
        return ""

    def _sever(self) -> None:
        """Close at once, from the thread that owns the connection."""
        self.pgconn.finish()
        self._let_go()

    # --- after something was sent -----------------------------------------------------------------------

    def _settle(self) -> None:
        """A wait ended well: nothing is at stake any more, unless a COPY, stream or pipeline goes on."""
        if self._sync_cancelled:
            self._sync_cancelled = self._stake = False
            raise self._in_doubt(
                "the wait for the synchronous standby was cancelled: the commit is on this node alone"
            )
        if self._pipeline is None and self.pgconn.transaction_status != _ACTIVE:
            self._stake = False

    def _failed(self, error: psycopg.Error) -> None:
        """A wait ended in an error. Raises CommitInDoubt in its place where the outcome is unknown."""
        staked = self._stake or self._unannounced
        lost = self.pgconn.status == _BAD or error.sqlstate in SHUTTING_DOWN
        self._unannounced = False
        if not lost:
            if self._pipeline is None:
                self._stake = False
            if error.sqlstate == "25006":
                self.role_checked = False  # perhaps the server, perhaps a transaction that asked for it
            return
        self._stake = False
        self._let_go()
        if self._host is not None and not self._aborted and is_connection_error(error):
            self._host.report(self.node, self.epoch, str(error))
        if staked and not self._readonly and self._host is not None:
            raise self._in_doubt(f"the connection was lost while a commit was under way: {error}") from error

    def _interrupted(self) -> None:
        """The caller does not wait for the outcome any more: whose connection this is next has no part in it.

        psycopg asks the server to cancel and reads its answer. Where that was a wait for the standby, the transaction
        is committed on this node alone.
        """
        lost = self.pgconn.status == _BAD
        doubtful = self._sync_cancelled or (self._stake and lost and not self._readonly)
        self._unannounced = self._sync_cancelled = False
        if self._pipeline is None and self.pgconn.transaction_status != _ACTIVE:
            self._stake = False
        if lost:
            self._let_go()
        if doubtful and self._host is not None:
            self._host.doubt(self.node, self.epoch)

    def _in_doubt(self, what: str) -> CommitInDoubt:
        if self._host is not None:
            self._host.doubt(self.node, self.epoch)
        return CommitInDoubt(
            f"{what}. Whether the transaction on node {self.node!r} (epoch {self.epoch}) will remain is unknown. "
            "Look on the present primary for what it would have left before doing it again, "
            "or use pool.run(..., exactly_once=True).",
            node=self.node,
            epoch=self.epoch,
            token=self.token,
        )

    def _begin(self, gen: Any) -> Host | None:
        """Where this generator starts work on an idle gated connection: count it up, if it need not wait.

        Returns the host whose lease has to be waited for; None in the usual case.
        """
        host = self._host
        if (
            host is None
            or self.pgconn.transaction_status != _IDLE
            or getattr(gen, "__name__", "") not in _BEGINNINGS
        ):
            return None
        if self._aborted or not host.watching:
            return host
        self.in_flight = host.enter(host.slot.epoch, self.node)
        if self.in_flight is None:
            return host
        self._compared = True
        return None

    def _count_down(self) -> None:
        """A gated connection is idle again: its transaction is over."""
        if self.in_flight is not None and self.pgconn.transaction_status not in _WORKING:
            tag, self.in_flight = self.in_flight, None
            if self._host is not None:
                self._host.slot.leave(tag)
