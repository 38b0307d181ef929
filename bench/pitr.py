"""The primary is killed (SIGKILL) under load, and its archive restored: is every row where it should be?

Commits wait for pg_receivewal (`synchronous_standby_names`), so what a writer was told must be in the archive. Twice a
run a copy is restored: to the end of the log (nothing acknowledged is missing, and what is there besides was on its way
when the server died), and to a mark, a moment or a position at which the writers stood still (the very same rows).
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

if __package__ in (None, ""):  # `python bench/pitr.py`
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

from bench import _common as common
from understudy import config, logs
from understudy.backup import physical, pitr, wal
from understudy.backup.archiver import Archiver, slot_name
from understudy.backup.keys import Key, Keys
from understudy.backup.manifest import Manifest
from understudy.backup.source import primary_of
from understudy.backup.store import Store, open_store
from understudy.config_backup import Destination, Physical
from understudy.demo import audit
from understudy.demo.audit import Row
from understudy.demo.lab import CLUSTER, DATABASE, Lab
from understudy.demo.ledger import Status
from understudy.demo.workload import Writers
from understudy.model import Rpo

POLICY = Physical(partial_every=1.0)
PATIENCE = 60.0


@dataclass(frozen=True)
class Archive:
    """A lab whose log is archived."""

    lab: Lab
    store: Store
    keys: Keys
    base: Manifest
    archiver: Archiver


@dataclass(frozen=True)
class Mark:
    """A moment and a position at which nobody wrote, and the rows there were."""

    at: datetime
    position: int
    rows: frozenset[Row]


@dataclass(frozen=True)
class Run:
    """One run: what was exact, and how long the restores took (ms)."""

    acked: int
    lost: int
    foreign: int
    mark_exact: bool
    latest_ms: float
    mark_ms: float

    @property
    def exact(self) -> bool:
        return not self.lost and not self.foreign and self.mark_exact


@contextmanager
def archived(lab: Lab) -> Iterator[Archive]:
    """Archive the lab's primary, and make commits wait for it."""
    loaded = config.load(lab.config_file, {})
    cluster, stop = loaded.cluster(CLUSTER), threading.Event()
    place = lab.folder / "shelf"
    place.mkdir()
    store, keys = open_store(Destination(name="shelf", folder=place)), Keys(Key.new())
    archiver = Archiver(
        cluster,
        [store],
        keys,
        spool=lab.folder / "spool",
        policy=POLICY,
        primary=lambda: primary_of(loaded, cluster),
    )
    thread = threading.Thread(target=archiver.run, args=(stop,))
    thread.start()
    try:
        wait(lambda: archiver.status.receiving, "pg_receivewal")
        base = physical.create(loaded, cluster, [store], keys, tell=common.say)
        with lab.connect("a", "postgres") as connection:
            connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{slot_name(POLICY, CLUSTER)}'")
            connection.execute("SELECT pg_reload_conf()")
        yield Archive(lab, store, keys, base, archiver)
    finally:
        stop.set()
        thread.join()


def wait(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {PATIENCE:g} s for {what}")
        time.sleep(0.05)


def mark(lab: Lab) -> Mark:
    """Let the writers stand still for a moment, and look."""
    with lab.connect("a") as connection, connection.transaction():
        connection.execute("LOCK TABLE pgbench_history IN EXCLUSIVE MODE")
        rows = frozenset(audit.rows(connection))
        row = connection.execute(
            "SELECT clock_timestamp(), (pg_current_wal_insert_lsn() - '0/0')::bigint"
        ).fetchone()
    assert row is not None
    return Mark(row[0], row[1], rows)


def all_shipped(archive: Archive) -> bool:
    """Whether the destination holds what is in the spool, to the last byte."""
    files = [
        p for p in (archive.lab.folder / "spool").glob("*.*/*") if len(p.name) >= 24 and p.name[0] == "0"
    ]
    if any(not p.name.endswith(wal.PARTIAL) for p in files):
        return False
    for path in files:
        key = wal.prefix(CLUSTER, archive.base.system_identifier) + path.name
        if not archive.store.exists(key):
            return False
        there = hashlib.sha256(b"".join(wal.fetch(archive.store, key, archive.keys))).digest()
        if there != hashlib.sha256(path.read_bytes()).digest():
            return False
    return True


def restored(archive: Archive, target: pitr.Target) -> tuple[frozenset[Row], float]:
    """The rows of a copy restored to there, and the milliseconds until it could be asked."""
    folder = archive.lab.folder / "restored"
    began = time.monotonic()
    done = pitr.restore(archive.base, archive.store, archive.keys, target, folder)
    with done.server, psycopg.connect(done.server.dsn(dbname=DATABASE)) as connection:
        took = (time.monotonic() - began) * 1000
        rows = frozenset(audit.rows(connection))
    shutil.rmtree(folder, ignore_errors=True)
    return rows, took


def one(archive: Archive, load: Writers, number: int) -> Run:
    lab = archive.lab
    load.start()
    common.steady(load, 200)
    there = mark(lab)
    common.steady(load, 200 + 37 * number)  # not always at the same place of a segment
    lab.servers["a"].kill()
    load.stop(at_once=True)
    entries = load.entries()
    wait(lambda: not archive.archiver.status.receiving and all_shipped(archive), "the log to be stored")
    latest, latest_ms = restored(archive, pitr.Latest())
    target = pitr.Time(there.at) if number % 2 else pitr.Lsn(there.position)
    marked, mark_ms = restored(archive, target)
    lab.servers["a"].start()
    wait(lambda: archive.archiver.status.receiving, "pg_receivewal after the restart")
    acked = {(e.writer, e.seq) for e in entries if e.status is Status.ACKED}
    tried = {(e.writer, e.seq) for e in entries}
    last = {w: max(s for v, s in tried if v == w) + 1 for w in {w for w, _ in tried}}
    on_their_way = set(last.items())  # killed before its end was noted
    return Run(
        acked=len(acked),
        lost=len(acked - latest),
        foreign=len(latest - tried - on_their_way),
        mark_exact=marked == there.rows,
        latest_ms=latest_ms,
        mark_ms=mark_ms,
    )


def measure(arguments: argparse.Namespace) -> common.Result:
    runs: list[Run] = []
    with ExitStack() as stack:
        policy = {"failover": False, "failback": "manual"}
        lab = stack.enter_context(Lab(mode=Rpo.BOUNDED, scale=arguments.scale, policy=policy, say=common.say))
        archive = stack.enter_context(archived(lab))
        load = Writers(lab.folder / "ledgers", scale=arguments.scale, plain_dsn=lab.dsn("a", "app"))
        for number in range(1, arguments.repeat + 1):
            runs.append(one(archive, load, number))
            common.say(
                f"{number} of {arguments.repeat}: {'exact' if runs[-1].exact else 'NOT EXACT'}: {runs[-1]}"
            )
        server = common.postgresql_version(lab)
        segments = len(wal.archives(archive.store, CLUSTER, archive.keys)[0].stored)
    return {
        "exact": sum(run.exact for run in runs),
        "acked": runs[-1].acked,
        "lost": sum(run.lost for run in runs),
        "foreign": sum(run.foreign for run in runs),
        "mark_exact": sum(run.mark_exact for run in runs),
        "segments": segments,
        "restore_latest_ms": common.summary(run.latest_ms for run in runs),
        "restore_mark_ms": common.summary(run.mark_ms for run in runs),
        "versions": {"postgresql": server},
    }


def main() -> int:
    logs.configure(level=logs.LogLevel.ERROR)  # that a killed server does not answer is no news
    parser = common.options("pitr", repeat=20)
    return common.finish("pitr", parser.parse_args(), measure)


if __name__ == "__main__":
    sys.exit(main())
