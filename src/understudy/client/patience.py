"""An end to waiting for a server: statement_timeout is the server's, and one that hangs keeps none."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import BaseConnection


@contextmanager
def cut_off_after(connection: BaseConnection[Any], seconds: float) -> Iterator[None]:
    """Shut the connection's socket down where the block takes longer; what waits then raises OperationalError."""
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
            raise psycopg.OperationalError(f"no answer within {seconds:.1f} s") from error
        raise
    finally:
        timer.cancel()
        timer.join()
        handle.close()
