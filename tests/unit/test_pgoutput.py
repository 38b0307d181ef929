"""The pgoutput decoder: round trips with an encoder written here, and hostile bytes."""

from __future__ import annotations

import contextlib
import struct
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from understudy.engines.postgresql import pgoutput as p
from understudy.engines.postgresql.pgoutput import PgoutputError, decode
from understudy.engines.postgresql.transactions import Op, transactions

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

# --- the encoder ---------------------------------------------------------------------------------------------


def text(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape") + b"\0"


def time(value: datetime) -> bytes:
    return struct.pack(">q", (value - EPOCH) // timedelta(microseconds=1))


def row(values: p.Row) -> bytes:
    out = struct.pack(">H", len(values))
    for value in values:
        if value is None:
            out += b"n"
        elif value is p.UNCHANGED:
            out += b"u"
        else:
            data = value.encode("utf-8", "surrogateescape")
            out += b"t" + struct.pack(">i", len(data)) + data
    return out


def encode(m: p.Message) -> bytes:
    match m:
        case p.Begin():
            return b"B" + struct.pack(">Q", m.commit_lsn) + time(m.commit_time) + struct.pack(">I", m.xid)
        case p.Commit():
            return b"C\0" + struct.pack(">QQ", m.commit_lsn, m.end_lsn) + time(m.commit_time)
        case p.Origin():
            return b"O" + struct.pack(">Q", m.commit_lsn) + text(m.name)
        case p.Relation():
            out = b"R" + struct.pack(">I", m.id) + text(m.schema) + text(m.name) + m.identity.encode()
            out += struct.pack(">H", len(m.columns))
            for c in m.columns:
                out += bytes([c.key]) + text(c.name) + struct.pack(">Ii", c.type_oid, c.type_mod)
            return out
        case p.TypeName():
            return b"Y" + struct.pack(">I", m.oid) + text(m.schema) + text(m.name)
        case p.Insert():
            return b"I" + struct.pack(">I", m.relation) + b"N" + row(m.new)
        case p.Update():
            old = b"" if m.old is None else (b"O" if m.full else b"K") + row(m.old)
            return b"U" + struct.pack(">I", m.relation) + old + b"N" + row(m.new)
        case p.Delete():
            return b"D" + struct.pack(">I", m.relation) + (b"O" if m.full else b"K") + row(m.old)
        case p.Truncate():
            head = b"T" + struct.pack(">IB", len(m.relations), m.cascade + 2 * m.restart_identity)
            return head + struct.pack(f">{len(m.relations)}I", *m.relations)
        case p.LogicalMessage():
            head = b"M" + struct.pack(">BQ", m.transactional, m.lsn) + text(m.prefix)
            return head + struct.pack(">I", len(m.content)) + m.content
    raise AssertionError(m)


# --- strategies ----------------------------------------------------------------------------------------------

u32 = st.integers(0, 2**32 - 1)
i32 = st.integers(-(2**31), 2**31 - 1)
u64 = st.integers(0, 2**64 - 1)
names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40)
times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
not_utf8 = st.binary(max_size=20).map(lambda b: b.decode("utf-8", "surrogateescape"))
values = st.one_of(st.none(), st.just(p.UNCHANGED), names, st.just(""), not_utf8)
rows = st.lists(values, max_size=8).map(tuple)
columns = st.builds(p.Column, names, u32, i32, st.booleans())
updates = st.one_of(
    st.builds(p.Update, u32, st.none(), rows, st.just(False)),
    st.builds(p.Update, u32, rows, rows, st.booleans()),
)
any_message = st.one_of(
    st.builds(p.Begin, u64, times, u32),
    st.builds(p.Commit, u64, u64, times),
    st.builds(p.Origin, u64, names),
    st.builds(
        p.Relation, u32, names, names, st.sampled_from("dnfi"), st.lists(columns, max_size=6).map(tuple)
    ),
    st.builds(p.TypeName, u32, names, names),
    st.builds(p.Insert, u32, rows),
    updates,
    st.builds(p.Delete, u32, rows, st.booleans()),
    st.builds(p.Truncate, st.lists(u32, max_size=5).map(tuple), st.booleans(), st.booleans()),
    st.builds(p.LogicalMessage, st.booleans(), u64, names, st.binary(max_size=30)),
)


@given(any_message)
def test_what_is_encoded_is_decoded(message: p.Message) -> None:
    assert decode(encode(message)) == message


@given(any_message, st.data())
def test_a_message_cut_short_or_prolonged_is_an_error_with_its_place(
    message: p.Message, data: st.DataObject
) -> None:
    whole = encode(message)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(PgoutputError) as caught:
        decode(whole[:cut])
    assert 0 <= caught.value.offset <= cut
    assert caught.value.expected
    assert caught.value.found
    with pytest.raises(PgoutputError):
        decode(whole + b"x")


@given(st.binary(max_size=200))
@example(b"I\0\0\0\1N\xff\xff")
@example(b"I\0\0\0\1N\0\1t\x7f\xff\xff\xff")
@example(b"I\0\0\0\1N\0\1t\xff\xff\xff\xff")
@example(b"T\xff\xff\xff\xff\0")
@example(b"B" + b"\xff" * 8 + b"\x7f" + b"\xff" * 11)
@example(b"R\0\0\0\1" + b"a" * 5000)
def test_random_bytes_give_a_message_or_the_error(data: bytes) -> None:
    with contextlib.suppress(PgoutputError):
        decode(data)


@given(any_message, st.data())
def test_a_flipped_byte_gives_a_message_or_the_error(message: p.Message, data: st.DataObject) -> None:
    whole = bytearray(encode(message))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(PgoutputError):
        decode(bytes(whole))


def test_pg_catalog_is_sent_as_an_empty_schema() -> None:
    assert decode(b"Y\0\0\0\1\0name\0") == p.TypeName(1, "pg_catalog", "name")


# --- transactions --------------------------------------------------------------------------------------------

TABLE = p.Relation(7, "public", "t", "d", (p.Column("id", 20, -1, True), p.Column("x", 25, -1, False)))
AT = datetime(2026, 11, 1, tzinfo=UTC)


def test_transactions_carry_their_changes_with_tables() -> None:
    messages: list[p.Message] = [
        p.Begin(100, AT, 5),
        TABLE,
        p.Insert(7, ("1", "a")),
        p.Update(7, None, ("1", p.UNCHANGED), False),
        p.Delete(7, ("1", None), False),
        p.Truncate((7,), True, False),
        p.LogicalMessage(True, 90, "a", b"b"),
        p.Commit(100, 110, AT),
        p.Begin(110, AT, 6),
        p.Origin(50, "pg_1"),
        p.Insert(7, ("2", None)),
        p.Commit(110, 120, AT),
    ]
    first, second = transactions(messages)
    assert [c.op for c in first.changes] == [Op.INSERT, Op.UPDATE, Op.DELETE, Op.TRUNCATE]
    assert (first.xid, first.commit_lsn, first.end_lsn, first.origin) == (5, 100, 110, "")
    assert first.messages[0].content == b"b"
    assert first.changes[3].cascade
    assert all(c.relation is TABLE for c in first.changes)
    assert (second.origin, second.changes[0].new, second.messages) == ("pg_1", ("2", None), ())


@pytest.mark.parametrize(
    "messages",
    [
        [p.Insert(7, ("1", "a"))],
        [p.Commit(1, 2, AT)],
        [p.Begin(1, AT, 1), p.Begin(2, AT, 2)],
        [p.Begin(1, AT, 1), p.Commit(9, 10, AT)],
        [p.Begin(1, AT, 1)],
        [p.Begin(1, AT, 1), p.Insert(7, ("1", "a")), p.Commit(1, 2, AT)],
        [p.Begin(1, AT, 1), TABLE, p.Insert(7, ("1",)), p.Commit(1, 2, AT)],
        [p.Begin(1, AT, 1), TABLE, p.Truncate((8,), False, False), p.Commit(1, 2, AT)],
    ],
)
def test_messages_out_of_order_are_an_error(messages: list[p.Message]) -> None:
    with pytest.raises(PgoutputError):
        list(transactions(messages))


@given(st.lists(any_message, max_size=12))
def test_any_order_of_messages_gives_transactions_or_the_error(messages: list[p.Message]) -> None:
    with contextlib.suppress(PgoutputError):
        list(transactions(messages))
