"""Writers: processes that do one TPC-B transaction every few milliseconds and note what they were told."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import time
import uuid
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import psycopg

from understudy import config
from understudy.client import CommitInDoubt, Pool
from understudy.demo import tpcb
from understudy.demo.audit import Row, rescued_inserts
from understudy.demo.ledger import SIZE, Entry, Ledger, Reader, Status, read
from understudy.lease import LeaseFile

JOIN_TIMEOUT = 45.0  # seconds: longer than `hold_timeout`, so that a writer that holds can end by itself


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
    """The life of one writer process. Ends when told to, or when its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which stops us in order
    logging.getLogger("psycopg.pool").setLevel(
        logging.CRITICAL
    )  # a pool that cannot connect is what we came for
    parent = os.getppid()
    ledger = Ledger(orders.ledger)
    target: ThroughUnderstudy | Plain = Plain(orders) if orders.plain_dsn else ThroughUnderstudy(orders)
    seq, due = sum(1 for _ in read(orders.ledger)), time.monotonic()
    with orders.ledger.with_suffix(".errors").open("a", buffering=1) as errors:
        while not stop.is_set() and os.getppid() == parent:
            seq += 1
            _one(target, orders, seq, ledger, errors)
            due = max(due + orders.interval, time.monotonic())  # a writer that was held does not catch up
            time.sleep(max(0.0, due - time.monotonic()))
    target.close()
    ledger.close()


def _one(target: Target, orders: Orders, seq: int, ledger: Ledger, errors: Any) -> None:
    parameters = tpcb.parameters(orders.scale, orders.writer, seq)
    status, settled, asked = Status.ACKED, False, time.monotonic_ns()
    node = epoch = began = 0
    try:
        node, epoch, began, settled = target.write(parameters)
    except Exception as error:  # noqa: BLE001 (whatever a writer is told is what we measure)
        status = Status.IN_DOUBT if isinstance(error, CommitInDoubt) else Status.FAILED
        node, epoch, began = getattr(target, "last", (0, 0, 0))
        note = {"seq": seq, "at": time.monotonic_ns(), "kind": type(error).__name__, "text": str(error)}
        errors.write(json.dumps(note) + "\n")
    ended = time.monotonic_ns()
    ledger.add(Entry(orders.writer, seq, status, node, epoch, max(began, asked), ended, settled))


class Writers(AbstractContextManager["Writers"]):
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
        folder.mkdir(parents=True, exist_ok=True)
        self.ledgers = [folder / f"writer-{number}.ledger" for number in range(1, count + 1)]
        self._orders = [
            Orders(
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
            for number, path in enumerate(self.ledgers, 1)
        ]
        # Spawned, not forked: each is a process of its own as a worker of a web server is.
        self._context = multiprocessing.get_context("spawn")
        self._stop = self._context.Event()
        self._processes: list[Any] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(at_once=kind is not None)

    def start(self) -> None:
        """Start them all, and return when each has had an answer (or has ended)."""
        self._stop.clear()
        before = [self._size(path) for path in self.ledgers]
        for orders in self._orders:
            process = self._context.Process(target=write, args=(orders, self._stop), daemon=True)
            process.start()
            self._processes.append(process)
        while any(
            process.is_alive() and self._size(path) == size
            for process, path, size in zip(self._processes, self.ledgers, before, strict=True)
        ):
            time.sleep(0.02)  # files have no event that the standard library can wait for

    @staticmethod
    def _size(path: Path) -> int:
        return path.stat().st_size if path.exists() else 0

    def stop(self, *, at_once: bool = False) -> None:
        """Let each finish its transaction and end; what does not end in time is killed."""
        self._stop.set()
        for process in self._processes:
            process.join(0.5 if at_once else JOIN_TIMEOUT)
            if process.is_alive():
                process.kill()
                process.join()
        self._processes.clear()

    @property
    def alive(self) -> int:
        """How many of them run."""
        return sum(process.is_alive() for process in self._processes)

    @property
    def written(self) -> int:
        """How many transactions have ended so far, however they did."""
        return sum(self._size(path) for path in self.ledgers) // SIZE

    def entries(self) -> list[Entry]:
        """All entries of all ledgers, in the order in which the writers were answered."""
        return Reader(self.ledgers).new()

    def reader(self) -> Reader:
        """A reader that follows the ledgers from now on."""
        reader = Reader(self.ledgers)
        reader.new()
        return reader

    def errors(self) -> list[dict[str, Any]]:
        """What writers were told when a transaction did not end well: seq, at (ns), kind, text."""
        found = []
        for path in self.ledgers:
            notes = path.with_suffix(".errors")
            if notes.exists():
                found += [json.loads(line) for line in notes.read_text().splitlines()]
        return found
