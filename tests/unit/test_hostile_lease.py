"""The lease against bytes that look right: whole records with absurd contents, writers killed at any byte, old records.

What is merely random or damaged is tried in `test_lease.py`. Here the digest is right wherever that makes it worse.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from understudy.client.renewal import confirmed
from understudy.errors import LeaseError
from understudy.lease import Lease, LeaseFile, Phase
from understudy.lease_record import (
    HEADER,
    LAYOUT,
    MAGIC,
    NAME_BYTES,
    RECORD_AT,
    SEQUENCE_AT,
    STATE_END,
    decode,
    encode,
)
from understudy.lease_slots import PROCESS_SLOTS, SLOT_SIZE, SLOTS_AT
from understudy.model import ClusterState, NodeRecord, Plan, PlanKind, Role

_RECORD = struct.Struct("<8sQQIdddB47sB47s")
anything_64 = st.integers(0, 2**64 - 1)
text_or_bytes = st.binary(max_size=NAME_BYTES)
names = st.text(min_size=1, max_size=11)
finite = st.floats(allow_nan=False, allow_infinity=False)
leases = st.builds(
    Lease,
    epoch=anything_64,
    primary=names,
    phase=st.sampled_from(Phase),
    deadline=finite,
    renewed=finite,
    standby=names | st.just(""),
    standby_lag=finite,
)


def state_of(sequence: int, records: dict[int, bytes]) -> bytearray:
    """The first bytes of a file: header, sequence and records by their place (0 or 1)."""
    state = bytearray(STATE_END)
    HEADER.pack_into(state, 0, MAGIC, LAYOUT, 0)
    state[SEQUENCE_AT : SEQUENCE_AT + 8] = sequence.to_bytes(8, "little")
    for place, record in records.items():
        state[RECORD_AT[place] : RECORD_AT[place] + len(record)] = record
    return state


def sealed(body: bytes) -> bytes:
    return body + blake2b(body, digest_size=16).digest()


@given(
    anything_64,
    anything_64,
    st.integers(0, 2**32 - 1),
    st.tuples(st.floats(), st.floats(), st.floats()),
    st.tuples(st.integers(0, 255), text_or_bytes, st.integers(0, 255), text_or_bytes),
)
@example(2, 1, 1, (math.nan, 1.0, 1.0), (1, b"a", 0, b""))
@example(2, 1, 1, (math.inf, 1.0, 1.0), (1, b"a", 0, b""))
@example(2, 1, 1, (5.0, math.inf, 1.0), (1, b"a", 0, b""))
@example(2, 1, 1, (5.0, 1.0, 1.0), (0, b"", 0, b""))
@example(2, 1, 1, (5.0, 1.0, 1.0), (200, b"a", 0, b""))
@example(2, 1, 9, (5.0, 1.0, 1.0), (1, b"a", 0, b""))
@example(2, 1, 1, (5.0, 1.0, 1.0), (2, b"\xc3(", 0, b""))
def test_a_sealed_record_with_absurd_contents_is_none_or_sound(
    sequence: int,
    epoch: int,
    phase: int,
    times: tuple[float, float, float],
    texts: tuple[int, bytes, int, bytes],
) -> None:
    """A lease that is read has a known phase, a named primary and times that end."""
    body = _RECORD.pack(MAGIC, sequence, epoch, phase, *times, *texts)
    lease = decode(bytes(state_of(sequence, {sequence & 1: sealed(body)})))
    if lease is not None:
        assert lease.primary
        assert lease.phase in Phase
        assert math.isfinite(lease.deadline)
        assert math.isfinite(lease.renewed)
        assert not math.isnan(lease.standby_lag)
        assert (lease.epoch, lease.primary.encode()) == (epoch, texts[1].ljust(47, b"\0")[: texts[0]])


@pytest.mark.parametrize("times", [{"deadline": math.nan}, {"deadline": math.inf}, {"renewed": math.nan}])
def test_a_lease_that_never_ends_cannot_be_written(tmp_path: Path, times: dict[str, float]) -> None:
    values = {"deadline": 5.0, "renewed": 1.0} | times
    with pytest.raises(LeaseError, match="finite"):
        LeaseFile(tmp_path / "m.lease").write(Lease(epoch=1, primary="a", phase=Phase.OPEN, **values))


def test_a_lease_for_nobody_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(LeaseError, match="name"):
        LeaseFile(tmp_path / "m.lease").write(
            Lease(epoch=1, primary="", phase=Phase.OPEN, deadline=5, renewed=1)
        )


@given(leases, leases, anything_64, st.integers(0, 192), st.booleans())
def test_a_writer_killed_at_any_byte_leaves_the_former_lease(
    former: Lease, following: Lease, sequence: int, cut: int, with_sequence: bool
) -> None:
    """As `LeaseFile._store` writes: the record that does not count, byte by byte, and then the sequence at once."""
    after = (sequence + 1) % 2**64
    state = state_of(sequence, {sequence & 1: encode(sequence, former)})
    record = encode(after, following)
    at = RECORD_AT[after & 1]
    whole = cut >= len(record)
    state[at : at + min(cut, len(record))] = record[:cut]
    if whole and with_sequence:
        state[SEQUENCE_AT : SEQUENCE_AT + 8] = after.to_bytes(8, "little")
    assert decode(bytes(state)) == (following if whole and with_sequence else former)


@given(leases, leases, anything_64, st.integers(0, 8))
def test_a_torn_sequence_is_one_of_the_two_or_none(
    former: Lease, following: Lease, sequence: int, cut: int
) -> None:
    """An aligned store is never torn; a file that was copied or restored may be."""
    after = (sequence + 1) % 2**64
    places = {sequence & 1: encode(sequence, former), after & 1: encode(after, following)}
    torn = after.to_bytes(8, "little")[:cut] + sequence.to_bytes(8, "little")[cut:]
    state = state_of(int.from_bytes(torn, "little"), places)
    assert decode(bytes(state)) in (None, former, following)


@given(leases, anything_64, st.integers(0, STATE_END - 1))
def test_bytes_that_end_early_are_no_lease(lease: Lease, sequence: int, length: int) -> None:
    """Also where the record that counts would be whole: what is cut is not our file."""
    state = state_of(sequence, {sequence & 1: encode(sequence, lease)})
    assert decode(bytes(state[:length])) is None


@given(leases, leases, anything_64, anything_64)
def test_a_record_counts_only_under_the_sequence_it_was_written_for(
    one: Lease, other: Lease, written_as: int, found_as: int
) -> None:
    """Records that were moved, swapped or left over from earlier name nobody."""
    record = encode(written_as, one)
    state = state_of(found_as, {0: record, 1: encode((written_as + 2) % 2**64, other)})
    lease = decode(bytes(state))
    if lease is not None:
        assert (found_as, lease) in ((written_as, one), ((written_as + 2) % 2**64, other))


# --- the file -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("lease") / "m.lease"


def test_all_of_a_new_file_has_its_place_on_the_disk(tmp_path: Path) -> None:
    """A hole in a mapped file on a full disk would end the application with SIGBUS at its first call."""
    LeaseFile(tmp_path / "m.lease")
    status = (tmp_path / "m.lease").stat()
    assert status.st_blocks * 512 >= status.st_size


def test_a_full_disk_is_a_clear_error_and_leaves_an_empty_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, offset: int, length: int) -> None:
        os.ftruncate(fd, 4096)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(LeaseError, match="No space left"):
        patch.setattr(os, "posix_fallocate", full)
        LeaseFile(tmp_path / "m.lease")
    assert LeaseFile(tmp_path / "m.lease").read() is None


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    damage=st.lists(
        st.tuples(st.integers(0, PROCESS_SLOTS * SLOT_SIZE - 16), st.binary(min_size=1, max_size=16)),
        max_size=30,
    )
)
def test_any_bytes_in_the_slots_stop_nobody(path: Path, damage: list[tuple[int, bytes]]) -> None:
    """Counting, listing and registering go on, and the lease is untouched."""
    file = LeaseFile(path)
    lease = Lease(epoch=3, primary="a", phase=Phase.OPEN, deadline=5.0, renewed=1.0)
    file.write(lease)
    with path.open("r+b") as raw:
        for at, junk in damage:
            raw.seek(SLOTS_AT + at)
            raw.write(junk)
    assert file.read() == lease
    file.processes()
    file.quiet(before_epoch=4)
    slot = file.register()
    slot.leave(slot.enter())
    file.close()
    path.unlink()


# --- two of three -------------------------------------------------------------------------------------------

CHANGES = (PlanKind.FAILOVER, PlanKind.SWITCHOVER, PlanKind.REINSTATE)
kinds = st.none() | st.sampled_from(PlanKind)
small = st.integers(1, 4)
who = st.sampled_from("ab")


@st.composite
def registers(draw: st.DrawFn) -> tuple[ClusterState | None, list[tuple[int, str] | None]]:
    """Each epoch has one primary; only a witness in the middle of a change names another one."""
    primaries = draw(st.lists(who, min_size=4, max_size=4))
    epochs = [draw(st.none() | small) for _ in range(2)]
    fences = [None if epoch is None else (epoch, primaries[epoch - 1]) for epoch in epochs]
    if draw(st.booleans()):
        return None, fences
    epoch, kind = draw(small), draw(kinds)
    primary = draw(who) if kind in CHANGES else primaries[epoch - 1]
    plan = kind and Plan(
        kind=kind, epoch=epoch, source="a", target="b", number=1, slot="s", rule="r", reason=""
    )
    nodes = (NodeRecord(name="a", role=Role.PRIMARY), NodeRecord(name="b", role=Role.STANDBY))
    state = ClusterState(cluster="c", version=1, epoch=epoch, primary=primary, nodes=nodes)
    return replace(state, plan=plan or None), fences


@given(registers(), st.data())
def test_whatever_the_registers_say_a_lease_needs_two_and_nobody_above(
    said: tuple[ClusterState | None, list[tuple[int, str] | None]], data: st.DataObject
) -> None:
    state, fences = said
    answer = confirmed(state, fences)
    if answer is None:
        return
    epoch, primary = answer
    heard = [fence for fence in fences if fence] + ([(state.epoch, state.primary)] if state else [])
    assert sum(e == epoch for e, _ in heard) >= 2
    assert max(e for e, _ in heard) == epoch
    assert (epoch, primary) in heard
    # Losing any one more register never turns the answer into another one: only into none.
    lost = data.draw(st.integers(0, 2))
    left = [None if number == lost else fence for number, fence in enumerate(fences)]
    assert confirmed(None if lost == 2 else state, left) in (None, answer)
