"""Backups from one destination into another that missed them: it was away when they were made, or is new.

A backup stands still, other than a dump under way: so a copy that was killed goes on where it stood (`Store.resume`),
also with what the backup itself had sent before the destination went away. The bytes stay sealed: no key is needed.
They are compared with the manifest's SHA-256 on their way, so that damage is not copied; the manifest comes last.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from understudy.backup import wal
from understudy.backup.catalog import MANIFEST, VERIFIED, Survey, folder_of, require_whole
from understudy.backup.manifest import Kind, Manifest, Part
from understudy.backup.store import AlreadyThere, Store, Tell
from understudy.backup.stream import PartError, Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """A backup that is in both now.

    Args:
        bytes: of its parts. sent: of these, what this copy had to send.
        segments: of the log after it that the other had not.
    """

    backup: str
    source: str
    target: str
    bytes: int
    sent: int
    segments: int


def missing(survey: Survey, *, all_of_them: bool = False) -> list[tuple[Manifest, str]]:
    """Which backup is missing in which destination that answers, newest first. Pure.

    A destination lacks what was made since its oldest backup, so that a new one is not filled unasked;
    ``all_of_them``: what was made before, too.
    """
    found = []
    for name in survey.unfinished:  # by each that answered
        here = [made.order for made in survey.backups if name in survey.places[made.id]]
        for made in survey.backups:
            since = all_of_them or (bool(here) and made.order > min(here))
            if since and name not in survey.places[made.id]:
                found.append((made, name))
    return sorted(found, key=lambda one: one[0].order, reverse=True)


def copy(manifest: Manifest, source: Store, target: Store, tell: Tell = lambda _: None) -> Copied:
    """Bring a backup of ours, its lines of the ledger and the log that follows it from one to the other.

    Raises `StoreError`, and `PartError` where the source holds other bytes than the manifest says: nothing is
    recorded in the target then.
    """
    folder = folder_of(manifest)
    there = {item.key: item.bytes for item in target.list(folder)}
    sent = 0
    for part in manifest.parts:
        key = folder + part.name
        if key not in there:
            progress = Progress(f"{manifest.id} {part.name} to {target.name}", part.stored_bytes, tell)
            sent += target.resume(key, _checked(source, key, part, progress))
        elif there[key] != part.stored_bytes:
            problem = f"expected {part.stored_bytes} bytes or nothing, found {there[key]}"
            raise target.wrong(key, problem, "look who put it there; it is not replaced")
    segments = _log(manifest, source, target) if manifest.kind is Kind.PHYSICAL else 0
    for item in source.list(f"{folder}{VERIFIED}/"):
        _add(item.key, source, target, there)
    require_whole(target, manifest)
    _add(folder + MANIFEST, source, target, there)
    return Copied(
        backup=manifest.id, source=source.name, target=target.name, sent=sent, segments=segments,
        bytes=sum(part.stored_bytes for part in manifest.parts),
    )  # fmt: skip


def _checked(source: Store, key: str, part: Part, progress: Progress) -> Iterator[bytes]:
    """The bytes as they are stored. Raises `PartError` at their end where they are not those of the manifest."""
    digest, count = hashlib.sha256(), 0
    for chunk in source.get(key):
        digest.update(chunk)
        count += len(chunk)
        progress.add(len(chunk))
        yield chunk
    if (count, digest.hexdigest()) != (part.stored_bytes, part.sha256):
        raise PartError(
            f"{source.name}: {key}: these are not the bytes of its manifest, and are not copied; try another"
            " destination (--from)"
        )


def _log(manifest: Manifest, source: Store, target: Store) -> int:
    """The whole files of the log that follows a base backup, on every timeline; how many the target had not."""
    start = wal.prefix(manifest.cluster, manifest.system_identifier)
    stored, there = (
        {item.key.removeprefix(start) for item in store.list(start)} for store in (source, target)
    )
    first = (manifest.end_lsn - 1) // wal.SEGMENT_BYTES + 1  # the one before it is in the base backup
    after = {name for name in stored if wal.is_segment(name) and wal.segment_number(name) >= first}
    lacking = sorted((after | {name for name in stored if wal.is_history(name)}) - there)
    for name in lacking:
        with contextlib.suppress(AlreadyThere):  # the archiver was first
            target.put(start + name, source.get(start + name))
    return len(lacking)


def _add(key: str, source: Store, target: Store, there: Collection[str]) -> None:
    """A small object as it is."""
    if key not in there:
        target.put(key, [source.read(key)])
