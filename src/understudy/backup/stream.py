"""From a program's output to every destination at once, and back: compress, seal, hash, store; constant memory.

One thread reads and compresses, one a destination sends. Between them are short queues: the source is read as fast
as the slowest destination takes it. One that fails, or takes nothing for `STALL_SECONDS`, is given up while another
lives; that is reported.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, Final

import zstandard

from understudy.backup.keys import Keys
from understudy.backup.manifest import Manifest, Part
from understudy.backup.seal import seal, unseal
from understudy.backup.store import Store, StoreError
from understudy.errors import UnderstudyError

READ: Final = 2**20
LEVEL: Final = 1
QUEUE: Final = 4
STALL_SECONDS: Final = 300.0
ABORT_SECONDS: Final = 10.0
MAX_WINDOW: Final = 128 * 2**20
"""Bytes that the compressor's window may take when reading."""
_SKIPPABLE: Final = 0x184D2A5E
"""Magic number of a frame that decompressors pass over: RFC 8878, 3.1.2."""
_END: Final = struct.Struct("<IIQ")


class PartError(UnderstudyError):
    """An object is not the one that its manifest describes, or does not decompress; says what differs."""


class Progress:
    """How far a stream has come.

    Args:
        what: names the backup and the part in every line, e.g. ``20261121T074500.123456Z-logical-1f2e3d archive``.
        total: bytes to come, before compression; None: unknown.
        tell: called with each line, at most every ``every`` seconds, and for each problem at once.
    """

    def __init__(
        self, what: str, total: int | None = None, tell: Callable[[str], None] | None = None, *, every: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.what, self.total, self.bytes = what, total, 0
        self.problems: list[str] = []
        self._tell, self._every, self._clock = tell, every, clock
        self._began = self._told = clock()

    def add(self, count: int) -> None:
        """So many more bytes."""
        self.bytes += count
        now = self._clock()
        if self._tell is not None and now - self._told >= self._every:
            self._told = now
            self._tell(self.line())

    def report(self, problem: str) -> None:
        """Something went wrong that did not stop the stream."""
        self.problems.append(problem)
        if self._tell is not None:
            self._tell(f"{self.what}: {problem}")

    @property
    def rate(self) -> float:
        """Bytes per second since the beginning."""
        return self.bytes / max(self._clock() - self._began, 1e-9)

    @property
    def eta(self) -> float | None:
        """Seconds that are left at this rate; None: unknown."""
        if self.total is None or not self.bytes:
            return None
        return max(0.0, (self.total - self.bytes) / self.rate)

    def line(self) -> str:
        """One line for people."""
        done = f"{self.what}: {self.bytes / 1e6:.1f} MB"
        if self.total:
            done += f" of {self.total / 1e6:.1f} MB ({min(100, 100 * self.bytes // self.total)} %)"
        done += f", {self.rate / 1e6:.1f} MB/s"
        return done if self.eta is None else f"{done}, {self.eta:.0f} s left"


def write_part(  # noqa: PLR0917 - the order is that of the stream
    source: BinaryIO | Iterable[bytes], stores: Sequence[Store], key: str, name: str, keys: Keys | None,
    progress: Progress,
) -> Part:  # fmt: skip
    """Read ``source`` to its end and store it, compressed and sealed, as ``key`` in each destination.

    Raises what ``source`` raises (nothing is stored then), and `StoreError` where every destination failed.
    """
    for store in stores:
        if store.limit is not None and (progress.total or 0) > store.limit:
            size = f"{store.limit / 1e9:.0f} GB"
            progress.report(
                f"it may not fit into {store.name}, where an object has at most {size}: raise part_size"
            )
    counted = _Counted(source, progress)
    pieces = packed(counted, keys, key)
    senders = [_Sender(store, key) for store in stores]
    digest, count = hashlib.sha256(), 0
    try:
        for piece in pieces:
            digest.update(piece)
            count += len(piece)
            for sender in senders:
                sender.give(piece)
            _drop_failed(senders, progress)
        for sender in senders:
            sender.finish()
        _drop_failed(senders, progress)
    except BaseException as error:
        for sender in senders:
            sender.abort(error)
        raise
    return Part(name=name, raw_bytes=counted.bytes, stored_bytes=count, sha256=digest.hexdigest())


def packed(chunks: Iterable[bytes], keys: Keys | None, key: str) -> Iterator[bytes]:
    """What is stored of a stream as the object ``key``: compressed, and sealed where there are keys."""
    compressed = _compressed(chunks)
    return compressed if keys is None else seal(compressed, keys, key)


def read_part(
    store: Store, manifest: Manifest, name: str, keys: Keys | None, *, progress: Progress | None = None
) -> Iterator[bytes]:
    """The bytes that went into a part; complete and authentic only when the iterator ends without an error.

    Raises `PartError`, `SealError` and `StoreError`.
    """
    part = manifest.part(name)
    key = f"{manifest.cluster}/{manifest.id}/{name}"
    sealed = bool(manifest.recipients)
    return read_object(store, key, keys if sealed else None, part=part, progress=progress, sealed=sealed)


def read_object(
    store: Store, key: str, keys: Keys | None, *, sealed: bool = True, part: Part | None = None,
    progress: Progress | None = None,
) -> Iterator[bytes]:  # fmt: skip
    """The same for an object by its key, without a manifest (a segment of the log) where ``part`` is None."""
    if sealed and keys is None:
        raise PartError(f"{store.name}: {key}: it is sealed, and there are no keys; set key_file in [backup]")
    hashed = _Hashed(store.get(key))
    opened = unseal(hashed, keys, key) if sealed and keys is not None else iter(hashed)
    raw = 0
    for chunk in _decompressed(opened, f"{store.name}: {key}"):
        raw += len(chunk)
        if progress is not None:
            progress.add(len(chunk))
        yield chunk
    for _ in hashed:  # what follows the end of the compressed stream belongs to the object too
        pass
    if part is not None and (hashed.bytes, hashed.sha256, raw) != (
        part.stored_bytes,
        part.sha256,
        part.raw_bytes,
    ):
        raise PartError(
            f"{store.name}: {key}: expected {part.stored_bytes} bytes with SHA-256 {part.sha256} ({part.raw_bytes} "
            f"decompressed), found {hashed.bytes} with {hashed.sha256} ({raw}); it is not what was written"
        )


class _Counted:
    """The source in pieces, counted before compression."""

    def __init__(self, source: BinaryIO | Iterable[bytes], progress: Progress) -> None:
        self._source, self._progress, self.bytes = source, progress, 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._pieces():
            self.bytes += len(chunk)
            self._progress.add(len(chunk))
            yield chunk

    def _pieces(self) -> Iterator[bytes]:
        read = getattr(self._source, "read", None)
        if read is None:
            yield from self._source
            return
        while chunk := read(READ):
            yield chunk


class _Hashed:
    """Stored bytes on their way in."""

    def __init__(self, source: Iterator[bytes]) -> None:
        self._source, self._digest, self.bytes = source, hashlib.sha256(), 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = next(self._source)
        self._digest.update(chunk)
        self.bytes += len(chunk)
        return chunk

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class _Sender:
    """One destination of a part: a thread that puts what is given to it."""

    def __init__(self, store: Store, key: str) -> None:
        self.store = store
        self.error: Exception | None = None
        self._key, self._count = key, 0
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(QUEUE)
        self._thread = threading.Thread(target=self._run, name=f"backup to {store.name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.store.put(self._key, self._taken())
        except Exception as error:  # noqa: BLE001 - kept, and reported by whoever gives
            self.error = self.error or error

    def _taken(self) -> Iterator[bytes]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            self._count += 1
            yield item

    def give(self, item: bytes | BaseException | None) -> None:
        """Hand over a piece; waits while the queue is full. A destination that has failed takes no more."""
        deadline = time.monotonic() + STALL_SECONDS
        while self.error is None:
            try:
                self._queue.put(item, timeout=0.2)
            except queue.Full:
                if time.monotonic() > deadline:
                    self._give_up()
                continue
            return

    def finish(self) -> None:
        """Wait until everything is stored, as long as there is progress."""
        self.give(None)
        count = -1
        while self._thread.is_alive() and self.error is None:
            if count == self._count:
                self._give_up()
            count = self._count
            self._thread.join(STALL_SECONDS)

    def abort(self, why: BaseException) -> None:
        """End it without an object, whatever is still in the queue."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(why)
        self._thread.join(ABORT_SECONDS)

    def _give_up(self) -> None:
        problem = f"took nothing for {STALL_SECONDS:.0f} s"
        error = StoreError(self.store.name, self._key, problem, "look whether it hangs")
        self.error = error
        threading.Thread(target=self.abort, args=(error,), daemon=True).start()


def _drop_failed(senders: list[_Sender], progress: Progress) -> None:
    failed = [sender for sender in senders if sender.error is not None]
    for sender in failed:
        if len(senders) == 1 and sender.error is not None:
            raise sender.error
        senders.remove(sender)
        progress.report(f"destination {sender.store.name} is left out: {sender.error}")


def _compressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """A frame of zstd with its checksum, and a skippable one with the length of what it holds: a cut is noticed."""
    packer = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
    raw = 0
    for chunk in chunks:
        raw += len(chunk)
        if packed := packer.compress(chunk):
            yield packed
    yield packer.flush() + _END.pack(_SKIPPABLE, _END.size - 8, raw)


def _decompressed(chunks: Iterator[bytes], where: str) -> Iterator[bytes]:
    """The plain bytes, at most `READ` at once however well they were compressed. Raises `PartError`."""
    source = _ButItsEnd(chunks)
    reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).stream_reader(source, closefd=False)  # type: ignore[arg-type]
    raw = 0
    try:
        while plain := reader.read(READ):
            raw += len(plain)
            yield plain
    except zstandard.ZstdError as error:
        raise PartError(f"{where}: does not decompress ({error})") from None
    rest = source.read(1)
    if rest or source.end != _END.pack(_SKIPPABLE, _END.size - 8, raw):
        raise PartError(f"{where}: the compressed stream was cut or extended after {raw} bytes")


class _ButItsEnd:
    """A stream to read from, without its last bytes: `end`."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = bytearray()

    def read(self, size: int) -> bytes:
        while len(self._held) <= _END.size:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._held += chunk
        count = min(size, len(self._held) - _END.size)
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    @property
    def end(self) -> bytes:
        return bytes(self._held)
