"""What the lease says, and how it lies in the file. Pure, except for the clock. See `understudy.lease`."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from hashlib import blake2b
from math import isfinite

from understudy.errors import LeaseError

MAGIC = b"UNDRSTDY"
LAYOUT = 1
HEADER = struct.Struct("<8sII")
SEQUENCE_AT = 64
RECORD_AT = (128, 320)
RECORD_SIZE = 192
STATE_END = RECORD_AT[1] + RECORD_SIZE
NAME_BYTES = 47
_RECORD = struct.Struct("<8sQQIdddB47sB47s")  # magic, sequence, epoch, phase, deadline, renewed, lag, names
_DIGEST_SIZE = 16


class Phase(IntEnum):
    """What the holders of the lease may do.

    OPEN: write. HOLDING (planned change): new transactions wait, those in flight may finish and commit.
    CHANGING (unplanned): new ones wait, calls in flight on the old primary are aborted, nothing may be
    committed there any more.
    """

    OPEN = 1
    HOLDING = 2
    CHANGING = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who may be written to, until when.

    Args:
        epoch: the fencing number.
        primary: name of the node that accepts writes at this epoch.
        deadline: boot time (seconds, CLOCK_BOOTTIME) after which the lease is worth nothing.
        renewed: boot time at which it was last confirmed by two of three.
        standby: name of the node that follows, or empty.
        standby_lag: seconds it is behind; negative: unknown.
    """

    epoch: int
    primary: str
    phase: Phase
    deadline: float
    renewed: float
    standby: str = ""
    standby_lag: float = -1.0


boot_now = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
"""Seconds since boot, time asleep included: the one clock that all processes of a host share.

No function of Python's: it is asked several times per transaction.
"""


def encode(sequence: int, lease: Lease) -> bytes:
    """The record as it lies in the file.

    Raises `LeaseError` for a name that does not fit, a lease for nobody, or times that are not finite: such a lease
    would never end.
    """
    primary, standby = lease.primary.encode(), lease.standby.encode()
    if not primary:
        raise LeaseError("expected the name of the primary, found an empty name")
    if not (isfinite(lease.deadline) and isfinite(lease.renewed)):
        raise LeaseError(f"expected finite times, found deadline {lease.deadline}, renewed {lease.renewed}")
    for name in (primary, standby):
        if len(name) > NAME_BYTES:
            raise LeaseError(f"expected a node name of at most {NAME_BYTES} bytes, found {name.decode()!r}")
    body = _RECORD.pack(
        MAGIC,
        sequence,
        lease.epoch,
        lease.phase,
        lease.deadline,
        lease.renewed,
        lease.standby_lag if isfinite(lease.standby_lag) else -1.0,
        len(primary),
        primary,
        len(standby),
        standby,
    )
    return body + blake2b(body, digest_size=_DIGEST_SIZE).digest()


def decode(state: bytes) -> Lease | None:
    """The record that counts in these first `STATE_END` bytes of the file, or None if they are not whole."""
    if len(state) < STATE_END:
        return None
    magic, layout, _ = HEADER.unpack_from(state)
    if magic != MAGIC or layout != LAYOUT:
        return None
    sequence = int.from_bytes(state[SEQUENCE_AT : SEQUENCE_AT + 8], "little")
    at = RECORD_AT[sequence & 1]
    body = state[at : at + _RECORD.size]
    digest = state[at + _RECORD.size : at + _RECORD.size + _DIGEST_SIZE]
    if blake2b(body, digest_size=_DIGEST_SIZE).digest() != digest:
        return None
    magic, written_as, epoch, phase, deadline, renewed, lag, n_primary, primary, n_standby, standby = (
        _RECORD.unpack(body)
    )
    if magic != MAGIC or written_as != sequence or n_primary == 0 or max(n_primary, n_standby) > NAME_BYTES:
        return None
    if not (isfinite(deadline) and isfinite(renewed) and isfinite(lag)):
        return None
    try:
        return Lease(
            epoch=epoch,
            primary=primary[:n_primary].decode(),
            phase=Phase(phase),
            deadline=deadline,
            renewed=renewed,
            standby=standby[:n_standby].decode(),
            standby_lag=lag,
        )
    except ValueError:
        return None
