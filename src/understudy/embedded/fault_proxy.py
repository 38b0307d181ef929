"""A TCP proxy that breaks the way networks do, for tests and benchmarks. Loopback only.

    with FaultProxy("127.0.0.1", server.port) as proxy:
        connection = psycopg.connect(port=proxy.port, ...)
        proxy.black_hole()

It runs on a thread with an event loop of its own, so that synchronous code can switch it at any moment. Each switch
has taken effect when the method returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Self

HOST = "127.0.0.1"
CHUNK = 64 * 1024  # bytes read at once
PENDING = 256  # chunks held per direction while `delay` is on, before the sender is slowed down
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with zero seconds: close sends RST instead of FIN
SWITCH_TIMEOUT = 10.0  # seconds


class _Mode(enum.Enum):
    PASS = enum.auto()
    BLACK_HOLE = enum.auto()
    DEAF = enum.auto()


class _Link:
    """One connection of a client, and the one to the target that belongs to it (if any)."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.task = asyncio.current_task()
        self.writers = [client]
        self.broken = False  # bytes were lost or never sent: TCP would never deliver what comes next

    def reset(self) -> None:
        for writer in self.writers:
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE
                )
            writer.transport.abort()
        if self.task is not None:
            self.task.cancel()


class FaultProxy:
    """Forwards 127.0.0.1:`port` to `target_host`:`target_port`; `listen_port` 0 chooses a free port."""

    def __init__(self, target_host: str, target_port: int, listen_port: int = 0) -> None:
        self._target = (target_host, target_port)
        self._mode = _Mode.PASS
        self._delay = 0.0
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = _bound(listen_port)
        self.port: int = self._reserved.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._reserved is not None:
            self._reserved.close()

    def pass_through(self) -> None:
        """Forward everything again, listening or not before. Connections that lost bytes are reset."""
        self._switch(self._set(_Mode.PASS, delay=0.0))
        self.start()

    def start(self) -> None:
        """Accept connections (again), in whatever mode is set."""
        self._switch(self._listen())

    def stop(self) -> None:
        """Refuse new connections and reset the established ones, as a host whose server has been killed."""
        self.refuse()
        self.cut()

    def refuse(self) -> None:
        """Refuse new connections; established ones go on. The port stays reserved."""
        self._switch(self._unlisten())

    def black_hole(self) -> None:
        """Swallow all bytes in both directions, of established and new connections; close nothing."""
        self._switch(self._set(_Mode.BLACK_HOLE))

    def deaf(self) -> None:
        """Accept new connections and never answer them; established ones go on."""
        self._switch(self._set(_Mode.DEAF))

    def cut(self) -> None:
        """Reset every established connection; new ones are welcome."""
        self._switch(self._reset(only_broken=False))

    def delay(self, seconds: float) -> None:
        """Deliver what is sent from now on `seconds` later, in each direction (0: at once)."""
        self._switch(self._set(self._mode, delay=seconds))

    def _switch(self, change: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(change, self._loop).result(SWITCH_TIMEOUT)

    async def _set(self, mode: _Mode, *, delay: float | None = None) -> None:
        self._mode = mode
        self._delay = self._delay if delay is None else delay
        if mode is _Mode.PASS:
            await self._reset(only_broken=True)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, sock=self._reserved)
            self._reserved = None

    async def _unlisten(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            self._reserved = _bound(self.port)

    async def _reset(self, *, only_broken: bool) -> None:
        doomed = [link for link in self._links if link.broken or not only_broken]
        for link in doomed:
            link.reset()
        await asyncio.gather(*(link.task for link in doomed if link.task), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        link = _Link(client)
        self._links.add(link)
        try:
            if self._mode is _Mode.PASS:
                target_reader, target = await asyncio.open_connection(*self._target)
                link.writers.append(target)
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pump(link, reader, target))
                    both.create_task(self._pump(link, target_reader, client))
            else:
                link.broken = True
                while await reader.read(CHUNK):
                    pass
        except* OSError:  # one side reset its connection, or the target refused ours: so does the proxy
            link.task = None
            link.reset()
        except* asyncio.CancelledError:  # by `reset`: the end of this connection, not of the loop
            pass
        finally:
            self._links.discard(link)
            for writer in link.writers:
                writer.close()

    async def _pump(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction until its end, and pass the end on."""
        pending: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(PENDING)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._deliver(pending, writer))
            data = b"-"
            while data:
                try:
                    data = await reader.read(CHUNK)
                except ConnectionError:
                    if self._mode is not _Mode.BLACK_HOLE:
                        raise
                    data = b""
                if self._mode is _Mode.BLACK_HOLE:
                    link.broken = True
                else:
                    await pending.put((self._loop.time() + self._delay, data))
            if self._mode is _Mode.BLACK_HOLE:
                await asyncio.Event().wait()  # the end is swallowed too: until `reset` cancels this

    async def _deliver(
        self, pending: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        """Write each chunk when it is due; the empty one is the end."""
        while True:
            due, data = await pending.get()
            if (wait := due - self._loop.time()) > 0:
                await asyncio.sleep(wait)
            if not data:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()


def _bound(port: int) -> socket.socket:
    """A socket that reserves a loopback port: nobody can take it, and connecting to it is refused."""
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((HOST, port))
    return reserved
