"""Where the two flavours differ: leaving a pool behind from the watcher's thread, and giving a connection back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from psycopg.pq import TransactionStatus

_IDLE = TransactionStatus.IDLE


class Switch:
    """For blocking pools: closes in a thread of its own."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # held while a pool is made, never during I/O

    def bind(self) -> None:
        """Nothing to bind to."""

    def close_later(self, inner: Any) -> None:
        """Close a pool in the background; those who wait in it go on at once."""
        threading.Thread(target=inner.close, args=(0,), daemon=True).start()

    def give_back(self, inner: Any, conn: Any) -> None:
        """Give a connection back to its pool."""
        inner.putconn(conn)


class AsyncSwitch:
    """For asyncio pools: closes in the event loop they live in."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: set[asyncio.Future[None]] = set()

    def bind(self) -> None:
        """Remember the running loop."""
        self._loop = asyncio.get_running_loop()

    def close_later(self, inner: Any) -> None:
        """Close a pool in its loop; those who wait in it go on at once."""
        if self._loop is not None:
            with suppress(RuntimeError):  # that loop was closed, and the pool with it
                self._loop.call_soon_threadsafe(self._close, inner)

    async def give_back(self, inner: Any, conn: Any) -> None:
        """Give a connection back to its pool. A caller that is cancelled meanwhile leaves, but the rest is done.

        psycopg_pool would lose the connection, and with it a place, for good.
        """
        if conn.pgconn.transaction_status == _IDLE and not inner._lock.locked():
            await inner.putconn(conn)  # does not wait for anything
        else:
            await asyncio.shield(self._run(inner.putconn(conn)))

    def _close(self, inner: Any) -> None:
        self._run(inner.close(timeout=0))

    def _run(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task
