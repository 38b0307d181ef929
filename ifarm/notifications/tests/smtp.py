"""A mail server on loopback, in a thread: takes what it is sent, or answers as the test wants."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message

from understudy.embedded.postgresql import HOST


class Receiver:
    """What came, and what is answered.

    Args:
        answers: by recipient: the answer to RCPT; None hangs up there.
        together: no message is taken before that many connections are open.
    """

    def __init__(self, together: int = 1) -> None:
        self.messages: list[Message] = []
        self.answers: dict[str, str | None] = {}
        self.port = 0
        self._together, self._open, self._met = together, 0, asyncio.Event()

    def ids(self) -> list[str]:
        return [message["Message-ID"].strip("<>").partition("@")[0] for message in self.messages]

    async def serve(self, ready: threading.Event) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._session, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._end.wait()
        server.close()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            self._open += 1
            if self._open >= self._together:
                self._met.set()
            await self._talk(reader, writer)
        writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(text: str) -> None:
            writer.write(text.encode() + b"\r\n")

        say("220 here")
        while line := await reader.readline():
            verb, rest = line.decode().strip()[:4].upper(), line.decode().strip()[4:]
            if verb == "RCPT":
                answer = self.answers.get(rest.partition("<")[2].partition(">")[0], "250 ok")
                if answer is None:
                    return
                say(answer)
            elif verb == "DATA":
                say("354 go on")
                data = await reader.readuntil(b"\r\n.\r\n")
                await self._met.wait()
                self.messages.append(message_from_bytes(data[:-5]))
                say("250 taken")
            else:
                say("221 bye" if verb == "QUIT" else "250 ok")


@contextmanager
def receiving(together: int = 1) -> Iterator[Receiver]:
    """A server until the block ends."""
    ready, receiver = threading.Event(), Receiver(together)
    thread = threading.Thread(target=lambda: asyncio.run(receiver.serve(ready)))
    thread.start()
    try:
        assert ready.wait(60)
        yield receiver
    finally:
        receiver.end()
        thread.join(30)
