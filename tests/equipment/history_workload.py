"""Clients that work on lists and on a bank through `understudy.Pool`, each a process, and note what they saw.

See `tests/equipment/history.py` for what is then asked of their notes.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import pickle
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from tests.equipment.history import Append, Outcome, Read, Transaction, Transfer

from understudy import config
from understudy.client import CommitInDoubt, Connection, Pool
from understudy.demo.lab import Lab

ACCOUNTS, EACH = 8, 1000
SCHEMA = f"""
    CREATE TABLE list (key int PRIMARY KEY, elements bigint[] NOT NULL);
    CREATE TABLE appended (key int NOT NULL, value bigint NOT NULL, PRIMARY KEY (key, value));
    CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL);
    INSERT INTO account SELECT i, {EACH} FROM generate_series(0, {ACCOUNTS - 1}) AS i;
    CREATE TABLE transfer (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);
"""
# `appended` has one row per value: so the rescue files, which hold whole rows, name exactly the values of the tail.
APPEND = """
    WITH logged AS (INSERT INTO appended (key, value) VALUES (%(key)s, %(value)s))
    INSERT INTO list (key, elements) VALUES (%(key)s, ARRAY[%(value)s::bigint])
    ON CONFLICT (key) DO UPDATE SET elements = list.elements || excluded.elements
"""
SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
KEYS_AT_ONCE, LIFE_OF_A_KEY = 5, 25


class HistoryLab(Lab):
    """A laboratory with the tables of the two workloads."""

    def _set_up(self) -> None:
        with self.connect("a") as connection:
            connection.execute(SCHEMA)
        super()._set_up()


class _Changed(Exception):
    """The client thought better of it: roll back."""


@dataclass
class Notes:
    """What one client saw. ``errors``: when it was told what, its own rollbacks left out."""

    transactions: list[Transaction] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    totals: list[tuple[int, ...]] = field(default_factory=list)
    errors: list[tuple[int, str]] = field(default_factory=list)


class _Client:
    def __init__(self, session: int, pool: Pool, acknowledged: Any) -> None:
        self.session, self.pool, self._acknowledged = session, pool, acknowledged
        self.notes, self.seq = Notes(), 0
        self._random = random.Random(session)

    def step(self) -> None:
        raise NotImplementedError

    def outcome_of(self, work: Callable[[], object]) -> Outcome:
        """Do it and translate the exception. Whatever is no `CommitInDoubt` certainly did not commit."""
        self.seq += 1
        try:
            work()
        except _Changed:
            return Outcome.ABORTED
        except psycopg.Error as error:
            self.notes.errors.append((time.monotonic_ns(), f"{type(error).__name__}: {error}"))
            return Outcome.UNKNOWN if isinstance(error, CommitInDoubt) else Outcome.ABORTED
        with self._acknowledged.get_lock():
            self._acknowledged.value += 1
        return Outcome.COMMITTED


class ListClient(_Client):
    """Appends to lists and reads them, three operations at most per transaction, half of them in one snapshot."""

    def step(self) -> None:
        snapshot, changes_its_mind = self._random.random() < 0.5, self._random.random() < 0.1
        ops: list[Append | Read] = []
        times = {"began": 0, "committing": 0, "epoch": 0}

        def work() -> None:
            with self.pool.connection() as conn:
                times.update(began=time.monotonic_ns(), epoch=conn.epoch)
                if snapshot:
                    conn.execute(SNAPSHOT)
                self._work(conn, ops)
                if changes_its_mind:
                    raise _Changed
                times["committing"] = time.monotonic_ns()

        outcome = self.outcome_of(work)
        ended = time.monotonic_ns()
        self.notes.transactions.append(
            Transaction(
                session=self.session,
                epoch=times["epoch"],
                outcome=outcome,
                ops=tuple(ops),
                began=times["began"] or ended,
                committing=times["committing"] or ended,
                ended=ended,
                snapshot=snapshot,
            )
        )

    def _work(self, conn: Connection, ops: list[Append | Read]) -> None:
        """What is about to be appended is noted first, so that it is known however this ends."""
        first = self.seq // LIFE_OF_A_KEY
        keys = sorted(first + self._random.randrange(KEYS_AT_ONCE) for _ in range(self._random.randint(1, 3)))
        for number, key in enumerate(keys):  # sorted: no two clients wait for each other
            if self._random.random() < 0.5:
                value = (self.session * 1_000_000 + self.seq) * 10 + number
                ops.append(Append(key, value))
                conn.execute(APPEND, {"key": key, "value": value})
            row = conn.execute("SELECT elements FROM list WHERE key = %s", (key,)).fetchone()
            ops.append(Read(key, tuple(row[0]) if row else ()))


class BankClient(_Client):
    """Moves amounts, exactly once each, and reads all balances in one snapshot, in two questions."""

    def step(self) -> None:
        if self._random.random() < 0.5:
            balances: list[int] = []
            if self.outcome_of(lambda: balances.extend(self._read())) is Outcome.COMMITTED:
                self.notes.totals.append(tuple(balances))
            return
        source, target = self._random.sample(range(ACCOUNTS), 2)
        amount, name = self._random.randint(1, 50), f"{self.session}-{self.seq}"

        def transfer(conn: Connection) -> None:
            for account, change in sorted([(source, -amount), (target, amount)]):
                conn.execute("UPDATE account SET balance = balance + %s WHERE id = %s", (change, account))
            conn.execute("INSERT INTO transfer (name) VALUES (%s)", (name,))

        outcome = self.outcome_of(lambda: self.pool.run(transfer, exactly_once=True))
        self.notes.transfers.append(
            Transfer(name=name, source=source, target=target, amount=amount, outcome=outcome)
        )

    def _read(self) -> list[int]:
        with self.pool.connection() as conn:
            conn.execute(SNAPSHOT)
            balances: list[int] = []
            for odd in (0, 1):
                rows = conn.execute("SELECT balance FROM account WHERE id %% 2 = %s", (odd,))
                balances += [balance for (balance,) in rows]
            return balances


def _live(
    kind: type[_Client], session: int, config_file: Path, notes: Path, stop: Any, acknowledged: Any
) -> None:
    """The life of one client process. Ends when told to, or when its parent is gone."""
    logging.getLogger("psycopg.pool").setLevel(
        logging.CRITICAL
    )  # it cannot connect: that is what we came for
    loaded, parent = config.load(config_file, {}), os.getppid()
    with Pool(loaded.cluster(None), loaded.directory, max_size=1) as pool:
        client = kind(session, pool, acknowledged)
        while not stop.wait(0.004) and os.getppid() == parent:
            client.step()
    notes.write_bytes(pickle.dumps(client.notes))


class Clients(AbstractContextManager["Clients"]):
    """Three clients of the lists and two of the bank. `stop` gives their notes."""

    def __init__(self, lab: Lab) -> None:
        context = multiprocessing.get_context("spawn")
        self._lab, self._stop, self._acknowledged = lab, context.Event(), context.Value("Q", 0)
        self._notes: list[Path] = []
        self._processes = []
        for session, kind in enumerate((ListClient, ListClient, ListClient, BankClient, BankClient), 1):
            notes = lab.folder / f"notes-{session}"
            arguments = (kind, session, lab.config_file, notes, self._stop, self._acknowledged)
            self._notes.append(notes)
            self._processes.append(context.Process(target=_live, args=arguments, daemon=True))

    def __enter__(self) -> Self:
        for process in self._processes:
            process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for process in self._processes:
            process.kill()
            process.join()

    def work(self, transactions: int) -> None:
        """Wait until so many more were acknowledged."""
        enough = self._acknowledged.value + transactions
        self._lab.await_true(
            lambda: self._acknowledged.value >= enough, 60, f"{transactions} acknowledged transactions"
        )

    def stop(self) -> list[Notes]:
        """Let each finish its transaction and end."""
        self._stop.set()
        for process in self._processes:
            process.join(60)
            assert process.exitcode == 0, "a client did not end well"
        return [pickle.loads(path.read_bytes()) for path in self._notes]


def rescued(folder: Path) -> tuple[dict[int, frozenset[int]], frozenset[str]]:
    """The values of the lists, by key, and the names of the transfers in all rescue folders."""
    values: dict[int, frozenset[int]] = {}
    names = set()
    for changes in sorted(folder.glob("*/changes.jsonl")):
        for record in map(json.loads, changes.read_text().splitlines()):
            if record["table"] == "appended":
                key, value = int(record["new"]["key"]), int(record["new"]["value"])
                values[key] = values.get(key, frozenset()) | {value}
            elif record["table"] == "transfer":
                names.add(record["new"]["name"])
    return values, frozenset(names)
