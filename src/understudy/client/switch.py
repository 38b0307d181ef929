"""Leaving a pool behind without waiting for it, from the watcher's thread. Both flavours."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any


class Switch:
    """For blocking pools: closes in a thread of its own."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # held while a pool is made, never during I/O

    def bind(self) -> None:
        """Nothing to bind to."""

    def close_later(self, inner: Any) -> None:
        """Close a pool in the background; those who wait in it go on at once."""
        threading.Thread(target=inner.close, args=(0,), daemon=True).start()


class AsyncSwitch:
    """For asyncio pools: closes in the event loop they live in."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def bind(self) -> None:
        """Remember the running loop."""
        self._loop = asyncio.get_running_loop()

    def close_later(self, inner: Any) -> None:
        """Close a pool in its loop; those who wait in it go on at once."""
        if self._loop is not None:
            with suppress(RuntimeError):  # that loop was closed, and the pool with it
                self._loop.call_soon_threadsafe(self._close, inner)

    def _close(self, inner: Any) -> None:
        task = asyncio.ensure_future(inner.close(timeout=0))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
