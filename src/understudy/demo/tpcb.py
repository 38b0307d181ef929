"""pgbench's TPC-B: its tables, its one transaction and its invariant.

One addition to pgbench's schema (postgresql.org/docs/16/pgbench.html): `pgbench_history` has a primary key. pgbench
makes that table without one, and a table without a key cannot be replicated by key: an UPDATE or DELETE on it would
be refused once it is published. `writer` and `seq` say who wrote the row, so that every row can be asked for.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg

TELLERS = 10
ACCOUNTS = 100_000  # per branch, as pgbench has them

TABLES = """
CREATE TABLE pgbench_branches (bid int NOT NULL, bbalance int, filler char(88));
CREATE TABLE pgbench_tellers (tid int NOT NULL, bid int, tbalance int, filler char(84));
CREATE TABLE pgbench_accounts (aid int NOT NULL, bid int, abalance int, filler char(84));
CREATE TABLE pgbench_history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tid int, bid int, aid int, delta int, mtime timestamp, filler char(22),
    writer int NOT NULL, seq bigint NOT NULL);
"""

KEYS = """
ALTER TABLE pgbench_branches ADD PRIMARY KEY (bid);
ALTER TABLE pgbench_tellers ADD PRIMARY KEY (tid);
ALTER TABLE pgbench_accounts ADD PRIMARY KEY (aid);
"""

# The four changes of pgbench's transaction as one statement: one round trip, the same rows, the same locks. Every
# session locks account, teller and branch in the same order, so no two of them can deadlock.
TRANSACTION = """
WITH account AS (UPDATE pgbench_accounts SET abalance = abalance + %(delta)s WHERE aid = %(aid)s),
     teller AS (UPDATE pgbench_tellers SET tbalance = tbalance + %(delta)s WHERE tid = %(tid)s),
     branch AS (UPDATE pgbench_branches SET bbalance = bbalance + %(delta)s WHERE bid = %(bid)s)
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime, writer, seq)
VALUES (%(tid)s, %(bid)s, %(aid)s, %(delta)s, CURRENT_TIMESTAMP, %(writer)s, %(seq)s)
"""

SUMS = """
SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),
       (SELECT sum(bbalance) FROM pgbench_branches), (SELECT coalesce(sum(delta), 0) FROM pgbench_history)
"""


@dataclass(frozen=True, slots=True)
class Sums:
    """The four sums that TPC-B keeps equal, and whether they are."""

    accounts: int
    tellers: int
    branches: int
    history: int

    @property
    def equal(self) -> bool:
        return self.accounts == self.tellers == self.branches == self.history


def create(connection: psycopg.Connection, scale: int) -> None:
    """Make and fill the tables: ``scale`` branches, ten times as many tellers, 100,000 times as many accounts."""
    with connection.transaction():
        connection.execute(TABLES)
        connection.execute(
            "INSERT INTO pgbench_branches SELECT i, 0 FROM generate_series(1, %s) AS i", (scale,)
        )
        connection.execute(
            "INSERT INTO pgbench_tellers SELECT i, (i - 1) / %s + 1, 0 FROM generate_series(1, %s) AS i",
            (TELLERS, TELLERS * scale),
        )
        connection.execute(
            "INSERT INTO pgbench_accounts SELECT i, (i - 1) / %s + 1, 0, '' FROM generate_series(1, %s) AS i",
            (ACCOUNTS, ACCOUNTS * scale),
        )
        connection.execute(KEYS)
    connection.execute("ANALYZE")


def parameters(scale: int, writer: int, seq: int) -> dict[str, int]:
    """A random transaction, as pgbench draws it."""
    return {
        "aid": random.randint(1, ACCOUNTS * scale),  # noqa: S311 (no secret depends on it)
        "tid": random.randint(1, TELLERS * scale),  # noqa: S311
        "bid": random.randint(1, scale),  # noqa: S311
        "delta": random.randint(-5000, 5000),  # noqa: S311
        "writer": writer,
        "seq": seq,
    }


def sums(connection: psycopg.Connection) -> Sums:
    """The four sums, read in one snapshot."""
    row = connection.execute(SUMS).fetchone()
    assert row is not None
    return Sums(*(int(value) for value in row))
