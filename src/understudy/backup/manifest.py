"""What a backup is, in one record. The manifest is written last: a backup without one does not exist.

In a destination (`store`), everything of one backup lies under one prefix:

    CLUSTER/ID/PART                      sealed parts (`seal`), e.g. archive, roles, base
    CLUSTER/ID/manifest.json             this record; its presence is the commit
    CLUSTER/ID/verified/TIME-LEVEL.json  each `Verification`: the ledger, never overwritten
    CLUSTER/wal/SYSTEM/SEGMENT           sealed segments of write-ahead log of one server (by its system identifier)

Times are ISO 8601 in UTC with microseconds; the first backups have seconds, in their ids too, and stay readable: so
what comes first is never decided by texts (`Manifest.order`, `moment`). Positions are bytes (LSN).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from understudy import strict_json

FORMAT: Final = 1
"""Version of the manifest's layout; a reader refuses others."""


class Kind(StrEnum):
    """LOGICAL: a dump, for any server of that version or newer. PHYSICAL: a copy of a server's files, for PITR."""

    LOGICAL = "logical"
    PHYSICAL = "physical"


class Level(StrEnum):
    """How deep a verification went. Each includes the ones before it."""

    BYTES = "bytes"
    ARCHIVE = "archive"
    RESTORE = "restore"


class Verdict(StrEnum):
    """INCONCLUSIVE: it could not be checked (no space, no key, missing extension). That is neither good nor bad."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One sealed object.

    Args:
        name: its last part of the key.
        raw_bytes: before compression. stored_bytes, sha256: of the object as stored (hexadecimal).
    """

    name: str
    raw_bytes: int
    stored_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table's contents at the backup's snapshot; ``fingerprint`` as `engines.postgresql.checksum` makes it."""

    schema: str
    name: str
    rows: int
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """Where a sequence stood."""

    schema: str
    name: str
    last_value: int
    is_called: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One backup.

    Args:
        id: ``20261121T074500.123456Z-logical-1f2e3d``; older ones without the fraction.
        node, epoch: the primary it was taken from, and the epoch that held before *and* after.
        form: ``custom`` or ``directory`` (logical), ``tar`` (physical).
        scope: ``all``, ``schema-only``, or the names of the tables; then ``-NAME`` of each schema that was left out.
        server_version, client_version: as the server and pg_dump or pg_basebackup tell them.
        system_identifier, timeline, start_lsn, end_lsn: of the server; a physical backup is consistent from
            ``end_lsn`` on. For a logical one ``start_lsn`` is the position of its snapshot (0: unknown).
        tables, sequences: empty for a physical backup (it is compared after its restore with the server's own
            manifest of checksums).
        extensions: name to version.
        parts: in the order they were written.
        recipients: what can open it: key ids (`keys`) and age recipients. Empty: it is not encrypted.
        tool: name and version of what wrote it.
    """

    id: str
    cluster: str
    engine: str
    kind: Kind
    form: str
    scope: tuple[str, ...]
    node: str
    epoch: int
    started: str
    finished: str
    database: str
    encoding: str
    locale: str
    server_version: str
    client_version: str
    system_identifier: str
    timeline: int
    start_lsn: int
    end_lsn: int
    extensions: Mapping[str, str]
    tables: tuple[Table, ...]
    sequences: tuple[Sequence, ...]
    parts: tuple[Part, ...]
    recipients: tuple[str, ...]
    tool: str

    @property
    def order(self) -> tuple[datetime, str]:
        """Sorts backups, the newest last: by when each was begun, which this host's clock said for all of them."""
        return moment(self.started), self.id

    @property
    def whole(self) -> bool:
        """It holds every row of the database, so it counts as a backup of it; a choice of tables, or none, does not."""
        return self.scope[0] == "all"

    def part(self, name: str) -> Part:
        """The part of that name. Raises KeyError."""
        for part in self.parts:
            if part.name == name:
                return part
        raise KeyError(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check of a verification: ``what`` was looked at, ``detail`` says what was found, for people."""

    what: str
    verdict: Verdict
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """One line of the ledger: what was proven of a backup, when, from which destination.

    Args:
        at: when it ended. seconds: how long it took. restore_seconds: of these, the restore alone (0: none).
        sha256: of the parts that were read, by name; those of the manifest where the verdict is PASS.
        checks: everything that was looked at, good or bad.
        where: host and program versions it was done with.
    """

    backup: str
    level: Level
    verdict: Verdict
    destination: str
    at: str
    seconds: float
    restore_seconds: float
    sha256: Mapping[str, str]
    checks: tuple[Finding, ...]
    where: str

    @property
    def moment(self) -> datetime:
        """When it ended."""
        return moment(self.at)


def moment(text: str) -> datetime:
    """A time of these records, in UTC. Raises ValueError."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def encode(manifest: Manifest) -> bytes:
    """The manifest as JSON, for people to read too."""
    return strict_json.encode(manifest, layout=FORMAT, key="backup", indent=1).encode()


def decode(text: bytes, where: str) -> Manifest:
    """The manifest that `encode` wrote; ``where`` names the object in messages. Raises `RecordError`."""
    return strict_json.decode(Manifest, text, layout=FORMAT, key="backup", what=where)
