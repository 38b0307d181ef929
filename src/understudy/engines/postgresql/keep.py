"""The last resort of a rescue: keep everything a node holds, before it is emptied for a full copy.

Where the log of what only this node had is gone (its slot vanished, its position is unknown), nobody can say which
of its rows are its own. Then all of them are kept: one compressed CSV file per table, as `COPY ... CSV` writes it.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
import secrets
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from psycopg import sql

from understudy.engines.base import RescueReport
from understudy.engines.postgresql.schema import APPLICATION_TABLE
from understudy.engines.postgresql.sessions import ControlConnection, Sessions, require_ticket
from understudy.engines.postgresql.verify import VERIFY_TIMEOUT
from understudy.model import Ticket

MANIFEST = "contents.json"
# Partitions hold the rows of a partitioned table: reading both would keep everything twice.
_TABLES = f"""
    SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE {APPLICATION_TABLE} AND c.relkind = 'r' ORDER BY 1
"""


async def keep(sessions: Sessions, node: str, folder: Path, ticket: Ticket) -> RescueReport:
    """Write every application table of ``node`` into ``folder``; durable when this returns.

    A folder that is complete already is left as it is. Raises `StaleEpoch`, `Unreachable`, `EngineError`, and OSError
    where the folder cannot be written.
    """
    if (folder / MANIFEST).exists():
        return RescueReport(folder=folder, transactions=0, changes=0)
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.tmp"
    making.mkdir(mode=0o700)
    try:
        async with sessions.control(node, doing="keep its contents") as connection:
            async with connection.transaction():
                await require_ticket(connection, ticket, brief=True)
            cursor = await connection.execute(_TABLES)
            tables = [str(row[0]) for row in await cursor.fetchall()]
        rows = {}
        for number, table in enumerate(tables):
            async with sessions.control(
                node, timeout=VERIFY_TIMEOUT, doing=f"keep table {table}"
            ) as connection:
                rows[table] = await _write_table(connection, table, making / f"{number:04d}.csv.gz")
        await asyncio.to_thread(_publish, making, folder, node, rows)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return RescueReport(folder=folder, transactions=0, changes=sum(r["rows"] for r in rows.values()))


async def _write_table(connection: ControlConnection, table: str, path: Path) -> dict[str, Any]:
    """Stream one table into a file. ``table`` is a quoted, qualified name."""
    query = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT (FORMAT csv, HEADER)").format(sql.SQL(table))
    digest = hashlib.sha256()
    cursor = connection.cursor()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with (
        os.fdopen(descriptor, "wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1, mtime=0) as file,
    ):
        async with cursor.copy(query) as copy:
            async for block in copy:
                digest.update(block)
                file.write(block)
        # Some seconds for a large table, in which the agent has to probe and to renew.
        await asyncio.to_thread(_finish, file, raw)
    return {"file": path.name, "rows": max(0, cursor.rowcount), "sha256_of_csv": digest.hexdigest()}


def _finish(file: gzip.GzipFile, raw: BinaryIO) -> None:
    file.close()
    raw.flush()
    os.fsync(raw.fileno())


def _publish(making: Path, folder: Path, node: str, rows: dict[str, Any]) -> None:
    """The manifest last: a folder that has it is complete."""
    manifest = {"node": node, "created": datetime.now(UTC).isoformat(), "tables": rows}
    path = making / MANIFEST
    with path.open("w") as file:
        json.dump(manifest, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o600)
    making.rename(folder)
    for directory in (folder, folder.parent):
        fd = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
