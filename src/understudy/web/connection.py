"""HTTP/1.1 with an end to every wait for a client.

uvicorn bounds the idle time between two requests and nothing else: a client that sends a byte now and then, or none at
all, or that takes no answer, keeps its connection for ever, and `limit_concurrency` of them shut everybody else out.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE = 10.0
"""Seconds in which a whole request must have come (the first one counts from the connection on), and for which an
answer may wait to be taken."""
_RECEIVING = (h11.IDLE, h11.SEND_BODY)


class BoundedProtocol(H11Protocol):
    """One connection, which is cut off where the client makes us wait."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._late, self._stuck = _Alarm(self), _Alarm(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        super().connection_made(transport)
        self._late.start()

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.stop()
        self._stuck.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state in _RECEIVING:
            self._late.start()
        else:
            self._late.stop()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck.start()

    def resume_writing(self) -> None:
        self._stuck.stop()
        super().resume_writing()


class _Alarm:
    """Ends a connection unless it is stopped in time; starting it again does not put it off."""

    def __init__(self, connection: H11Protocol) -> None:
        self._connection = connection
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        if self._timer is None:
            self._timer = self._connection.loop.call_later(PATIENCE, self._connection.transport.abort)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
