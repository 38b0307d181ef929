"""Rescue: save what only the old primary has, before anything on it changes.

The slot of the old link still holds every transaction that the standby had not applied. They are streamed into a
folder (see `rescue_files`), compared with the present primary, made durable and renamed into place. Memory does not
depend on the length of the tail, but for at most `MAX_KEYS` eight-byte marks of touched keys.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from understudy.engines.base import RescueReport
from understudy.engines.postgresql import rescue_files
from understudy.engines.postgresql.classify import Touched, classify
from understudy.engines.postgresql.pgoutput import UNCHANGED, Begin, Commit, Row
from understudy.engines.postgresql.rescue_files import (
    CHANGES,
    MANIFEST,
    REPLAY,
    VERDICTS,
    PrivateFile,
    RescueFileError,
    lsn_text,
)
from understudy.engines.postgresql.sessions import ControlConnection, Sessions, require_ticket
from understudy.engines.postgresql.tail import (
    TAIL_TIMEOUT,
    Catalog,
    Table,
    is_internal,
    key_of,
    pin,
    require_slot,
    tail,
)
from understudy.engines.postgresql.transactions import Change, Op
from understudy.model import Cluster, Link, Ticket

_HEADER: Final = """-- What only {node} had when it lost its role: {link}, after {after}. Made by Understudy.
-- Read docs/how-to/read-a-rescue.md first: `understudy rescue apply` does the safe part of this, once.
-- Run by hand: psql -v ON_ERROR_STOP=1 -f replay.sql
{settings}
"""


async def rescue(  # noqa: PLR0917
    sessions: Sessions, cluster: Cluster, link: Link, after: int, folder: Path, ticket: Ticket
) -> RescueReport:
    """Save every transaction that ``link.publisher`` committed and ``link.subscriber`` does not have.

    Args:
        after: the subscriber's replication origin: end of the last commit it applied.
        folder: becomes the rescue folder; not made where there is nothing to save. One that already holds
            this rescue, undamaged, is used as it is; a damaged or another one is set aside, never removed.

    Raises `NeedsCopy` (slot gone), `StaleEpoch`, `Unreachable`, `EngineError`, and OSError where the folder
    cannot be written.
    """
    saved = await asyncio.to_thread(_existing, folder, link, after)
    if saved is not None:
        return saved
    async with (
        sessions.control(link.publisher, doing="check the epoch") as connection,
        connection.transaction(),
    ):
        await require_ticket(connection, ticket)
    unknown = f"what {link.publisher} committed after {lsn_text(after)} cannot be known"
    await require_slot(sessions, link.publisher, link.name, unknown)
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.tmp"
    making.mkdir(mode=0o700)
    try:
        writer = _Writer(making, link, after)
        try:
            await _write_tail(sessions, cluster, link, after, writer)
        finally:
            writer.close()
        if writer.transactions == 0:
            return RescueReport(folder=None, transactions=0, changes=0)
        verdicts, tables, digest = await classify(sessions, link.subscriber, making, writer.touched)
        writer.add_hash(VERDICTS, digest)
        manifest = writer.manifest | {
            "format": rescue_files.FORMAT,
            "cluster": cluster.name,
            "epoch": ticket.epoch,
            "created": datetime.now(UTC).isoformat(),
            "verdicts": verdicts,
            "tables": tables,
        }
        await asyncio.to_thread(_publish, making, folder, manifest)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return _report(folder, manifest)


def _existing(folder: Path, link: Link, after: int) -> RescueReport | None:
    """The report of a complete earlier run; whatever else lies at ``folder`` is set aside."""
    if not folder.exists():
        return None
    try:
        manifest = rescue_files.load(folder).manifest
        if manifest["link"] == link.name and manifest["after"] == lsn_text(after):
            return _report(folder, manifest)
    except RescueFileError:
        pass
    folder.rename(folder.with_name(f"{folder.name}.aside-{secrets.token_hex(4)}"))
    return None


def _report(folder: Path, manifest: Mapping[str, Any]) -> RescueReport:
    return RescueReport(
        folder=folder,
        transactions=manifest["transactions"],
        changes=manifest["changes"],
        first_lsn=_lsn(manifest["first_lsn"]),
        last_lsn=_lsn(manifest["last_lsn"]),
        truncates=tuple(manifest["truncates"]),
    )


def _lsn(text: str) -> int:
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


# --- writing ------------------------------------------------------------------------------------------------


class _Writer:
    """Writes `changes.jsonl` and `replay.sql`, and counts."""

    def __init__(self, folder: Path, link: Link, after: int) -> None:
        self.transactions = self.changes = self.commits = 0
        self._first = self._last = 0
        self._in_transaction = 0
        self._truncates: dict[str, None] = {}
        self._link, self._after = link, after
        self._files = {name: PrivateFile(folder / name) for name in (CHANGES, REPLAY)}
        self._closed: dict[str, str] = {}
        self.identity = ""
        self.touched = Touched()
        header = _HEADER.format(
            node=_comment(link.publisher),
            link=_comment(link.name),
            after=lsn_text(after),
            settings=rescue_files.SETTINGS.replace("; ", ";\n"),
        )
        self._files[REPLAY].write(header)

    def change(self, begin: Begin, change: Change, table: Table) -> None:
        """Write one change, beginning its transaction where it is the first one kept."""
        lsn, time = lsn_text(begin.commit_lsn), begin.commit_time.isoformat()
        if self._in_transaction == 0:
            self._files[REPLAY].write(f"\n-- transaction {begin.xid}, committed at {lsn}, {time}\nBEGIN;\n")
        record = record_of(begin, change, table)
        self._files[CHANGES].write(json.dumps(record, separators=(",", ":")) + "\n")
        self._files[REPLAY].write(rescue_files.statement(record) + ";\n")
        self._in_transaction += 1
        self.changes += 1
        if change.op is Op.TRUNCATE:
            self._truncates[f"{change.relation.schema}.{change.relation.name}"] = None
        for row in (change.old, change.new):
            key = key_of(table, row, change.old) if row is not None else None
            if key is not None and (row is change.new or key_of_new(table, change) != key):
                self.touched.add(change.relation.schema, change.relation.name, key)

    def commit(self, begin: Begin) -> None:
        """End the transaction, if any of its changes was kept."""
        if self._in_transaction:
            self._files[REPLAY].write("COMMIT;\n")
            self.transactions += 1
            self._first = self._first or begin.commit_lsn
            self._last = begin.commit_lsn
            self._in_transaction = 0

    def close(self) -> None:
        """Close the files and remember their hashes."""
        self._closed |= {name: file.close() for name, file in self._files.items() if name not in self._closed}

    def add_hash(self, name: str, digest: str) -> None:
        """Remember the hash of a file that somebody else wrote."""
        self._closed[name] = digest

    @property
    def manifest(self) -> dict[str, Any]:
        return {
            "node": self._link.publisher,
            "present_primary": self._link.subscriber,
            "link": self._link.name,
            "after": lsn_text(self._after),
            "identity": self.identity,
            "transactions": self.transactions,
            "changes": self.changes,
            "first_lsn": lsn_text(self._first),
            "last_lsn": lsn_text(self._last),
            "truncates": list(self._truncates),
            "sha256": dict(self._closed),
        }


def _comment(name: str) -> str:
    """A name that cannot end an SQL comment."""
    return "".join(c if c.isprintable() else "?" for c in name)


def key_of_new(table: Table, change: Change) -> tuple[str, ...] | None:
    """The key of a change's new row."""
    return key_of(table, change.new, change.old) if change.new is not None else None


def record_of(begin: Begin, change: Change, table: Table) -> dict[str, Any]:
    """One line of `changes.jsonl`. A value is its PostgreSQL text or null; unchanged large values are named only."""
    relation = change.relation
    record: dict[str, Any] = {
        "lsn": lsn_text(begin.commit_lsn),
        "xid": begin.xid,
        "commit_time": begin.commit_time.isoformat(),
        "schema": relation.schema,
        "table": relation.name,
        "op": change.op.value,
        "key": {},
        "old": None,
        "new": None,
    }
    if change.op is Op.TRUNCATE:
        return record | {"cascade": change.cascade, "restart_identity": change.restart_identity}
    names = [c.name for c in relation.columns]
    before = change.old if change.old is not None else change.new
    key = key_of(table, before, change.old) if before is not None else None
    if key is not None:
        record["key"] = {names[i]: value for i, value in zip(table.key, key, strict=True)}
    if change.old is not None:
        kept = range(len(names)) if change.full else table.key
        record["old"] = _values(names, change.old, kept)
    if change.new is not None:
        record["new"] = _values(names, change.new, range(len(names)))
        record["unchanged"] = [names[i] for i, value in enumerate(change.new) if value is UNCHANGED]
    record["types"] = dict(zip(names, table.types, strict=True))
    return record


def _values(names: list[str], row: Row, kept: range | tuple[int, ...]) -> dict[str, str | None]:
    values: dict[str, str | None] = {}
    for index in kept:
        value = row[index]
        if value is None or isinstance(value, str):
            values[names[index]] = value
    return values


async def _write_tail(sessions: Sessions, cluster: Cluster, link: Link, after: int, writer: _Writer) -> None:
    async with (
        sessions.control(link.publisher, timeout=TAIL_TIMEOUT, doing="read the tail") as connection,
        connection.transaction(),
    ):
        await pin(connection)
        writer.identity = await _identity(connection)
        catalog = Catalog(connection)
        async for chunk in tail(connection, link, cluster.name, after):
            for begin, item in chunk:
                if isinstance(item, Commit):
                    writer.commit(begin)
                elif not is_internal(item.relation):
                    writer.change(begin, item, await catalog.table(item.relation))


async def _identity(connection: ControlConnection) -> str:
    cursor = await connection.execute(
        "SELECT s.system_identifier || '/' || c.timeline_id FROM pg_control_system() s, pg_control_checkpoint() c"
    )
    row = await cursor.fetchone()
    return str(row[0]) if row else ""


def _publish(making: Path, folder: Path, manifest: dict[str, Any]) -> None:
    """Make everything durable, then give it its name in one step."""
    file = PrivateFile(making / MANIFEST)
    file.write(json.dumps(manifest, indent=2) + "\n")
    file.close()
    for path in (*making.iterdir(), making):
        _fsync(path)
    making.rename(folder)
    _fsync(folder.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
