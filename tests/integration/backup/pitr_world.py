"""A pair of its own whose log is archived: started, stopped, waited for; and what a restored copy holds."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from tests.integration.backup.world import Backed, backed_pair
from tests.integration.conftest import FAST

from understudy.backup import physical, pitr, wal
from understudy.backup.archiver import Archiver, Status
from understudy.backup.manifest import Manifest
from understudy.backup.pitr import Target
from understudy.backup.source import Source, primary_of
from understudy.backup.store import Store
from understudy.config_backup import Physical
from understudy.embedded import EmbeddedPostgreSQL

SCHEMA = "CREATE TABLE row (id int PRIMARY KEY)"
POLICY = Physical(partial_every=1.0)


def until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Poll: nobody tells when a file is shipped."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.05)


@dataclass
class Archive:
    """The pair, and an archiver of it while one runs."""

    backed: Backed
    servers: dict[str, EmbeddedPostgreSQL]
    folder: Path
    policy: Physical = POLICY
    archiver: Archiver | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @property
    def stores(self) -> list[Store]:
        return [self.backed.store]

    @property
    def status(self) -> Status:
        assert self.archiver is not None
        return self.archiver.status

    def start(self, *more: Store, primary: Callable[[], Source] | None = None) -> None:
        """Start an archiver and wait until it receives. ``primary``: somebody else than the witness says."""
        cluster = self.backed.world.pair.cluster
        self.archiver = Archiver(
            cluster, [*self.stores, *more], self.backed.keys, spool=self.folder / "spool", policy=self.policy,
            primary=primary or (lambda: primary_of(self.backed.config, cluster)),
        )  # fmt: skip
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.archiver.run, args=(self._stop,))
        self._thread.start()
        until(lambda: self.status.receiving, "pg_receivewal")

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def base(self) -> Manifest:
        backed = self.backed
        return physical.create(backed.config, backed.world.pair.cluster, self.stores, backed.keys)

    def insert(self, first: int, last: int) -> None:
        self.backed.sql("INSERT INTO row SELECT generate_series(%s::int, %s::int)", first, last)

    def switch(self) -> None:
        """Finish the present segment."""
        self.backed.sql("SELECT pg_create_restore_point('x'), pg_switch_wal()", user="postgres")

    def await_shipped(self) -> None:
        """Wait until everything that is committed now is in every destination."""
        now = time.time()
        until(
            lambda: all((d.until or 0) > now for d in self.status.destinations),
            f"the log to be stored: {self.status}",
        )

    def segment(self, manifest: Manifest, name: str) -> Path:
        return self.backed.folder / manifest.cluster / "wal" / manifest.system_identifier / name

    def segments(self, manifest: Manifest) -> list[Path]:
        return sorted(p for p in self.segment(manifest, "x").parent.iterdir() if len(p.name) == 24)

    @contextmanager
    def restored(self, manifest: Manifest, target: Target) -> Iterator[pitr.Restored]:
        """A restored copy, which is gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="restored-", dir=self.folder) as place:
            if os.geteuid() == 0:
                Path(place).chmod(0o711)
            done = pitr.restore(manifest, self.backed.store, self.backed.keys, target, Path(place) / "server")
            with done.server:
                yield done

    def rows(self, restored: pitr.Restored) -> set[int]:
        dsn = restored.server.dsn(dbname=self.backed.world.pair.database)
        with psycopg.connect(dsn) as connection:
            return {row[0] for row in connection.execute("SELECT id FROM row").fetchall()}


@contextmanager
def archive_of_a_pair() -> Iterator[Archive]:
    """Two servers of its own, set up, with the table of `SCHEMA`."""
    with tempfile.TemporaryDirectory(prefix="understudy-test-") as made:
        folder = Path(made)
        folder.chmod(0o711)
        (folder / "pair").mkdir()
        with (
            EmbeddedPostgreSQL(folder / "a", name="a", settings=FAST, die_with_parent=True) as a,
            EmbeddedPostgreSQL(folder / "b", name="b", settings=FAST, die_with_parent=True) as b,
            backed_pair({"a": a, "b": b}, folder / "pair", SCHEMA) as backed,
        ):
            archive = Archive(backed=backed, servers={"a": a, "b": b}, folder=folder)
            try:
                yield archive
            finally:
                archive.stop()
                for server in (a, b):
                    server.start()  # what a test has killed must be there to be tidied


def covered(archive: Archive, base: Manifest, present: str = "") -> wal.Coverage:
    backed = archive.backed
    (found,) = wal.coverage([base], wal.archives(backed.store, base.cluster, backed.keys), present)
    return found


def slots(archive: Archive, node: str) -> list[str]:
    physical = "SELECT slot_name FROM pg_replication_slots WHERE slot_type = 'physical'"
    return [row[0] for row in archive.backed.world.pair.sql(node, physical, user="postgres")]


def receivers(archive: Archive) -> set[int]:
    """pg_receivewal processes that write into this spool."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if line[0].endswith("pg_receivewal") and any(str(archive.folder) in word for word in line):
                found.add(int(entry.name))
    return found


def archive_until_killed(archive: Archive, make: Callable[[], Store]) -> None:
    """The life of an archiver as a process. ``make``: its destination, made there."""
    backed = archive.backed
    cluster = backed.config.clusters[0]
    found = Archiver(
        cluster,
        [make()],
        backed.keys,
        spool=archive.folder / "spool",
        policy=archive.policy,
        primary=lambda: primary_of(backed.config, cluster),
    )
    found.run(threading.Event())
