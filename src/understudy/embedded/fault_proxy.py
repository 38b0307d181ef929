"""A TCP proxy that breaks the way networks do, for tests and benchmarks. Loopback only.

    with FaultProxy("127.0.0.1", server.port) as proxy:
        connection = psycopg.connect(port=proxy.port, ...)
        proxy.black_hole()

It runs on a thread with an event loop of its own, so that synchronous code can switch it at any moment. Each switch
has taken effect when the method returns.

A connection that lost bytes is never repaired (TCP would not deliver what comes after the gap): as soon as a switch
lets bytes pass where some were lost, it is reset.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import random
import socket
import struct
import termios
import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Literal, Self

Way = Literal["to_server", "to_client"]
Side = Literal["client", "server"]

HOST = "127.0.0.1"
WAYS: tuple[Way, ...] = ("to_server", "to_client")
BACK: dict[Way, Way] = {"to_server": "to_client", "to_client": "to_server"}
CHUNK = 64 * 1024  # bytes read at once
PENDING = 256  # chunks held per direction while they are late, before the sender is slowed down
SLICE = 0.02  # seconds of a slow line's time that one piece takes
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with zero seconds: close sends RST instead of FIN
FLUSH_TIMEOUT = 10.0  # seconds that a peer has to take the bytes before a reset
SWITCH_TIMEOUT = 60.0  # seconds


class _Fault:
    """What happens to the bytes of one direction; this one lets them pass."""

    silent = False  # the other end learns nothing, not even that the connection has ended

    async def carry(self, flow: _Flow, data: bytes) -> bytes:
        """Deal with the first of ``data``; returns the rest, which the fault that is set by then will deal with."""
        await flow.forward(data)
        return b""

    async def end(self, flow: _Flow) -> None:
        """The sender has closed its side."""
        await flow.forward(b"")


class _Swallow(_Fault):
    """Bytes vanish, and so does the end of the connection."""

    silent = True

    async def carry(self, flow: _Flow, data: bytes) -> bytes:
        flow.link.lost.add(flow.way)
        return b""

    async def end(self, flow: _Flow) -> None:
        flow.link.lost.add(flow.way)
        await asyncio.Event().wait()  # until `reset` cancels this


class _Discard(_Fault):
    """The connection was closed to both sides."""

    async def carry(self, flow: _Flow, data: bytes) -> bytes:
        return b""


class _Slow(_Fault):
    """At most ``rate`` bytes per second, shared by all connections."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._piece = max(1, int(rate * SLICE))
        self._free = 0.0  # when the line has sent what it was given

    async def carry(self, flow: _Flow, data: bytes) -> bytes:
        piece, now = data[: self._piece], asyncio.get_running_loop().time()
        self._free = max(now, self._free) + len(piece) / self._rate
        await asyncio.sleep(self._free - now)
        if flow.fault is not self:
            return data
        await flow.forward(piece)
        return data[len(piece) :]


class _Last(_Fault):
    """The next ``left`` bytes of all connections pass; the connection of what follows them meets its end, once."""

    def __init__(self, direction: _Direction, left: int, finish: Callable[[_Link], None]) -> None:
        self._direction, self._left, self._finish = direction, left, finish

    async def carry(self, flow: _Flow, data: bytes) -> bytes:
        piece = data[: self._left]
        self._left -= len(piece)
        if self._left == 0:
            self._direction.fault = PASS
        if piece:
            await flow.forward(piece)
        if self._left == 0:
            await flow.flush()
            self._finish(flow.link)
        return data[len(piece) :]


PASS, SWALLOW, DISCARD = _Fault(), _Swallow(), _Discard()


class _Direction:
    """The state of one direction, for all connections: its fault, and how late bytes are."""

    def __init__(self) -> None:
        self.fault: _Fault = PASS
        self.late = (0.0, 0.0, random.Random())  # noqa: S311 - seconds, plus or minus, drawn from

    def due(self) -> float:
        """When a chunk that is sent now arrives, on the loop's clock."""
        seconds, jitter, source = self.late
        return asyncio.get_running_loop().time() + max(0.0, seconds + source.uniform(-jitter, jitter))


class _Link:
    """One connection of a client, and the one to the target that belongs to it (if any)."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.task = asyncio.current_task()
        self.sides: dict[Side, asyncio.StreamWriter] = {"client": client}
        self.fault: _Fault | None = None  # in place of those of the directions
        self.lost: set[Way] = set()  # where bytes were lost: TCP would never deliver what comes next
        self.unanswered = False

    def reset(self) -> None:
        self.fault = DISCARD
        for side in self.sides:
            self._abort(side)
        if self.task is not None:
            self.task.cancel()

    async def ignore(self, client: asyncio.StreamReader) -> None:
        self.unanswered = True
        while await client.read(CHUNK):
            pass

    def close(self) -> None:
        """Tell both sides that this is the end, as a proxy does that shuts down in peace."""
        self.fault = DISCARD
        for writer in self.sides.values():
            with contextlib.suppress(OSError):
                writer.write_eof()

    def half_open(self, closed: Side) -> None:
        """Reset one side; the other one keeps a connection to nobody."""
        if closed in self.sides:
            self.fault = SWALLOW
            self.lost.update(WAYS)
            self._abort(closed)

    def _abort(self, side: Side) -> None:
        writer = self.sides[side]
        with contextlib.suppress(OSError):
            peer: socket.socket = writer.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        writer.transport.abort()


class _Flow:
    """One direction of one connection."""

    def __init__(
        self, link: _Link, way: Way, ways: dict[Way, _Direction], ends: tuple[asyncio.StreamReader, Side]
    ) -> None:
        self.link, self.way, self._ways = link, way, ways
        self._reader, self._writer = ends[0], link.sides[ends[1]]
        self._writer.transport.set_write_buffer_limits(0)  # drained means: the kernel has it
        self._pending: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(PENDING)

    @property
    def fault(self) -> _Fault:
        return self.link.fault or self._ways[self.way].fault

    async def run(self) -> None:
        """Carry this direction until its end, and pass the end on."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._deliver())
            while data := await self._read():
                while data:
                    data = await self.fault.carry(self, data)
            await self.fault.end(self)

    async def forward(self, data: bytes) -> None:
        """Deliver it when it is due; nothing stands for the end."""
        await self._pending.put((self._ways[self.way].due(), data))

    async def flush(self) -> None:
        """Wait until the peer's kernel has all that was forwarded, or takes no more."""
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(FLUSH_TIMEOUT):
                await self._pending.join()
                while _unsent(self._writer):  # noqa: ASYNC110 - the kernel tells nobody
                    await asyncio.sleep(0.001)

    async def _read(self) -> bytes:
        try:
            return await self._reader.read(CHUNK)
        except ConnectionError:
            if self.fault.silent or self.link.fault:
                return b""
            raise

    async def _deliver(self) -> None:
        """Write each chunk when it is due; the empty one is the end."""
        data = b"-"
        while data:
            due, data = await self._pending.get()
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            try:
                if self.link.fault is None and data:
                    self._writer.write(data)
                    await self._writer.drain()
                elif self.link.fault is None:
                    self._writer.write_eof()
            except ConnectionError:  # news for the sender, on the way back
                if not (self.link.fault or self._ways[BACK[self.way]].fault).silent:
                    raise
                self.link.lost.add(BACK[self.way])
            finally:
                self._pending.task_done()


class FaultProxy:
    """Forwards 127.0.0.1:`port` to `target_host`:`target_port`; `listen_port` 0 chooses a free port.

    ``way`` is the direction of the bytes ("to_server", "to_client"); where it may be None, that is both.
    """

    def __init__(self, target_host: str, target_port: int, listen_port: int = 0) -> None:
        self._target = (target_host, target_port)
        self._ways: dict[Way, _Direction] = {way: _Direction() for way in WAYS}
        self._answers = True
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._reserved = _bound(listen_port)  # for good: an outgoing connection could be given it in between
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
        self._reserved.close()

    def pass_through(self) -> None:
        """Forward everything again, listening or not before. Connections that lost bytes are reset."""
        self.delay(0.0)
        self._switch(self._set(dict.fromkeys(WAYS, PASS)))
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
        self._switch(self._set(dict.fromkeys(WAYS, SWALLOW), answers=False))

    def deaf(self) -> None:
        """Accept new connections and never answer them; established ones go on."""
        self._switch(self._set(dict.fromkeys(WAYS, PASS), answers=False))

    def one_way(self, passes: Way) -> None:
        """Bytes (and the end of a connection) pass in this direction only; the other way they are swallowed."""
        self._switch(self._set({passes: PASS, BACK[passes]: SWALLOW}))

    def slow(self, bytes_per_second: float, way: Way | None = None) -> None:
        """Let so many bytes per second pass in each direction, all connections together."""
        self._switch(self._set({one: _Slow(bytes_per_second) for one in (WAYS if way is None else (way,))}))

    def delay(self, seconds: float) -> None:
        """Deliver what is sent from now on `seconds` later, in each direction (0: at once)."""
        self.latency(seconds)

    def latency(self, seconds: float, jitter: float = 0.0, seed: int = 0, way: Way | None = None) -> None:
        """Deliver each chunk `seconds` ± up to `jitter` seconds later, in order. Adds to whatever mode is set."""
        for one in WAYS if way is None else (way,):
            self._ways[one].late = (seconds, jitter, random.Random(seed))  # noqa: S311

    def cut(self) -> None:
        """Reset every established connection; new ones are welcome."""
        self._switch(self._reset(self._links))

    def half_open(self, closed: Side) -> None:
        """Reset that side of every established connection; the other side is told nothing. New ones are welcome."""
        self._switch(self._half_open(closed))

    def reset_after(self, count: int, way: Way) -> None:
        """Once: let the next `count` bytes of a direction pass, then reset the connection they ended in.

        With 0 bytes, it is reset when the next byte comes.
        """
        self._switch(self._set({way: _Last(self._ways[way], count, _Link.reset)}))

    def cut_after(self, count: int, way: Way) -> None:
        """The same with a clean close: both sides see the end of the stream, without an error."""
        self._switch(self._set({way: _Last(self._ways[way], count, _Link.close)}))

    def _switch(self, change: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(change, self._loop).result(SWITCH_TIMEOUT)

    async def _set(self, faults: dict[Way, _Fault], *, answers: bool = True) -> None:
        for way, fault in faults.items():
            self._ways[way].fault = fault
        self._answers = answers
        passing = {way for way in WAYS if not self._ways[way].fault.silent}
        await self._reset(
            link for link in self._links if link.lost & passing or (link.unanswered and answers)
        )

    async def _half_open(self, closed: Side) -> None:
        for link in self._links:
            link.half_open(closed)

    async def _reset(self, links: Iterable[_Link]) -> None:
        doomed = list(links)
        for link in doomed:
            link.reset()
        await asyncio.gather(*(link.task for link in doomed if link.task), return_exceptions=True)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, sock=_bound(self.port))

    async def _unlisten(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        link = _Link(client)
        self._links.add(link)
        try:
            await (self._connect(link, reader) if self._answers else link.ignore(reader))
        except* OSError:  # one side reset its connection, or the target refused ours: so does the proxy
            link.task = None
            link.reset()
        except* asyncio.CancelledError:  # by `reset`: the end of this connection, not of the loop
            pass
        finally:
            self._links.discard(link)
            for writer in link.sides.values():
                writer.close()

    async def _connect(self, link: _Link, reader: asyncio.StreamReader) -> None:
        target_reader, link.sides["server"] = await asyncio.open_connection(*self._target)
        async with asyncio.TaskGroup() as both:
            both.create_task(_Flow(link, "to_server", self._ways, (reader, "server")).run())
            both.create_task(_Flow(link, "to_client", self._ways, (target_reader, "client")).run())


def _unsent(writer: asyncio.StreamWriter) -> int:
    """Bytes that the peer's kernel has not acknowledged."""
    count: int = struct.unpack(
        "i", fcntl.ioctl(writer.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    )[0]
    return count


def _bound(port: int) -> socket.socket:
    """A socket that reserves a loopback port: connecting to it is refused until another socket like it listens."""
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((HOST, port))
    return reserved
