"""Writers: processes that do one TPC-B transaction every few milliseconds and note what they were told."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Protocol

import psycopg

from understudy import config
from understudy.client import CommitInDoubt, Pool
from understudy.demo import tpcb
from understudy.demo.audit import Row, rescued_inserts
from understudy.demo.group import Group, Tell, live
from understudy.demo.ledger import Entry, Status
from understudy.lease import LeaseFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What one writer is to do. It crosses a process boundary, so it holds plain values only.

    Args:
        config: path of the configuration file.
        plain_dsn: write there with psycopg alone, without Understudy (a peer to compare with).
        interval: seconds from the beginning of one transaction to the beginning of the next.
        exactly_once: `pool.run(..., exactly_once=True)`; else what is in doubt is noted and not repeated.
        cluster: its name; None: the only one configured.
        canary: not 0: write tokens that hold this number instead of TPC-B's rows. Every cluster has a table for
            them, and forgets them after a day.
    """

    writer: int
    scale: int
    ledger: Path
    config: Path | None = None
    plain_dsn: str = ""
    interval: float = 0.005
    exactly_once: bool = False
    cluster: str | None = None
    canary: int = 0


class Target(Protocol):
    """Somebody who carries out one transaction and says where: (node, epoch, began, settled)."""

    def write(self, parameters: dict[str, int]) -> tuple[int, int, int, bool]: ...

    def close(self) -> None: ...


class ThroughUnderstudy:
    """Writes through `understudy.Pool`, as an application does."""

    def __init__(self, orders: Orders) -> None:
        loaded = config.load(orders.config)
        cluster = loaded.cluster(orders.cluster)
        self._names = [node.name for node in cluster.nodes]
        self._lease = LeaseFile(loaded.directory / f"{cluster.name}.lease")
        self._pool = Pool(cluster, loaded.directory, min_size=1, max_size=1)
        self._exactly_once, self._canary = orders.exactly_once, orders.canary
        self.last = (0, 0, 0)

    def write(self, parameters: dict[str, int]) -> tuple[int, int, int, bool]:
        def work(conn: psycopg.Connection) -> None:
            self.last = (self._names.index(conn.node), conn.epoch, time.monotonic_ns())  # type: ignore[attr-defined]
            if self._canary:
                conn.execute(_CANARY, (_name(self._canary, parameters["writer"], parameters["seq"]),))
            else:
                conn.execute(tpcb.TRANSACTION, parameters)

        self._pool.run(work, exactly_once=self._exactly_once)
        node, epoch, began = self.last
        lease = self._lease.read() if self._exactly_once else None
        return node, epoch, began, lease is not None and lease.epoch > epoch

    def close(self) -> None:
        self._pool.close()


_CANARY = "INSERT INTO understudy.commit_token (token) VALUES (%s)"
_SEQ_BITS = 64
_WRITER_BITS = 16


def _name(canary: int, writer: int, seq: int) -> uuid.UUID:
    """The name of one write of a canary: 48 bits say whose, 16 which writer's, 64 which one."""
    return uuid.UUID(int=(canary << _WRITER_BITS | writer) << _SEQ_BITS | seq)


def canary_tokens(connection: psycopg.Connection, canary: int) -> list[Row]:
    """(writer, seq) of every write of these canaries that a node holds."""
    first, last = _name(canary, 0, 0), _name(canary, 2**_WRITER_BITS - 1, 2**_SEQ_BITS - 1)
    query = "SELECT token FROM understudy.commit_token WHERE token BETWEEN %s AND %s"
    found: Iterable[tuple[uuid.UUID]] = connection.execute(query, (first, last)).fetchall()
    return [_row(token) for (token,) in found]


def rescued_tokens(folder: Path, canary: int) -> list[Row]:
    """(writer, seq) of every write of these canaries in the rescue folders beneath ``folder``."""
    inserts = rescued_inserts(folder, "understudy", "commit_token")
    tokens = [uuid.UUID(row["token"]) for row in inserts]
    return [_row(token) for token in tokens if token.int >> _SEQ_BITS + _WRITER_BITS == canary]


def _row(token: uuid.UUID) -> Row:
    return token.int >> _SEQ_BITS & 2**_WRITER_BITS - 1, token.int & 2**_SEQ_BITS - 1


class Plain:
    """Writes with psycopg alone and connects again after an error: what most applications do."""

    def __init__(self, orders: Orders) -> None:
        self._dsn = orders.plain_dsn
        self._conn: psycopg.Connection | None = None
        self.last = (0, 0, 0)

    def write(self, parameters: dict[str, int]) -> tuple[int, int, int, bool]:
        if self._conn is None or self._conn.closed:
            # A pooler in transaction mode may give each transaction another session: nothing stays prepared.
            self._conn = psycopg.connect(self._dsn, prepare_threshold=None)
        self.last = (0, 0, time.monotonic_ns())
        with self._conn.transaction():
            self._conn.execute(tpcb.TRANSACTION, parameters)
        return *self.last, False

    def close(self) -> None:
        if self._conn is not None:
            self._conn.close()


def write(orders: Orders, stop: Event) -> None:
    """The life of one writer process."""
    logging.getLogger("psycopg.pool").setLevel(
        logging.CRITICAL
    )  # a pool that cannot connect is what we came for
    target: ThroughUnderstudy | Plain = Plain(orders) if orders.plain_dsn else ThroughUnderstudy(orders)
    live(orders.ledger, orders.interval, stop, lambda seq, tell: _one(target, orders, seq, tell))
    target.close()


def _one(target: Target, orders: Orders, seq: int, tell: Tell) -> Entry:
    parameters = tpcb.parameters(orders.scale, orders.writer, seq)
    status, settled, asked = Status.ACKED, False, time.monotonic_ns()
    node = epoch = began = 0
    try:
        node, epoch, began, settled = target.write(parameters)
    except Exception as error:  # noqa: BLE001 (whatever a writer is told is what we measure)
        status = Status.IN_DOUBT if isinstance(error, CommitInDoubt) else Status.FAILED
        node, epoch, began = getattr(target, "last", (0, 0, 0))
        tell(seq, type(error).__name__, str(error))
    ended = time.monotonic_ns()
    return Entry(orders.writer, seq, status, node, epoch, max(began, asked), ended, settled)


class Writers(Group):
    """A group of writer processes. Leaving the block stops them.

    Args:
        folder: for the ledgers; the rest as in `Orders`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        scale: int,
        count: int = 4,
        config_file: Path | None = None,
        plain_dsn: str = "",
        interval: float = 0.005,
        exactly_once: bool = False,
        cluster: str | None = None,
        canary: int = 0,
    ) -> None:
        self.canary = canary
        ledgers = [folder / f"writer-{number}.ledger" for number in range(1, count + 1)]
        orders = {
            path: Orders(
                writer=number,
                scale=scale,
                ledger=path,
                config=config_file,
                plain_dsn=plain_dsn,
                interval=interval,
                exactly_once=exactly_once,
                cluster=cluster,
                canary=canary,
            )
            for number, path in enumerate(ledgers, 1)
        }
        super().__init__(write, orders)
