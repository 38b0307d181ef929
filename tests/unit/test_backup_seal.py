"""A sealed object opens whole and unchanged, or not at all: every bit, every cut, every swap is noticed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from understudy.backup import seal as sealing
from understudy.backup.keys import Key, Keys
from understudy.backup.seal import SealError, WrongKey, read_header, seal, unseal

CONTEXT = "main/20261121T074500Z-logical-1f2e3d/archive"
KEYS = Keys(Key.new())
SMALL = 64
"""Bytes of a chunk in these tests, so that a small text has many."""


@pytest.fixture(autouse=True, scope="module")
def _small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealing, "CHUNK", SMALL)
        yield


def sealed(plain: bytes, keys: Keys = KEYS, context: str = CONTEXT) -> bytes:
    return b"".join(seal([plain], keys, context))


def opened(data: bytes, keys: Keys = KEYS, context: str = CONTEXT, pieces: int = 100) -> bytes:
    return b"".join(unseal([data[i : i + pieces] for i in range(0, len(data), pieces)], keys, context))


def header_length(data: bytes) -> int:
    return len(read_header(iter([data]), CONTEXT)[0].raw)


@given(st.binary(max_size=5 * SMALL), st.lists(st.integers(1, 200), max_size=20), st.integers(1, 300))
@example(b"", [], 1)
@example(b"x" * SMALL, [], SMALL)
@example(b"x" * (2 * SMALL), [SMALL], 7)
def test_what_goes_in_comes_out_however_it_is_cut_into_pieces(
    plain: bytes, sizes: list[int], read: int
) -> None:
    cuts = list(itertools.accumulate(sizes))
    pieces = [plain[a:b] for a, b in zip([0, *cuts], [*cuts, len(plain)], strict=True)]
    data = b"".join(seal(pieces, KEYS, CONTEXT))
    assert opened(data, pieces=read) == plain


PLAIN = bytes(range(256)) * 2


@given(st.data())
@settings(max_examples=300)
def test_any_flipped_bit_anywhere_is_noticed(data: st.DataObject) -> None:
    good = sealed(PLAIN)
    bit = data.draw(st.integers(0, 8 * len(good) - 1))
    bad = bytearray(good)
    bad[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealError):
        opened(bytes(bad))


def test_every_byte_of_the_header_matters() -> None:
    good = sealed(b"short")
    for at, change in itertools.product(range(header_length(good)), (0x01, 0x20, 0x80)):
        bad = bytearray(good)
        bad[at] ^= change
        with pytest.raises(SealError):
            opened(bytes(bad))


@pytest.mark.parametrize("size", [0, 1, SMALL - 1, SMALL, SMALL + 1, 4 * SMALL, 4 * SMALL + 1])
def test_a_cut_at_any_place_is_noticed_chunk_boundaries_too(size: int) -> None:
    good = sealed(b"p" * size)
    for length in range(len(good)):
        with pytest.raises(SealError):
            opened(good[:length])


def test_a_cut_at_a_chunk_boundary_says_so() -> None:
    good = sealed(b"p" * (4 * SMALL))
    start = header_length(good)
    with pytest.raises(
        SealError, match=f"cut at byte {start + 2 * (SMALL + 16)}, after chunk 1; the end is missing"
    ):
        opened(good[: start + 2 * (SMALL + 16)])


@given(st.binary(min_size=1, max_size=3 * SMALL))
def test_bytes_after_the_end_are_noticed(more: bytes) -> None:
    with pytest.raises(SealError):
        opened(sealed(b"p" * (2 * SMALL)) + more)


def test_an_object_after_another_is_noticed_and_said() -> None:
    good = sealed(b"p" * (2 * SMALL))
    with pytest.raises(SealError, match="added after its end"):
        opened(good + good)


def test_chunks_in_another_order_are_noticed() -> None:
    good = sealed(PLAIN)
    start, size = header_length(good), SMALL + 16
    swapped = (
        good[:start]
        + good[start + size : start + 2 * size]
        + good[start : start + size]
        + good[start + 2 * size :]
    )
    with pytest.raises(SealError, match="chunk 0 was changed or cut"):
        opened(swapped)


def test_chunks_of_another_object_are_noticed() -> None:
    one, other = sealed(b"a" * (3 * SMALL)), sealed(b"b" * (3 * SMALL))
    start = header_length(one)
    with pytest.raises(SealError, match="chunk 0"):
        opened(one[:start] + other[header_length(other) :])


@pytest.mark.parametrize("there", ["main/20261121T074500Z-logical-1f2e3d/roles", "other" + CONTEXT[4:], ""])
def test_an_object_in_anothers_place_does_not_open(there: str) -> None:
    with pytest.raises(SealError, match="sealed as another object"):
        opened(sealed(PLAIN), context=there)


def test_a_wrong_key_is_told_apart_from_a_changed_object() -> None:
    other = Keys(Key.new())
    with pytest.raises(WrongKey) as caught:
        opened(sealed(PLAIN), keys=other)
    assert KEYS.recipients[0] in str(caught.value)
    assert other.openers[0] in str(caught.value)


def test_the_position_of_a_change_is_told() -> None:
    good = bytearray(sealed(PLAIN))
    at = header_length(bytes(good)) + 3 * (SMALL + 16)
    good[at + 5] ^= 1
    with pytest.raises(SealError, match=f"chunk 3 was changed or cut, bytes {at} to {at + SMALL + 16}"):
        opened(bytes(good))


def test_nothing_is_yielded_of_a_chunk_that_was_changed() -> None:
    good = bytearray(sealed(PLAIN))
    good[header_length(bytes(good)) + SMALL + 16 + 1] ^= 1
    seen: list[bytes] = []
    with pytest.raises(SealError):
        seen.extend(unseal([bytes(good)], KEYS, CONTEXT))
    assert seen == [PLAIN[:SMALL]]


@pytest.mark.parametrize("length", [sealing.MAX_HEADER + 1, 2**32 - 1])
def test_a_header_is_bounded_before_it_is_read(length: int) -> None:
    def endless() -> Iterator[bytes]:
        yield sealing.MAGIC + length.to_bytes(4, "big")
        raise AssertionError("read on")

    with pytest.raises(SealError, match="expected a header of at most"):
        list(unseal(endless(), KEYS, CONTEXT))


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"chunk":64,"nonce":"","keys":[]}',
        b'{"chunk":64,"nonce":"AAAAAAAAAA==","keys":[]}',
        b'{"chunk":65,"nonce":"AAAAAAAAAA==","keys":[{"for":"k","key":"eA=="}]}',
        b"[" * 60000,
    ],
)
def test_a_hostile_header_is_refused(header: bytes) -> None:
    data = sealing.MAGIC + len(header).to_bytes(4, "big") + header
    with pytest.raises(SealError, match="its header was changed"):
        opened(data)


@given(st.binary(max_size=300))
def test_noise_is_never_an_object(noise: bytes) -> None:
    with pytest.raises(SealError):
        opened(noise)


def test_the_same_stream_never_gives_the_same_object() -> None:
    assert sealed(PLAIN) != sealed(PLAIN)
