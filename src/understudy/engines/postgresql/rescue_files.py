"""Rescue folders: what they hold, how they are read, and how their safe part is applied.

`changes.jsonl`: one change per line, in commit order. `verdicts.jsonl`: one transaction per line, with whether it
may be applied. `replay.sql`: the same changes as SQL. `manifest.json`: what it all is, with the SHA-256 of the three
others. A folder appears by one rename: it is complete or not there. How a person reads one:
`docs/how-to/read-a-rescue.md`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from understudy.errors import UnderstudyError

FORMAT: Final = 1
CHANGES: Final = "changes.jsonl"
VERDICTS: Final = "verdicts.jsonl"
REPLAY: Final = "replay.sql"
MANIFEST: Final = "manifest.json"

_MAX_MANIFEST_BYTES: Final = 16 * 1024 * 1024
_NAMESPACE: Final = uuid.UUID("6a3c9f6e-5b0e-4d6e-9b51-0f4b6c1d2e77")
SETTINGS: Final = (
    "SET standard_conforming_strings = on; SET client_encoding = 'UTF8'; SET TimeZone = 'UTC';"
    " SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET extra_float_digits = 3;"
    " SET bytea_output = 'hex'; SET lc_monetary = 'C'; SET search_path = pg_catalog;"
)
"""Settings under which texts mean what they meant when they were saved."""

Record = Mapping[str, Any]


class RescueFileError(UnderstudyError):
    """A rescue folder is not complete or not what was written; the text names the file."""


class Verdict(StrEnum):
    """Whether a transaction may be applied to the present primary.

    SAFE: it only inserts rows whose keys nobody there has and that nothing else in the tail touches.
    SUPERSEDED: its commit token exists there: it was run again, applying it would do it twice.
    MANUAL: anything else; a person must decide. UNKNOWN: the present primary could not be asked.
    """

    SAFE = "safe"
    SUPERSEDED = "superseded"
    MANUAL = "manual"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescue:
    """One rescue folder. ``manifest`` is the parsed `manifest.json`."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def node(self) -> str:
        return str(self.manifest["node"])

    @property
    def transactions(self) -> int:
        return int(self.manifest["transactions"])

    @property
    def changes(self) -> int:
        return int(self.manifest["changes"])

    @property
    def verdicts(self) -> Mapping[str, int]:
        """Number of transactions of each verdict."""
        return dict(self.manifest["verdicts"])

    def read_changes(self) -> Iterator[Record]:
        """The lines of `changes.jsonl`, one at a time."""
        return read_lines(self.folder / CHANGES)

    def read_verdicts(self) -> Iterator[Record]:
        """The lines of `verdicts.jsonl`, one at a time."""
        return read_lines(self.folder / VERDICTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A transaction that was not applied, and why."""

    xid: int
    lsn: str
    verdict: Verdict
    reason: str


@dataclass(slots=True, kw_only=True)
class ApplyReport:
    """What `apply` did: transactions applied now, applied by an earlier run, and left."""

    applied: int = 0
    changes: int = 0
    already: int = 0
    left: list[Left] = field(default_factory=list)


def lsn_text(lsn: int) -> str:
    """An LSN as PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def quote_identifier(name: str) -> str:
    """A name as SQL; safe for every name that PostgreSQL can hold."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(value: str | None) -> str:
    """A text as SQL for a session with ``standard_conforming_strings = on``."""
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


def statement(record: Record) -> str:
    """The SQL that does one change again, without a semicolon."""
    table = f"{quote_identifier(record['schema'])}.{quote_identifier(record['table'])}"
    op = record["op"]
    if op == "truncate":
        restart = " RESTART IDENTITY" if record.get("restart_identity") else ""
        return f"TRUNCATE {table}{restart}{' CASCADE' if record.get('cascade') else ''}"
    new: Mapping[str, str | None] = record["new"] or {}
    if op == "insert":
        if not new:
            return f"INSERT INTO {table} DEFAULT VALUES"
        names = ", ".join(map(quote_identifier, new))
        values = ", ".join(map(quote_literal, new.values()))
        return f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE VALUES ({values})"
    where = _where(table, record)
    if op == "delete":
        return f"DELETE FROM {table} WHERE {where}"
    key = record["key"]
    changed = {name: value for name, value in new.items() if name not in key or key[name] != value}
    if not changed:  # nothing but large unchanged values: still a row that was written
        changed = dict(list(new.items())[:1])
    assignments = ", ".join(f"{quote_identifier(n)} = {quote_literal(v)}" for n, v in changed.items())
    return f"UPDATE {table} SET {assignments} WHERE {where}"


def _where(table: str, record: Record) -> str:
    if record["key"]:
        return " AND ".join(f"{quote_identifier(n)} = {quote_literal(v)}" for n, v in record["key"].items())
    # A table with REPLICA IDENTITY FULL and no key: one of the rows that look like the old one.
    old = " AND ".join(
        f"{quote_identifier(n)}::text IS NOT DISTINCT FROM {quote_literal(v)}"
        for n, v in record["old"].items()
    )
    return f"ctid = (SELECT ctid FROM {table} WHERE {old or 'true'} LIMIT 1)"


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class PrivateFile:
    """A file readable by its owner only, whose SHA-256 is known when it is closed."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._hash = hashlib.sha256()

    def write(self, text: str) -> None:
        """Add text; lone surrogates become the bytes they came from."""
        data = text.encode("utf-8", "surrogateescape")
        self._hash.update(data)
        self._file.write(data)

    def close(self) -> str:
        """Close, and return the SHA-256 in hexadecimal."""
        self._file.close()
        return self._hash.hexdigest()


def list_rescues(directory: Path) -> list[Rescue]:
    """The complete rescue folders in a directory, oldest first. Hashes are checked by `load` only."""
    found = []
    if directory.is_dir():
        for path in directory.iterdir():
            if not path.name.startswith(".") and (path / MANIFEST).is_file():
                found.append(Rescue(folder=path, manifest=_manifest(path)))
    return sorted(found, key=lambda r: (str(r.manifest["created"]), r.folder.name))


def load(folder: Path) -> Rescue:
    """A rescue folder whose files are exactly those that were written. Raises `RescueFileError`."""
    manifest = _manifest(folder)
    for name, expected in manifest["sha256"].items():
        path = folder / name
        try:
            found = sha256(path)
        except OSError as error:
            raise RescueFileError(f"{path}: cannot be read: {error}; take it from a backup") from None
        if found != expected:
            raise RescueFileError(
                f"{path}: expected SHA-256 {expected}, found {found}: it was changed or damaged"
            )
    return Rescue(folder=folder, manifest=manifest)


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            manifest = json.loads(file.read(_MAX_MANIFEST_BYTES))
    except (OSError, ValueError) as error:
        raise RescueFileError(f"{path}: expected a manifest, found: {error}") from None
    needed = {"format", "node", "link", "after", "transactions", "changes", "verdicts", "sha256", "created"}
    if not isinstance(manifest, dict) or not needed <= manifest.keys() or manifest["format"] != FORMAT:
        raise RescueFileError(
            f"{path}: expected a manifest of format {FORMAT} with {', '.join(sorted(needed))}"
        )
    hashes = manifest["sha256"]
    if not isinstance(hashes, dict) or set(hashes) != {CHANGES, VERDICTS, REPLAY}:
        raise RescueFileError(f"{path}: expected the SHA-256 of {CHANGES}, {VERDICTS} and {REPLAY}")
    return manifest


def read_lines(path: Path) -> Iterator[Record]:
    """The records of a file with one JSON object per line. Raises `RescueFileError` for a line that is none."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise RescueFileError(f"{path}: line {number}: {error}") from None


def by_transaction(rescue: Rescue) -> Iterator[tuple[Record, Iterator[Record]]]:
    """Each verdict line with the changes of its transaction, which must be read before the next one."""
    changes = rescue.read_changes()
    for verdict in rescue.read_verdicts():
        yield verdict, _take(changes, verdict["changes"])


def _take(changes: Iterator[Record], count: int) -> Iterator[Record]:
    for _ in range(count):
        record = next(changes, None)
        if record is None:
            raise RescueFileError(f"{CHANGES}: ends before the changes that {VERDICTS} counts")
        yield record


async def apply(
    dsn: str, folder: Path, *, only_safe: bool = True, progress: Callable[[str], None] = lambda _: None
) -> ApplyReport:
    """Apply a rescue's safe transactions to the present primary, each in a transaction of its own.

    Every one writes a commit token derived from its origin, so that a second run (or one after a crash, or after
    another failover: tokens are replicated) applies nothing twice. A transaction that meets any obstacle (a
    key that now exists, a foreign key, a privilege) is rolled back and left.

    Args:
        dsn: the present primary, as a role that may write the tables and `understudy.commit_token`.
        only_safe: False also tries MANUAL and UNKNOWN transactions, and keeps those in which every statement
            affects exactly one row; SUPERSEDED ones and TRUNCATE never.

    Raises `RescueFileError` for a damaged folder and psycopg's errors for a lost connection.
    """
    rescue = await asyncio.to_thread(load, folder)
    report = ApplyReport()
    wanted = {Verdict.SAFE} if only_safe else {Verdict.SAFE, Verdict.MANUAL, Verdict.UNKNOWN}
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(SETTINGS)
        for head, changes in by_transaction(rescue):
            records = changes if Verdict(head["verdict"]) in wanted else None
            reason = (
                head["reason"]
                if records is None
                else await _apply_one(connection, rescue, head, changes, report)
            )
            for _ in changes:
                pass  # the file is read forward: go to the end of this transaction
            if reason:
                verdict = Verdict(head["verdict"])
                report.left.append(Left(xid=head["xid"], lsn=head["lsn"], verdict=verdict, reason=reason))
            progress(f"transaction {head['xid']} at {head['lsn']}: {reason or 'done'}")
    return report


class _Obstacle(Exception):
    """Why a transaction is rolled back."""


async def _apply_one(
    connection: AsyncConnection[TupleRow],
    rescue: Rescue,
    head: Record,
    changes: Iterator[Record],
    report: ApplyReport,
) -> str:
    """Apply one transaction; returns why it was left, or nothing."""
    token = uuid.uuid5(_NAMESPACE, f"{rescue.manifest['identity']}/{rescue.manifest['link']}/{head['lsn']}")
    count = 0
    try:
        async with connection.transaction():
            done = await connection.execute(
                "INSERT INTO understudy.commit_token (token) VALUES (%s) ON CONFLICT DO NOTHING", (token,)
            )
            if done.rowcount == 0:
                report.already += 1
                return ""
            for record in changes:
                if record["op"] == "truncate":
                    raise _Obstacle("TRUNCATE is never applied")
                result = await connection.execute(statement(record).encode("utf-8", "surrogateescape"))
                if result.rowcount != 1:
                    raise _Obstacle(f"{record['op']} on {record['table']} found {result.rowcount} rows")
                count += 1
    except _Obstacle as obstacle:
        return str(obstacle)
    except (psycopg.IntegrityError, psycopg.DataError, psycopg.ProgrammingError) as error:
        return f"{error.sqlstate}: {error.diag.message_primary or error}"
    report.applied += 1
    report.changes += count
    return ""
