"""Segments of write-ahead log in a destination: their names, what they cover, how one is stored and read.

PostgreSQL writes its log in files of 16 MiB, numbered by position and by *timeline* (a new one begins whenever a server
leaves recovery). From a base backup on, a server can be brought to every position for which all segments are there. So
what a backup is worth is a question about names alone: `coverage` answers it without touching a database.

In a destination, beneath ``CLUSTER/wal/SYSTEM/`` (the system identifier: WAL of two servers never mixes):

    000000010000000A000000FE           a complete segment, never overwritten
    000000010000000A000000FF.partial   the newest one so far, overwritten as it grows
    00000002.history                   where timeline 2 left its parents

Sources: PostgreSQL 16 manual, "Continuous Archiving and Point-in-Time Recovery"; src/include/access/xlog_internal.h
for names; src/backend/access/transam/timeline.c for history files.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from understudy.backup.keys import Keys
from understudy.backup.manifest import Kind, Manifest
from understudy.backup.retention import LEFTOVER_AGE, Span
from understudy.backup.store import AlreadyThere, Store
from understudy.backup.stream import packed, read_object
from understudy.errors import UnderstudyError

SEGMENT_BYTES: Final = 16 * 1024 * 1024
"""What initdb chooses; servers made with another size are refused (`physical.obstacles`)."""
PARTIAL: Final = ".partial"
_PER_ID: Final = 2**32 // SEGMENT_BYTES
_SEGMENT: Final = re.compile(r"[0-9A-F]{24}")
_HISTORY: Final = re.compile(r"([0-9A-F]{8})\.history")
_HISTORY_LINE: Final = re.compile(r"^\s*([0-9]+)\s+([0-9A-F]{1,8})/([0-9A-F]{1,8})\b", re.MULTILINE)
_BLOCK: Final = 1024 * 1024


class WalError(UnderstudyError):
    """A segment cannot be archived; the text names it and says what to do."""


# --- names --------------------------------------------------------------------------------------------------


def lsn_text(lsn: int) -> str:
    """A position as PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> int:
    """A position in bytes from PostgreSQL's notation. Raises ValueError."""
    match = re.fullmatch(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})", text)
    if match is None:
        raise ValueError(f"expected a position like 0/1A2B3C8, found {text[:40]!r}")
    return int(match[1], 16) << 32 | int(match[2], 16)


def first_record(end: int) -> int:
    """Where the record after one that ends here begins: behind the header of a page or segment that begins here.

    ``pg_current_wal_insert_lsn()`` says that, the end of a replay says ``end``.
    """
    if end % SEGMENT_BYTES == 0:
        return end + 40  # SizeOfXLogLongPHD
    return end + 24 if end % 8192 == 0 else end  # SizeOfXLogShortPHD


def segment_name(timeline: int, number: int) -> str:
    """The file that holds the ``number``-th 16 MiB of the log on a timeline."""
    return f"{timeline:08X}{number // _PER_ID:08X}{number % _PER_ID:08X}"


def segment_number(name: str) -> int:
    """Which 16 MiB of the log a segment holds, whatever its timeline."""
    return int(name[8:16], 16) * _PER_ID + int(name[16:24], 16)


def is_segment(name: str) -> bool:
    """Whether this is the name of a complete segment."""
    return _SEGMENT.fullmatch(name) is not None


def is_history(name: str) -> bool:
    """Whether this is the name of a timeline's history."""
    return _HISTORY.fullmatch(name) is not None


def prefix(cluster: str, system: str) -> str:
    """How the keys of one server's log begin."""
    return f"{cluster}/wal/{system}/"


# --- what is there ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """What one destination holds of one server's log.

    Args:
        system: the server's system identifier.
        stored: name of each object to the time it was stored (ISO 8601, UTC).
        histories: timeline to the text of its history file.
    """

    system: str
    stored: Mapping[str, str] = field(default_factory=dict)
    histories: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far a base backup can be rolled forward with what is archived.

    Args:
        timeline: the one to follow to its end.
        names: the objects to fetch, in order; the last may be a partial segment.
        ends: every position before it is there (bytes). With a partial segment the log ends somewhere inside it.
        missing: the first segment that is not there although later ones are; empty: there is no gap.
    """

    timeline: int
    names: tuple[str, ...]
    ends: int
    missing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What can be restored from one base backup.

    Args:
        begins: the earliest position (bytes): where the base backup ended.
        ends: `Reach.ends`.
        until: when the newest of its segments was stored (ISO 8601, UTC): commits before that time can be restored,
            but for those of the last moments before it. The end of the base backup where there is no segment.
        whole: without a gap up to the newest archived log of the present primary.
        reason: why it is not, and what to do; empty where it is.
    """

    backup: str
    system: str
    begins: int
    ends: int
    until: str
    whole: bool
    reason: str


@dataclass(frozen=True, slots=True)
class _Span:
    """The part of a line of descent that lies on one timeline, in positions; ``end`` None: it goes on."""

    timeline: int
    begin: int
    end: int | None


def _descent(timeline: int, history: str) -> tuple[_Span, ...]:
    """The timelines that lead to this one, newest first."""
    spans, begin = [], 0
    for parent, high, low in _HISTORY_LINE.findall(history):
        end = int(high, 16) << 32 | int(low, 16)
        spans.append(_Span(int(parent), begin, end))
        begin = end
    spans.append(_Span(timeline, begin, None))
    return tuple(reversed(spans))


def branch_point(history: str) -> int:
    """Where the timeline of a history file left its parent. Raises ValueError where the text is no history."""
    lines = _HISTORY_LINE.findall(history)
    if not lines:
        raise ValueError("a history file without a line")
    return int(lines[-1][1], 16) << 32 | int(lines[-1][2], 16)


def _line(manifest: Manifest, archived: Archived) -> tuple[_Span, ...]:
    """The newest line of descent that goes through the base backup; its own timeline where it has no child.

    A timeline that left the backup's before the backup ended belongs to another history: PostgreSQL refuses it.
    """
    for timeline in sorted(archived.histories, reverse=True):
        spans = _descent(timeline, archived.histories[timeline])
        for span in spans:
            if span.timeline == manifest.timeline and (span.end is None or span.end >= manifest.end_lsn):
                return spans
    return (_Span(manifest.timeline, 0, None),)


def reach(manifest: Manifest, archived: Archived) -> Reach:
    """How far this base backup can be rolled forward. Pure.

    The base backup itself holds the log from its start to the segment in which it ended.
    """
    spans = _line(manifest, archived)
    number = (manifest.end_lsn - 1) // SEGMENT_BYTES + 1
    last = max((segment_number(n) for n in archived.stored if _on_line(n, spans)), default=number - 1)
    names = [f"{s.timeline:08X}.history" for s in reversed(spans) if s.timeline in archived.histories]
    missing = ""
    for at in range(number, last + 1):
        name = segment_name(_timeline_at(spans, at), at)
        if name in archived.stored:
            names.append(name)
        elif at == last and name + PARTIAL in archived.stored:
            names.append(name + PARTIAL)
        else:
            missing, last = name, at - 1
            break
    ends = max(manifest.end_lsn, (last + 1) * SEGMENT_BYTES if last >= number else 0)
    return Reach(timeline=spans[0].timeline, names=tuple(names), ends=ends, missing=missing)


def _timeline_at(spans: Sequence[_Span], number: int) -> int:
    """Which timeline's file holds a segment: where one branches off, its own copy of that segment."""
    return next(span.timeline for span in spans if span.begin // SEGMENT_BYTES <= number)


def _on_line(name: str, spans: Sequence[_Span]) -> bool:
    bare = name.removesuffix(PARTIAL)
    return is_segment(bare) and int(bare[:8], 16) == _timeline_at(spans, segment_number(bare))


def coverage(
    manifests: Iterable[Manifest], archives: Iterable[Archived], present: str = ""
) -> tuple[Coverage, ...]:
    """What can be restored from each physical backup, oldest first. Pure.

    Args:
        manifests: any backups; those that are not physical are passed over.
        archives: what one destination holds.
        present: system identifier of the present primary; empty where it is not known.
    """
    by_system = {archived.system: archived for archived in archives}
    physical = sorted((m for m in manifests if m.kind is Kind.PHYSICAL), key=lambda m: m.order)
    return tuple(
        _covered(m, by_system.get(m.system_identifier, Archived(system=m.system_identifier)), present)
        for m in physical
    )


def _covered(manifest: Manifest, archived: Archived, present: str) -> Coverage:
    found = reach(manifest, archived)
    segments = [name for name in found.names if not is_history(name)]
    reason = ""
    if found.missing:
        reason = (
            f"segment {found.missing} is missing although later ones are there: nothing after"
            f" {lsn_text(found.ends)} can be restored from it; make a new base backup"
        )
    elif present and present != manifest.system_identifier:
        reason = "the primary is another server now, whose log does not fit; make a base backup of that one"
    elif not segments:
        reason = "no log after it is archived: is the agent running, with backup.physical.wal on?"
    return Coverage(
        backup=manifest.id,
        system=manifest.system_identifier,
        begins=manifest.end_lsn,
        ends=found.ends,
        until=max((archived.stored[name] for name in segments), default=manifest.finished),
        whole=not reason,
        reason=reason,
    )


def unneeded(needed: Sequence[Span], archived: Archived, now: datetime) -> tuple[str, ...]:
    """The objects of one server's log that no kept backup can use. Pure.

    Args:
        needed: of `retention.Plan.wal` for this server. None at all: no backup of it is kept; then what was stored in
            the last two days stays all the same, because its first base backup may be under way.
    """
    recent = _iso(now - LEFTOVER_AGE)
    gone = []
    for name, stored in archived.stored.items():
        bare = name.removesuffix(PARTIAL)
        if not is_segment(bare) or (not needed and stored > recent):
            continue
        begin = segment_number(bare) * SEGMENT_BYTES
        if not any(s.start < begin + SEGMENT_BYTES and (s.end is None or begin < s.end) for s in needed):
            gone.append(name)
    return tuple(sorted(gone))


def archives(store: Store, cluster: str, keys: Keys | None) -> tuple[Archived, ...]:
    """What a destination holds of every server's log. Raises `StoreError`, `SealError`, `PartError`."""
    return tuple(archive_of(store, cluster, system, keys) for system in store.folders(f"{cluster}/wal/"))


def archive_of(store: Store, cluster: str, system: str, keys: Keys | None) -> Archived:
    """What a destination holds of one server's log. Raises `StoreError`, `SealError`, `PartError`."""
    start = prefix(cluster, system)
    stored = {item.key.removeprefix(start): _iso(item.modified) for item in store.list(start)}
    histories = {
        int(match[1], 16): b"".join(fetch(store, start + name, keys)).decode()
        for name in stored
        if (match := _HISTORY.fullmatch(name))
    }
    return Archived(system=system, stored=stored, histories=histories)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- one object ---------------------------------------------------------------------------------------------


def put(store: Store, key: str, path: Path, keys: Keys | None) -> None:
    """Store a file of the log, compressed and sealed; constant memory.

    A complete segment that is there already is accepted where it holds the same bytes: whoever stored it was killed
    before he could note it. Raises `WalError` where it holds others, `StoreError`, and OSError of the file.
    """
    try:
        store.put(key, packed(_chunks(path), keys, key), replace=key.endswith(PARTIAL))
    except AlreadyThere:
        if _digest(_chunks(path)) != _digest(fetch(store, key, keys)):
            raise WalError(
                f"{store.name}: {key} is there with other contents than {path}: two servers with one system identifier"
                " write log (a restored copy beside its original?); stop one, and make a base backup of the other"
            ) from None


def fetch(store: Store, key: str, keys: Keys | None) -> Iterator[bytes]:
    """The contents of a stored file of the log. Raises `StoreError`, `SealError`, `PartError`."""
    return read_object(store, key, keys, sealed=keys is not None)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_BLOCK):
            yield chunk


def _digest(chunks: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.digest()
