"""Authenticated encryption of a stream: whoever changes, cuts, reorders, extends or swaps an object is noticed.

An object is a header and chunks, in the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár, 2015) over
AES-256-GCM, with a random data key for every object:

    magic          8 bytes, "UBACKUP1"
    length         4 bytes, big endian, of the header
    header         JSON: chunk size, 7 bytes of nonce, the data key for each recipient (`keys`)
    chunk          1 MiB of plain text encrypted, and 16 bytes of tag; the last one holds 0 to 1 MiB

The nonce of a chunk is the 7 bytes, a 32-bit counter and a byte that is 1 in the last chunk only: a stream that
ends with any other chunk was cut. Everything before the chunks, and the context (the object's key), goes into each
tag: a chunk of another object, or an object in another's place, does not open.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import secrets
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from understudy.backup.keys import KEY_BYTES, Keys, Wrapped
from understudy.errors import UnderstudyError

MAGIC: Final = b"UBACKUP1"
CHUNK: Final = 2**20
TAG: Final = 16
MAX_HEADER: Final = 64 * 1024
MAX_RECIPIENTS: Final = 64
_PREFIX_BYTES: Final = 7
_LENGTH: Final = struct.Struct(">I")


class SealError(UnderstudyError):
    """An object does not open: the text says which one, whether it was changed or cut, and where."""


class WrongKey(SealError):
    """None of the keys at hand opens the object; it names those that would. Says nothing against the object."""


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the chunks; ``raw`` is all of it, as it was read."""

    prefix: bytes
    wrapped: tuple[Wrapped, ...]
    raw: bytes

    @property
    def recipients(self) -> tuple[str, ...]:
        """Whom it was sealed for."""
        return tuple(one.recipient for one in self.wrapped)


def seal(chunks: Iterable[bytes], keys: Keys, context: str) -> Iterator[bytes]:
    """The sealed object of a stream. ``context`` is the key it will have in its destination."""
    data_key = secrets.token_bytes(KEY_BYTES)
    prefix = secrets.token_bytes(_PREFIX_BYTES)
    header = _encode(prefix, keys.wrap(data_key, context.encode()))
    yield header
    cipher, bound = AESGCM(data_key), _bound(header, context)
    for count, (plain, last) in enumerate(_sized(chunks, CHUNK)):
        yield cipher.encrypt(_nonce(prefix, count, last=last), plain, bound)


def unseal(chunks: Iterable[bytes], keys: Keys, context: str) -> Iterator[bytes]:
    """The plain stream of a sealed object.

    What has been yielded is authentic so far; that it is *all* is known only when the iterator ends without an error.
    Raises `WrongKey`, and `SealError` with the offset of what is wrong.
    """
    source = iter(chunks)
    header, rest = read_header(source, context)
    data_key = keys.unwrap(header.wrapped, context.encode())
    if data_key is None:
        raise _wrong_key(header, keys, context)
    cipher, bound = AESGCM(data_key), _bound(header.raw, context)
    at = len(header.raw)
    for count, (piece, last) in enumerate(_sized(itertools.chain([rest], source), CHUNK + TAG)):
        try:
            plain = cipher.decrypt(_nonce(header.prefix, count, last=last), piece, bound)
        except InvalidTag:
            raise _changed(cipher, header, bound, piece, (context, at, count, last)) from None
        yield plain
        at += len(piece)


def opener(chunks: Iterable[bytes], keys: Keys, context: str) -> str:
    """Which of these keys opens the object: the proof that an escrowed copy is good. Reads little more than a MiB.

    Raises `WrongKey` where none does, and `SealError` where the object does not hold what it should.
    """
    source = iter(chunks)
    header, rest = read_header(source, context)
    next(unseal(itertools.chain([header.raw, rest], source), keys, context))
    return next(one for one in header.recipients if one in keys.openers)


def read_header(source: Iterator[bytes], context: str) -> tuple[Header, bytes]:
    """The header, and what of the chunks was read with it. Raises `SealError`."""
    data = bytearray()
    fixed = len(MAGIC) + _LENGTH.size
    need = fixed
    while len(data) < need:
        chunk = next(source, None)
        if chunk is None:
            raise SealError(f"{context}: cut within its header, at byte {len(data)}")
        data += chunk
        if len(data) >= fixed:
            if data[: len(MAGIC)] != MAGIC:
                raise SealError(f"{context}: expected a sealed object, found something else at byte 0")
            length = _LENGTH.unpack(data[len(MAGIC) : fixed])[0]
            if length > MAX_HEADER:
                raise SealError(
                    f"{context}: expected a header of at most {MAX_HEADER} bytes, found {length} (changed)"
                )
            need = fixed + length
    return _decode(bytes(data[:need]), context), bytes(data[need:])


def _encode(prefix: bytes, wrapped: tuple[Wrapped, ...]) -> bytes:
    body = {
        "chunk": CHUNK,
        "nonce": base64.b64encode(prefix).decode(),
        "keys": [{"for": one.recipient, "key": one.text} for one in wrapped],
    }
    text = json.dumps(body, separators=(",", ":")).encode()
    assert len(text) <= MAX_HEADER
    return MAGIC + _LENGTH.pack(len(text)) + text


def _decode(raw: bytes, context: str) -> Header:
    try:
        body = json.loads(raw[len(MAGIC) + _LENGTH.size :])
        prefix = base64.b64decode(body["nonce"], validate=True)
        wrapped = tuple(Wrapped(str(one["for"]), str(one["key"])) for one in body["keys"])
        good = body["chunk"] == CHUNK and len(prefix) == _PREFIX_BYTES and 1 <= len(wrapped) <= MAX_RECIPIENTS
    except (ValueError, KeyError, TypeError, RecursionError):
        good = False
    if not good:
        raise SealError(f"{context}: its header was changed")
    return Header(prefix, wrapped, raw)


def _sized(chunks: Iterable[bytes], size: int) -> Iterator[tuple[bytes, bool]]:
    """Pieces of exactly ``size`` bytes, and whether each is the last, which holds 0 to ``size``."""
    held = bytearray()
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            if len(held) == size:
                yield bytes(held), False
                held.clear()
            taken = view[: size - len(held)]
            held += taken
            view = view[len(taken) :]
    yield bytes(held), True


def _nonce(prefix: bytes, count: int, *, last: bool) -> bytes:
    return prefix + _LENGTH.pack(count) + (b"\1" if last else b"\0")


def _bound(header: bytes, context: str) -> bytes:
    """What each chunk is bound to besides its own bytes."""
    return hashlib.sha256(header).digest() + context.encode()


def _wrong_key(header: Header, keys: Keys, context: str) -> SealError:
    named = ", ".join(header.recipients)
    held = set(header.recipients) & set(keys.openers)
    if held:
        return SealError(
            f"{context}: its header was changed, or it was sealed as another object (key {', '.join(sorted(held))})"
        )
    found = ", ".join(keys.openers) or "none"
    return WrongKey(f"{context}: expected one of the keys {named}, found {found}; give the key that wrote it")


def _changed(
    cipher: AESGCM, header: Header, bound: bytes, piece: bytes, place: tuple[str, int, int, bool]
) -> SealError:
    """Why a chunk does not open: with the other flag it would if the object had been cut or extended just there."""
    context, at, count, last = place
    try:
        cipher.decrypt(_nonce(header.prefix, count, last=not last), piece, bound)
    except InvalidTag:
        return SealError(f"{context}: chunk {count} was changed or cut, bytes {at} to {at + len(piece)}")
    if last:
        return SealError(f"{context}: cut at byte {at + len(piece)}, after chunk {count}; the end is missing")
    return SealError(f"{context}: something was added after its end, at byte {at + len(piece)}")
