"""Sequences: logical replication does not carry them, so a change of primary must."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import class_row

from understudy.engines.postgresql.schema import OF_APPLICATION, statement
from understudy.engines.postgresql.sessions import ControlConnection, Sessions, require_fenced
from understudy.model import Ticket

logger = logging.getLogger(__name__)

# However slow a sequence looked: skip at least so many values after an unplanned failover.
_LEAST_MARGIN = 1000

# The sampled rate is an average over one heartbeat; a burst may be faster.
_RATE_FACTOR = 10

# A statement that reads sequences one by one grows with them.
_BATCH = 500

_SET = """
    SELECT pg_catalog.setval(v.name::regclass, v.value, v.called)
    FROM unnest(%s::text[], %s::bigint[], %s::boolean[]) AS v (name, value, called)
"""

_NAMES = f"""
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND {OF_APPLICATION} ORDER BY 1, 2
"""

_Value = tuple[str, int, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """A sequence of the standby with what the primary was last seen to do with it (`sql/sequences.sql`).

    ``sampled``, ``current``: last values, None where never called; ``per_second``: calls per second;
    ``owner_table``, ``owner_column``: the column it belongs to, where an index makes its end cheap to find.
    """

    name: str
    increment: int
    minimum: int
    maximum: int
    cycle: bool
    current: int | None
    sampled: int | None
    per_second: float
    owner_table: str | None
    owner_column: str | None
    unseen_seconds: float


async def copy(sessions: Sessions, source: str, target: str, ticket: Ticket) -> None:
    """Give the target the exact values of the fenced source. See `Engine.copy_sequences`."""
    values: list[_Value] = []
    async with sessions.control(source, doing="read its sequences") as connection:
        cursor = await connection.execute(_NAMES)
        names = await cursor.fetchall()
        for start in range(0, len(names), _BATCH):
            parts = [
                sql.SQL("SELECT {}, last_value, is_called FROM {}").format(
                    sql.Literal(sql.Identifier(schema, name).as_string(connection)),
                    sql.Identifier(schema, name),
                )
                for schema, name in names[start : start + _BATCH]
            ]
            cursor = await connection.execute(sql.SQL(" UNION ALL ").join(parts))
            values += await cursor.fetchall()
    await _set(sessions, target, values, ticket)


async def raise_past(sessions: Sessions, target: str, ticket: Ticket) -> None:
    """Raise the target's sequences past anything the lost primary can have handed out. See
    `Engine.raise_sequences`. Doing it again changes nothing."""
    policy = sessions.cluster.policy
    # The primary may have gone on handing out values until its lease ended; no clock of its says otherwise.
    least_unseen = policy.probe_interval + policy.lease_ttl
    async with sessions.control(target, doing="read its sequences") as connection:
        cursor = connection.cursor(row_factory=class_row(Sampled))
        await cursor.execute(statement("sequences"), {"cluster": sessions.cluster.name})
        values = []
        for sequence in await cursor.fetchall():
            if sequence.cycle:
                logger.info("sequence %s cycles: left as it is", sequence.name)
                continue
            used = await _end_of_column(connection, sequence)
            unseen = max(sequence.unseen_seconds, least_unseen)
            if (value := raised(sequence, used, unseen)) is not None:
                values.append((sequence.name, value, True))
    await _set(sessions, target, values, ticket)


def raised(sequence: Sampled, used: int | None, unseen: float) -> int | None:
    """The last value to set, or None where the sequence has surely never been called, or is there already.

    Args:
        used: the last value found in the column the sequence belongs to.
        unseen: for how many seconds the primary may have gone on after the sample.
    """
    margin = max(_LEAST_MARGIN, int(_RATE_FACTOR * sequence.per_second * unseen)) * sequence.increment
    further = max if sequence.increment > 0 else min
    candidates = [value + margin for value in (sequence.sampled, used) if value is not None]
    if not candidates:
        return None
    value = min(max(further(candidates), sequence.minimum), sequence.maximum)
    if sequence.current is not None and further(value, sequence.current) == sequence.current:
        return None
    return value


async def _end_of_column(connection: ControlConnection, sequence: Sampled) -> int | None:
    """The column's last value in the direction of the sequence, from its index."""
    if sequence.owner_table is None or sequence.owner_column is None:
        return None
    end = "max" if sequence.increment > 0 else "min"
    cursor = await connection.execute(
        f"SELECT {end}({sequence.owner_column})::bigint FROM {sequence.owner_table}"
    )
    row = await cursor.fetchone()
    return row[0] if row else None


async def _set(sessions: Sessions, target: str, values: Sequence[_Value], ticket: Ticket) -> None:
    async with sessions.change(target, ticket, doing="set its sequences") as connection:
        await require_fenced(connection, target, "set its sequences")
        if values:
            await connection.execute(_SET, [list(column) for column in zip(*values, strict=True)])
