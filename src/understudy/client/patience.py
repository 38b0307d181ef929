"""An end to waiting for a server: statement_timeout is the server's, and one that hangs keeps none."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import BaseConnection


class Silent(psycopg.OperationalError):
    """The server gave no answer in the time it had."""


@contextmanager
def cut_off_after(connection: BaseConnection[Any], seconds: float) -> Iterator[None]:
    """Shut the connection's socket down where the block takes longer; what waits then raises `Silent`."""
    handle = socket.socket(fileno=os.dup(connection.fileno()))
    late = threading.Event()

    def cut() -> None:
        late.set()
        with suppress(OSError):  # the server has ended it meanwhile
            handle.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, seconds), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except psycopg.OperationalError as error:
        if late.is_set():
            raise Silent(f"no answer within {seconds:.1f} s") from error
        raise
    finally:
        timer.cancel()
        timer.join()
        handle.close()


class SilenceWatch:
    """Cuts a connection off whose server has stopped answering, for statements that may rightly take hours.

    ``ask`` puts a question to the same server on another connection, within a time of its own, and raises `Silent` or
    psycopg's `ConnectionTimeout` where no answer comes; any other error is an answer. After three silences in a row,
    ``every`` seconds apart, the connection's socket is shut down: what waits on it raises OperationalError.
    """

    def __init__(self, connection: BaseConnection[Any], ask: Callable[[], object], *, every: float) -> None:
        self._handle = socket.socket(fileno=os.dup(connection.fileno()))
        self._ask, self._every = ask, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="understudy-silence", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        silences = 0
        while silences < 3:
            if self._over.wait(self._every):
                return
            try:
                self._ask()
                silences = 0
            except (Silent, psycopg.errors.ConnectionTimeout):
                silences += 1
            except psycopg.Error:
                silences = 0
        with suppress(OSError):  # it has ended meanwhile
            self._handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Watch no more. Waits for a question that is being asked."""
        self._over.set()
        self._thread.join()
        self._handle.close()
