"""Which transactions of a tail may be applied to the present primary."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from understudy.engines.postgresql import rescue_files
from understudy.engines.postgresql.rescue_files import Verdict
from understudy.engines.postgresql.sessions import ControlConnection, Sessions
from understudy.engines.postgresql.tail import BY_KEY
from understudy.errors import EngineError

MAX_KEYS: Final = 1_000_000
"""Past this many touched keys no transaction is called safe (which keys are touched twice is not known)."""
_BATCH: Final = 1000
"""Changes compared with the present primary in one query per table."""


class Touched:
    """Which keys a tail touches once, and which more often: at most `MAX_KEYS` marks of eight bytes.

    A collision of marks only makes a transaction MANUAL that could have been SAFE.
    """

    def __init__(self) -> None:
        self._once: set[int] = set()
        self._more: set[int] = set()

    def add(self, schema: str, table: str, key: tuple[str, ...]) -> None:
        """A change touches this key."""
        mark = hash((schema, table, key))
        if mark in self._once:
            self._more.add(mark)
        elif len(self._once) <= MAX_KEYS:
            self._once.add(mark)

    def only_once(self, schema: str, table: str, key: tuple[str, ...]) -> bool:
        """It is certain that one change only touches this key."""
        return len(self._once) <= MAX_KEYS and hash((schema, table, key)) not in self._more


class _Judge:
    """Collects the verdict of each transaction while its changes pass by in batches."""

    def __init__(self, file: rescue_files.PrivateFile, touched: Touched) -> None:
        self._file, self._touched = file, touched
        self._head: rescue_files.Record | None = None
        self._count, self._verdict, self._reason = 0, Verdict.SAFE, ""
        self.verdicts: dict[str, int] = {}
        self.tables: dict[str, dict[str, int]] = {}

    def add(self, record: rescue_files.Record, there: bool | None) -> None:
        """One change; ``there``: its key exists on the present primary, None: could not be asked."""
        if self._head is not None and self._head["lsn"] != record["lsn"]:
            self.finish()
        self._head = record
        self._count += 1
        table = f"{record['schema']}.{record['table']}"
        counts = self.tables.setdefault(table, {})
        counts[record["op"]] = counts.get(record["op"], 0) + 1
        verdict, reason = self._judge(record, there, table)
        order = [Verdict.SAFE, Verdict.UNKNOWN, Verdict.MANUAL, Verdict.SUPERSEDED]
        if order.index(verdict) > order.index(self._verdict):
            self._verdict, self._reason = verdict, reason

    def _judge(self, record: rescue_files.Record, there: bool | None, table: str) -> tuple[Verdict, str]:
        if table == "understudy.commit_token" and there:
            return (
                Verdict.SUPERSEDED,
                "its commit token exists on the present primary: it was run again there",
            )
        if record["op"] != "insert":
            return Verdict.MANUAL, f"{record['op']} on {table}"
        if not record["key"]:
            return Verdict.MANUAL, f"{table} has no key"
        if there:
            return Verdict.MANUAL, f"a row with this key exists in {table} on the present primary"
        key = tuple(record["key"].values())
        if not self._touched.only_once(record["schema"], record["table"], key):
            return Verdict.MANUAL, f"the rescue changes this row of {table} more than once"
        if there is None:
            return Verdict.UNKNOWN, f"{table} could not be compared with the present primary"
        return Verdict.SAFE, ""

    def finish(self) -> None:
        """Write the verdict of the transaction that has passed by."""
        if self._head is None:
            return
        line = {
            "lsn": self._head["lsn"],
            "xid": self._head["xid"],
            "changes": self._count,
            "verdict": self._verdict.value,
            "reason": self._reason,
        }
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        self.verdicts[self._verdict.value] = self.verdicts.get(self._verdict.value, 0) + 1
        self._head, self._count, self._verdict, self._reason = None, 0, Verdict.SAFE, ""


async def classify(
    sessions: Sessions, node: str, folder: Path, touched: Touched
) -> tuple[dict[str, int], dict[str, dict[str, int]], str]:
    """Write `verdicts.jsonl` next to `changes.jsonl`, comparing with ``node``, the present primary.

    Best effort: where it cannot be asked, verdicts are UNKNOWN. Returns the number of transactions of each
    verdict, of changes of each table and operation, and the file's SHA-256.
    """
    file = rescue_files.PrivateFile(folder / rescue_files.VERDICTS)
    judge = _Judge(file, touched)
    batch: list[rescue_files.Record] = []
    asked = True
    for record in rescue_files.read_lines(folder / rescue_files.CHANGES):
        batch.append(record)
        if len(batch) == _BATCH:
            asked = await _judge_batch(sessions, node, batch, judge, asked)
            batch = []
            await asyncio.sleep(0)  # where nobody is asked, the agent's other tasks have no turn but this one
    await _judge_batch(sessions, node, batch, judge, asked)
    judge.finish()
    return judge.verdicts, judge.tables, file.close()


async def _judge_batch(
    sessions: Sessions, node: str, batch: list[rescue_files.Record], judge: _Judge, asked: bool
) -> bool:
    """Judge a batch; returns whether the present primary answers, so that a dead one is asked once only."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, record in enumerate(batch):
        if record["op"] == "insert" and record["key"]:
            groups.setdefault((record["schema"], record["table"], *record["key"]), []).append(index)
    there: dict[int, bool] = {}
    if asked:
        try:
            async with sessions.control(node, doing="compare the tail") as connection:
                for indexes in groups.values():
                    found = await _present(connection, [batch[i] for i in indexes])
                    there |= {i: n in found for n, i in enumerate(indexes)} if found is not None else {}
        except EngineError:
            asked = False
    for index, record in enumerate(batch):
        judge.add(record, there.get(index))
    return asked


async def _present(connection: ControlConnection, records: list[rescue_files.Record]) -> set[int] | None:
    """Which of these inserts into one table have a key that exists, or None where that cannot be asked."""
    first = records[0]
    names = list(first["key"])
    query = sql.SQL(
        "SELECT k.n FROM unnest({arrays}) WITH ORDINALITY AS k ({columns}, n) JOIN {table} AS t ON {same}"
    ).format(
        arrays=sql.SQL(", ").join(sql.SQL("%s::text[]") for _ in names),
        columns=sql.SQL(", ").join(sql.Identifier(f"c{i}") for i in range(len(names))),
        table=sql.Identifier(first["schema"], first["table"]),
        same=sql.SQL(" AND ").join(
            sql.SQL("t.{} = k.{}::{}").format(
                sql.Identifier(name), sql.Identifier(f"c{i}"), sql.SQL(first["types"][name])
            )
            for i, name in enumerate(names)
        ),
    )
    try:
        async with connection.transaction():
            await connection.execute(BY_KEY)
            cursor = await connection.execute(query, [[r["key"][name] for r in records] for name in names])
            return {int(row[0]) - 1 for row in await cursor.fetchall()}
    except (psycopg.ProgrammingError, psycopg.DataError, UnicodeEncodeError):
        return None  # another schema there, or a text that this encoding does not have: left to a person
