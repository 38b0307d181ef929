"""Decoder of PostgreSQL's logical replication messages (plugin `pgoutput`, protocol version 1). No I/O.

Source: PostgreSQL documentation, "Logical Replication Message Formats". Messages come from
`pg_logical_slot_peek_binary_changes`, one `bytea` each. Integers are big-endian, strings end with a zero byte,
times are microseconds since 2000-01-01 UTC. Text is decoded as UTF-8; bytes that are not UTF-8 (a database in
another encoding) become lone surrogates and go back to the same bytes with `errors="surrogateescape"`.

Whatever is malformed, cut short or too large raises `PgoutputError`, never anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

from understudy.errors import EngineError

MAX_MESSAGE_BYTES: Final = 2**31
"""Upper limit of one message. A row is below 1 GiB in PostgreSQL; its text may be somewhat longer."""
MAX_COLUMNS: Final = 1664
"""PostgreSQL's MaxTupleAttributeNumber."""
MAX_NAME_BYTES: Final = 1024
"""Names have 63 bytes in an unmodified server."""

_POSTGRES_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)


class PgoutputError(EngineError):
    """A message is not what the protocol says.

    Args:
        offset: byte in the message where the reading stopped.
        expected, found: what should have been there, and what was.
    """

    def __init__(self, offset: int, expected: str, found: str) -> None:
        self.offset, self.expected, self.found = offset, expected, found
        super().__init__(
            f"pgoutput message, byte {offset}: expected {expected}, found {found}; the slot was read with other "
            "options or by another plugin, or the server is of a version this Understudy does not know"
        )


class Unchanged(Enum):
    """Marks a large value stored out of line (TOAST) that an UPDATE did not change and so was not sent."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED
Value = str | None | Unchanged
"""A column's text, NULL as None, or `UNCHANGED`."""
Row = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A published column; ``key``: part of the replica identity."""

    name: str
    type_oid: int
    type_mod: int
    key: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """R: a table as the following changes see it. ``identity``: ``d``efault, ``n``othing, ``f``ull, ``i``ndex."""

    id: int
    schema: str
    name: str
    identity: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Begin:
    """B. ``commit_lsn``: start of the commit record; the standby's origin holds its *end* (`Commit.end_lsn`)."""

    commit_lsn: int
    commit_time: datetime
    xid: int


@dataclass(frozen=True, slots=True)
class Commit:
    """C. ``end_lsn`` is what a subscriber that applied the transaction has as its origin position."""

    commit_lsn: int
    end_lsn: int
    commit_time: datetime


@dataclass(frozen=True, slots=True)
class Origin:
    """O: the transaction was itself received by replication, from the origin of that name."""

    commit_lsn: int
    name: str


@dataclass(frozen=True, slots=True)
class TypeName:
    """Y: a type that is not built in."""

    oid: int
    schema: str
    name: str


@dataclass(frozen=True, slots=True)
class Insert:
    """I."""

    relation: int
    new: Row


@dataclass(frozen=True, slots=True)
class Update:
    """U. ``old`` is None where no key column changed; ``full``: it is the whole old row, else its key only."""

    relation: int
    old: Row | None
    new: Row
    full: bool


@dataclass(frozen=True, slots=True)
class Delete:
    """D. ``full``: ``old`` is the whole row, else NULL outside the key."""

    relation: int
    old: Row
    full: bool


@dataclass(frozen=True, slots=True)
class Truncate:
    """T."""

    relations: tuple[int, ...]
    cascade: bool
    restart_identity: bool


@dataclass(frozen=True, slots=True)
class LogicalMessage:
    """M: `pg_logical_emit_message`. ``lsn`` is its own position."""

    transactional: bool
    lsn: int
    prefix: str
    content: bytes


Message = Begin | Commit | Origin | Relation | TypeName | Insert | Update | Delete | Truncate | LogicalMessage


class _Reader:
    """Reads forward through one message; every step checks what is left."""

    __slots__ = ("at", "data", "size")

    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.size = data, 0, len(data)

    def take(self, count: int, what: str) -> bytes:
        end = self.at + count
        if end > self.size:
            raise PgoutputError(self.at, f"{what} ({count} bytes)", f"{self.size - self.at} bytes")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def uint(self, size: int, what: str) -> int:
        return int.from_bytes(self.take(size, what), "big")

    def int32(self, what: str) -> int:
        return int.from_bytes(self.take(4, what), "big", signed=True)

    def text(self, what: str) -> str:
        end = self.data.find(b"\0", self.at, self.at + MAX_NAME_BYTES + 1)
        if end < 0:
            raise PgoutputError(
                self.at, f"{what} of at most {MAX_NAME_BYTES} bytes and a zero byte", "no zero byte"
            )
        piece = self.data[self.at : end]
        self.at = end + 1
        return piece.decode("utf-8", "surrogateescape")

    def time(self, what: str) -> datetime:
        at = self.at
        micros = int.from_bytes(self.take(8, what), "big", signed=True)
        try:
            return _POSTGRES_EPOCH + timedelta(microseconds=micros)
        except OverflowError:
            raise PgoutputError(
                at, f"{what} between the years 1 and 9999", f"{micros} microseconds"
            ) from None

    def one_of(self, allowed: bytes, what: str) -> int:
        at = self.at
        byte = self.take(1, what)
        if byte not in allowed:
            raise PgoutputError(at, f"{what}, one of {allowed!r}", repr(byte))
        return byte[0]

    def columns(self) -> int:
        at = self.at
        count = self.uint(2, "number of columns")
        if count > MAX_COLUMNS:
            raise PgoutputError(at, f"at most {MAX_COLUMNS} columns", str(count))
        return count

    def row(self) -> Row:
        return tuple([self._value() for _ in range(self.columns())])

    def _value(self) -> Value:
        kind = self.one_of(b"ntu", "column kind")
        if kind == 0x6E:  # n
            return None
        if kind == 0x75:  # u
            return UNCHANGED
        at = self.at
        size = self.int32("length of a value")
        if size < 0:
            raise PgoutputError(at, "a length of 0 or more", str(size))
        return self.take(size, "value").decode("utf-8", "surrogateescape")


def _begin(r: _Reader) -> Begin:
    return Begin(r.uint(8, "commit LSN"), r.time("commit time"), r.uint(4, "transaction id"))


def _commit(r: _Reader) -> Commit:
    r.one_of(b"\0", "flags")
    return Commit(r.uint(8, "commit LSN"), r.uint(8, "end LSN"), r.time("commit time"))


def _origin(r: _Reader) -> Origin:
    return Origin(r.uint(8, "origin's commit LSN"), r.text("name of the origin"))


def _relation(r: _Reader) -> Relation:
    relation_id, schema, name = r.uint(4, "relation id"), r.text("schema"), r.text("table name")
    identity = chr(r.one_of(b"dnfi", "replica identity"))
    columns = []
    for _ in range(r.columns()):
        key = r.one_of(b"\0\1", "column flags") == 1
        columns.append(Column(r.text("column name"), r.uint(4, "type"), r.int32("type modifier"), key))
    return Relation(relation_id, schema or "pg_catalog", name, identity, tuple(columns))


def _type(r: _Reader) -> TypeName:
    return TypeName(r.uint(4, "type"), r.text("schema") or "pg_catalog", r.text("type name"))


def _insert(r: _Reader) -> Insert:
    relation = r.uint(4, "relation id")
    r.one_of(b"N", "new row")
    return Insert(relation, r.row())


def _update(r: _Reader) -> Update:
    relation = r.uint(4, "relation id")
    kind = r.one_of(b"KON", "old key, old row or new row")
    if kind == 0x4E:  # N
        return Update(relation, None, r.row(), False)
    old = r.row()
    r.one_of(b"N", "new row")
    return Update(relation, old, r.row(), kind == 0x4F)


def _delete(r: _Reader) -> Delete:
    relation = r.uint(4, "relation id")
    kind = r.one_of(b"KO", "old key or old row")
    return Delete(relation, r.row(), kind == 0x4F)


def _truncate(r: _Reader) -> Truncate:
    at = r.at
    count = r.uint(4, "number of tables")
    options = r.uint(1, "options")
    if options > 3:
        raise PgoutputError(at + 4, "options 0 to 3", str(options))
    if count * 4 > r.size - r.at:
        raise PgoutputError(at, f"{count} table ids", f"{r.size - r.at} bytes")
    ids = tuple(r.uint(4, "relation id") for _ in range(count))
    return Truncate(ids, bool(options & 1), bool(options & 2))


def _message(r: _Reader) -> LogicalMessage:
    flags = r.one_of(b"\0\1", "flags")
    lsn, prefix = r.uint(8, "LSN"), r.text("prefix")
    return LogicalMessage(flags == 1, lsn, prefix, r.take(r.uint(4, "length"), "content"))


_DECODERS: Final[Mapping[int, Callable[[_Reader], Message]]] = {
    ord("B"): _begin,
    ord("C"): _commit,
    ord("O"): _origin,
    ord("R"): _relation,
    ord("Y"): _type,
    ord("I"): _insert,
    ord("U"): _update,
    ord("D"): _delete,
    ord("T"): _truncate,
    ord("M"): _message,
}


def decode(data: bytes) -> Message:
    """One message. Raises `PgoutputError` for anything but exactly one valid message."""
    if len(data) > MAX_MESSAGE_BYTES:
        raise PgoutputError(0, f"at most {MAX_MESSAGE_BYTES} bytes", f"{len(data)} bytes")
    reader = _Reader(data)
    kind = reader.uint(1, "kind of message")
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise PgoutputError(0, "a kind of message of protocol version 1", repr(bytes([kind])))
    message = decoder(reader)
    if reader.at != reader.size:
        raise PgoutputError(reader.at, "the end of the message", f"{reader.size - reader.at} more bytes")
    return message
